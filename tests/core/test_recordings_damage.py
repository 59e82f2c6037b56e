"""Of damaged, compressed and half-written recordings all that is readable is scored; the rest is counted and named."""

import contextlib
import hashlib
import random
import shutil
import sqlite3
from collections import namedtuple
from dataclasses import replace

import dresses
import numpy as np
import pytest
import zstandard
from dresses import (
    CHUNK,
    Stored,
    flip,
    image,
    metadata,
    part_of,
    place_of,
    problems,
    quicken,
    record,
    scene,
    score,
    states,
    stored,
)

from lie_picard.recording.bag import BagError, find

N = 12
STORAGES = pytest.mark.parametrize("storage", ["mcap", "sqlite"])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    quicken(monkeypatch)


def bag_of(report):
    return report["bags"][0]


def checked(report, total=N):
    """Every image is scored, or counted; and nothing is called whole that is not."""
    bag = bag_of(report)
    assert len(report["frames"]) == bag["estimated"] == bag["images"]
    assert bag["images"] + bag["missing"] == total
    assert report["complete"] == bag["complete"]
    assert not (bag["complete"] and bag["missing"]) and (bag["complete"] or bag["problems"])
    return report


def untouched(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [(str(file), file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]


# --- F3: damage in the middle of files that open well


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_a_bad_chunk_loses_its_messages_alone(tmp_path, compression):
    messages = scene(N)
    noise = np.random.default_rng(0).integers(0, 256, (N, 24 * 32), np.uint8)  # which compresses to itself
    for k in range(N):
        log_ns = messages[3 * k + 2].log_ns
        messages[3 * k + 2] = stored("/image", log_ns, image(log_ns, data=noise[k]))
    folder = record(tmp_path / "bag", messages, compression=compression)
    file = part_of(folder)
    flip(file, place_of(file, noise[5, 200:216].tobytes()), 8)
    report = checked(score(folder, tmp_path / "work"))
    missing = bag_of(report)["missing"]
    assert 0 < missing <= 4 and states(report) == ["scored"] * (N - missing)
    assert "the chunk at byte" in problems(report) and f"{missing} of {N} messages on /image are missing" in problems(
        report
    )


@STORAGES
@pytest.mark.parametrize("topic", ["/tf", "/camera_info", "/image"])
def test_damage_in_each_topic_is_named_and_the_rest_scored(tmp_path, storage, topic):
    """The truth of two images is lost, or the calibration, or the image itself."""
    messages = scene(N)
    folder = record(
        tmp_path / "bag", messages, storage, **({"compression": "none", "chunk": 1200} if storage == "mcap" else {})
    )
    file = part_of(folder)
    where = place_of(file, next(one for one in messages[15:] if one.topic == topic).data[:60])
    if storage == "sqlite":
        page = bytearray(file.read_bytes())
        start = where // 1024 * 1024
        page[start : start + 1024] = bytes(1024)
        file.write_bytes(page)
    else:
        flip(file, where + 30)
    report = checked(score(folder, tmp_path / "work"))
    assert not report["complete"] and "is damaged" in problems(report)
    assert f"messages on {topic} are missing" in problems(report)
    assert states(report).count("scored") >= N - 4


@pytest.mark.parametrize("checksums", [True, False])
def test_flipped_bytes_anywhere_in_an_mcap_never_pass_for_whole_with_fewer_images(tmp_path, checksums):
    messages = scene(N)
    whole = record(tmp_path / "bag", messages, compression="lz4", crc=checksums)
    data = part_of(whole).read_bytes()
    rng = random.Random(1)
    for _ in range(40):
        at = rng.randrange(len(data))
        part_of(whole).write_bytes(data)
        flip(part_of(whole), at)
        bag = find(whole, tmp_path / "rescue")
        with bag.opened() as reader:
            found = [c.topic for c, _, _ in reader.messages()]
        assert len(found) + sum(bag.missing.values()) >= len(messages)
        assert not bag.whole or len(found) == len(messages), at
        assert len(found) >= len(messages) - 12


def test_a_file_without_an_index_or_chunks_is_read_whole(tmp_path):
    messages = scene(N)
    folder = record(tmp_path / "bag", messages)
    data = part_of(folder).read_bytes()
    part_of(folder).write_bytes(data[:-28] + bytes(16) + data[-12:])  # the footer: no summary
    report = checked(score(folder, tmp_path / "work"))
    assert report["complete"] and states(report) == ["scored"] * N


@STORAGES
def test_messages_that_are_none_are_unusable_with_the_reason(tmp_path, storage):
    messages = scene(N)
    for k, data in ((2, b"\0\1\0\0"), (8, messages[8].data[:-20]), (11, messages[11].data[:24] + b"\xff" * 16)):
        messages[k] = replace(messages[k], data=data)
    messages[14] = stored("/image", messages[14].log_ns, image(messages[14].log_ns, encoding="nothing"))
    report = score(record(tmp_path / "bag", messages, storage), tmp_path / "work")
    assert states(report) == ["unusable", "scored", *["unusable"] * 3, *["scored"] * (N - 5)]
    why = [record["why"] for record in report["frames"] if record["state"] == "unusable"]
    assert sum("cannot be read" in one for one in why) == 3 and any("unknown image encoding" in one for one in why)
    assert not report["complete"]


# --- F4: compression of files and of messages


@STORAGES
@pytest.mark.parametrize("mode", ["FILE", "MESSAGE"])
def test_compression_changes_nothing(tmp_path, storage, mode):
    folder = record(tmp_path / "bag", scene(N), storage, parts=3, mode=mode)
    before = untouched(folder)
    report = checked(score(folder, tmp_path / "work"))
    assert report["complete"] and states(report) == ["scored"] * N and bag_of(report)["problems"] == []
    assert untouched(folder) == before
    # Without its metadata, and file by file.
    (folder / "metadata.yaml").unlink()
    report = score(folder, tmp_path / "work2")
    assert states(report) == ["scored"] * N and "metadata.yaml is missing" in problems(report)
    single = score(part_of(folder, 1), tmp_path / "work3")
    assert states(single) == ["scored"] * (N // 3) and single["complete"]
    assert single["frames"][0]["bag"] == "bag_1"


@STORAGES
@pytest.mark.parametrize("mode", ["", "FILE"])
def test_of_a_recording_whose_last_part_is_cut_the_rest_is_scored(tmp_path, storage, mode):
    folder = record(tmp_path / "bag", scene(N), storage, parts=3, mode=mode)
    file = part_of(folder, 2)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    report = checked(score(folder, tmp_path / "work"))
    assert 2 * N // 3 <= len(report["frames"]) < N and "bag_2" in problems(report) and "ends early" in problems(report)


@STORAGES
@pytest.mark.parametrize("mode", ["", "FILE", "MESSAGE"])
@pytest.mark.parametrize("listed", [True, False])
def test_a_missing_part_is_named(tmp_path, storage, mode, listed):
    folder = record(tmp_path / "bag", scene(N), storage, parts=3, mode=mode)
    part_of(folder, 1).unlink()
    if not listed:
        (folder / "metadata.yaml").unlink()
    report = score(folder, tmp_path / "work")
    assert states(report) == ["scored"] * (2 * N // 3) and not report["complete"]
    assert "bag_1" in problems(report) and bag_of(report)["missing"] == (N // 3 if listed else 0)


@pytest.mark.parametrize(
    "text", ["", "[", "a: b", "rosbag2_bagfile_information: 3", "\0", "rosbag2_bagfile_information: {}"]
)
def test_damaged_metadata_is_named_and_not_needed(tmp_path, text):
    folder = record(tmp_path / "bag", scene(N))
    (folder / "metadata.yaml").write_text(text)
    report = score(folder, tmp_path / "work")
    assert states(report) == ["scored"] * N and "metadata.yaml is damaged" in problems(report)


def test_files_that_were_renamed_are_read_and_what_is_not_listed_is_named(tmp_path):
    folder = record(tmp_path / "bag", scene(N), parts=2)
    for index in (0, 1):
        (folder / f"bag_{index}.mcap").rename(folder / f"other_{index}.mcap")
    report = score(folder, tmp_path / "work")
    assert states(report) == ["scored"] * N and "metadata.yaml names other files" in problems(report)
    folder = record(tmp_path / "two", scene(N), parts=2)
    shutil.copyfile(folder / "two_1.mcap", folder / "two_2.mcap")
    report = score(folder, tmp_path / "work2")
    assert states(report) == ["scored"] * N and "passed over: two_2.mcap" in problems(report)
    assert not report["complete"]


def test_what_does_not_fit_on_the_disk_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    from lie_picard.recording import stored as module

    disk = namedtuple("disk", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: disk(10**6, 0, 10**6))
    bomb = tmp_path / "bomb_0.mcap.zstd"
    for size, told in ((2_000_000, True), (2_000_000, False), (300_000_000, False)):
        with bomb.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file, size=size if told else -1) as out:
            for _ in range(size // 1_000_000):
                out.write(bytes(1_000_000))
        with pytest.raises(BagError, match="no room for a readable copy") as caught:
            find(bomb, tmp_path / "rescue")
        assert "\n" not in str(caught.value)
        assert sum(file.stat().st_size for file in (tmp_path / "rescue").rglob("*") if file.is_file()) == 0


def test_chunks_and_messages_that_promise_more_than_memory_are_passed_over(tmp_path):
    messages = scene(N)
    bomb = zstandard.compress(bytes(1 << 20))
    huge = bomb[:5] + (1 << 40).to_bytes(8, "little") + bomb[9:]
    messages[5] = replace(messages[5], data=b"\x28\xb5\x2f\xfd" + b"\xe4" + (1 << 40).to_bytes(8, "little") + huge[13:])
    report = score(record(tmp_path / "bag", messages), tmp_path / "work")
    assert states(report).count("scored") == N - 1 and not report["complete"]


# --- F5: a recorder that was killed


@pytest.mark.parametrize("wal", [6, 18, 36])
def test_what_is_in_a_write_ahead_log_is_read_and_the_folder_left_as_it_is(tmp_path, wal):
    folder = tmp_path / "bag"
    folder.mkdir()
    file = dresses.sqlite(folder / "bag_0.db3", scene(N), wal=wal)
    before = untouched(folder)
    for path in (folder, file):
        report = score(path, tmp_path / f"work-{path.suffix}")
        assert states(report) == ["scored"] * N
        assert report["complete"] and untouched(folder) == before


def test_the_absence_or_damage_of_a_write_ahead_log_is_named(tmp_path):
    folder = tmp_path / "bag"
    folder.mkdir()
    file = dresses.sqlite(folder / "bag_0.db3", scene(N), wal=18)
    log = folder / "bag_0.db3-wal"
    data = log.read_bytes()
    log.write_bytes(data[: len(data) // 2])
    cut = score(folder, tmp_path / "cut")
    assert N // 2 <= len(cut["frames"]) < N and not cut["complete"] and "write-ahead log" in problems(cut)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    log.write_bytes(flipped)
    hurt = score(folder, tmp_path / "hurt")
    assert N // 2 <= len(hurt["frames"]) < N and not hurt["complete"] and "write-ahead log" in problems(hurt)
    log.unlink()
    without = score(file, tmp_path / "without")
    assert len(without["frames"]) == N // 2 and not without["complete"]
    assert "bag_0.db3-wal is not there" in problems(without)
    metadata(folder, [file], scene(N), "sqlite3")
    told = score(folder, tmp_path / "told")
    assert bag_of(told)["missing"] == N // 2 and not told["complete"]


def test_a_database_that_was_closed_well_needs_no_log(tmp_path):
    """A recorder that logs ahead leaves that word in the file's header for ever."""
    folder = record(tmp_path / "bag", scene(N), "sqlite")
    database = sqlite3.connect(part_of(folder))
    database.execute("PRAGMA journal_mode=WAL")
    database.close()
    report = score(folder, tmp_path / "work")
    assert report["complete"] and states(report) == ["scored"] * N and bag_of(report)["problems"] == []


def test_a_transaction_that_was_not_finished_is_rolled_back(tmp_path):
    folder = record(tmp_path / "bag", scene(N), "sqlite")
    file = part_of(folder)
    place = tmp_path / "at work.db3"
    shutil.copyfile(file, place)
    database = sqlite3.connect(place)
    database.execute("PRAGMA cache_size=2")
    database.execute("DELETE FROM messages WHERE id > 5")
    for end in ("", "-journal"):
        shutil.copyfile(place.with_name(place.name + end), file.with_name(file.name + end))
    database.close()
    before = untouched(folder)
    report = score(folder, tmp_path / "work")
    assert states(report) == ["scored"] * N and report["complete"] and untouched(folder) == before


# --- F19: what is healthy, and none of ours


@STORAGES
@pytest.mark.parametrize("odd", [
    Stored("/plan", "Plan", 0, b'{"a": 1}', "json", "jsonschema", '{"type": "object"}'),
    Stored("/scene", "foxglove.SceneUpdate", 0, b"\x0a\xff\xfe", "protobuf", "protobuf", "\x0a\x0b\x0c"),
    Stored("/old", "std_msgs/String", 0, b"\1\0\0\0a", "ros1", "ros1msg", "string data"),
    Stored("/flat", "Flat", 0, b"\1\2", "flatbuffer", "flatbuffer", "\1\2\3"),
    Stored("/odd", "my_msgs/msg/Odd", 0, b"\0\1\0\0\1", "cdr", "ros2msg", "no definition at all {"),
    Stored("/none", "my_msgs/msg/Unknown", 0, b"\0\1\0\0\1", "cdr", "", ""),
    Stored("/idl", "my_msgs/msg/Idl", 0, b"\0\1\0\0\1", "cdr", "ros2idl", "module broken"),
])  # fmt: skip
def test_healthy_channels_of_other_encodings_are_passed_over(tmp_path, storage, odd):
    messages = scene(N)
    messages[4:4] = [replace(odd, log_ns=messages[4].log_ns)] * 3
    report = score(record(tmp_path / "bag", messages, storage), tmp_path / "work")
    assert report["complete"] and states(report) == ["scored"] * N and bag_of(report)["problems"] == []
    if storage == "mcap":
        assert not list((tmp_path / "work").glob("**/*.mcap"))  # read where it is


def test_a_file_of_another_profile_is_read(tmp_path):
    file = dresses.mcap(tmp_path / "plain.mcap", scene(N), profile="", chunk=CHUNK)
    report = score(file, tmp_path / "work")
    assert report["complete"] and states(report) == ["scored"] * N


@pytest.mark.parametrize("text", [
    "int32 x);__import__('pathlib').Path('{0}').touch()#", "int32 x\nstring A=\"'); open('{0}', 'w'); ('\"",
    "string A='\"\"\";open(chr(0));\"\"\"'", "int32 import\nint32 __class__", "other_msgs/Nothing[] a",
])  # fmt: skip
@pytest.mark.parametrize("kind", ["m/msg/T", "m/msg/T;open('{0}', 'w')", "../../{0}"])
def test_a_strangers_definitions_run_nothing(tmp_path, text, kind):
    target = tmp_path / "target"
    text, kind = text.replace("{0}", str(target)), kind.replace("{0}", str(target))
    messages = scene(N)
    messages[3:3] = [Stored("/../../evil", kind, messages[3].log_ns, b"\0\1\0\0" + bytes(16), definition=text)]
    with find(record(tmp_path / "bag", messages), tmp_path / "rescue").opened() as reader:
        for connection, _, data in reader.messages():
            with contextlib.suppress(ValueError):
                reader.deserialize(data, connection.msgtype)
    assert not target.exists()
