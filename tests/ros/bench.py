"""What the tests of the running node share: publishers towards it, a collection of what it sends, its services."""

from __future__ import annotations

import time

import rclpy
import ros_messages as messages
from geometry_msgs.msg import PoseArray
from helpers import PATIENCE_S, wait
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from lie_picard_msgs.msg import PoseHypothesisArray

_ANSWER_S = 20.0  # then an answer counts as lost
_STATES = "unconfigured", "inactive", "active", "finalized"


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

    def ask(self, image, info, until=None, timeout=PATIENCE_S):
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
        """Call a service of the pose node, again where no answer comes: what it does twice is as done once."""
        client = self._client(kind, name)
        deadline = time.monotonic() + PATIENCE_S
        while (answer := self._answer(client, kind.Request(**request))) is None:
            assert time.monotonic() < deadline, f"{name} answered nothing in {PATIENCE_S} s"
        self.node.destroy_client(client)
        return answer

    def change_state(self, number):
        """Ask for a lifecycle transition; whether it was done. Where no answer comes, the state tells."""
        client = self._client(ChangeState, "change_state")
        before, deadline = self.state(), time.monotonic() + PATIENCE_S
        while True:
            answer = self._answer(client, ChangeState.Request(transition=Transition(id=number)))
            if answer is not None or self.state() != before:
                self.node.destroy_client(client)
                return True if answer is None else answer.success
            assert time.monotonic() < deadline, f"transition {number} was not answered in {PATIENCE_S} s"

    def state(self):
        """The node's lifecycle state; transitions are waited for."""
        while (label := self.call(GetState, "get_state").current_state.label) not in _STATES:
            time.sleep(0.05)
        return label

    def _client(self, kind, name):
        client = self.node.create_client(kind, f"{self.prefix}pose_node/{name}")
        assert client.wait_for_service(PATIENCE_S)
        return client

    def _answer(self, client, request):
        """The answer to one request; None where it is lost.

        The middleware drops an answer that it has no reader for: on a busy machine a service may be asked before the
        server has found the client that asks.
        """
        future, deadline = client.call_async(request), time.monotonic() + _ANSWER_S
        while not future.done() and time.monotonic() < deadline:
            rclpy.spin_once(self.node, timeout_sec=0.05)
        if future.done():
            return future.result()
        client.remove_pending_request(future)
        return None

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
