"""MCAP files: surveyed from begin to end, read by their index where that is right, and saved where it is not."""

from __future__ import annotations

import bisect
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel as ChannelRecord
from mcap.records import Chunk, ChunkIndex, Message, MessageIndex, Schema, Statistics
from mcap.summary import Summary

from lie_picard.recording.stored import MAX_MESSAGE_BYTES, Channel, Survey, one_line

_MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")  # of a record: what it is, and how many bytes follow
_READ = {Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.CHUNK, Opcode.MESSAGE_INDEX, Opcode.DATA_END}
_KNOWN = {int(code) for code in Opcode}
_BLOCK = 1 << 20  # in which the next record is sought
_CHAIN = 3  # records in a row that no chance makes


class McapFile:
    """A file that a survey found to be as its index says."""

    def __init__(self, file: Path) -> None:
        """Raises: whatever the library meets in a damaged file."""
        self._stream = file.open("rb")
        self._reader = SeekingReader(self._stream, validate_crcs=True)
        summary = self._reader.get_summary()
        assert summary is not None and summary.statistics is not None, "surveyed"
        self.channels = {number: _channel(one, summary.schemas) for number, one in summary.channels.items()}
        self.counts = summary.statistics.channel_message_counts

    def messages(
        self, wanted: Collection[int], start: int | None, stop: int | None, backward: bool = False
    ) -> Iterator[tuple[int, int, bytes]]:
        """Channel, log time and data of messages in [start, stop), by log time."""
        topics = {self.channels[number].topic for number in wanted}
        found = self._reader.iter_messages(topics, starting_at=start, ending_before=stop, reverse=backward)
        for _, channel, message in found:
            if channel.id in wanted:
                yield channel.id, message.log_time, message.data

    def close(self) -> None:
        """Close it."""
        self._stream.close()


def walk(file: Path, survey: Survey) -> Iterator[tuple[Channel, int, bytes]]:
    """All messages of a file that can be read, in the file's order, whatever state it is in; and what was found."""
    with file.open("rb") as stream:
        yield from _Walk(stream, file.stat().st_size, survey).messages()


def _channel(record: ChannelRecord, schemas: dict[int, Schema]) -> Channel:
    schema = schemas.get(record.schema_id) or Schema(data=b"", encoding="", id=0, name="")
    # What is no ROS message is passed over, so its definition, which may be binary, is not needed.
    text = schema.data.decode(errors="replace")
    return Channel(record.topic, schema.name, record.message_encoding, schema.encoding, text)


class _Walk:
    def __init__(self, stream: IO[bytes], size: int, survey: Survey) -> None:
        self._stream, self._size, self._survey = stream, size, survey
        self._schemas: dict[int, Schema] = {}
        self._records: dict[int, ChannelRecord] = {}
        self._channels: dict[int, Channel] = {}
        self._counts: Counter[int] = Counter()
        self._chunks: dict[int, tuple[int, int, set[int]]] = {}  # by offset: first and last log time, channels
        self._lost_chunk = False  # the indexes that follow tell what was in it

    def messages(self) -> Iterator[tuple[Channel, int, bytes]]:
        survey = self._survey
        summary = _summary(self._stream, self._size)
        if summary is not None:
            # So that nothing is lost where the data section's own are damaged.
            self._schemas |= summary.schemas
            for record in summary.channels.values():
                self._take_channel(record, first=True)
        self._stream.seek(0)
        if self._stream.read(len(_MAGIC)) != _MAGIC:
            survey.lose("it does not begin as MCAP does")
        ended = False
        for offset, code, content in self._sections(summary):
            try:
                if code == Opcode.CHUNK:
                    yield from self._chunk(offset, content)
                elif code == Opcode.MESSAGE:
                    survey.direct = False  # the library would sort them all in memory
                    yield from self._message(Message.read(_data(content), len(content)))
                elif code == Opcode.MESSAGE_INDEX:
                    self._index(MessageIndex.read(_data(content)))
                elif code == Opcode.DATA_END:
                    ended = True
                    break
                else:
                    self._define(code, content)
            except Exception as error:  # a record whose bytes are none
                survey.lose(f"a record at byte {offset}: {one_line(error)}")
        if not ended:
            survey.lose("it ends early")
        self._conclude(summary)

    def _sections(self, summary: Summary | None) -> Iterator[tuple[int, int, bytes]]:
        """Offset, kind and content of the records; where there is none, of the next that can be found."""
        known = sorted(index.chunk_start_offset for index in summary.chunk_indexes) if summary else []
        at = len(_MAGIC)
        while at < self._size:
            head = self._head(at)
            following = (known[bisect.bisect_right(known, at) :] or [0])[0]
            content = b""
            if head is not None and head[0] in _READ and head[1] <= MAX_MESSAGE_BYTES:
                self._stream.seek(at + _HEAD.size)
                content = self._stream.read(head[1])
            # A wrong length would swallow what follows.
            if head is None or 0 < following < at + _HEAD.size + head[1] or not _is_whole(head[0], content):
                self._survey.lose(f"no record at byte {at}")
                self._lost_chunk = True
                at = following or self._search(at + 1)
                continue
            code, length = head
            if code in _READ and length <= MAX_MESSAGE_BYTES:
                yield at, code, content
            elif code in (Opcode.FOOTER, Opcode.SUMMARY_OFFSET, Opcode.CHUNK_INDEX):
                return  # beyond the data
            at += _HEAD.size + length

    def _head(self, at: int) -> tuple[int, int] | None:
        """Kind and length of a record at a place; None where there can be none."""
        self._stream.seek(at)
        head = self._stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        code, length = _HEAD.unpack(head)
        fits = code != 0 and (code in _KNOWN or code >= 0x80) and at + _HEAD.size + length <= self._size
        return (code, length) if fits else None

    def _search(self, at: int) -> int:
        """Where the next row of records begins; the file's end where there is none."""
        while at < self._size:
            self._stream.seek(at)
            block = self._stream.read(_BLOCK)
            for code in sorted(_find(block, Opcode.CHUNK) + _find(block, Opcode.MESSAGE_INDEX)):
                place = at + code
                for _ in range(_CHAIN):
                    head = self._head(place)
                    if head is None or head[0] not in _KNOWN:
                        break
                    place += _HEAD.size + head[1]
                    if place == self._size:
                        break
                else:
                    return at + code
            at += len(block)
        return self._size

    def _define(self, code: int, content: bytes) -> None:
        if code == Opcode.SCHEMA:
            schema = Schema.read(_data(content))
            known = self._schemas.setdefault(schema.id, schema)
            if known != schema and known.data:
                self._survey.lose(f"type '{known.name[:80]}' has two definitions")
                known.data = b""  # which is right is unknown
        elif code == Opcode.CHANNEL:
            self._take_channel(ChannelRecord.read(_data(content)))

    def _take_channel(self, record: ChannelRecord, first: bool = False) -> None:
        known = self._records.get(record.id)
        if known is None:
            self._records[record.id] = record
            self._survey.direct &= first  # one that the summary does not list
        elif (known.topic, known.schema_id, known.message_encoding) != (
            record.topic,
            record.schema_id,
            record.message_encoding,
        ):
            self._survey.lose(f"channel {record.id} is '{known.topic[:80]}' and '{record.topic[:80]}'")

    def _message(self, message: Message) -> Iterator[tuple[Channel, int, bytes]]:
        number = message.channel_id
        if number not in self._channels:
            if number not in self._records:
                self._survey.lose(f"messages of channel {number}, which is defined nowhere")
                return
            self._channels[number] = _channel(self._records[number], self._schemas)
        channel = self._channels[number]
        if self._records[number].schema_id and self._records[number].schema_id not in self._schemas:
            self._survey.expected[channel.topic] += 1
            self._survey.lose(f"messages on {channel.topic} of a type that is lost")
            return
        if self._survey.timed(channel.topic, message.log_time):
            self._counts[number] += 1
            self._survey.add(channel.topic, message.log_time)
            yield channel, message.log_time, message.data

    def _chunk(self, offset: int, content: bytes) -> Iterator[tuple[Channel, int, bytes]]:
        self._lost_chunk = True
        try:
            chunk = Chunk.read(_data(content))
            inside = _unpacked(chunk)
            records = list(_parts(inside))
        except Exception as error:
            self._survey.lose(f"the chunk at byte {offset}: {one_line(error)}")
            return
        self._lost_chunk = False
        messages = []
        for code, part in records:
            if code == Opcode.MESSAGE:
                messages.append(Message.read(_data(part), len(part)))
            else:
                self._define(code, part)
        times = [message.log_time for message in messages]
        self._chunks[offset] = min(times, default=0), max(times, default=0), {m.channel_id for m in messages}
        for message in messages:
            yield from self._message(message)

    def _index(self, index: MessageIndex) -> None:
        if self._lost_chunk and index.channel_id in self._records:
            self._survey.expected[self._records[index.channel_id].topic] += len(index.records)

    def _conclude(self, summary: Summary | None) -> None:
        """Whether the file is as its summary says, and what it should hold."""
        survey = self._survey
        for topic, times in survey.times.items():
            survey.expected[topic] += len(times)
        statistics: Statistics | None = None if summary is None else summary.statistics
        if summary is None or statistics is None:
            survey.direct = False
            if self._chunks:  # else a recorder's choice
                survey.damages.append("its index is missing or damaged")
            return
        told: Counter[str] = Counter()
        for number, count in statistics.channel_message_counts.items():
            if number in self._records:
                told[self._records[number].topic] += count
        for topic, count in told.items():
            # A count that is itself damaged may be anything: more than bytes can hold is none.
            if count <= self._size:
                survey.expected[topic] = max(survey.expected[topic], count)
        survey.direct &= +Counter(statistics.channel_message_counts) == +self._counts
        survey.direct &= {index.chunk_start_offset: _range(index) for index in summary.chunk_indexes} == {
            offset: (low, high) for offset, (low, high, _) in self._chunks.items()
        }
        for index in summary.chunk_indexes:
            there = set(index.message_index_offsets)
            survey.direct &= not there or self._chunks.get(index.chunk_start_offset, (0, 0, set()))[2] <= there


def _range(index: ChunkIndex) -> tuple[int, int]:
    return index.message_start_time, index.message_end_time


def _summary(stream: IO[bytes], size: int) -> Summary | None:
    """The summary that a whole file ends with; None where there is none, or it is damaged."""
    try:
        stream.seek(size - 8 - 20)
        start, _, crc = struct.unpack("<QQI", stream.read(20))
        if crc:
            stream.seek(start)
            if zlib.crc32(stream.read(size - 8 - 4 - start)) != crc:
                return None
        stream.seek(0)
        return SeekingReader(stream, record_size_limit=MAX_MESSAGE_BYTES).get_summary()
    except Exception:  # the library raises whatever it meets
        return None


def _unpacked(chunk: Chunk) -> bytes:
    """What a chunk holds, never more than it promises.

    Raises:
        ValueError, or what the compression raises: it does not hold that.
    """
    size = chunk.uncompressed_size
    if size > MAX_MESSAGE_BYTES:
        raise ValueError(f"{size / 1e9:.3g} GB in one chunk are not read")
    if chunk.compression == "zstd":
        promised = zstandard.frame_content_size(chunk.data)
        if promised not in (-1, size):
            raise ValueError("its size is not what it promises")
        data = zstandard.ZstdDecompressor().decompress(chunk.data, max_output_size=size) if size else b""
    elif chunk.compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
    elif not chunk.compression:
        data = chunk.data
    else:
        raise ValueError(f"compression '{chunk.compression[:20]}' is unknown")
    if len(data) != size:
        raise ValueError(f"it holds {len(data)} bytes instead of {size}")
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise ValueError("its checksum is wrong")
    return data


def _is_whole(code: int, content: bytes) -> bool:
    """Whether a record is as long as what is in it."""
    if code == Opcode.CHUNK:
        at = 28 + 4 + int.from_bytes(content[28:32], "little")
        return len(content) == at + 8 + int.from_bytes(content[at : at + 8], "little")
    if code == Opcode.MESSAGE_INDEX:
        return len(content) == 6 + int.from_bytes(content[2:6], "little")
    return True


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of the records in a chunk."""
    at = 0
    while at < len(data):
        code, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length > len(data):
            raise ValueError("a record in it is cut")
        yield code, data[at : at + length]
        at += length


def _find(block: bytes, code: int) -> list[int]:
    found, at, wanted = [], -1, bytes([code])
    while (at := block.find(wanted, at + 1)) >= 0:
        found.append(at)
    return found


def _data(content: bytes) -> Any:
    return ReadDataStream(BytesIO(content))
