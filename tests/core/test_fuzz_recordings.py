"""Whole recordings, damaged in every way that storages, recorders and clocks have: each image is scored or counted.

`make fuzz TEST=tests/core/test_fuzz_recordings.py FUZZ=n` tries n times as many.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path

import dresses
import pytest
from bags import parameters
from dresses import STEP_NS, T0, Stored, record, scene, score
from hypothesis import HealthCheck, event, example, given, note
from hypothesis import strategies as st
from strategies import examples

from lie_picard import cli
from lie_picard.recording import html
from lie_picard.recording.bag import BagError
from lie_picard.recording.frames import Topics

# Many cases on a machine that others use too.
pytestmark = pytest.mark.timeout(300 * int(os.environ.get("FUZZ", "1")))
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
ODD = (
    Stored("/plan", "Plan", 0, b'{"a": 1}', "json", "jsonschema", '{"type": "object"}'),
    Stored("/scene", "foxglove.SceneUpdate", 0, b"\x0a\xff", "protobuf", "protobuf", "\x0a\x0b"),
    Stored("/odd", "my_msgs/msg/Odd", 0, b"\0\1\0\0\1", "cdr", "ros2msg", "no definition at all {"),
    Stored("/none", "my_msgs/msg/Unknown", 0, b"\0\1\0\0\1", "cdr", "", ""),
    Stored("/old", "std_msgs/String", 0, b"\1\0\0\0a", "ros1", "ros1msg", "string data"),
)
SECONDS, BYTES = 5.0, 300_000_000  # that a recording of some 40 images may take: a hundred times what it needs


@dataclass(frozen=True)
class Case:
    """A recording, and what happens to it.

    Attributes:
        hits: where in which file, as shares of it, how many bytes are turned, zeroed, cut out, or doubled.
        cut: what is left of the last file. lost: a file that is missing. wal: messages in a log.
    """

    images: int
    rate: float
    jump: tuple[int, int]
    storage: str
    parts: int
    mode: str
    compression: str
    checksums: bool
    robots: int
    odd: int
    rubbish: tuple[tuple[int, int], ...]
    hits: tuple[tuple[float, float, int, str], ...]
    cut: float | None
    lost: int | None
    metadata: str
    wal: int | None
    companion: str


_share = st.floats(0, 1, exclude_max=True)
HOW = "flip", "zero", "out", "twice"
JUMPS = (0, 0, 0, -(10**9), 60 * 10**9, -3600 * 10**9, 86_400 * 10**9, -T0, 2**60, -(10**7))
cases = st.builds(
    Case,
    images=st.integers(1, 12),
    rate=st.sampled_from([10.0, 30.0]) | st.floats(-3, 3).map(lambda e: 10.0**e),
    jump=st.tuples(st.integers(0, 12), st.sampled_from(JUMPS)),
    storage=st.sampled_from(["mcap", "sqlite"]),
    parts=st.integers(1, 3),
    mode=st.sampled_from(["", "", "FILE", "MESSAGE"]),
    compression=st.sampled_from(["none", "lz4", "zstd"]),
    checksums=st.booleans(),
    robots=st.sampled_from([1, 1, 1, 2]),
    odd=st.integers(0, len(ODD)),
    rubbish=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 200)), max_size=2).map(tuple),
    hits=st.lists(
        st.tuples(_share, _share, st.sampled_from([1, 1, 4, 100, 1024]), st.sampled_from(HOW)),
        max_size=3,
    ).map(tuple),
    cut=st.none() | _share,
    lost=st.none() | st.none() | st.integers(0, 2),
    metadata=st.sampled_from(["there", "there", "missing", "cut", "other"]),
    wal=st.none() | st.integers(1, 36),
    companion=st.sampled_from(["", "", "-wal", "-shm"]),
)  # fmt: skip


def made(case: Case, folder: Path) -> list[Stored]:
    """Write a case's recording, whole. Returns its messages."""
    after, by = case.jump

    def at(k):
        return min(max(round(k * 1e9 / case.rate) + (by if k >= after else 0), -T0), 2**61)

    robots = ["", "/r2"][: case.robots]
    messages = scene(case.images, at, robots=robots)
    for k, size in case.rubbish:
        k %= len(messages)
        messages[k] = replace(messages[k], data=messages[k].data[:size])
    for one in ODD[: case.odd]:
        messages.insert(len(messages) // 2, replace(one, log_ns=messages[len(messages) // 2].log_ns))
    options = {"compression": case.compression, "crc": case.checksums} if case.storage == "mcap" else {}
    if case.storage == "sqlite" and case.wal and not case.mode:
        options["wal"] = min(case.wal, len(messages) // case.parts)
    record(folder, messages, case.storage, case.parts, case.mode, **options)
    return messages


def hurt(case: Case, folder: Path) -> bool:
    """Do to it what the case says. Returns whether any byte of its messages may have changed."""
    files = [file for file in sorted(folder.iterdir()) if file.name != "metadata.yaml"]
    changed = False
    for which, where, count, how in case.hits:
        file = files[int(which * len(files))]
        data = bytearray(file.read_bytes())
        at = int(where * len(data))
        part = data[at : at + count]
        data[at : at + count] = {"flip": bytes(b ^ 0xFF for b in part), "zero": bytes(len(part)), "out": b"",
                                 "twice": part * 2}[how]  # fmt: skip
        file.write_bytes(data)
        changed = True
    if case.cut is not None:
        data = files[-1].read_bytes()
        files[-1].write_bytes(data[: int(case.cut * len(data))])
        changed = True
    if case.lost is not None and case.lost < len(files):
        files[case.lost].unlink()
        changed = True
    for file in folder.iterdir():
        if case.companion and file.name.endswith(case.companion):
            file.unlink()
            changed |= case.companion == "-wal"
    text = folder / "metadata.yaml"
    if case.metadata == "missing":
        text.unlink()
    elif case.metadata == "cut":
        text.write_bytes(text.read_bytes()[:200])
    elif case.metadata == "other":
        text.write_text(text.read_text().replace("bag_", "other_"))
    return changed


def untouched(folder):
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def check(case: Case, place: Path, memory: bool = False) -> None:
    """The properties of every recording."""
    folder = place / "bag"
    messages = made(case, folder)
    changed = hurt(case, folder)
    before, began = untouched(folder), time.process_time()
    if memory:
        tracemalloc.start()
    topics, tf = (Topics(image="/image"), ["/tf"]) if case.robots > 1 else (Topics(), [])
    try:
        report = score(folder, place / "work", topics=topics, tf=tf)
    except BagError as error:
        note(str(error))
        assert "\n" not in str(error) and str(folder) in str(error) and len(str(error)) < 5000
        assert changed or case.rubbish or case.metadata != "there", "a sound recording was refused"
        event("refused")
        return
    finally:
        assert untouched(folder) == before
        assert time.process_time() - began < SECONDS
        if memory:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < BYTES
    bag, frames = report["bags"][0], report["frames"]
    note(str(bag["problems"]))
    there = sum(one.topic == "/image" for one in messages)
    # Every image is scored, or counted with a reason.
    assert len(frames) == bag["images"] == bag["estimated"]
    assert all(record["state"] == "scored" or record.get("why") for record in frames)
    if case.metadata == "there" and not changed:
        assert bag["images"] == there and bag["missing"] == 0
    # That the last file is not there is known from metadata.yaml alone.
    last_lost = case.lost is not None and case.lost == case.parts - 1 and case.metadata != "there"
    if bag["images"] + bag["missing"] < there and not last_lost:
        assert not report["complete"] and bag["problems"]
    # It is complete only where all was read.
    if report["complete"]:
        assert bag["images"] >= there or last_lost
        event("complete")
    else:
        assert bag["problems"]
        event("partial")
    assert all("\n" not in line for line in bag["problems"])
    # What is scored is true: the pose of each image is the same in all that is sound.
    for one in frames:
        if one["state"] == "scored" and not changed:
            assert one["translation_mm"] == pytest.approx(frames_error(), abs=1e-3)
    json.dumps(report, allow_nan=False)


def frames_error() -> float:
    """The distance of what the quick pipeline says from the truth that all recordings hold."""
    estimate = dresses._estimate().found[0]
    return 1e3 * float(dresses.np.linalg.norm(estimate.position - [0, 0, dresses.TRUE_Z]))


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    if "whole_command" not in request.node.name:
        dresses.quicken(monkeypatch)


def _place():
    return tempfile.TemporaryDirectory(prefix="fuzz-")


SOUND = Case(6, 10.0, (0, 0), "mcap", 1, "", "zstd", True, 1, 0, (), (), None, None, "there", None, "")


@examples(100, suppress_health_check=QUIET)
@given(case=cases)
@example(SOUND)
@example(replace(SOUND, images=2, parts=2, compression="none", checksums=False, odd=4, hits=((0.5, 0.0, 100, "flip"),)))
@example(replace(SOUND, storage="sqlite", wal=9))
def test_every_image_of_every_recording_is_scored_or_counted(case):
    with _place() as place:
        check(case, Path(place))


@examples(40, suppress_health_check=QUIET)
@given(storage=st.sampled_from(["mcap", "sqlite"]), share=_share, byte=st.integers(1, 255),
       mode=st.sampled_from(["", "FILE"]), compression=st.sampled_from(["none", "lz4", "zstd"]))  # fmt: skip
def test_one_byte_anywhere_costs_few_images_and_never_passes_for_whole(storage, share, byte, mode, compression):
    case = replace(SOUND, images=12, storage=storage, mode=mode, compression=compression)
    with _place() as place:
        folder = Path(place) / "bag"
        made(case, folder)
        file = dresses.part_of(folder)
        data = bytearray(file.read_bytes())
        data[int(share * len(data))] ^= byte
        file.write_bytes(data)
        try:
            report = score(folder, Path(place) / "work")
        except BagError as error:
            assert "\n" not in str(error)
            return
        bag = report["bags"][0]
        assert bag["images"] + bag["missing"] >= 12 and not (report["complete"] and bag["images"] < 12)


@examples(3, suppress_health_check=QUIET)
@given(case=cases)
def test_memory_follows_messages(case):
    with _place() as place:
        check(case, Path(place), memory=True)


@examples(3, suppress_health_check=QUIET)
@given(case=cases)
def test_the_whole_command_ends_with_a_status_and_a_line(case, tmp_path_factory, capsys):
    place = tmp_path_factory.mktemp("fuzz")
    made(case, place / "bag")
    hurt(case, place / "bag")
    file = parameters(place, objects=["cube"], diameters=[0.1], regions=[0, 0, 32, 24], samples=2, steps=2)
    more = ["--image", "/image", "--tf", "/tf"] if case.robots > 1 else []
    status = cli.main(["evaluate-bag", str(place / "bag"), "--params", str(file), "--output", str(place / "out"),
                       "--device", "cpu", "--threads", "1", *more])  # fmt: skip
    said = capsys.readouterr().err
    assert status in (0, 2) and "Traceback" not in said
    if (place / "out" / "report.json").exists():
        report = json.loads((place / "out" / "report.json").read_text())
        assert (place / "out" / "report.html").exists()
        assert (status == 0) == any(record["state"] == "scored" for record in report["frames"])
    else:
        assert status == 2
    shutil.rmtree(place)


def test_a_report_of_what_a_stranger_wrote_runs_no_script(tmp_path):
    bad = "<script>alert(1)</script>"
    messages = scene(3)
    messages.append(replace(messages[0], topic=f"/{bad}", log_ns=0))
    report = score(record(tmp_path / f"{bad.replace('/', '')}", messages), tmp_path / "work")
    report["bags"][0]["problems"].append(bad)
    text = html.render(report, [])
    assert "<script" not in text and STEP_NS
