"""The grasp planner as a process of its own, fed with hypotheses of a cylinder."""

import math
import signal
import time

import numpy as np
import pytest
import ros_messages as messages
import torch
import yaml
from geometry_msgs.msg import PoseWithCovariance
from helpers import PATIENCE_S, SHARE, patience, wait
from rcl_interfaces.srv import DescribeParameters
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from lie_picard.estimation.poses import Target
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.grasps import UNKNOWN_SIGMA
from lie_picard.messages.read import rotation_of, symmetry_of
from lie_picard.messages.write import flat_covariances
from lie_picard.posterior.covariance import pose_covariance
from lie_picard_msgs.msg import Grasp, ObjectInfoArray, PoseHypothesis, PoseHypothesisArray
from lie_picard_pose.conversions import WRITER
from lie_picard_pose.grasp_planner import TABLE, grasps_of, plan

DEFAULTS = {name: entry.default for name, entry in TABLE.items()}
LABEL_SEEN = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]])  # object x away from the camera, z across


def about_z(angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def hypotheses(angles, object_id="cyl", **changes):
    """A cylinder that lies across, at equally likely angles about its axis."""
    header = Header(frame_id=messages.FRAME)
    header.stamp.sec = 77
    found = []
    for mode_id, angle in enumerate(angles):
        rotation = LABEL_SEEN @ about_z(angle)
        covariance = flat_covariances(pose_covariance(0.001**2 * np.eye(3), 0.02**2 * np.eye(3)))
        pose = PoseWithCovariance(pose=WRITER.pose_of(rotation, np.array([0.05, 0.0, 0.8])), covariance=covariance)
        found.append(PoseHypothesis(mode_id=mode_id, weight=1 / len(angles), samples=4, pose=pose))
    message = PoseHypothesisArray(header=header, object_id=object_id, hypotheses=found, best=found[0].pose)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


CERTAIN, AXIAL = hypotheses([0.0]), hypotheses([k * math.pi / 6 for k in range(12)])


class Bench:
    """Sends hypotheses to the planner and collects its grasps."""

    def __init__(self, node, process):
        self.node, self.process, self.grasps = node, process, []
        self.publisher = node.create_publisher(PoseHypothesisArray, "hypotheses", QoSProfile(depth=10))
        node.create_subscription(Grasp, "grasp_planner/grasp", self.grasps.append, QoSProfile(depth=10))
        wait(node, lambda: self.publisher.get_subscription_count() and node.count_publishers("grasp_planner/grasp"))

    def ask(self, message, until=None):
        """Send a message and wait for its grasp, or for the condition."""
        self.grasps.clear()
        self.publisher.publish(message)
        wait(self.node, until or (lambda: self.grasps), message="the planner's answer")
        return self.grasps[-1] if self.grasps else None


@pytest.fixture
def planner(start, node):
    def begin(**parameters):
        arguments = [a for name, value in parameters.items() for a in ("-p", f"{name}:={value}")]
        file = SHARE / "config" / "grasps.yaml"
        return Bench(node, start("grasp_planner", "--ros-args", "--params-file", str(file), *arguments))

    return begin


def test_the_grasp_is_the_one_that_works_at_all_angles_and_carries_the_header(planner):
    bench = planner()
    grasp = bench.ask(AXIAL)
    assert grasp.header == AXIAL.header and grasp.object_id == "cyl" and grasp.grasp_id == "side"
    assert 0.75 < grasp.success_probability < 0.86
    assert grasp.best_pose_probability < 0.3
    assert rotation_of(grasp.pose.orientation)[2, 2] >= math.cos(DEFAULTS["max_approach_angle"]) - 1e-6
    assert grasp.pose.position.x == pytest.approx(0.05)
    certain = bench.ask(CERTAIN)
    assert certain.grasp_id == "label" and certain.success_probability == certain.best_pose_probability > 0.9
    offline = plan(AXIAL, grasps_of(DEFAULTS), DEFAULTS["max_approach_angle"], DEFAULTS["unknown_sigma"])
    assert offline == grasp


def test_a_grasp_that_is_not_worth_it_is_not_published(planner):
    bench = planner(least_probability=0.9)
    line = "no grasp of 'cyl': the best, 'side', succeeds with 0.8"
    for _ in range(3):
        bench.ask(AXIAL, until=lambda: line in bench.process.output)
    assert bench.ask(CERTAIN).grasp_id == "label"
    assert bench.process.output.count(line) == 1 and "least_probability 0.90" in bench.process.output


def nan_in(part):
    message = hypotheses([0.0, 1.0])
    if part == "weight":
        message.hypotheses[1].weight = math.nan
    elif part == "position":
        message.hypotheses[1].pose.pose.position.y = math.nan
    else:
        message.hypotheses[1].pose.covariance[7] = math.nan
    return message


def odd(**orientation):
    message = hypotheses([0.0])
    for name, value in orientation.items():
        setattr(message.hypotheses[0].pose.pose.orientation, name, value)
    return message


def indefinite():
    message = hypotheses([0.0])
    message.hypotheses[0].pose.covariance[1] = message.hypotheses[0].pose.covariance[6] = 1.0
    return message


BAD = {
    "weight is NaN": (nan_in("weight"), "not finite"),
    "position is NaN": (nan_in("position"), "not finite"),
    "covariance is NaN": (nan_in("covariance"), "not finite"),
    "quaternion is zero": (odd(x=0.0, y=0.0, z=0.0, w=0.0), "length 1"),
    "quaternion is NaN": (odd(x=math.nan), "length 1"),
    "weights exceed 1": (hypotheses([0.0], hypotheses=CERTAIN.hypotheses * 2), "sum to 1"),
    "covariance is indefinite": (indefinite(), "negative eigenvalues"),
    "object is lost": (hypotheses([0.0], hypotheses=[]), "'cyl' is lost"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_message_without_good_hypotheses_is_one_log_line(planner, case):
    bench = planner()
    message, line = BAD[case]
    for _ in range(3):
        bench.ask(message, until=lambda: line in bench.process.output)
    grasp = bench.ask(CERTAIN)
    assert grasp.grasp_id == "label" and len(bench.grasps) == 1
    assert bench.process.output.count(line) == 1 and "Traceback" not in bench.process.output


def test_other_objects_are_left_alone(planner):
    bench = planner()
    bench.publisher.publish(hypotheses([0.0], object_id="cube"))
    bench.ask(CERTAIN)
    assert len(bench.grasps) == 1 and bench.grasps[0].object_id == "cyl"


def test_an_unknown_covariance_is_taken_as_wide():
    known, unknown = hypotheses([0.0]), hypotheses([0.0])
    for k in (21, 28, 35):
        unknown.hypotheses[0].pose.covariance[k] = -1.0
    values = grasps_of(DEFAULTS | {"grasp_tolerances": [0.1, math.pi, 0.01, 0.1, 0.1, 0.008], "grasp_turns": [1, 1]})
    first, second = (plan(message, values, 1.2, UNKNOWN_SIGMA) for message in (known, unknown))
    assert second.success_probability < first.success_probability - 0.1
    assert plan(unknown, values, 1.2, 0.001).success_probability > 0.9


def test_grasps_of_a_files_frame_are_where_its_origin_says():
    """Shifting the frame in which grasps and axis are given, and the grasps with it, changes nothing."""
    values = DEFAULTS | {"axis_offset": [0.01, 0.0, 0.0], "grasp_turns": [1, 4]}
    origin = np.array([0.03, -0.02, 0.05])
    poses = np.array(values["grasp_poses"]).reshape(-1, 7)
    poses[:, :3] -= origin
    moved = values | {
        "grasp_origin": origin.tolist(),
        "axis_offset": (np.array(values["axis_offset"]) - origin).tolist(),
        "grasp_poses": poses.ravel().tolist(),
    }
    for one, other in zip(grasps_of(values), grasps_of(moved), strict=True):
        torch.testing.assert_close(one.object_from_gripper, other.object_from_gripper)


def test_of_a_symmetric_part_each_grasp_is_told_once(planner):
    """The part's own symmetry, about an axis beside its origin, turns the grasp: nothing before it is known."""
    turn = np.diag([-1.0, -1.0, 1.0])
    part = Symmetry.generated([turn], translations=[[0.04, 0.0, 0.0]])
    bench = planner(object_symmetry="true", grasp_turns="[1, 1]", object_id="part")
    certain = hypotheses([0.0], object_id="part")
    bench.ask(certain, until=lambda: "has not told of 'part'" in bench.process.output)
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    publisher = bench.node.create_publisher(ObjectInfoArray, "objects", latched)
    info = WRITER.object_info(Target("part", 0.08, None), "", part)
    assert np.allclose(symmetry_of(info).centre, part.centre)
    publisher.publish(ObjectInfoArray(objects=[info]))
    wait(bench.node, lambda: publisher.get_subscription_count())

    def answered():
        bench.publisher.publish(certain)
        return bool(bench.grasps)

    wait(bench.node, answered, message="a grasp")
    first = bench.grasps[-1]
    # The same part after the turn that leaves it as it looks: the same gripper pose is as good.
    turned = hypotheses([math.pi], object_id="part")
    pose = turned.hypotheses[0].pose.pose
    shift = rotation_of(certain.hypotheses[0].pose.pose.orientation) @ part.translations[1]
    pose.position.x, pose.position.y, pose.position.z = (
        float(a + b) for a, b in zip((pose.position.x, pose.position.y, pose.position.z), shift, strict=True)
    )
    turned.best = turned.hypotheses[0].pose
    second = bench.ask(turned)
    assert (
        first.success_probability == pytest.approx(second.success_probability, abs=0.05) and first.grasp_id == "label"
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"grasp_poses": "[1.0, 2.0]"}, "grasp_poses needs 14 numbers for 2 grasps, got 2"),
        ({"grasp_tolerances": "[2.0, 3.0, 0.01, 0.3, 0.3, 0.01]"}, "grasp 'label': tilt must be above 0 and at most"),
        ({"grasp_qualities": "[0.9, 1.5]"}, "grasp 'side': quality must be above 0 and at most 1"),
        ({"grasp_turns": "[1, 0]"}, "grasp_turns must be from 1"),
        ({"axis": "[0.0, 0.0, 0.0]"}, "axis must not be zero"),
        ({"grasp_qualities": "[1, 1]"}, "write whole numbers with a point"),
        ({"max_approach_angle": "7.0"}, "max_approach_angle"),
    ],
)
def test_parameters_that_do_not_fit_end_the_start_with_one_line(start, parameters, message):
    arguments = [a for name, value in parameters.items() for a in ("-p", f"{name}:={value}")]
    process = start("grasp_planner", "--ros-args", *arguments)
    assert process.popen.wait(60) == 1
    process.reader.join(10)
    assert message in process.output and "Traceback" not in process.output


def test_the_yaml_holds_every_parameter_with_its_default():
    stored = yaml.safe_load((SHARE / "config" / "grasps.yaml").read_text())["/**"]["ros__parameters"]
    assert stored.keys() == DEFAULTS.keys()
    for name, value in stored.items():
        assert value == (
            DEFAULTS[name] if isinstance(value, (str, bool)) or name == "grasp_ids" else pytest.approx(DEFAULTS[name])
        )


def test_parameters_are_described(planner):
    bench = planner()
    client = bench.node.create_client(DescribeParameters, "grasp_planner/describe_parameters")
    assert client.wait_for_service(PATIENCE_S)
    future = client.call_async(DescribeParameters.Request(names=list(TABLE)))
    wait(bench.node, future.done)
    for descriptor in future.result().descriptors:
        assert descriptor.description == TABLE[descriptor.name].description and descriptor.read_only
        assert len(descriptor.floating_point_range + descriptor.integer_range) == (
            TABLE[descriptor.name].low is not None
        )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_planner_cleanly(planner, stop):
    bench = planner()
    bench.ask(CERTAIN)
    begin = time.monotonic()
    assert bench.process.stop(stop) == 0
    assert time.monotonic() - begin < 2 * patience() and "Traceback" not in bench.process.output
