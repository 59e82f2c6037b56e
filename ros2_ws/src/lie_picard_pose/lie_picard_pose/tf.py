"""TF output: tf2_ros where it is installed, the same message on /tf elsewhere (tf2_ros is not on PyPI)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile


class Broadcaster(Protocol):
    """What the node needs of `tf2_ros.TransformBroadcaster`."""

    def sendTransform(self, transform: Sequence[TransformStamped]) -> None:  # noqa: N802 (tf2_ros's name)
        """Publish transforms in one message."""


class _PlainBroadcaster:
    """`tf2_msgs/TFMessage` on /tf with tf2_ros's quality of service."""

    def __init__(self, node: Node) -> None:
        from tf2_msgs.msg import TFMessage

        self._message = TFMessage
        self._publisher = node.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))

    def sendTransform(self, transform: Sequence[TransformStamped]) -> None:  # noqa: N802
        self._publisher.publish(self._message(transforms=list(transform)))


def make_broadcaster(node: Node) -> Broadcaster:
    """The best broadcaster that this installation has."""
    try:
        from tf2_ros import TransformBroadcaster
    except ImportError:
        return _PlainBroadcaster(node)
    return TransformBroadcaster(node)
