"""Regions and depth on the running node: each topic does what the parameter of its name promises."""

import numpy as np
import pytest
import ros_messages as messages
from helpers import wait
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, RegionOfInterest

from lie_picard import PoseEstimator
from lie_picard.node.pipeline import Frame, Pipeline
from lie_picard_pose import parameters
from lie_picard_pose.conversions import WRITER, to_rgb

DEFAULTS = {name: entry.default for name, entry in parameters.TABLE.items()}
ELSEWHERE = [200.0, 150.0, 60.0, 60.0]  # where the object is not


@pytest.fixture(scope="module")
def cube():
    return messages.placed("cube", seed=6, position=(-0.03, 0.02, 1.0))


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(PoseEstimator.from_checkpoint("default", "cpu"), WRITER)


def image_like(pixels, encoding, header):
    message = Image(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=pixels[0].nbytes, header=header
    )
    message.data.frombytes(np.ascontiguousarray(pixels).tobytes())
    return message


def start(pose_node, bench, **changes):
    """The node, looking for the cube in the wrong place unless a topic tells it better."""
    pose_node(objects="[cube]", diameters=f"[{messages.DIAMETER}]", regions=str(ELSEWHERE), **changes)
    bench.connect()


def asked(bench, cube, publishers, companions):
    """What the node answers to an image with its companions."""
    image, info = messages.image(cube), messages.camera_info()
    for publisher in publishers:
        wait(bench.node, lambda p=publisher: p.get_subscription_count(), message="the node's subscription")

    def until():
        for publisher, message in zip(publishers, companions, strict=True):
            publisher.publish(message)
        return bench.hypotheses

    bench.ask(image, info, until=until)
    return bench.hypotheses[0]


def same(online, offline):
    np.testing.assert_allclose(online.sample_quaternions, offline.sample_quaternions, atol=1e-3)
    ours, theirs = online.best.pose.position, offline.best.pose.position
    assert (ours.x, ours.y, ours.z) == pytest.approx((theirs.x, theirs.y, theirs.z), abs=1e-6)


def settings(**changes):
    values = {"objects": ["cube"], "diameters": [messages.DIAMETER], "regions": ELSEWHERE}
    return parameters.settings_of(DEFAULTS | values | changes)


def test_a_mask_says_where_the_object_is(pose_node, bench, cube, pipeline):
    start(pose_node, bench, regions_from="mask")
    image = messages.image(cube)
    mask = image_like((to_rgb(image)[..., 0] > 30).astype(np.uint8), "mono8", image.header)
    mask.header.stamp.nanosec += 5_000_000  # within sync_tolerance
    publisher = bench.node.create_publisher(Image, f"{bench.prefix}mask", QoSProfile(depth=5))
    online = asked(bench, cube, [publisher], [mask])
    offline = pipeline(Frame(image, messages.camera_info(), mask), settings(regions_from="mask"), follow=False)
    same(online, offline.messages[0])
    p = online.best.pose.position
    assert np.linalg.norm(np.array([p.x, p.y]) - cube.position[:2]) < 0.01


def test_a_region_topic_says_where_the_object_is(pose_node, bench, cube, pipeline):
    start(pose_node, bench, regions_from="topics")
    box = cube.region(messages.CAMERA)
    roi = RegionOfInterest(
        x_offset=round(box.x), y_offset=round(box.y), width=round(box.width), height=round(box.height)
    )
    publisher = bench.node.create_publisher(RegionOfInterest, f"{bench.prefix}region/cube", QoSProfile(depth=5))
    wait(bench.node, lambda: publisher.get_subscription_count())
    image, info = messages.image(cube), messages.camera_info()
    placed = []

    def until():
        publisher.publish(roi)
        placed.extend(m for m in bench.hypotheses if abs(m.best.pose.position.x - cube.position[0]) < 0.01)
        return placed

    bench.ask(image, info, until=until)  # the first answers may come before the region
    offline = pipeline(Frame(image, info, {"cube": roi}), settings(regions_from="topics"), follow=False)
    same(placed[0], offline.messages[0])


def test_a_depth_image_gives_the_range_where_the_region_is_too_large(pose_node, bench, cube):
    box = cube.region(messages.CAMERA)
    grown = [box.x - 0.075 * box.width, box.y - 0.075 * box.height, 1.15 * box.width, 1.15 * box.height]
    pose_node(objects="[cube]", diameters=f"[{messages.DIAMETER}]", regions=str([float(v) for v in grown]), depth=True)
    bench.connect()
    depth = image_like(messages.depth(cube), "32FC1", messages.image(cube).header)
    publisher = bench.node.create_publisher(Image, f"{bench.prefix}depth", QoSProfile(depth=5))
    online = asked(bench, cube, [publisher], [depth])
    p = online.best.pose.position
    away = np.linalg.norm(np.array([p.x, p.y, p.z]) - cube.position)
    assert away < 0.01 * np.linalg.norm(cube.position)


def test_detections_say_where_the_object_is(pose_node, bench, cube):
    kind = parameters.detection_type()
    if kind is None:
        pytest.skip("vision_msgs is not installed: apt install ros-$ROS_DISTRO-vision-msgs")
    from vision_msgs.msg import Detection2D, ObjectHypothesisWithPose

    start(pose_node, bench, regions_from="detections")
    image = messages.image(cube)
    rows, columns = np.nonzero(to_rgb(image)[..., 0] > 30)
    detection = Detection2D(header=image.header)
    detection.bbox.center.position.x = float(columns.min() + columns.max() + 1) / 2
    detection.bbox.center.position.y = float(rows.min() + rows.max() + 1) / 2
    detection.bbox.size_x, detection.bbox.size_y = float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)
    seen = ObjectHypothesisWithPose()
    seen.hypothesis.class_id, seen.hypothesis.score = "cube", 0.9
    detection.results.append(seen)
    publisher = bench.node.create_publisher(kind, f"{bench.prefix}detections", QoSProfile(depth=5))
    online = asked(bench, cube, [publisher], [kind(header=image.header, detections=[detection])])
    p = online.best.pose.position
    assert np.linalg.norm(np.array([p.x, p.y]) - cube.position[:2]) < 0.01


def test_what_never_comes_is_named(pose_node, bench, cube):
    process = pose_node(objects="[cube]", diameters=f"[{messages.DIAMETER}]", regions=str(ELSEWHERE), depth=True)
    bench.connect()
    image, info = messages.image(cube), messages.camera_info()
    bench.ask(image, info, until=lambda: "nothing on '/depth' yet" in process.output)
    assert not bench.hypotheses
