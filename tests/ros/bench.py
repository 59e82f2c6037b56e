"""What the tests of the running node share: publishers towards it, a collection of what it sends, its services."""

from __future__ import annotations

import time

import rclpy
import ros_messages as messages
from geometry_msgs.msg import PoseArray
from helpers import wait
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from lie_picard_msgs.msg import PoseHypothesisArray


class Bench:
    """Publishers towards the node and a collection of what it sends."""

    def __init__(self, node, prefix=""):
        self.node, self.prefix = node, prefix
        qos = QoSProfile(depth=10)
        self.image = node.create_publisher(Image, f"{prefix}image", qos)
        self.info = node.create_publisher(CameraInfo, f"{prefix}camera_info", qos)
        self.received = {PoseHypothesisArray: [], PoseArray: [], MarkerArray: [], TFMessage: []}
        topics = {PoseHypothesisArray: "pose_node/hypotheses", PoseArray: "pose_node/poses",
                  MarkerArray: "pose_node/markers", TFMessage: "/tf"}  # fmt: skip
        for kind, topic in topics.items():
            topic = topic if topic.startswith("/") else prefix + topic
            node.create_subscription(kind, topic, self.received[kind].append, QoSProfile(depth=50))

    @property
    def hypotheses(self):
        """Messages so far."""
        return self.received[PoseHypothesisArray]

    def connect(self):
        """Wait until the node hears us and we hear it."""
        count, topic = self.node.count_publishers, f"{self.prefix}pose_node/hypotheses"
        wait(self.node, lambda: self.info.get_subscription_count() and count(topic) and count("/tf"))

    def send(self, image, info):
        """One image with its calibration."""
        self.info.publish(info)
        self.image.publish(image)

    def ask(self, image, info, until=None, timeout=30.0):
        """Send a frame, again and again (inputs are best effort), until the condition holds."""
        until = until or (lambda: self.hypotheses and self.received[TFMessage])
        deadline = time.monotonic() + timeout
        while not until():
            assert time.monotonic() < deadline, "the node does not answer"
            self.send(image, info)
            next_try = time.monotonic() + 0.5
            while time.monotonic() < next_try and not until():
                rclpy.spin_once(self.node, timeout_sec=0.05)

    def call(self, kind, name, **request):
        """Call a service of the pose node."""
        client = self.node.create_client(kind, f"{self.prefix}pose_node/{name}")
        assert client.wait_for_service(10)
        future = client.call_async(kind.Request(**request))
        wait(self.node, future.done, message=name)
        self.node.destroy_client(client)
        return future.result()

    def set_together(self, changes):
        """Set several parameters at once, all or none; the node's answer."""
        changed = [Parameter(name=name, value=value) for name, value in changes]
        return self.call(SetParametersAtomically, "set_parameters_atomically", parameters=changed).result


def start_with(pose_node, bench, placed, **parameters):
    """The pose node, looking for one solid, connected."""
    process = pose_node(
        objects=f"[{placed.name}]", diameters=f"[{messages.DIAMETER}]", regions=messages.regions(placed), **parameters
    )
    bench.connect()
    return process


def set_parameter(bench, name, value):
    """The node's answer to one parameter's change."""
    return bench.call(SetParameters, "set_parameters", parameters=[Parameter(name=name, value=value)]).results[0]


def text(value):
    """A string as a parameter's value."""
    return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)


def integer(value):
    """An integer as a parameter's value."""
    return ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value)


def floating(value):
    """A float as a parameter's value."""
    return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
