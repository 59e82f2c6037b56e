"""A ROS domain for every test, and the node under test."""

from __future__ import annotations

import os

import pytest
import rclpy
from bench import Bench
from helpers import Process, wait


@pytest.fixture
def domain(free_domain):
    """A ROS_DOMAIN_ID that only this test uses."""
    number = str(free_domain)
    before = os.environ.get("ROS_DOMAIN_ID")
    os.environ["ROS_DOMAIN_ID"] = number
    yield number
    if before is None:
        del os.environ["ROS_DOMAIN_ID"]
    else:
        os.environ["ROS_DOMAIN_ID"] = before


@pytest.fixture
def node(domain):
    """A node of the test's own, with `wait` to spin it until a condition holds."""
    rclpy.init()
    test_node = rclpy.create_node("test")
    yield test_node
    test_node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture
def start(domain):
    """Start programs of the package; all are stopped at the end of the test."""
    running: list[Process] = []

    def begin(program, *arguments):
        running.append(Process(program, *arguments))
        return running[-1]

    yield begin
    for process in running:
        if process.alive:
            process.popen.kill()
        process.popen.wait()


@pytest.fixture
def pose_node(start, node):
    """Start the pose node with parameters and wait until it is ready."""

    def begin(*files, ready=True, **parameters):
        arguments = ["--ros-args"]
        for file in files:
            arguments += ["--params-file", str(file)]
        for name, value in parameters.items():
            arguments += ["-p", f"{name}:={value}"]
        process = start("pose_node", *arguments)
        wait(node, lambda: node.count_publishers("/diagnostics") or not process.alive, message="the node")
        if ready:
            wait(node, lambda: node.count_subscribers("image") or not process.alive, message="the node's subscription")
        assert process.alive, process.output
        return process

    return begin


@pytest.fixture
def bench(node):
    """Publishers towards the pose node and what it sends."""
    return Bench(node)
