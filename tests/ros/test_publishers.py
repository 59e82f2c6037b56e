"""Inputs take what the publishers offer: latched, once, seldom, reliable or not, before the node or after it."""

import pytest
import ros_messages as messages
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from helpers import wait
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from lie_picard_msgs.msg import PoseHypothesisArray

CUBE = messages.placed("cube")
QUICK = {"samples": 4, "steps": 5}
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


def start(pose_node, **parameters):
    return pose_node(
        objects="[cube]", diameters=f"[{messages.DIAMETER}]", regions=messages.regions(CUBE), **(QUICK | parameters)
    )


@pytest.fixture
def answers(node):
    found = []
    node.create_subscription(PoseHypothesisArray, "pose_node/hypotheses", found.append, QoSProfile(depth=50))
    return found


@pytest.fixture
def statuses(node):
    """The last status of each name."""
    found = {}
    node.create_subscription(
        DiagnosticArray, "/diagnostics", lambda m: found.update({s.name: s for s in m.status}), QoSProfile(depth=10)
    )
    return found


def send_until(node, publisher, condition):
    def sent():
        publisher.publish(messages.image(CUBE))
        return condition()

    wait(node, sent)


@pytest.mark.parametrize("first", ["camera", "node"])
def test_a_calibration_that_is_latched_and_published_once_is_received(pose_node, node, answers, first):
    if first == "node":
        start(pose_node)
    latched = node.create_publisher(CameraInfo, "camera_info", LATCHED)
    latched.publish(messages.camera_info())
    if first == "camera":
        start(pose_node)
    send_until(node, node.create_publisher(Image, "image", QoSProfile(depth=5)), lambda: answers)


def test_durability_can_be_overridden(pose_node, node, answers):
    start(pose_node, **{"qos_overrides./camera_info.subscription.durability": "transient_local"})
    latched = node.create_publisher(CameraInfo, "camera_info", LATCHED)
    latched.publish(messages.camera_info())
    send_until(node, node.create_publisher(Image, "image", QoSProfile(depth=5)), lambda: answers)


@pytest.mark.parametrize("profile", [QoSProfile(depth=5), BEST_EFFORT], ids=["reliable", "best effort"])
def test_reliability_follows_the_publisher_that_comes_later_and_the_one_after_it(pose_node, node, statuses, profile):
    start(pose_node)
    name = "reliable" if profile.reliability == QoSReliabilityPolicy.RELIABLE else "best effort"
    quality = lambda: {p.key: p.value for p in statuses["pose_node: transport"].values}.get("'/image'")  # noqa: E731
    wait(node, lambda: "pose_node: transport" in statuses)
    other = BEST_EFFORT if name == "reliable" else QoSProfile(depth=5)
    for one, expected in ((profile, name), (other, {"reliable": "best effort"}.get(name, "reliable"))):
        publisher = node.create_publisher(Image, "image", one)
        wait(node, lambda: quality() == expected)  # noqa: B023
        wait(node, lambda: node.count_subscribers("image") == 1)
        node.destroy_publisher(publisher)
        wait(node, lambda: not node.count_publishers("image"))


def test_images_that_get_lost_are_shown_with_a_remedy(pose_node, node, bench, statuses):
    """Every second image of a camera whose calibrations all come."""
    start(pose_node)
    bench.connect()
    sent = iter(range(1, 10**6))

    def lossy():
        k = next(sent)
        info, image = messages.camera_info(), messages.image(CUBE, stamp=(10, k * 1_000_000))
        info.header.stamp = image.header.stamp
        bench.info.publish(info)
        if k % 2:
            bench.image.publish(image)
        status = statuses.get("pose_node: transport")
        return status and status.level == DiagnosticStatus.WARN

    wait(node, lossy)
    status = statuses["pose_node: transport"]
    assert "lost on the way" in status.message and "transport: compressed" in status.message
    lost = float({p.key: p.value for p in status.values}["lost in transport [%]"])
    assert lost == pytest.approx(50, abs=15)
    wait(node, lambda: statuses["pose_node"].level == DiagnosticStatus.WARN)
