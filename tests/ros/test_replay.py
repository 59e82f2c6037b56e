"""A recording through the live node: played, recorded and scored, the scores are those of the offline tool."""

import json
import os
import signal
import subprocess

import numpy as np
import pytest
import yaml
from helpers import PROGRAMS, SHARE, wait
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from lie_picard import cli
from lie_picard.messages.read import nanoseconds_of
from lie_picard_pose.demo_recording import write

FRAMES = 15


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    write(folder / "bag", FRAMES)
    demo = yaml.safe_load((SHARE / "config" / "demo.yaml").read_text())["/**"]["ros__parameters"]
    chosen = {"objects": demo["objects"][1:2], "diameters": demo["diameters"][1:2], "regions": demo["regions"][4:8]}
    chosen |= {"samples": 16}
    (folder / "params.yaml").write_text(yaml.safe_dump({"/**": {"ros__parameters": chosen}}))
    return folder


def evaluate(folder, output, *more):
    command = ["evaluate-bag", folder / "bag", "--params", folder / "params.yaml", "--output", output, *more]
    assert cli.main(list(map(str, command))) == 0
    return json.loads((output / "report.json").read_text())


def test_the_live_scores_are_the_offline_scores(recording, tmp_path, start, pose_node, node):
    pose_node(recording / "params.yaml", use_sim_time=True)
    recorder = start(
        "bag_recorder", tmp_path / "results", "--topics", "/pose_node/hypotheses", "--until-silent", "/image"
    )
    wait(node, lambda: node.count_subscribers("/pose_node/hypotheses"))
    # Slowly, so that a busy machine answers most images, too.
    player = start("bag_player", recording / "bag", "--ros-args", "-p", "clock:=true", "-p", "rate:=0.3")
    wait(node, lambda: not player.alive, message="the player's end")
    wait(node, lambda: not recorder.alive, message="the recorder's end")
    assert player.popen.returncode == recorder.popen.returncode == 0, player.output + recorder.output
    live = evaluate(recording, tmp_path / "live", "--results", tmp_path / "results")
    offline = evaluate(recording, tmp_path / "offline", "--no-annotate")
    assert live["processes"] == "a live node" and set(live["milliseconds"]) == {"estimate", "latency"}
    pairs = [(a, b) for a, b in zip(live["frames"], offline["frames"], strict=True) if a["state"] == "scored"]
    assert len(pairs) >= FRAMES - 3
    assert all(a["state"] in ("scored", "dropped") for a in live["frames"])
    assert live["dropped_if_live"] == FRAMES - len(pairs)
    for a, b in pairs:
        assert a["stamp_ns"] == b["stamp_ns"]
        for key in ("mean_deg", "recall_deg", "translation_mm", "mssd_mm", "rotation_confidence"):
            assert a[key] == pytest.approx(b[key], abs=0.02), key
    with AnyReader([tmp_path / "live" / "bag-annotated"]) as reader:
        assert {c.topic: c.msgcount for c in reader.connections}["/pose_node/overlay/compressed"] == len(pairs)


def test_the_player_keeps_stamps_order_and_simulated_time(recording, start, node):
    images, clocks, moments = [], [], []

    def on_image(message):
        images.append(nanoseconds_of(message.header.stamp))
        moments.append(clocks[-1] if clocks else None)

    node.create_subscription(Image, "/image", on_image, QoSProfile(depth=50))
    node.create_subscription(CameraInfo, "/camera_info", lambda _: None, QoSProfile(depth=50))
    node.create_subscription(Clock, "/clock", lambda m: clocks.append(nanoseconds_of(m.clock)), QoSProfile(depth=500))
    player = start("bag_player", recording / "bag", "--ros-args", "-p", "clock:=true", "-p", "rate:=3.0")
    wait(node, lambda: not player.alive, message="the player's end")
    assert player.popen.returncode == 0 and f"{3 * FRAMES} messages" in player.output
    # A busy machine may lose some of what comes three times as fast.
    assert images == sorted(images) and FRAMES // 2 <= len(set(images)) == len(images)
    assert clocks == sorted(clocks) and len(clocks) > FRAMES
    assert clocks[0] <= images[0]


def test_the_player_begins_again_and_ends_when_it_is_told_to(recording, start, node):
    stamps = []
    node.create_subscription(
        Image, "/image", lambda m: stamps.append(nanoseconds_of(m.header.stamp)), QoSProfile(depth=50)
    )
    node.create_subscription(CameraInfo, "/camera_info", lambda _: None, QoSProfile(depth=50))
    player = start("bag_player", recording / "bag", "--ros-args", "-p", "loop:=true", "-p", "rate:=10.0",
                   "-p", "topics:=[/image, /camera_info]")  # fmt: skip
    wait(node, lambda: len(stamps) > 2 * FRAMES, message="the third round")
    assert (np.diff(stamps) < 0).sum() >= 2 and node.count_publishers("/tf") == 0
    assert player.stop() == 0


def test_the_recorder_takes_what_it_is_offered_and_says_whether_it_can_be_scored(tmp_path, start, node):
    """Best effort and reliable, latched and not; what is missing is named while it records, and at the end."""
    best_effort = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    latched = QoSProfile(depth=5, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    image = node.create_publisher(Image, "/camera/image", best_effort)
    static = node.create_publisher(TFMessage, "/tf_static", latched)
    static.publish(TFMessage())
    folder = tmp_path / "bag"
    recorder = start("bag_recorder", folder, "--topics", "camera/image", "/tf_static", "/camera/camera_info")
    wait(node, lambda: image.get_subscription_count() and static.get_subscription_count(), message="the recorder")
    message = Image(height=2, width=2, encoding="mono8", step=2, data=bytes(4))

    def sent():
        image.publish(message)
        return "nothing on /camera/camera_info yet" in recorder.output

    wait(node, sent, message="the warning")
    assert recorder.stop(signal.SIGINT) == 0
    assert "to score it, record too: camera_info" in recorder.output
    with AnyReader([folder]) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
        assert counts["/tf_static"] == 1 and counts["/camera/image"] > 3
        for connection, _, data in reader.messages():
            if connection.topic == "/camera/image":
                assert bytes(reader.deserialize(data, connection.msgtype).data) == bytes(4)


def test_a_recording_is_never_written_over(tmp_path):
    (tmp_path / "bag").mkdir()
    done = subprocess.run([PROGRAMS / "bag_recorder", tmp_path / "bag", "--topics", "/image"], capture_output=True,
                          text=True, env=os.environ)  # fmt: skip
    assert done.returncode == 2 and "exists: give another folder" in done.stderr


def test_other_peoples_results_are_not_taken_for_those_of_this_recording(recording, tmp_path, capsys):
    from lie_picard.recording.message_types import types
    from lie_picard.recording.recorder import Recorder

    kind = "lie_picard_msgs/msg/PoseHypothesisArray"
    with Recorder(tmp_path / "results", {"/pose_node/hypotheses": kind}) as recorder:
        recorder.write("/pose_node/hypotheses", 1, types().PoseHypothesisArray(object_id="cube"))
    command = ["evaluate-bag", recording / "bag", "--params", recording / "params.yaml", "--output", tmp_path / "out",
               "--results", tmp_path / "results"]  # fmt: skip
    assert cli.main(list(map(str, command))) == 2
    assert "holds no results for the images" in capsys.readouterr().err
