"""An example client: which grasp to execute, given all hypotheses of an object's pose.

Read this file to write your own. A planner that takes the best pose alone bets on one of several poses that look the
same. This one asks of every grasp how likely it succeeds over all of them, and publishes the likeliest:

    subscribes  hypotheses  (PoseHypothesisArray)  remap it to the pose node's ~/hypotheses
                objects     (ObjectInfoArray)      with `object_symmetry`; remap it to the pose node's ~/objects
    publishes   ~/grasp     (Grasp)                gripper pose in the camera frame, and its success probability

What a message means. Each hypothesis has a weight, a pose camera_from_object, and a covariance that holds for this mode
alone: about the fixed axes of the header's frame, rotation variances -1 where unknown. The weights sum to 1. A message
without hypotheses says that the object is lost. `best` is the one pose that is followed from image to image: for
display, not for decisions.

What a grasp is. A gripper pose at the object (z: approach, x: closing line of the jaws, origin between the fingertips),
how far the gripper may be off, and how often it holds within that: see `lie_picard.grasps` and config/grasps.yaml. Of a
part of one's own grasps may be given in the frame of the mesh's file (`grasp_origin`), and each once: `object_symmetry`
turns it by all that leaves the part as it looks.

    ros2 run lie_picard_pose grasp_planner --ros-args --params-file grasps.yaml -r hypotheses:=/pose_node/hypotheses
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from geometry_msgs.msg import Pose, PoseWithCovariance
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from torch import Tensor

from lie_picard import grasps, so3
from lie_picard.geometry.symmetry import SymmetryError
from lie_picard.messages.read import rotation_of, symmetry_of
from lie_picard_msgs.msg import Grasp, ObjectInfoArray, PoseHypothesisArray
from lie_picard_pose.conversions import WRITER
from lie_picard_pose.parameters import Entry, declare
from lie_picard_pose.running import run, spin

_REPEAT_S = 5.0  # a complaint that repeats every message is logged this often
_TURNS = 3600


# Defaults are repeated in config/grasps.yaml; a test keeps the two equal.
TABLE = {
    "object_id": Entry("cyl", "Object to grasp, as in the hypotheses."),
    "grasp_origin": Entry(
        [0.0, 0.0, 0.0],
        "Origin of the frame of grasp_poses and axis, in the object's frame [m]: of a mesh file's frame, "
        "`origin` in object.toml.",
    ),
    "object_symmetry": Entry(
        False, "Whether each grasp works alike after every turn that leaves the object as it looks, as `objects` says."
    ),
    "axis": Entry([0.0, 0.0, 1.0], "Direction of the axis for grasp_turns."),
    "axis_offset": Entry([0.0, 0.0, 0.0], "A point of this axis [m]."),
    "grasp_ids": Entry(["label", "side"], "Name of each grasp; names may repeat."),
    "grasp_poses": Entry(
        [-0.024, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, -0.5, -0.5, 0.5, 0.5],
        "object_from_gripper of each grasp: x, y, z [m], qx, qy, qz, qw; z approaches, x closes.",
    ),
    "grasp_tolerances": Entry(
        [0.35, math.pi, 0.01, 0.3, 0.3, 0.008],
        "Of each grasp: tilt of the approach [rad], turn about it [rad; 3.1416: any], displacement [m].",
    ),
    "grasp_qualities": Entry([0.95, 0.85], "Of each grasp: probability that it holds within its tolerances."),
    "grasp_turns": Entry([1, 36], "At how many equal turns about `axis` each grasp works alike; 36 stand for any."),
    "gripper_symmetry": Entry(2, "Turns about its approach that leave the gripper alike: 2 for parallel jaws.", 1, 360),
    "max_approach_angle": Entry(1.2, "Largest angle of the approach to the camera's optical axis [rad].", 0.0, math.pi),
    "unknown_sigma": Entry(
        grasps.UNKNOWN_SIGMA, "Standard deviation [rad] of a hypothesis whose rotation covariance is unknown.", 0.0, 1.0
    ),
    "least_probability": Entry(0.5, "Nothing is published where the best grasp succeeds less often.", 0.0, 1.0),
}


def _overridable() -> dict[str, Any]:
    """Users may change an endpoint's quality of service by parameters: qos_overrides.<topic>...."""
    return {"qos_overriding_options": QoSOverridingOptions.with_default_policies()}


class GraspPlanner(Node):
    """Answers every array of hypotheses of its object with at most one grasp."""

    def __init__(self) -> None:
        super().__init__("grasp_planner")
        declare(self, {name: replace(entry, read_only=True) for name, entry in TABLE.items()})
        self._values = {name: self.get_parameter(name).value for name in TABLE}
        self._given = grasps_of(self._values)
        self._grasps = None if self._values["object_symmetry"] else self._given
        # Reliable, as the pose node's results are. Objects share the topic: a depth of 1 would lose ours to another's.
        self._publisher = self.create_publisher(Grasp, "~/grasp", QoSProfile(depth=10), **_overridable())
        heard = QoSProfile(depth=10)
        self.create_subscription(PoseHypothesisArray, "hypotheses", self._on_hypotheses, heard, **_overridable())
        if self._grasps is None:
            latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
            self.create_subscription(ObjectInfoArray, "objects", self._on_objects, latched, **_overridable())
        topic, name = self.resolve_topic_name("hypotheses"), self._values["object_id"]
        self.get_logger().info(f"waiting for hypotheses of '{name}' on {topic}")

    def _on_objects(self, message: ObjectInfoArray) -> None:
        for info in message.objects:
            if info.object_id == self._values["object_id"]:
                try:
                    self._grasps = grasps.symmetric(self._given, symmetry_of(info))
                except SymmetryError as error:
                    self._grasps = self._given
                    self._complain(f"the symmetries of '{info.object_id}' are left out: {error}")

    def _on_hypotheses(self, message: PoseHypothesisArray) -> None:
        name = self._values["object_id"]
        if message.object_id != name:
            return
        if self._grasps is None:
            topic = self.resolve_topic_name("objects")
            self._say(f"no grasp: object_symmetry is true, and {topic} has not told of '{name}'; remap it to ~/objects")
            return
        if not message.hypotheses:
            self._say(f"no grasp: '{name}' is lost")
            return
        try:
            planned = plan(message, self._grasps, self._values["max_approach_angle"], self._values["unknown_sigma"])
        except ValueError as error:
            self._complain(f"hypotheses of '{name}' are left out: {error}")
            return
        least = self._values["least_probability"]
        if planned is None:
            self._say(f"no grasp of '{name}' is reachable within max_approach_angle")
        elif planned.success_probability < least:
            found = f"the best, '{planned.grasp_id}', succeeds with {planned.success_probability:.2f}"
            self._say(f"no grasp of '{name}': {found}, below least_probability {least:.2f}")
        else:
            self._publisher.publish(planned)

    # rclpy throttles by the line that logs.
    def _say(self, text: str) -> None:
        self.get_logger().info(text, throttle_duration_sec=_REPEAT_S)

    def _complain(self, text: str) -> None:
        self.get_logger().error(text, throttle_duration_sec=_REPEAT_S)


def plan(
    message: PoseHypothesisArray, known: list[grasps.Grasp], max_approach: float, unknown_sigma: float
) -> Grasp | None:
    """The message's answer; None where no grasp is reachable. All the planner does besides ROS.

    Raises:
        ValueError: the message holds what cannot be hypotheses.
    """
    weights = [hypothesis.weight for hypothesis in message.hypotheses]
    posterior = posterior_of(weights, [hypothesis.pose for hypothesis in message.hypotheses], unknown_sigma)
    best = _transform(message.best.pose)
    choice = grasps.best_grasp(posterior, known, max_approach)
    if choice is None:
        return None
    naive = grasps.best_pose_grasp(best, posterior, known, max_approach)
    gripper = choice.camera_from_gripper.numpy()
    return Grasp(
        header=message.header,
        object_id=message.object_id,
        grasp_id=choice.grasp.grasp_id,
        pose=WRITER.pose_of(gripper[:3, :3], gripper[:3, 3]),
        success_probability=choice.probability,
        best_pose_probability=naive.probability if naive else 0.0,
    )


def posterior_of(weights: list[float], poses: list[PoseWithCovariance], unknown_sigma: float) -> grasps.Posterior:
    """Weighted poses as the core takes them.

    Raises:
        ValueError: numbers that are not finite, orientations or covariances that are none.
    """
    covariances = np.array([pose.covariance for pose in poses]).reshape(-1, 6, 6)
    unknown = covariances[:, range(3, 6), range(3, 6)].max(1) < 0
    covariances[unknown, 3:, :] = covariances[unknown, :, 3:] = 0
    covariances[unknown, 3:, 3:] = unknown_sigma**2 * np.eye(3)
    transforms = torch.stack([_transform(pose.pose) for pose in poses])
    return grasps.Posterior(torch.tensor(weights, dtype=torch.float64), transforms, torch.from_numpy(covariances))


def grasps_of(values: dict[str, Any]) -> list[grasps.Grasp]:
    """The grasps that the parameters describe.

    Raises:
        ValueError: one line that names the parameter and the remedy.
    """
    names = list(values["grasp_ids"])
    if not names or not all(names):
        raise ValueError("grasp_ids needs at least one name, and no empty one")
    columns = {"grasp_poses": 7, "grasp_tolerances": 3, "grasp_qualities": 1, "grasp_turns": 1, "axis": 3,
               "axis_offset": 3, "grasp_origin": 3}  # fmt: skip
    single = "axis", "axis_offset", "grasp_origin"
    table = {}
    for name, width in columns.items():
        rows = 1 if name in single else len(names)
        flat = torch.tensor([float(value) for value in values[name]], dtype=torch.float64)
        if len(flat) != rows * width:
            what = "needs 3 numbers" if name in single else f"needs {rows * width} numbers for {rows} grasps"
            raise ValueError(f"{name} {what}, got {len(flat)}")
        if not bool(flat.isfinite().all()):
            raise ValueError(f"{name} holds a number that is not finite")
        table[name] = flat.reshape(rows, width)
    axis, offset, origin = (table[name][0] for name in single)
    if float(axis.norm()) < 1e-6:
        raise ValueError("axis must not be zero")
    result: list[grasps.Grasp] = []
    for index, name in enumerate(names):
        x, y, z, qx, qy, qz, qw = table["grasp_poses"][index]
        quaternion = torch.stack([qw, qx, qy, qz])
        if abs(float(quaternion.norm()) - 1) > 0.01:
            raise ValueError(
                f"grasp '{name}': the quaternion in grasp_poses must have length 1, in the order x, y, z, w"
            )
        turns = int(table["grasp_turns"][index])
        if not 1 <= turns <= _TURNS:
            raise ValueError(f"grasp '{name}': grasp_turns must be from 1 to {_TURNS}, got {turns}")
        tilt, turn, distance = table["grasp_tolerances"][index].tolist()
        place = grasps.rigid(so3.from_quaternion(quaternion), torch.stack([x, y, z]) + origin)
        quality, jaws = float(table["grasp_qualities"][index]), values["gripper_symmetry"]
        grasp = grasps.Grasp(name, place, tilt, min(turn, math.pi), distance, quality, jaws)
        result += grasp.around(axis, turns, offset + origin)
    return result


def _transform(pose: Pose) -> Tensor:
    p, q = pose.position, pose.orientation
    if not abs(math.hypot(q.x, q.y, q.z, q.w) - 1) < 0.01:
        raise ValueError("a quaternion has not length 1")
    return grasps.rigid(torch.from_numpy(rotation_of(q)), torch.tensor([p.x, p.y, p.z], dtype=torch.float64))


def main() -> int:
    """Entry point of the executable `grasp_planner`. Returns the exit status: 1 where parameters do not fit."""
    return run("grasp_planner", lambda: spin(GraspPlanner()))


if __name__ == "__main__":
    sys.exit(main())
