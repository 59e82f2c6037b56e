"""Recordings of small images in every dress that they come in: storages, compressions, parts, logs, clocks, robots."""

from __future__ import annotations

import functools
import shutil
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import yaml
import zstandard
from mcap.writer import CompressionType, Writer

from lie_picard import PoseEstimator
from lie_picard.geometry.camera import Camera
from lie_picard.messages.images import to_rgb
from lie_picard.messages.read import camera_of
from lie_picard.node.pipeline import Estimate, Frame, MessageBuilder, Pipeline
from lie_picard.node.settings import settings_of
from lie_picard.node.table import TABLE
from lie_picard.recording import jobs, scoring
from lie_picard.recording.message_types import header_of, serialise, types, typestore, writer
from lie_picard.recording.record import Scorer

CAMERA = Camera(np.array([[60.0, 0, 15.5], [0, 60.0, 11.5], [0, 0, 1]]), np.zeros(0), 32, 24)
T0 = 1_790_000_000_000_000_000
STEP_NS = 100_000_000
CHUNK = 3000  # bytes, so that a recording of some images has several
TRUE_Z = 0.9


@dataclass(frozen=True)
class Stored:
    """A message as it is written."""

    topic: str
    kind: str
    log_ns: int
    data: bytes
    encoding: str = "cdr"
    schema: str = "ros2msg"
    definition: str | None = None


def image(stamp_ns: int, value: int = 0, **changes):
    """A small grey image."""
    fields = {"header": header_of(stamp_ns, "camera"), "height": 24, "width": 32, "encoding": "mono8", "step": 32,
              "data": np.full(24 * 32, value, np.uint8)} | changes  # fmt: skip
    return types().Image(**fields)


def info(stamp_ns: int):
    """Its calibration."""
    return types().CameraInfo(
        header=header_of(stamp_ns, "camera"), width=32, height=24, distortion_model="plumb_bob", d=np.zeros(5),
        k=CAMERA.matrix.reshape(-1), p=np.hstack([CAMERA.matrix, np.zeros((3, 1))]).reshape(-1),
    )  # fmt: skip


def transform(stamp_ns: int, parent: str, child: str, position=(0.0, 0.0, TRUE_Z)):
    """A frame's pose in another, not turned."""
    pose = writer().pose_of(np.eye(3), np.array(position, float))
    return types().TFMessage(transforms=[writer().transform_stamped(header_of(stamp_ns, parent), child, pose)])


def stored(topic: str, log_ns: int, message) -> Stored:
    """A message of `types()`."""
    return Stored(topic, message.__msgtype__, log_ns, serialise(message))


def scene(n=6, at=lambda k: k * STEP_NS, stamp=None, robots=("",)) -> list[Stored]:
    """n images, the k-th at T0 + at(k), each with a calibration and the true pose of a cube; of each robot."""
    found = []
    for k in range(n):
        log_ns = T0 + at(k)
        when = min(max(log_ns if stamp is None else stamp(k), -(2**31) * 10**9), 2**31 * 10**9 - 1)
        for robot in robots:
            found += [
                stored(f"{robot}/camera_info", log_ns, info(when)),
                stored(f"{robot}/tf", log_ns, transform(when, "camera", "truth/cube")),
                stored(f"{robot}/image", log_ns, image(when, k)),
            ]
    return found


def definition(kind: str) -> str:
    """A type's definition as recorders store it."""
    return typestore().generate_msgdef(kind, ros_version=2)[0]


def mcap(file: Path, messages, compression="zstd", chunk=CHUNK, profile="ros2", crc=True) -> Path:
    """An MCAP file."""
    with file.open("wb") as stream:
        out = Writer(stream, chunk_size=chunk, compression=CompressionType[compression.upper()], enable_crcs=crc,
                     enable_data_crcs=crc)  # fmt: skip
        out.start(profile=profile)
        channels: dict[tuple[str, str, str], int] = {}
        for one in messages:
            key = one.topic, one.kind, one.encoding
            if key not in channels:
                text = definition(one.kind) if one.definition is None else one.definition
                number = out.register_schema(one.kind, one.schema, text.encode())
                channels[key] = out.register_channel(one.topic, one.encoding, number)
            out.add_message(channels[key], one.log_ns, one.data, one.log_ns)
        out.finish()
    return file


_TABLES = """
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT NOT NULL,
                    offered_qos_profiles TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
                                 encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
                      data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
INSERT INTO schema(schema_version, ros_distro) VALUES (4, 'jazzy');
"""


def sqlite(file: Path, messages, wal: int | None = None, definitions=True) -> Path:
    """A database of rosbag2.

    Args:
        wal: so many messages, at the end, are in a write-ahead log that its recorder, killed, left behind.
        definitions: of the types are stored, as since Iron.
    """
    place = file if wal is None else file.with_name("recorder-" + file.name)
    database = sqlite3.connect(place)
    database.execute("PRAGMA page_size=1024")
    database.execute("PRAGMA synchronous=OFF")
    if wal is not None:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA wal_autocheckpoint=0")
    database.executescript(_TABLES)
    topics: dict[str, int] = {}
    for number, one in enumerate(messages):
        if wal is not None and number == len(messages) - wal:
            database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if one.topic not in topics:
            topics[one.topic] = len(topics) + 1
            database.execute("INSERT INTO topics VALUES(?, ?, ?, ?, '', '')",
                             (topics[one.topic], one.topic, one.kind, one.encoding))  # fmt: skip
            if definitions:
                text = definition(one.kind) if one.definition is None else one.definition
                database.execute("INSERT INTO message_definitions VALUES(?, ?, ?, ?, '')",
                                 (topics[one.topic], one.kind, one.schema, text))  # fmt: skip
        database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES(?, ?, ?)",
                         (topics[one.topic], one.log_ns, one.data))  # fmt: skip
    database.commit()
    if wal is not None:
        for end in ("", "-wal", "-shm"):
            shutil.copyfile(place.with_name(place.name + end), file.with_name(file.name + end))
    database.close()
    if wal is not None:
        place.unlink()
    return file


def metadata(folder: Path, files, messages, storage="mcap", mode="") -> Path:
    """The metadata.yaml of a folder."""
    topics = {one.topic: one for one in messages}
    times = [one.log_ns for one in messages] or [0]
    content = {
        "version": 9, "storage_identifier": storage, "relative_file_paths": [file.name for file in files],
        "duration": {"nanoseconds": max(times) - min(times)},
        "starting_time": {"nanoseconds_since_epoch": min(times)}, "message_count": len(messages),
        "topics_with_message_count": [
            {"topic_metadata": {"name": name, "type": one.kind, "serialization_format": one.encoding,
                                "offered_qos_profiles": [], "type_description_hash": ""},
             "message_count": sum(other.topic == name for other in messages)} for name, one in topics.items()
        ],
        "compression_format": "zstd" if mode else "", "compression_mode": mode, "files": [],
    }  # fmt: skip
    file = folder / "metadata.yaml"
    file.write_text(yaml.safe_dump({"rosbag2_bagfile_information": content}))
    return file


def record(folder: Path, messages, storage="mcap", parts=1, mode="", **options) -> Path:
    """A folder as rosbag2 makes it.

    Args:
        mode: of compression, "", FILE or MESSAGE. options: of `mcap` or `sqlite`.
    """
    folder.mkdir(parents=True)
    files = []
    size = max(1, -(-len(messages) // parts))
    for index in range(parts):
        some = messages[index * size : (index + 1) * size]
        if mode == "MESSAGE":
            some = [replace(one, data=zstandard.compress(one.data)) for one in some]
        write, ending = (mcap, "mcap") if storage == "mcap" else (sqlite, "db3")
        file = write(folder / f"{folder.name}_{index}.{ending}", some, **options)
        if mode == "FILE":
            packed = file.with_name(file.name + ".zstd")
            packed.write_bytes(zstandard.compress(file.read_bytes()))
            file.unlink()
            file = packed
        files.append(file)
    metadata(folder, files, messages, "mcap" if storage == "mcap" else "sqlite3", mode)
    return folder


def flip(file: Path, at: int, count: int = 1) -> None:
    """Turn all bits of some bytes."""
    data = bytearray(file.read_bytes())
    for place in range(at, min(at + count, len(data))):
        data[place] ^= 0xFF
    file.write_bytes(data)


def part_of(folder: Path, index: int = 0) -> Path:
    """A storage file of a folder."""
    return sorted(file for file in folder.iterdir() if ".mcap" in file.name or file.suffix in (".db3", ".zstd"))[index]


def place_of(file: Path, data: bytes) -> int:
    """Where some bytes are in a file."""
    found = file.read_bytes().find(data)
    assert found >= 0
    return found


# --- scoring them without a network


def settings(**changes):
    """Of a node that looks for a cube, without its mesh."""
    values = {name: entry.default for name, entry in TABLE.items()}
    # In the middle of each image, where these recordings have it, not searched.
    given = {"objects": ["cube"], "regions_from": "parameters"}
    return replace(settings_of(values | given | changes), meshes={})


@functools.cache
def _estimate() -> Estimate:
    """What the embedded checkpoint says of one image."""
    chosen = settings(samples=4, steps=2)
    pipeline = Pipeline(PoseEstimator.from_checkpoint("default", "cpu"), writer())
    return pipeline.estimate(Frame(image(T0), info(T0)), chosen)


class Quick:
    """A pipeline that reads its input as the real one does, and says the same of each image."""

    def finds(self, chosen) -> bool:
        return False

    def estimate(self, frame: Frame, chosen, following=None) -> Estimate:
        to_rgb(frame.image)
        camera_of(frame.info, chosen.rectified)
        return _estimate()


class QuickScorer:
    """Scores each image like the first."""

    record: ClassVar[dict] = {}

    def __init__(self, meshes):
        self._real = Scorer(meshes)

    def __call__(self, poses, tracked, truth):
        if not self.record:
            self.record |= self._real(poses, tracked, truth)
        return self.record | {"translation_mm": 1e3 * float(np.linalg.norm(poses.position - truth[:3, 3]))}

    def lose(self, name):
        self._real.lose(name)


class QuickBuilder:
    """Makes the messages of the first image for all."""

    results: ClassVar[list] = []

    def __init__(self, writer):
        self._real = MessageBuilder(writer)

    def __call__(self, *arguments):
        if not self.results:
            self.results.append(self._real(*arguments))
        return self.results[0]


def quicken(monkeypatch) -> None:
    """So that an image costs hardly more than reading it."""
    monkeypatch.setattr(jobs, "_pipeline", lambda *_: Quick())
    monkeypatch.setattr(scoring, "Scorer", QuickScorer)
    monkeypatch.setattr(scoring, "MessageBuilder", QuickBuilder)


def score(path, work, chosen=None, **options):
    """What report.json holds of recordings, by the public way from files to figures."""
    paths = path if isinstance(path, list) else [path]
    asked = scoring.Options(chosen or settings(), device="cpu", workers=1, **options)
    recordings, useless = scoring.prepare(paths, asked, work)
    scoring.estimate(recordings, asked, work, lambda _: None)
    tallies = [scoring.Tally() for _ in recordings]
    for recording, tally in zip(recordings, tallies, strict=True):
        for one in scoring.score(recording, asked, work):
            tally.add(one)
    return scoring.conclude(recordings, useless, tallies, asked)


def states(report) -> list[str]:
    """Of each image."""
    return [record["state"] for record in report["frames"]]


def problems(report) -> str:
    """All of them."""
    return " | ".join(line for bag in report["bags"] for line in bag.get("problems", [bag.get("problem", "")]))
