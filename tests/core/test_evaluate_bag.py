"""`lie-picard evaluate-bag`: the node's own results, whoever computes them, in whatever order, however often cut."""

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from bags import FRAME, parameters, write
from rosbags.highlevel import AnyReader

from lie_picard import cli
from lie_picard.messages.read import rotation_of
from lie_picard.node import settings
from lie_picard.node.pipeline import Frame, Pipeline
from lie_picard.recording import jobs
from lie_picard.recording.annotate import Annotation
from lie_picard.recording.message_types import writer

COMMAND = [sys.executable, "-m", "lie_picard.cli", "evaluate-bag"]


def score(*bags, output, params, status=0, **options):
    """Run the command here; what report.json holds."""
    extra = [str(part) for name, value in options.items()
             for part in ([f"--{name.replace('_', '-')}"] + ([] if value is True else [value]))]  # fmt: skip
    assert (
        cli.main(["evaluate-bag", *map(str, bags), "--params", str(params), "--output", str(output), *extra]) == status
    )
    return json.loads((output / "report.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def params(folder):
    return parameters(folder)


@pytest.fixture(scope="module")
def bag(folder):
    return write(folder / "raw", frames=30)


@pytest.fixture(scope="module")
def report(folder, bag, params):
    return score(bag, output=folder / "report", params=params)


def test_every_image_of_every_object_is_scored(report):
    assert report["complete"] and len(report["frames"]) == 60
    assert all(record["state"] == "scored" for record in report["frames"])
    rows = {row["object"]: row for row in report["rows"]}
    assert list(rows) == ["cube", "cone", "all"]
    for row in rows.values():
        assert row["median_deg"] < 5 and row["translation_percent"] < 2.5 and row["flips"] == 0
        assert row["adds_p95_mm"] < 20 and row["mssd_p95_mm"] < 40  # of 100 mm, 0.9 m away
    assert report["bags"][0]["camera_hz"] == pytest.approx(10) and report["bags"][0]["problems"] == []
    assert set(report["milliseconds"]) == {"image", "estimate", "messages", "total"}


def test_the_result_is_the_nodes(bag, params, folder, report, estimator):
    """The pipeline of the node, fed with the same messages one after the other."""
    chosen = settings.settings_of(settings.read_values(params) | {"method": "ode"})
    pipeline, live = Pipeline(estimator, writer()), []
    with AnyReader([bag]) as reader:
        info = None
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if connection.topic == "/camera_info":
                info = message
            elif connection.topic == "/image":
                live += pipeline(Frame(message, info), chosen).messages
    with AnyReader([folder / "report" / "raw-annotated"]) as reader:
        connections = [c for c in reader.connections if c.topic == "/pose_node/hypotheses"]
        offline = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages(connections)]
    assert len(live) == len(offline) == 60
    for one, other in zip(live, offline, strict=True):
        assert (one.object_id, one.ambiguity) == (other.object_id, other.ambiguity)
        assert [h.mode_id for h in one.hypotheses] == [h.mode_id for h in other.hypotheses]
        assert [h.weight for h in one.hypotheses] == [h.weight for h in other.hypotheses]
        np.testing.assert_allclose(np.asarray(one.sample_quaternions), other.sample_quaternions, atol=1e-5)
        np.testing.assert_allclose(rotation_of(one.best.pose.orientation), rotation_of(other.best.pose.orientation),
                                   atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("dress", [{"sqlite": True}, {"compressed": True}])
def test_a_recordings_dress_changes_nothing(folder, params, report, dress):
    name = "-".join(dress)
    other = write(folder / name, frames=30, **dress)
    again = score(other, output=folder / f"report-{name}", params=params, no_annotate=True)
    assert [r | {"bag": ""} for r in again["frames"]] == [r | {"bag": ""} for r in report["frames"]]


def test_a_pose_topic_gives_the_same_scores_and_the_lack_of_others_is_said(folder, params, report):
    other = write(folder / "topic", frames=30, truth="topic")
    again = score(other, output=folder / "report-topic", params=params, truth="cube=/truth/cube", no_annotate=True)
    cube = [r["mean_deg"] for r in report["frames"] if r["object"] == "cube"]
    assert [r["mean_deg"] for r in again["frames"] if r["object"] == "cube"] == pytest.approx(cube, abs=1e-3)
    assert {r["state"] for r in again["frames"] if r["object"] == "cone"} == {"no truth"}
    assert "the recording has no true pose of 'cone'" in again["bags"][0]["problems"]


def test_symmetries_come_from_a_models_info_file(folder, bag, params, report):
    """A cube of which only the identity is said to look the same is mostly wrong."""
    file = folder / "models_info.json"
    file.write_text(json.dumps({"cube": {"diameter": 100}}))
    again = score(bag, output=folder / "report-bop", params=params, models_info=file, no_annotate=True)
    rows = {row["object"]: row for row in again["rows"]}
    assert rows["cube"]["mean_deg"] > 30 and rows["cone"]["mean_deg"] == report["rows"][1]["mean_deg"]


def test_the_annotated_recording_holds_all_that_is_looked_at(folder, report):
    with AnyReader([folder / "report" / "raw-annotated"]) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if connection.topic == "/tf":
                frames = {one.child_frame_id for one in message.transforms}
                assert {"cube", "cone", "truth/cube", "truth/cone"} <= frames
                assert all(one.header.frame_id == FRAME for one in message.transforms)
            if "compressed" in connection.topic:
                assert bytes(message.data[:3]) == b"\xff\xd8\xff"
    assert counts == {"/camera_info": 30, "/tf": 30, "/pose_node/hypotheses": 60, "/pose_node/poses": 30,
                      "/pose_node/markers": 30, "/pose_node/overlay/compressed": 30,
                      "/pose_node/distribution/compressed": 30}  # fmt: skip


def test_the_report_needs_nothing_beside_it(folder, report):
    text = (folder / "report" / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    for word in ("Rotation", "Calibration", "Latency", "Worst images", "cube", "cone"):
        assert word in text


def test_a_second_run_estimates_nothing_again(folder, bag, params, report, monkeypatch):
    monkeypatch.setattr(jobs, "run", lambda *_: pytest.fail("it was estimated again"))
    assert score(bag, output=folder / "report", params=params)["frames"] == report["frames"]


def test_other_settings_are_estimated_anew(folder, bag, params, report):
    again = score(bag, output=folder / "report", params=params, set="samples=4", no_annotate=True)
    assert again["settings"]["samples"] == 4 and again["frames"] != report["frames"]


def test_interrupted_it_leaves_a_report_of_what_was_done_and_goes_on_from_there(
    folder, bag, params, report, monkeypatch
):
    run, calls = jobs.run, []

    def interrupted(job, on_image):
        calls.append(job.start_ns)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(job, on_image)

    monkeypatch.setattr(jobs, "run", interrupted)
    output = folder / "report-cut"
    partial = score(bag, output=output, params=params, status=130)
    assert not partial["complete"] and partial["frames"] == report["frames"][: len(partial["frames"])]
    assert 0 < len(partial["frames"]) < 60 and "partial" in (output / "report.html").read_text()
    with AnyReader([output / "raw-annotated"]) as reader:
        assert reader.message_count > 0
    done = score(bag, output=output, params=params)
    assert done["complete"] and done["frames"] == report["frames"]
    assert calls.count(calls[0]) == 1


def test_interrupted_while_it_scores_it_leaves_a_report_too(folder, bag, params, report, monkeypatch):
    add, calls = Annotation.add, []

    def interrupted(self, image):
        calls.append(image)
        if len(calls) == 8:
            raise KeyboardInterrupt
        add(self, image)

    monkeypatch.setattr(Annotation, "add", interrupted)
    output = folder / "report-cut-late"
    partial = score(bag, output=output, params=params, status=130)
    assert not partial["complete"] and partial["frames"] == report["frames"][:16]
    with AnyReader([output / "raw-annotated"]) as reader:
        assert reader.message_count == 7 * 8
    monkeypatch.undo()
    assert score(bag, output=output, params=params)["complete"]


def test_ctrl_c_in_a_terminal(folder, bag, params):
    """The process itself, interrupted once the first images are done: a valid report, exit status 130, one line."""
    output = folder / "report-signal"
    command = [*COMMAND, str(write(folder / "long", frames=300)), "--params", str(params), "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(output.glob("work/*/*.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on from there" in errors and "Traceback" not in errors
    partial = json.loads((output / "report.json").read_text())
    assert not partial["complete"] and 0 < len(partial["frames"]) < 600


def test_of_a_damaged_recording_what_is_readable_is_scored_and_the_rest_named(folder, bag, params, report):
    file = next(bag.glob("*.mcap"))
    data = file.read_bytes()
    hurt = folder / "hurt"
    hurt.mkdir()
    (hurt / file.name).write_bytes(data[: round(0.7 * len(data))])
    missing = folder / "nowhere"
    again = score(hurt, missing, output=folder / "report-hurt", params=params)
    good, bad = again["bags"]
    assert "is damaged" in " ".join(good["problems"]) and "no such recording" in bad["problem"]
    count = len(again["frames"])
    assert 20 < count < 60
    whole = [{k: v for k, v in r.items() if k != "bag"} for r in report["frames"][:count]]
    assert [{k: v for k, v in r.items() if k != "bag"} for r in again["frames"]] == whole


@pytest.mark.parametrize(("arguments", "message"), [
    (["--set", "objekts=1"], "of a parameter in docs/node.md"),
    (["--set", "samples=0"], "samples must be in 1 to 10000"),
    (["--truth", "ball=/x"], "one of cube, cone"),
    (["--image", "/left"], "no topic '/left'"),
    (["--workers", "-1"], "--workers must be at least 0"),
    (["--set", 'meshes=["nothing.ply", ""]'], "mesh nothing.ply cannot be read"),
])  # fmt: skip
def test_bad_input_is_one_line_with_the_remedy(folder, bag, params, arguments, message, capsys):
    command = ["evaluate-bag", str(bag), "--params", str(params), "--output", str(folder / "bad"), *arguments]
    assert cli.main(command) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert message in errors[-1] and "Traceback" not in "".join(errors)


# --- many recordings on many processes


@pytest.fixture(scope="module")
def several(folder):
    return [write(folder / name, frames=25, seed=seed) for seed, name in enumerate("abc")]


@pytest.fixture(scope="module")
def alone(folder, several, params):
    return score(*several, output=folder / "alone", params=params, workers=1, no_annotate=True)


def same(report, other):
    """The records of both, by recording; floats may differ by what threads sum up in another order."""
    key = lambda record: (record["bag"], record["stamp_ns"], record["object"])  # noqa: E731
    first, second = ({key(record): record for record in one["frames"]} for one in (report, other))
    assert first.keys() == second.keys()
    for name, record in first.items():
        for field, value in record.items():
            expected = second[name][field]
            assert value == (pytest.approx(expected, abs=1e-3) if isinstance(value, float) else expected), (name, field)


def test_processes_and_the_order_of_recordings_change_nothing(folder, several, params, alone):
    many = score(*reversed(several), output=folder / "many", params=params, workers=2, no_annotate=True)
    assert many["complete"] and many["processes"] == 2
    same(alone, many)


def test_a_killed_worker_loses_nothing(folder, several, params, alone):
    output = folder / "killed"
    command = [*COMMAND, *map(str, several), "--params", str(params), "--output", str(output), "--workers", "2",
               "--no-annotate"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not (done := list(output.glob("work/*/*.safetensors"))):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    workers = [child for child in psutil.Process(process.pid).children(recursive=True)
               if "spawn_main" in " ".join(child.cmdline())]  # fmt: skip
    assert workers and len(done) < 9
    workers[0].send_signal(signal.SIGKILL)
    text, _ = process.communicate(timeout=150)
    assert process.returncode == 0, text
    same(alone, json.loads((output / "report.json").read_text()))


def test_a_dask_cluster_gives_the_same(folder, several, params, alone):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ}
    programs = [
        ["distributed.cli.dask_scheduler", "--host", address, "--no-dashboard"],
        ["distributed.cli.dask_worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"],
    ]
    processes = [subprocess.Popen([sys.executable, "-m", *program], **quiet) for program in programs]
    try:
        there = score(*several, output=folder / "cluster", params=params, scheduler=address, no_annotate=True)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)
    assert there["processes"] == address
    same(alone, there)


def test_a_scheduler_that_is_not_there_is_said_in_one_line(folder, several, params, monkeypatch, capsys):
    from lie_picard.recording import cluster

    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    command = ["evaluate-bag", *map(str, several), "--params", str(params), "--output", str(folder / "none"),
               "--scheduler", "tcp://127.0.0.1:9"]  # fmt: skip
    assert cli.main(command) == 2
    assert "no Dask scheduler at 'tcp://127.0.0.1:9'" in capsys.readouterr().err


class MakesAFolder:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_kept_results_that_are_none_are_estimated_anew_and_run_nothing(folder, bag, params):
    """Of another version, damaged, or put there by a stranger."""
    work = folder / "other version"
    before = score(bag, output=work, params=params)
    kept = sorted(work.rglob("*.safetensors"))
    assert len(kept) >= 2
    for number, file in enumerate(kept):
        file.write_bytes((pickle.dumps(MakesAFolder(folder / "ran")), file.read_bytes()[:-9])[number % 2])
    again = score(bag, output=work, params=params)
    assert again["complete"] and again["rows"] == before["rows"]
    assert not (folder / "ran").exists()
