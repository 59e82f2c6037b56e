"""A small player for rosbag2 recordings where `ros2 bag play` is not installed: topics in their recorded rhythm.

Messages keep their recorded stamps. Playing starts when somebody listens to the images, and ends with the bag.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from rosbags.highlevel import AnyReader

from lie_picard_pose.running import run

_WAIT_S = 60.0


class DemoPlayer(Node):
    """Publishes every message of a recording once."""

    def __init__(self, bag: Path) -> None:
        super().__init__("demo_player")
        self._bag = bag
        self._rate = self.declare_parameter("rate", 1.0).value
        self._listeners = self.declare_parameter("listeners", 1).value

    def play(self) -> int:
        """Play to the end. Returns the number of messages published."""
        with AnyReader([self._bag]) as reader:
            publishers = {
                c.topic: self.create_publisher(_message_class(c.msgtype), c.topic, QoSProfile(depth=10))
                for c in reader.connections
            }
            images = [
                p for c in reader.connections if c.msgtype == "sensor_msgs/msg/Image" for p in [publishers[c.topic]]
            ]
            self._wait_for_listeners(images or list(publishers.values()))
            first_ns, began, count = reader.start_time, time.monotonic(), 0
            for connection, stamp_ns, data in reader.messages():
                due = began + (stamp_ns - first_ns) * 1e-9 / self._rate
                # Spinning lets discovery and parameter calls go on between messages.
                while (left := due - time.monotonic()) > 0:
                    rclpy.spin_once(self, timeout_sec=left)
                publishers[connection.topic].publish(bytes(data))
                count += 1
            return count

    def _wait_for_listeners(self, publishers: list[Publisher]) -> None:
        deadline = time.monotonic() + _WAIT_S
        while min(p.get_subscription_count() for p in publishers) < self._listeners:
            if time.monotonic() > deadline:
                self.get_logger().warning("nobody listens: playing anyway")
                return
            rclpy.spin_once(self, timeout_sec=0.05)


def _message_class(name: str) -> type:
    """The class of a type name such as `sensor_msgs/msg/Image`."""
    package, kind, message = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), message)


def main() -> int:
    """Entry point of the executable `demo_player`."""
    arguments = remove_ros_args(sys.argv)
    if len(arguments) != 2 or not Path(arguments[1]).exists():
        print(
            "usage: demo_player BAG [--ros-args -p rate:=1.0 -p listeners:=1]; BAG is a rosbag2 folder", file=sys.stderr
        )
        return 2

    def play() -> int:
        player = DemoPlayer(Path(arguments[1]))
        count = player.play()
        player.get_logger().info(f"end of the recording: {count} messages")
        return 0

    return run("demo_player", play)


if __name__ == "__main__":
    sys.exit(main())
