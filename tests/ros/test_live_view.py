"""`lie-picard view --topic`: what a running node publishes, at an address that a browser asks."""

import json
import re
import sys
import threading
import time
import urllib.request

import pytest
import ros_messages as messages
from bench import start_with
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion
from helpers import PATIENCE_S

from lie_picard.objects import BUILT_IN, catalogue
from lie_picard_msgs.msg import ObjectInfo, ObjectInfoArray, PoseHypothesis, PoseHypothesisArray
from lie_picard_pose.live_view import LiveView


@pytest.fixture
def view(start):
    """Start the command."""
    words = (
        sys.executable,
        "-m",
        "lie_picard.cli",
        "view",
        "--topic",
        "/pose_node/hypotheses",
        "--no-open",
        "--port",
        "0",
    )
    return lambda: start(*words)


def until(process, pattern):
    """Wait until the command has printed this; the match."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := re.search(pattern, process.output)) is None:
        assert process.alive and time.monotonic() < deadline, process.output
        time.sleep(0.1)
    return found


def test_a_browser_gets_the_newest_image_with_its_hypotheses(pose_node, bench, view):
    cube = messages.placed("cube", seed=1)
    start_with(pose_node, bench, cube)
    process = view()
    address = until(process, r"http://localhost:\d+/").group()
    got = []

    def follow():
        while not got:
            with urllib.request.urlopen(f"{address}scene?after=0", timeout=PATIENCE_S) as answer:
                if answer.status == 200:
                    got.append(json.loads(answer.read()))

    threading.Thread(target=follow, daemon=True).start()
    bench.ask(messages.image(cube), messages.camera_info(), until=lambda: got)
    scene = got[0]["scene"]
    assert (scene["width"], scene["height"]) == (messages.CAMERA.width, messages.CAMERA.height)
    (thing,) = scene["objects"]
    assert thing["name"] == "cube" and thing["ambiguity"] == "discrete set"
    ids = {one.mode_id for message in bench.hypotheses for one in message.hypotheses}
    assert {mode["id"] for mode in thing["modes"]} <= ids
    assert all(mode["rim"] for mode in thing["modes"])
    assert process.stop() == 0, process.output


def test_where_no_node_runs_it_says_so(view):
    process = view()
    until(process, r"http://localhost:\d+/")
    until(process, "is the pose node running")


class Shown:
    """Stands in the server's place."""

    def __init__(self):
        self.scenes = []

    def show(self, scene):
        self.scenes.append(scene)


@pytest.fixture
def watching(node):
    """A view of a node that looks for a cube and a cone, each image with its calibration at hand."""
    shown = Shown()
    live = LiveView("/pose_node/hypotheses", "/image", "/camera_info", catalogue(BUILT_IN), False, shown)
    live._on_info(messages.camera_info())
    live._on_objects(objects("cube", "cone"))
    yield live, shown.scenes
    live.destroy_node()


def objects(*names):
    return ObjectInfoArray(objects=[ObjectInfo(object_id=name, diameter=0.1, model_object=name) for name in names])


def found(name, sec, weight=1.0):
    message = PoseHypothesisArray(object_id=name)
    message.header.stamp.sec = sec
    pose = PoseWithCovariance(pose=Pose(position=Point(z=0.8), orientation=Quaternion(w=1.0)))
    message.hypotheses = [PoseHypothesis(weight=weight, samples=1, pose=pose)]
    message.best, message.sample_quaternions = pose, [0.0, 0.0, 0.0, 1.0]
    return message


def image(sec):
    message = messages.image(messages.placed("cube", seed=1))
    message.header.stamp.sec, message.header.stamp.nanosec = sec, 0
    return message


def test_objects_that_are_not_told_of_in_an_image_do_not_hold_the_others_up(watching):
    live, scenes = watching
    for sec in (1, 2):
        live._on_image(image(sec))
        live._on_hypotheses(found("cube", sec))
        live._shown_s = 0.0
    assert [[one["name"] for one in scene["objects"]] for scene in scenes] == [["cube"]]
    live._on_hypotheses(found("cone", 2))
    assert [one["name"] for one in scenes[-1]["objects"]] == ["cube", "cone"] and len(scenes) == 2


def test_what_was_found_under_names_that_are_no_longer_asked_for_is_left_out(watching):
    live, scenes = watching
    live._on_image(image(1))
    live._on_hypotheses(found("cube", 1))
    live._on_objects(objects("cone", "cyl"))
    live._on_hypotheses(found("cube", 1))
    live._on_hypotheses(found("cone", 1))
    assert not scenes
    live._on_hypotheses(found("cyl", 1))
    assert [one["name"] for one in scenes[0]["objects"]] == ["cone", "cyl"]


@pytest.mark.parametrize(("words", "remedy"), [(["--topic", "hypotheses"], "/pose_node/hypotheses"),
                                               (["--topic", "/a b/c"], "'/a b/c'"),
                                               (["--port", "70000"], "0 to 65535")])  # fmt: skip
def test_what_cannot_be_watched_is_named_and_the_status_says_so(start, words, remedy):
    words = words if "--topic" in words else [*words, "--topic", "/pose_node/hypotheses"]
    process = start(sys.executable, "-m", "lie_picard.cli", "view", "--no-open", "--port", "0", *words)
    assert process.popen.wait(PATIENCE_S) in (1, 2)
    assert remedy in process.output and "Traceback" not in process.output, process.output
