"""Readable copies of files that are compressed, damaged, or lack what lies in a log beside them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import zstandard
from mcap.writer import CompressionType, Writer

from lie_picard.recording.sqlite_file import COMPANIONS, page_size
from lie_picard.recording.stored import Budget, Channel

COMPRESSED = ".zstd", ".zst"
_PART = 1 << 20


def place_of(file: Path, folder: Path) -> Path:
    """Folder for copies of a file; another one when it, or a log beside it, changes."""
    parts = [(str(one.resolve()), one.stat().st_size, one.stat().st_mtime_ns) for one in (file, *logs_of(file))]
    return folder / hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def logs_of(file: Path) -> list[Path]:
    """What SQLite keeps beside a database that was not closed."""
    logs = [file.with_name(file.name + end) for end in COMPANIONS]
    # Not `Path.is_file`: it raises where the name with its ending is too long.
    return [log for log in logs if os.path.isfile(log) and log.stat().st_size]


def unpacked(file: Path, folder: Path, budget: Budget) -> tuple[Path, str]:
    """A file that was compressed as a whole, unpacked as far as that is possible, and what is wrong with it.

    Raises:
        BagError: there is no room for it.
    """
    target, note = folder / file.stem, folder / "unpacked.txt"
    if target.exists() and note.exists():
        return target, note.read_text()
    folder.mkdir(parents=True, exist_ok=True)
    problem = ""
    partial = folder / "unpacked.part"
    try:
        with file.open("rb") as stream, partial.open("wb") as out:
            try:
                promised = zstandard.frame_content_size(stream.read(32))
            except zstandard.ZstdError:
                promised = 0
            stream.seek(0)
            if promised > 0:
                budget.take(promised, file)
            # Not the size that it promises: that may be false.
            reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
            size = 0
            try:
                while part := reader.read(_PART):
                    size += len(part)
                    if size > promised:
                        budget.take(len(part), file)
                    out.write(part)
            except zstandard.ZstdError as error:
                problem = f"its compressed data is damaged after {size} bytes: {error}"
            if not problem and size < promised:
                problem = f"its compressed data ends early: {size} of {promised} bytes"
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    note.write_text(problem)
    return target, problem


def recovered(file: Path, folder: Path, budget: Budget) -> tuple[Path, str]:
    """A copy of a database whose recorder was killed, with what is in the log beside it; and what is wrong with that.

    Raises:
        BagError: there is no room for it.
    """
    logs = logs_of(file)
    folder.mkdir(parents=True, exist_ok=True)
    target, problem = folder / file.name, ""
    for one in (file, *logs):
        budget.take(2 * one.stat().st_size, one)  # the log is written into the copy
        shutil.copyfile(one, folder / one.name)
    try:
        with contextlib.closing(sqlite3.connect(target)) as database:
            if any(log.name.endswith("-wal") for log in logs):
                frames = _frames(folder / f"{file.name}-wal")
                _, _, moved = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                database.execute("PRAGMA journal_mode=DELETE")
                if moved < frames:
                    problem = f"{frames - moved} of {frames} pages of its write-ahead log are damaged or unfinished"
            else:
                database.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.DatabaseError as error:
        problem = f"its log cannot be read: {error}"
    for log in logs:
        (folder / log.name).unlink(missing_ok=True)
    (folder / f"{file.name}-shm").unlink(missing_ok=True)
    return target, problem


def whole_pages(file: Path, folder: Path, budget: Budget) -> Path:
    """A database, or a copy without the half page that a cut one ends with: SQLite takes the rest for zeros.

    Raises:
        BagError: there is no room for it.
    """
    size = file.stat().st_size
    rest = size % (page_size(file) or 1)
    if not rest:
        return file
    target = folder / f"whole{file.suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    budget.take(size, file)
    shutil.copyfile(file, target)
    os.truncate(target, size - rest)
    return target


def _frames(log: Path) -> int:
    """Pages in a write-ahead log since it was begun anew (https://www.sqlite.org/fileformat.html, 4), bad ones too."""
    size = log.stat().st_size
    with log.open("rb") as stream:
        header = stream.read(32)
        page = int.from_bytes(header[8:12], "big")
        if len(header) < 32 or not 512 <= page <= 65536:
            return max(1, size // 4096)
        frames = 0
        while len(frame := stream.read(24)) == 24:
            # What is left of the time before has both salts changed; half a salt, or half a frame, is damage.
            frames += frame[8:12] == header[16:20] or frame[12:16] == header[20:24]
            stream.seek(page, os.SEEK_CUR)
    return max(1, frames) + ((size - 32) % (24 + page) > 0)


def saved(messages: Iterable[tuple[Channel, int, bytes]], target: Path, source: Path, budget: Budget) -> None:
    """Write messages as an MCAP file.

    Raises:
        BagError: there is no room for them.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    schemas: dict[tuple[str, str, str], int] = {}
    channels: dict[Channel, int] = {}
    try:
        with target.open("wb") as stream:
            writer = Writer(stream, compression=CompressionType.NONE)
            writer.start(profile="ros2")
            for channel, log_ns, data in messages:
                if channel not in channels:
                    schema = channel.msgtype, channel.schema, channel.definition
                    if schema not in schemas:
                        schemas[schema] = writer.register_schema(*schema[:2], schema[2].encode())
                    channels[channel] = writer.register_channel(channel.topic, channel.encoding, schemas[schema])
                budget.take(len(data) + 64, source)
                writer.add_message(channels[channel], log_ns, data, log_ns)
            writer.finish()
    except BaseException:
        target.unlink(missing_ok=True)
        raise
