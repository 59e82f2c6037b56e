"""The launch files with the real launch system, where it is installed (it is not on PyPI)."""

import importlib.util
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="launch and launch_ros are not installed: source a ROS 2 installation")
import rclpy
from launch.actions import DeclareLaunchArgument

FOLDER = Path(__file__).parents[2] / "launch"


def description(name):
    spec = importlib.util.spec_from_file_location(name.replace(".", "_"), FOLDER / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.launch.py")))
def test_every_argument_is_described(name):
    arguments = [e for e in description(name).entities if isinstance(e, DeclareLaunchArgument)]
    assert arguments and all(argument.description for argument in arguments)


def test_pose_launch_has_the_conventional_arguments():
    arguments = {a.name for a in description("pose.launch.py").get_launch_arguments()}
    assert {
        "namespace",
        "params_file",
        "use_sim_time",
        "rviz",
        "device",
        "log_level",
        "image",
        "camera_info",
    } <= arguments


def launch(*arguments):
    """`ros2 launch` in a domain of its own, and a node to look at what it started."""
    domain = 101 - os.getpid() % 10
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain)}
    command = ["ros2", "launch", "lie_picard_pose", *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    return process, rclpy.create_node("launch_test", context=context)


def test_pose_launch_starts_the_node_in_its_namespace_with_the_users_parameters(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**:\n  ros__parameters:\n    device: abacus\n")
    process, node = launch("pose.launch.py", f"params_file:={mine}")
    output, _ = process.communicate(timeout=60)
    assert "unknown device 'abacus'" in output
    mine.write_text("/**:\n  ros__parameters:\n    samples: 3\n")
    node.destroy_node()
    process, node = launch("pose.launch.py", f"params_file:={mine}", "namespace:=left", "image:=camera/image")
    try:
        deadline = time.monotonic() + 60
        while not node.count_subscribers("/left/camera/image"):
            assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        assert node.count_publishers("/left/pose_node/hypotheses") == 1
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        node.destroy_node()
    assert "3 samples" in output
