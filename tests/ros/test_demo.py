"""The demo as a user runs it: recording, player, node and view as processes, and the figures that come out."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import cv2
import pytest
from helpers import PATIENCE_S, PROGRAMS, SHARE, wait
from rosbags.highlevel import AnyReader

from lie_picard_msgs.msg import PoseHypothesisArray
from lie_picard_pose.demo_recording import OBJECTS
from lie_picard_pose.demo_view import _too_slow

SLOWLY = ("--rate", "0.4")  # on a busy machine, too, most images are estimated: what is tested are poses, not speed


def test_the_demo_shows_poses_that_match_the_truth(tmp_path, domain):
    result, picture = tmp_path / "demo.json", tmp_path / "demo.png"
    done = subprocess.run(
        [PROGRAMS / "demo", "--recording", "turning", "--json", result, "--picture", picture, *SLOWLY],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(result.read_text())
    assert summary["images"] > 60
    assert [row["object"] for row in summary["rows"]] == list(OBJECTS)
    for row in summary["rows"]:
        assert row["frames"] >= 10
        assert row["best_median_deg"] < 4
        assert row["position_median_mm"] < 10  # of 800
    assert cv2.imread(str(picture)).shape[1] >= 1000
    assert "summary of" in done.stdout


def test_what_moves_is_found_by_the_camera_alone(tmp_path, domain):
    result, picture = tmp_path / "demo.json", tmp_path / "demo.png"
    command = [PROGRAMS / "demo", "--recording", "moving", "--json", result, "--picture", picture, *SLOWLY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "demo_moving.json").read_text())
    rows = {row["object"]: row for row in summary["rows"]}
    assert set(rows) == {"cube", "cone", "tet"}
    for row in rows.values():
        assert row["frames"] >= 10
        assert row["best_median_deg"] < 10
        assert row["position_median_mm"] < 60  # of 900
    assert rows["cube"]["not_found"] > 0  # it leaves the image
    assert cv2.imread(str(tmp_path / "demo_moving.png")).shape[1] >= 1000
    assert "the camera alone" in done.stdout and "lost" in done.stdout


def test_where_most_images_were_dropped_it_says_so():
    row = {"frames": 5, "not_found": 1, "node_p50_ms": 1900.0}
    said = _too_slow({"images": 100, "rows": [row]})
    assert "6 of 100" in said and "1900 ms" in said and "--rate" in said
    assert not _too_slow({"images": 100, "rows": [row | {"frames": 80}]}) and not _too_slow({"images": 0, "rows": []})


def test_ctrl_c_in_the_first_part_ends_both(tmp_path, start):
    demo = start("demo", "--picture", str(tmp_path / "demo.png"))
    deadline = time.monotonic() + PATIENCE_S
    while "Ctrl-C stops all" not in demo.output:
        assert demo.alive and time.monotonic() < deadline, demo.output
        time.sleep(0.1)
    assert demo.stop() == 0, demo.output
    assert "2 of 2" not in demo.output


@pytest.mark.parametrize("words", [["--picture", "{folder}/none/demo.png"], ["--json", "{folder}"]])
def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path, words):
    command = [PROGRAMS / "demo", *(word.format(folder=tmp_path) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2 and "cannot be written" in done.stderr


def test_a_node_that_dies_under_way_is_told_with_its_last_words(tmp_path, start, node):
    got = []
    node.create_subscription(PoseHypothesisArray, "/pose_node/hypotheses", got.append, 10)
    demo = start("demo", "--picture", str(tmp_path / "demo.png"), "--recording", "turning", "--rate", "0.1")
    wait(node, lambda: len(got) > 10, message="hypotheses")
    children = Path(f"/proc/{demo.popen.pid}/task/{demo.popen.pid}/children").read_text().split()
    nodes = [pid for pid in children if b"pose_node" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(nodes[0]), signal.SIGKILL)
    assert demo.popen.wait(PATIENCE_S) == 1
    assert "ended before the recording did" in demo.output and "last words of pose_node" in demo.output


@pytest.mark.parametrize("rate", ["0", "fast", "nan"])
def test_a_rate_that_cannot_be_played_is_named(rate):
    done = subprocess.run([PROGRAMS / "demo", "--rate", rate], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2 and f"'{rate}' is no rate" in done.stderr and "0.01 to 100" in done.stderr


@pytest.mark.parametrize("seconds", [0.3])
def test_a_recording_can_be_made_anew(tmp_path, seconds):
    bag = tmp_path / "bag"
    subprocess.run([PROGRAMS / "demo_recording", bag, "--seconds", str(seconds)], check=True, env=os.environ)
    with AnyReader([bag]) as made, AnyReader([SHARE / "demo" / "turning_solids"]) as shipped:
        assert {c.topic for c in made.connections} == {"/image", "/camera_info", "/tf"}
        assert made.message_count == 9
        for (c, stamp, ours), (_, their_stamp, theirs) in zip(made.messages(), shipped.messages(), strict=False):
            assert stamp == their_stamp
            if c.topic == "/tf":  # equal but for the last bits of the arithmetic
                mine, shipped_truth = (shipped.deserialize(data, c.msgtype) for data in (ours, theirs))
                for new, old in zip(mine.transforms, shipped_truth.transforms, strict=True):
                    assert (new.header, new.child_frame_id) == (old.header, old.child_frame_id)
                    assert _numbers(new.transform) == pytest.approx(_numbers(old.transform), abs=1e-9)


def _numbers(transform):
    p, q = transform.translation, transform.rotation
    return [p.x, p.y, p.z, q.x, q.y, q.z, q.w]
