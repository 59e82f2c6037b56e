"""What goes wrong on robots: the node lives, says so, and publishes nothing that it does not have."""

import random
import shutil
import signal
import time

import numpy as np
import psutil
import pytest
import ros_messages as messages
from bench import Bench, set_parameter, start_with, text
from helpers import patience, wait
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, RegionOfInterest
from tf2_msgs.msg import TFMessage

from lie_picard.geometry.camera import Camera
from lie_picard.model import checkpoint
from lie_picard_msgs.srv import SetObject

CUBE = messages.placed("cube")
QUICK = {"samples": 4, "steps": 5}


def stamped(seconds):
    return messages.image(CUBE, stamp=(seconds, 0))


def test_a_camera_that_stops_and_comes_back_is_answered_again(pose_node, bench):
    start_with(pose_node, bench, CUBE, **QUICK)
    bench.ask(stamped(10), messages.camera_info())
    bench.node.destroy_publisher(bench.image)
    bench.node.destroy_publisher(bench.info)
    wait(bench.node, lambda: not bench.node.count_publishers("image"))
    again = Bench(bench.node)
    again.connect()
    again.ask(stamped(90), messages.camera_info())
    assert again.hypotheses[0].header.stamp.sec == 90


def test_a_camera_that_changes_its_size_is_followed(pose_node, bench):
    process = start_with(pose_node, bench, CUBE, **QUICK)
    bench.ask(messages.image(CUBE), messages.camera_info())
    half = Camera(messages.CAMERA.matrix, np.zeros(0), 160, 120)
    bench.ask(
        messages.image(CUBE), messages.camera_info(half), until=lambda: "camera_info says 160 x 120" in process.output
    )
    for kept in bench.received.values():
        kept.clear()
    bench.ask(messages.image(CUBE), messages.camera_info())
    assert process.output.count("camera_info says 160 x 120") == 1


def test_a_recording_that_starts_again_is_followed_in_its_own_time(pose_node, bench):
    """Simulated time that jumps back: stamps are copied, ages are of that clock, nothing waits for the old time."""
    start_with(pose_node, bench, CUBE, use_sim_time="true", max_age="5.0", **QUICK)
    clock = bench.node.create_publisher(Clock, "/clock", QoSProfile(depth=1))
    wait(bench.node, clock.get_subscription_count)

    def at(seconds):
        message = Clock()
        message.clock.sec = seconds

        def answered():
            clock.publish(message)
            return any(m.header.stamp.sec == seconds for m in bench.hypotheses)

        bench.ask(stamped(seconds), messages.camera_info(), until=answered)

    for seconds in (1000, 1001, 1000, 1001, 20):
        bench.received[type(bench.hypotheses[0])].clear() if bench.hypotheses else None
        at(seconds)


def test_images_older_than_max_age_are_dropped_with_a_reason(pose_node, bench):
    process = start_with(pose_node, bench, CUBE, max_age="5.0", **QUICK)
    bench.ask(stamped(10), messages.camera_info(), until=lambda: "older than max_age" in process.output)
    assert not bench.hypotheses


def test_a_checkpoint_that_is_replaced_while_running_is_taken_when_asked(pose_node, bench, tmp_path):
    """The file may be overwritten, cut short or removed: what was loaded stays, and is complete."""
    path = tmp_path / "model.safetensors"
    shutil.copy(checkpoint.DEFAULT, path)
    process = start_with(pose_node, bench, CUBE, checkpoint=str(path), **QUICK)
    bench.ask(stamped(1), messages.camera_info())
    for contents in (b"x" * 1000, checkpoint.DEFAULT.read_bytes()[:5_000_000], None):
        path.write_bytes(contents) if contents else path.unlink()
        count = len(bench.hypotheses)
        bench.ask(stamped(2), messages.camera_info(), until=lambda: len(bench.hypotheses) > count + 1)  # noqa: B023
        assert not set_parameter(bench, "checkpoint", text(str(path))).successful
    shutil.copy(checkpoint.DEFAULT, path)
    assert set_parameter(bench, "checkpoint", text(str(path))).successful
    count = len(bench.hypotheses)
    bench.ask(stamped(3), messages.camera_info(), until=lambda: len(bench.hypotheses) > count + 1)
    assert process.output.count("ready: checkpoint") == 2


def test_a_reliable_subscription_to_a_best_effort_camera_is_explained(pose_node, bench):
    key = "qos_overrides./image.subscription.reliability"
    process = start_with(pose_node, bench, CUBE, **{key: "reliable"}, **QUICK)
    best_effort = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
    bench.node.create_publisher(Image, "image", best_effort)
    wait(bench.node, lambda: "offers an incompatible RELIABILITY" in process.output)
    assert key in process.output


def test_malformed_messages_on_the_wire_do_not_harm(pose_node, bench):
    process = start_with(pose_node, bench, CUBE, **QUICK)
    chance = random.Random(1)
    for _ in range(300):
        image = Image(
            width=chance.choice([0, 3, 2**32 - 1]),
            height=chance.choice([0, 2, 2**31]),
            step=chance.randrange(2**32),
            encoding=chance.choice(["rgb8", "mono16", "x", "32FC1"]),
            data=chance.randbytes(chance.randrange(60)),
        )
        info = messages.camera_info()
        info.k = [chance.choice([0.0, float("nan"), 1e300, -1.0, 300.0]) for _ in range(9)]
        bench.send(image, chance.choice([info, messages.camera_info()]))
    bench.ask(messages.image(CUBE), messages.camera_info())
    assert all(len(m.hypotheses) and np.isfinite(m.best.pose.position.z) for m in bench.hypotheses)
    assert process.alive and "Traceback" not in process.output


@pytest.mark.parametrize(
    ("moment", "stop"),
    [(0.0, signal.SIGTERM), (0.3, signal.SIGINT), (1.0, signal.SIGTERM), (2.0, signal.SIGINT), (3.5, signal.SIGTERM),
     (5.0, signal.SIGINT)],
)  # fmt: skip
def test_a_signal_at_any_moment_of_the_start_ends_it_within_two_seconds(start, domain, moment, stop):
    """While Python imports, while the model is loaded, or after: exit status 0, or the signal's own before that."""
    process = start("pose_node")
    deadline = time.monotonic() + moment
    while time.monotonic() < deadline:
        assert process.alive
        time.sleep(0.01)
    began = time.monotonic()
    status = process.stop(stop)
    assert time.monotonic() - began < 2 * patience()
    process.reader.join(10)
    assert status == 0 or (status == -stop and moment < 1), process.output
    assert "Traceback" not in process.output


def test_a_signal_while_images_stream_ends_it_within_two_seconds(pose_node, bench):
    process = start_with(pose_node, bench, CUBE, samples=1000, steps=20, method="ode")
    bench.ask(messages.image(CUBE), messages.camera_info())
    for _ in range(3):
        bench.send(messages.image(CUBE), messages.camera_info())
    began = time.monotonic()
    status = process.stop(signal.SIGTERM)
    assert time.monotonic() - began < 2 * patience()
    process.reader.join(10)
    assert status == 0 and "Traceback" not in process.output, process.output


def test_memory_does_not_grow_with_images(pose_node, bench):
    """A short run of what `load_test --seconds 3600` does at length; every region differs, for caches to fill."""
    process = start_with(pose_node, bench, CUBE, regions_from="topics", **QUICK)
    region = bench.node.create_publisher(RegionOfInterest, "region/cube", QoSProfile(depth=1))
    memory, image, info = psutil.Process(process.popen.pid).memory_info, messages.image(CUBE), messages.camera_info()
    r = CUBE.region(messages.CAMERA)

    def answer(number):
        target = len(bench.hypotheses) + number
        while len(bench.hypotheses) < target:
            k = len(bench.hypotheses)
            region.publish(RegionOfInterest(x_offset=round(r.x) + k % 20, y_offset=round(r.y) + k // 20 % 20,
                                            width=round(r.width), height=round(r.height)))  # fmt: skip
            bench.ask(image, info, until=lambda: len(bench.hypotheses) > k)  # noqa: B023
        return memory().rss / 1e6

    full = answer(100)
    grown = answer(100) - full
    print(f"{grown:+.1f} MB after 100 images")
    assert grown < 15


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.3])
def test_a_second_signal_while_it_ends_changes_nothing(pose_node, bench, gap):
    """A launch system forwards what the terminal has sent to the whole group already."""
    process = start_with(pose_node, bench, CUBE, **QUICK)
    process.popen.send_signal(signal.SIGINT)
    again = time.monotonic() + gap
    while time.monotonic() < again and process.alive:
        time.sleep(0.005)
    assert process.stop(signal.SIGINT) == 0
    process.reader.join(10)
    assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--log-level", "verbose"], "verbose"),
        (["-r", "image:=bad topic"], "bad topic"),
        (["-p", "sampels:=3", "-p", "samples:=0"], "samples"),
    ],
)
def test_ros_arguments_that_do_not_fit_are_one_line(start, domain, arguments, message):
    process = start("pose_node", "--ros-args", *arguments)
    assert process.popen.wait(60) == 1
    process.reader.join(10)
    assert message in process.output and "Traceback" not in process.output


def test_a_misspelt_parameter_is_named(pose_node, bench):
    process = pose_node(sampels=3, **QUICK)
    wait(bench.node, lambda: "there is no parameter 'sampels'" in process.output)


def test_an_object_that_the_model_does_not_know_is_named(pose_node, bench):
    process = pose_node(objects="[kube]", **QUICK)
    wait(bench.node, lambda: "knows no object 'kube'" in process.output)
    assert "did you mean 'cube'?" in process.output
    answer = bench.call(SetObject, "set_object", object_id="Cyl", diameter=0.1)
    assert answer.success and "did you mean 'cyl'?" in answer.message
    wait(bench.node, lambda: "knows no object 'Cyl'" in process.output)


def test_a_prefix_keeps_two_nodes_frames_apart(pose_node, bench):
    start_with(pose_node, bench, CUBE, tf_prefix="left/", tf_modes=1, **QUICK)
    bench.ask(messages.image(CUBE), messages.camera_info())
    frames = [t.child_frame_id for m in bench.received[TFMessage] for t in m.transforms]
    assert frames[:2] == ["left/cube", "left/cube/mode_0"]


def test_an_image_without_a_frame_is_said_and_not_put_into_tf(pose_node, bench):
    process = start_with(pose_node, bench, CUBE, **QUICK)
    image = messages.image(CUBE)
    image.header.frame_id = ""
    bench.ask(image, messages.camera_info(), until=lambda: bench.hypotheses and "no frame_id" in process.output)
    assert not bench.received[TFMessage]
