"""`lie-picard view --topic`: what a running node publishes, at an address that a browser asks."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
import ros_messages as messages
from bench import start_with
from helpers import PATIENCE_S


@pytest.fixture
def view(domain):
    """Start the command; its address, as it prints it, and its lines so far."""
    running = []

    def begin(*words):
        command = [sys.executable, "-m", "lie_picard.cli", "view", *words, "--no-open", "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)
        lines = []
        threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True).start()
        running.append(process)
        return process, lines

    yield begin
    for process in running:
        process.kill()
        process.wait()


def address_of(process, lines):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := re.search(r"http://localhost:\d+/", "".join(lines)):
            return found.group()
        assert process.poll() is None, "".join(lines)
        time.sleep(0.1)
    raise AssertionError("".join(lines))


def test_a_browser_gets_the_newest_image_with_its_hypotheses(pose_node, bench, view):
    cube = messages.placed("cube", seed=1)
    start_with(pose_node, bench, cube)
    process, lines = view("--topic", "/pose_node/hypotheses")
    address = address_of(process, lines)
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
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0, "".join(lines)


def test_where_no_node_runs_it_says_so(view):
    process, lines = view("--topic", "/pose_node/hypotheses")
    address_of(process, lines)
    deadline = time.monotonic() + PATIENCE_S
    while "is the pose node running" not in "".join(lines):
        assert time.monotonic() < deadline and process.poll() is None, "".join(lines)
        time.sleep(0.1)
