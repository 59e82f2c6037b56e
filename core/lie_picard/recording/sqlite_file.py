"""SQLite databases of rosbag2: surveyed by SQLite's own check, read by time, and row by row where pages are damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from lie_picard.recording.stored import LATEST_NS, Channel, Survey, one_line

_BLOCK = 50  # rows of a damaged database that are given up together
_HEADER = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html, 1.3
COMPANIONS = "-wal", "-journal"


class SqliteFile:
    """A database that a survey found to be sound."""

    def __init__(self, file: Path) -> None:
        """Raises: sqlite3.Error where it is damaged."""
        self._database = _opened(file)
        self.channels = _channels(self._database)
        self.counts = dict(self._database.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"))

    def messages(
        self, wanted: Collection[int], start: int | None, stop: int | None, backward: bool = False
    ) -> Iterator[tuple[int, int, bytes]]:
        """Channel, log time and data of messages in [start, stop), by log time."""
        order = "DESC" if backward else "ASC"
        # Numbers first: without an index SQLite would sort the images themselves.
        rows = self._database.execute(
            f"SELECT id, topic_id, timestamp FROM messages WHERE topic_id IN ({','.join('?' * len(wanted))}) "
            f"AND timestamp >= ? AND timestamp < ? ORDER BY timestamp {order}, id {order}",
            (*wanted, 0 if start is None else start, LATEST_NS + 1 if stop is None else stop),
        )
        for number, channel, log_ns in rows:
            (data,) = self._database.execute("SELECT data FROM messages WHERE id = ?", (number,)).fetchone()
            yield channel, log_ns, data

    def close(self) -> None:
        """Close it."""
        self._database.close()


def is_logged_ahead(file: Path) -> bool:
    """Whether what was recorded last may be in a write-ahead log beside the database."""
    with file.open("rb") as stream:
        header = stream.read(20)
    return header.startswith(_HEADER) and header[18:20] == b"\2\2"


def walk(file: Path, survey: Survey) -> Iterator[tuple[Channel, int, bytes]]:
    """All messages of a database that can be read, by the numbers of their rows; and what was found."""
    if cut := _cut(file):
        survey.lose(cut)
    with contextlib.closing(_opened(file)) as database:
        try:
            for (problem,) in database.execute("PRAGMA integrity_check(3)").fetchall():
                if problem != "ok":
                    survey.lose(one_line(str(problem).replace("*** in database main ***", "")))
            survey.direct &= not cut
        except sqlite3.DatabaseError as error:
            survey.lose(one_line(error))
        try:
            if survey.whole:
                rows: Iterator[Any] = database.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id")
            else:
                # Without this SQLite refuses a file that is shorter than it should be.
                database.execute("PRAGMA writable_schema=ON")
                rows = _readable(database, survey)
            yield from _messages(database, rows, survey)
        except sqlite3.DatabaseError as error:
            survey.lose(one_line(error))
        _expect(database, survey)


def page_size(file: Path) -> int:
    """Bytes of a page; 0 where it is no database."""
    with file.open("rb") as stream:
        header = stream.read(18)
    size = int.from_bytes(header[16:18], "big") if header.startswith(_HEADER) else 0
    return 65536 if size == 1 else size


def _opened(file: Path) -> sqlite3.Connection:
    # immutable: not even a lock is written beside the user's file.
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def _channels(database: sqlite3.Connection) -> dict[int, Channel]:
    told = _read(database, "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
    definitions = {kind: (how, text) for kind, how, text in told}
    topics = _read(database, "SELECT id, name, type, serialization_format FROM topics")
    return {number: Channel(str(name), str(kind), str(encoding), *map(str, definitions.get(kind, ("", ""))))
            for number, name, kind, encoding in topics}  # fmt: skip


def _read(database: sqlite3.Connection, query: str, *values: Any) -> list[Any]:
    """Rows; none where they cannot be read, or the table, which older distributions lack, is not there."""
    try:
        return database.execute(query, values).fetchall()
    except (sqlite3.DatabaseError, OverflowError):
        return []


def _messages(database: sqlite3.Connection, rows: Any, survey: Survey) -> Iterator[tuple[Channel, int, bytes]]:
    channels = _channels(database)
    if not channels:
        survey.lose("its list of topics cannot be read")
    for number, log_ns, data in rows:
        channel = channels.get(number) if isinstance(number, int) else None
        if channel is None or not isinstance(log_ns, int) or not isinstance(data, bytes):
            survey.lose("rows that are no messages") if survey.direct else None
            continue
        if survey.timed(channel.topic, log_ns):
            survey.add(channel.topic, log_ns)
            yield channel, log_ns, data


def _readable(database: sqlite3.Connection, survey: Survey) -> Iterator[Any]:
    """Rows of a damaged database; those on damaged pages are left out."""
    query = "SELECT topic_id, timestamp, data FROM messages WHERE id BETWEEN ? AND ?"
    last = _last_row(lambda query, *values: _read(database, query, *values))
    for first in range(1, last + 1, _BLOCK):
        rows = _read(database, query, first, first + _BLOCK - 1)
        if not rows:  # one by one: some of the block may be whole
            rows = [row for number in range(first, first + _BLOCK) for row in _read(database, query, number, number)]
        yield from rows


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


def _expect(database: sqlite3.Connection, survey: Survey) -> None:
    """How many messages there should be, by what the recorder wrote when it ended."""
    for topic, times in survey.times.items():
        survey.expected[topic] += len(times)
    with contextlib.suppress(Exception):  # a table that older distributions lack, or no YAML
        for (text,) in _read(database, "SELECT metadata FROM metadata ORDER BY id DESC LIMIT 1"):
            told = counts_of(yaml.safe_load(text))
            survey.closed = sum(told.values()) > 0  # written with zeros when a recording begins
            for topic, count in told.items():
                survey.expected[topic] = max(survey.expected[topic], count)


def counts_of(metadata: Any) -> Counter[str]:
    """Numbers of messages by topic of a metadata.yaml.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    information = metadata.get("rosbag2_bagfile_information", metadata)
    counts: Counter[str] = Counter()
    for one in information["topics_with_message_count"]:
        counts[str(one["topic_metadata"]["name"])] += int(one["message_count"])
    return counts


def _cut(file: Path) -> str:
    """What a file that is shorter than its header says lacks."""
    with file.open("rb") as stream:
        header = stream.read(100)
    if len(header) < 100 or not header.startswith(_HEADER):
        return "it does not begin as a database does"
    page = page_size(file)
    pages = int.from_bytes(header[28:32], "big")
    size = file.stat().st_size
    # The count is true where it is of the same change as the rest.
    if page and header[24:28] == header[92:96] and size < page * pages:
        return f"it ends early: {size} of {page * pages} bytes"
    return f"it ends within a page of {page} bytes" if page and size % page else ""
