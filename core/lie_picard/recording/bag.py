"""Opening a recording, and saving what is left of a damaged one."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.highlevel.anyreader import AnyReaderError
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from lie_picard.recording.message_types import typestore

_SUFFIXES = ".mcap", ".db3", ".bag"
_BLOCK = 50  # rows of a damaged database that are given up together


class BagError(ValueError):
    """A recording that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Bag:
    """A recording that can be opened.

    Attributes:
        path: as the user gave it. files: what is read instead of it, where it is damaged.
        problems: what is wrong with it, one line each.
    """

    path: Path
    files: tuple[Path, ...]
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path, without a storage file's ending."""
        return self.path.stem if self.path.suffix in _SUFFIXES else self.path.name

    @property
    def key(self) -> str:
        """Changes when the recording does."""
        parts = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in _contents(self.path)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @contextmanager
    def opened(self) -> Iterator[AnyReader]:
        """A reader of it.

        Raises:
            BagError: it changed since it was found.
        """
        try:
            reader = AnyReader(self.files, default_typestore=typestore())
            reader.open()
        except (AnyReaderError, OSError) as error:
            raise BagError(f"{self.path}: {error}") from None
        try:
            yield reader
        finally:
            reader.close()


def find(path: Path, rescue: Path) -> Bag:
    """The recording at a path: a rosbag2 folder or one of its files.

    Args:
        rescue: folder for copies of what is left of damaged files; made where it is needed.

    Raises:
        BagError: there is none, or nothing of it can be read.
    """
    if not path.exists():
        raise BagError(f"{path}: no such recording")
    if (error := _trouble((path,))) is None:
        return Bag(path, (path,))
    files = [file for file in _contents(path) if file.suffix in _SUFFIXES and file.stat().st_size]
    if not files:
        raise BagError(f"{path} is no recording ({error}): give a rosbag2 folder, or an .mcap or .db3 file")
    usable, problems = [], []
    if path.is_dir() and not (path / "metadata.yaml").exists():
        problems.append("metadata.yaml is missing (the recorder was killed?): the files are read without it")
    for file in files:
        if (error := _trouble((file,))) is None:
            usable.append(file)
            continue
        copy = rescue / hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]
        kept = _rescued(file, copy)
        problems.append(f"{file.name} is damaged ({error}): {kept} messages of it could be read")
        if kept:
            usable.append(copy)
    if not usable:
        raise BagError(f"{path}: {'; '.join(problems)}")
    if (error := _trouble(tuple(usable))) is not None:
        raise BagError(f"{path}: {error}")
    return Bag(path, tuple(usable), tuple(problems))


def _contents(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _trouble(files: tuple[Path, ...]) -> str | None:
    """Why these cannot be opened together; None where they can be."""
    try:
        with AnyReader(files, default_typestore=typestore()):
            return None
    except Exception as error:  # storage libraries raise whatever they meet in a damaged file
        return " ".join(str(error).split()) or type(error).__name__


def _rescued(file: Path, folder: Path) -> int:
    """Write what can be read of a damaged file as a recording of its own. Returns the number of messages."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    connections: dict[Any, Any] = {}
    with (
        _whole_pages(file, folder.with_suffix(".db3")) as readable,
        Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        messages = _mcap_messages(readable) if readable.suffix == ".mcap" else _sqlite_messages(readable)
        for topic, kind, definition, log_ns, data in messages:
            if topic not in connections:
                try:
                    connections[topic] = _connect(writer, topic, kind, definition)
                except Exception:  # a type that nobody knows
                    connections[topic] = None
            if connections[topic] is not None:
                writer.write(connections[topic], log_ns, data)
                count += 1
    if not count:
        shutil.rmtree(folder, ignore_errors=True)
    return count


def _connect(writer: Writer, topic: str, kind: str, definition: str) -> Any:
    store = typestore()
    if definition:
        parse = get_types_from_idl if "IDL: " in definition[:200] else lambda text: get_types_from_msg(text, kind)
        store = get_typestore(Stores.EMPTY)
        store.register(parse(definition))
    return writer.add_connection(topic, kind, typestore=store)


_Message = tuple[str, str, str, int, bytes]  # topic, type, definition, log time, data


def _mcap_messages(file: Path) -> Iterator[_Message]:
    """Messages of an MCAP file from its begin; chunks that are damaged are left out."""
    from mcap.records import Channel, Chunk, Message, Schema
    from mcap.stream_reader import StreamReader, breakup_chunk

    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    with file.open("rb") as stream:
        records = StreamReader(stream, emit_chunks=True).records
        while True:
            try:
                record = next(records, None)
            except Exception:  # truncated: there is no more
                return
            if record is None:
                return
            try:
                parts = breakup_chunk(record) if isinstance(record, Chunk) else [record]
            except Exception:  # damaged, but read to its end: the next record is where it should be
                continue
            for part in parts:
                if isinstance(part, Schema):
                    schemas[part.id] = part
                elif isinstance(part, Channel):
                    channels[part.id] = part
                elif isinstance(part, Message) and part.channel_id in channels:
                    channel = channels[part.channel_id]
                    if channel.schema_id in schemas:
                        schema = schemas[channel.schema_id]
                        text = schema.data.decode(errors="replace")
                        yield channel.topic, schema.name, text, part.log_time, part.data


@contextmanager
def _whole_pages(file: Path, copy: Path) -> Iterator[Path]:
    """The file, or a copy without the half page that a cut database ends with: SQLite takes the rest for zeros."""
    with file.open("rb") as stream:
        header = stream.read(18)
        page = int.from_bytes(header[16:18], "big")
        page = 65536 if page == 1 else page  # https://www.sqlite.org/fileformat.html, 1.3.2
        rest = file.stat().st_size % page if header.startswith(b"SQLite format 3\0") and page else 0
        if not rest:
            yield file
            return
        stream.seek(0)
        try:
            with copy.open("wb") as out:
                shutil.copyfileobj(stream, out)
                out.truncate(out.tell() - rest)
            yield copy
        finally:
            copy.unlink(missing_ok=True)


def _sqlite_messages(file: Path) -> Iterator[_Message]:
    """Rows of a database; those on damaged pages are left out."""
    database = sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)
    # Without this SQLite refuses a file that is shorter than it should be.
    database.execute("PRAGMA writable_schema=ON")

    def read(query: str, *values: Any) -> list[Any]:
        try:
            return database.execute(query, values).fetchall()
        except sqlite3.DatabaseError:
            return []

    topics = {number: (name, kind) for number, name, kind in read("SELECT id, name, type FROM topics")}
    texts = dict(read("SELECT topic_type, encoded_message_definition FROM message_definitions"))
    last = _last_row(read)
    for first in range(1, last + 1, _BLOCK):
        query = "SELECT topic_id, timestamp, data FROM messages WHERE id BETWEEN ? AND ?"
        rows = read(query, first, first + _BLOCK - 1)
        if not rows:  # one by one: some of the block may be whole
            rows = [row for number in range(first, first + _BLOCK) for row in read(query, number, number)]
        for topic, log_ns, data in rows:
            if topic in topics:
                name, kind = topics[topic]
                yield name, kind, texts.get(kind, ""), log_ns, bytes(data)
    database.close()


def _last_row(read: Callable[..., list[Any]]) -> int:
    """The largest id that can be read: where the index' end is lost, by doubling."""
    if found := read("SELECT max(id) FROM messages"):
        return int(found[0][0] or 0)
    low, high = 0, 1
    while read("SELECT id FROM messages WHERE id = ?", high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if read("SELECT id FROM messages WHERE id = ?", middle) else (low, middle)
    return low
