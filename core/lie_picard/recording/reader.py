"""Reading the sound files of a recording together, by time; what is no ROS 2 message is passed over."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import zstandard
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from typing_extensions import Self

from lie_picard.recording.mcap_file import McapFile
from lie_picard.recording.message_types import typestore
from lie_picard.recording.sqlite_file import SqliteFile
from lie_picard.recording.stored import MAX_MESSAGE_BYTES, BagError, Channel, one_line

_ZSTD = b"\x28\xb5\x2f\xfd"  # a message in CDR begins with 0
_IDL = "=" * 80 + "\n"


@dataclass(frozen=True)
class Connection:
    """A topic of one file.

    Attributes:
        msgcount: number of its messages there. source, number: of the file, and of the channel in it.
    """

    topic: str
    msgtype: str
    msgcount: int
    source: int
    number: int


class Reader:
    """A context in which files are open.

    Attributes:
        connections: topics whose messages can be read. others: by topic, the types of others and why they cannot be.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """`files`: sound ones."""
        self._files = files
        self.connections: list[Connection] = []
        self.others: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Self:
        self._sources: list[McapFile | SqliteFile] = []
        types: dict[str, Any] = {}
        definitions = set()
        for index, file in enumerate(self._files):
            try:
                source = McapFile(file) if file.suffix == ".mcap" else SqliteFile(file)
            except Exception as error:  # storage libraries raise whatever they meet
                self.close()
                raise BagError(f"{file}: {one_line(error)}") from None
            self._sources.append(source)
            for number, channel in source.channels.items():
                count = source.counts.get(number, 0)
                if reason := _take(channel, types):
                    if count:
                        self.others[channel.topic] = channel.msgtype, reason
                    continue
                definitions.add((channel.msgtype, channel.schema, channel.definition))
                self.connections.append(Connection(channel.topic, channel.msgtype, count, index, number))
        self.typestore = _store(frozenset(definitions))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        for source in self._sources:
            source.close()

    def messages(
        self, connections: Collection[Connection] | None = None, start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Messages recorded in [start, stop) with when they were, in order; of all topics where none are given."""
        parts = self._parts(self.connections if connections is None else connections, start, stop, False)
        return heapq.merge(*parts, key=lambda found: found[1])

    def last(self, connections: Collection[Connection], stop: int) -> tuple[Connection, int, bytes] | None:
        """The last message recorded before a time; None where there is none."""
        found = [next(part, None) for part in self._parts(connections, None, stop, True)]
        return max((one for one in found if one is not None), key=lambda one: one[1], default=None)

    def _parts(
        self, connections: Collection[Connection], start: int | None, stop: int | None, backward: bool
    ) -> list[Iterator[tuple[Connection, int, bytes]]]:
        return [self._part(index, {c.number: c for c in connections if c.source == index}, start, stop, backward)
                for index in sorted({c.source for c in connections})]  # fmt: skip

    def _part(
        self, index: int, wanted: dict[int, Connection], start: int | None, stop: int | None, backward: bool
    ) -> Iterator[tuple[Connection, int, bytes]]:
        for number, log_ns, data in self._sources[index].messages(wanted, start, stop, backward):
            yield wanted[number], log_ns, data

    def deserialize(self, data: bytes, msgtype: str) -> Any:
        """A message of a type; compressed ones are unpacked.

        Raises:
            ValueError: the bytes are no such message; one line.
        """
        try:
            if bytes(data[:4]) == _ZSTD:
                data = _unpacked(bytes(data))
            return self.typestore.deserialize_cdr(data, msgtype)
        except Exception as error:  # rosbags raises whatever rubbish leads to
            raise ValueError(f"a message that is no {msgtype}: {one_line(error)}") from None


def _unpacked(data: bytes) -> bytes:
    size = zstandard.frame_content_size(data)
    if size > MAX_MESSAGE_BYTES:
        raise ValueError(f"{size / 1e9:.3g} GB in one message are not read")
    with zstandard.ZstdDecompressor().stream_reader(data) as stream:
        unpacked = stream.read(MAX_MESSAGE_BYTES)
    if 0 <= size != len(unpacked):
        raise ValueError("its compressed data is cut")
    return unpacked


@functools.lru_cache(maxsize=16)
def _store(definitions: frozenset[tuple[str, str, str]]) -> Typestore:
    """What reads messages of these types; it compiles a function for each, so it is kept."""
    store = get_typestore(Stores.EMPTY)
    store.register({name: one for each in definitions for name, one in _defined(*each).items()})
    return store


def _take(channel: Channel, types: dict[str, Any]) -> str:
    """Add what a channel's messages are made of to the known types. Returns why it cannot be read."""
    if channel.encoding != "cdr":
        return f"its messages are encoded as '{channel.encoding}'"
    try:
        defined = _defined(channel.msgtype, channel.schema, channel.definition)
    except Exception as error:  # a grammar's errors are of many kinds
        return f"the definition of {channel.msgtype} cannot be read: {one_line(error)}"
    if not defined:
        return f"the recording has no definition of {channel.msgtype}: record it as MCAP, or with ROS 2 Iron or later"
    for name, (_, fields) in defined.items():
        if name in types and types[name][1] != fields:
            return f"it defines {name} unlike another topic"
    types |= defined
    return ""


@functools.lru_cache(maxsize=256)
def _defined(msgtype: str, schema: str, text: str) -> dict[str, Any]:
    """The types of a definition with their fields; of ROS 2 Jazzy and this project where there is none."""
    if not text.strip() and not msgtype.startswith("std_msgs/msg/Empty"):
        return _known(msgtype)
    if schema == "ros2msg" or (not schema and not text.startswith(_IDL)):
        defined = get_types_from_msg(text, msgtype)
    elif schema in ("ros2idl", "omgidl", ""):
        parts = text.split(_IDL)[1:] if text.startswith(_IDL + "IDL: ") else ["\n" + text]
        defined = {name: one for part in parts for name, one in get_types_from_idl(part.split("\n", 1)[1]).items()}
    else:
        raise ValueError(f"it is written as '{schema}'")
    for name in [name for _, fields in defined.values() for name in _names(fields)]:
        if name not in defined:  # what every recorder takes for known, such as builtin_interfaces
            defined = _known(name) | defined
        if name not in defined:
            raise ValueError(f"it refers to {name}, which is defined nowhere")
    get_typestore(Stores.EMPTY).register(defined)  # whatever it refers to is there
    return dict(defined)


def _known(msgtype: str) -> dict[str, Any]:
    """A type of the default store with all that it is made of."""
    fields, found, waiting = typestore().fielddefs, {}, [msgtype]
    while waiting:
        name = waiting.pop()
        if name in fields and name not in found:
            found[name] = fields[name]
            waiting += _names(fields[name][1])
    return found


def _names(part: Any) -> list[str]:
    """All names of types in a description of fields."""
    if isinstance(part, str):
        return [part] if "/msg/" in part else []
    return [name for one in part for name in _names(one)] if isinstance(part, (tuple, list)) else []
