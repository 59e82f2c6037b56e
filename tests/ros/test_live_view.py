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
from helpers import PATIENCE_S


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
