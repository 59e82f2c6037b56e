"""TF output: tf2_ros where it is installed, the same message on /tf elsewhere (tf2_ros is not on PyPI)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions


class Broadcaster(Protocol):
    """What the node needs of a broadcaster."""

    def sendTransform(self, transform: Sequence[TransformStamped]) -> None:  # noqa: N802 (tf2_ros's name)
        """Publish transforms in one message."""

    def close(self) -> None:
        """End the publisher."""


class _PlainBroadcaster:
    """`tf2_msgs/TFMessage` on /tf with tf2_ros's quality of service."""

    def __init__(self, node: Node) -> None:
        from tf2_msgs.msg import TFMessage

        self._node, self._message = node, TFMessage
        overrides = QoSOverridingOptions.with_default_policies()
        self._publisher = node.create_publisher(
            TFMessage, "/tf", QoSProfile(depth=100), qos_overriding_options=overrides
        )

    def sendTransform(self, transform: Sequence[TransformStamped]) -> None:  # noqa: N802
        self._publisher.publish(self._message(transforms=list(transform)))

    def close(self) -> None:
        self._node.destroy_publisher(self._publisher)


class _Tf2Broadcaster:
    """tf2_ros's own, which has no end of its own."""

    def __init__(self, node: Node, broadcaster: Any) -> None:
        self._node, self._broadcaster = node, broadcaster

    def sendTransform(self, transform: Sequence[TransformStamped]) -> None:  # noqa: N802
        self._broadcaster.sendTransform(list(transform))

    def close(self) -> None:
        self._node.destroy_publisher(self._broadcaster.pub_tf)


def make_broadcaster(node: Node) -> Broadcaster:
    """The best broadcaster that this installation has."""
    try:
        from tf2_ros import TransformBroadcaster
    except ImportError:
        return _PlainBroadcaster(node)
    return _Tf2Broadcaster(node, TransformBroadcaster(node))
