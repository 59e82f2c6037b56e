"""Plays a recording once the pose node listens: by `ros2 bag play`, or by this package's own small player.

Messages keep their recorded stamps; with `clock`, simulated time goes along. Playing ends with the recording.
"""

from __future__ import annotations

import importlib
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import rclpy
from ament_index_python import PackageNotFoundError, get_package_prefix
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.utilities import remove_ros_args
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock

from lie_picard.recording.frames import IMAGES, INFO
from lie_picard.recording.message_types import typestore
from lie_picard_pose.parameters import Entry, declare
from lie_picard_pose.running import run

_WAIT_S = 60.0
_PATIENT_S = 3.0  # then it says what it waits for
_TICK_S = 0.02  # of simulated time, between messages

TABLE = {
    "rate": Entry(1.0, "How fast, relative to the recording.", 0.01, 100.0, read_only=True),
    "loop": Entry(False, "Begin again at the end, until it is stopped.", read_only=True),
    "clock": Entry(False, "Publish simulated time on /clock.", read_only=True),
    "listeners": Entry(1, "Subscribers of the images to wait for, at most a minute.", 0, 100, read_only=True),
    "also_heard": Entry([""], "Topics that must have a subscriber, too, such as a recorder.", read_only=True),
    "topics": Entry([""], "What to play; empty: everything.", read_only=True),
    "player": Entry(
        "own", "own, or ros2 for `ros2 bag play`, or auto: the latter where it is installed.", read_only=True
    ),
}


class BagPlayer(Node):
    """Publishes every message of a recording in its recorded rhythm."""

    def __init__(self, bag: Path) -> None:
        super().__init__("bag_player")
        declare(self, TABLE)
        value = {name: self.get_parameter(name).value for name in TABLE}
        self._bag, self._rate, self._listeners = bag, value["rate"], value["listeners"]
        self._loop, self._clocked = value["loop"], value["clock"]
        self._also_heard = [topic for topic in value["also_heard"] if topic]
        self._topics = {topic for topic in value["topics"] if topic}
        if value["player"] not in ("own", "ros2", "auto"):
            raise ValueError(f"unknown player '{value['player']}': choose own, ros2 or auto")
        self._by_ros2 = value["player"] == "ros2" or (value["player"] == "auto" and _has_ros2_bag())
        self._clock_publisher = (
            self.create_publisher(Clock, "/clock", 10) if self._clocked and not self._by_ros2 else None
        )
        self._last_tick = -1

    def play(self) -> int:
        """Play to the end. Returns the exit status."""
        with AnyReader([self._bag], default_typestore=typestore()) as reader:
            if not reader.is2:
                raise ValueError(f"{self._bag} is a ROS 1 bag: convert it by `rosbags-convert --src BAG --dst FOLDER`")
            connections = [c for c in reader.connections if not self._topics or c.topic in self._topics]
            there = {c.topic: c.msgtype for c in connections if c.msgcount}
            heard = {topic: self._listeners for topic, kind in there.items() if kind in IMAGES}
            heard |= dict.fromkeys(self._also_heard, 1)
            heard |= {topic: min(1, self._listeners) for topic, kind in there.items() if kind == INFO}
            if self._by_ros2:
                self._wait_for_listeners(heard, {})
                return self._play_with_ros2()
            publishers = {c.topic: self._publisher(c.topic, c.msgtype) for c in connections}
            self._wait_for_listeners(heard, publishers)
            count = 0
            while rclpy.ok():
                count += self._play_once(reader, connections, publishers)
                if not self._loop:
                    break
        for publisher in publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=5))
        self.get_logger().info(f"end of the recording: {count} messages")
        return 0

    def _play_once(self, reader: AnyReader, connections: list[Any], publishers: dict[str, Publisher]) -> int:
        first_ns, began, count = reader.start_time, time.monotonic(), 0
        for connection, stamp_ns, data in reader.messages(connections):
            due = began + (stamp_ns - first_ns) * 1e-9 / self._rate
            # Spinning lets discovery and parameter calls go on between messages.
            while (left := due - time.monotonic()) > 0:
                self._tick(stamp_ns - round(left * self._rate * 1e9))
                rclpy.spin_once(self, timeout_sec=min(left, _TICK_S) if self._clock_publisher else left)
            self._tick(stamp_ns)
            publishers[connection.topic].publish(bytes(data))
            count += 1
        return count

    def _tick(self, now_ns: int) -> None:
        if self._clock_publisher is not None and now_ns != self._last_tick:
            self._clock_publisher.publish(Clock(clock=Time(sec=now_ns // 10**9, nanosec=now_ns % 10**9)))
            self._last_tick = now_ns

    def _play_with_ros2(self) -> int:
        command = ["ros2", "bag", "play", str(self._bag), "--rate", str(self._rate), "--disable-keyboard-controls"]
        command += (["--clock"] if self._clocked else []) + (["--loop"] if self._loop else [])
        command += ["--topics", *sorted(self._topics)] if self._topics else []
        process = subprocess.Popen(command)
        try:
            while rclpy.ok() and process.poll() is None:
                rclpy.spin_once(self, timeout_sec=0.1)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        return process.wait()

    def _publisher(self, topic: str, kind: str) -> Publisher:
        latched = topic.endswith("tf_static")
        durability = QoSDurabilityPolicy.TRANSIENT_LOCAL if latched else QoSDurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=100 if latched else 10, durability=durability)
        return self.create_publisher(message_class(kind), topic, qos)

    def _wait_for_listeners(self, topics: dict[str, int], publishers: dict[str, Publisher]) -> None:
        """Until so many listen to each topic, and our own publishers know it: what is sent before that is lost."""

        def listeners(topic: str) -> int:
            return publishers[topic].get_subscription_count() if topic in publishers else self.count_subscribers(topic)

        deadline, patient_until = time.monotonic() + _WAIT_S, time.monotonic() + _PATIENT_S
        while any(listeners(topic) < count for topic, count in topics.items()):
            if time.monotonic() > patient_until:
                patient_until = math.inf
                lacking = ", ".join(topic for topic, count in topics.items() if listeners(topic) < count)
                self.get_logger().info(f"waiting for somebody who listens to {lacking}, at most a minute")
            if time.monotonic() > deadline:
                self.get_logger().warning("nobody listens: playing anyway")
                return
            rclpy.spin_once(self, timeout_sec=0.05)


def message_class(name: str) -> type:
    """The class of a type name such as `sensor_msgs/msg/Image`."""
    package, kind, message = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), message)


def _has_ros2_bag() -> bool:
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError:
        return False
    return shutil.which("ros2") is not None


def main() -> int:
    """Entry point of the executable `bag_player`."""
    arguments = remove_ros_args(sys.argv)
    if len(arguments) != 2 or not Path(arguments[1]).exists():
        parameters = " ".join(f"-p {name}:={entry.default}" for name, entry in TABLE.items() if name != "topics")
        print(f"usage: bag_player BAG [--ros-args {parameters}]; BAG is a rosbag2 folder", file=sys.stderr)
        return 2
    return run("bag_player", lambda: BagPlayer(Path(arguments[1])).play())


if __name__ == "__main__":
    sys.exit(main())
