"""From the core's results to messages: hypotheses, poses and transforms.

A `Writer` makes them of whatever message classes it is given: a node's, or those of a recording
(`recording.message_types`).
"""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import transforms3d
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.estimation.following import FOLLOWED, GIVEN, LOCATED, LOST
from lie_picard.estimation.motion import Predicted
from lie_picard.estimation.poses import ObjectPoses, Target
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.messages.read import AMBIGUITIES, nanoseconds_of
from lie_picard.posterior import arrays
from lie_picard.posterior.hypotheses import Ambiguity
from lie_picard.posterior.tracking import Tracked
from lie_picard.sampling import SamplerOptions

Array = NDArray[np.float64]

UNKNOWN = -1.0
STATES = {GIVEN: 0, LOCATED: 1, FOLLOWED: 2, LOST: 3}  # of PoseHypothesisArray


def flat_covariances(covariances: Array) -> Array:
    """Row-major 6 x 6 as messages have them: an unknown rotation (NaN) becomes -1 on its diagonal, 0 elsewhere.

    (..., 6, 6) of `Mode.pose_covariance` -> (..., 36).
    """
    known = np.isfinite(covariances)
    return np.where(known, covariances, UNKNOWN * np.eye(6)).reshape(*covariances.shape[:-2], 36)


def flat_quaternions(rotations: Tensor) -> array.array[float]:
    """(N, 3, 3) -> x, y, z, w, x, y, z, w, ... An array: rclpy checks every number of a list."""
    return array.array("f", arrays.quaternions(rotations.double().numpy()).astype(np.float32).tobytes())


def flat_positions(positions: Array) -> array.array[float]:
    """(N, 3) metres -> x, y, z, x, y, z, ..."""
    return array.array("f", positions.astype(np.float32).tobytes())


class Writer:
    """Makes messages of the classes `types.Point`, `types.PoseHypothesisArray`, and so on."""

    def __init__(self, types: Any) -> None:
        self.types = types

    def quaternion_of(self, rotation: Array) -> Any:
        """(3, 3) -> ROS quaternion (x, y, z, w); transforms3d gives w first."""
        w, x, y, z = transforms3d.quaternions.mat2quat(rotation)
        return self.types.Quaternion(x=float(x), y=float(y), z=float(z), w=float(w))

    def quaternions_of(self, rotations: Array) -> list[Any]:
        """(M, 3, 3) -> M ROS quaternions."""
        return [self.types.Quaternion(x=x, y=y, z=z, w=w) for x, y, z, w in arrays.quaternions(rotations).tolist()]

    def point_of(self, position: Array) -> Any:
        """(3,) metres -> Point."""
        return self.types.Point(x=float(position[0]), y=float(position[1]), z=float(position[2]))

    def pose_of(self, rotation: Array, position: Array) -> Any:
        """Rotation (3, 3) and position (3,) in metres -> Pose."""
        return self.types.Pose(position=self.point_of(position), orientation=self.quaternion_of(rotation))

    def transform_of(self, pose: Any) -> Any:
        """The transform that places a child frame at a pose."""
        p = pose.position
        return self.types.Transform(translation=self.types.Vector3(x=p.x, y=p.y, z=p.z), rotation=pose.orientation)

    def transform_stamped(self, header: Any, child: str, pose: Any) -> Any:
        """The same with its frames, the header's the parent."""
        return self.types.TransformStamped(header=header, child_frame_id=child, transform=self.transform_of(pose))

    def hypothesis_array(
        self, header: Any, poses: ObjectPoses, tracked: Tracked | None, options: SamplerOptions
    ) -> Any:
        """One object's hypotheses, with the image's header; none of them where it is lost (`tracked` None)."""
        found = poses.hypotheses
        message = self.types.PoseHypothesisArray(
            header=header, object_id=poses.object_id, ambiguity=AMBIGUITIES[found.ambiguity], presence=found.presence
        )
        message.statistics = self.types.SamplerStatistics(
            method=found.method,
            integrator=options.steps_of,
            steps=options.steps,
            rounds=found.rounds,
            evaluations=float(found.evaluations),
            inefficiency=float(found.inefficiency),
            converged=found.converged,
        )
        if tracked is None:
            message.ambiguity, message.state = AMBIGUITIES[Ambiguity.UNRESOLVED], STATES[LOST]
            message.location_score = math.nan
            return message
        message.state, message.location_score = STATES[poses.state], poses.score
        if poses.region is not None:
            box = poses.region.x, poses.region.y, poses.region.width, poses.region.height
            message.region = np.array(box, np.float32)
        if found.axis is not None:
            message.symmetry_axis = self.vector_of(found.axis.tolist())
        # All at once, the followed pose last: one by one the modes would take longer than the encoder.
        followed = (tracked.best, *poses.followed(tracked))
        rotations, positions, covariances = (
            np.concatenate([part, last[None]]) for part, last in zip(poses.modes(), followed, strict=True)
        )
        covariances, places = flat_covariances(covariances), map(self.point_of, positions)
        *modes, message.best = (
            self.types.PoseWithCovariance(
                pose=self.types.Pose(position=position, orientation=orientation), covariance=covariance
            )
            for position, orientation, covariance in zip(
                places, self.quaternions_of(rotations), covariances, strict=True
            )
        )
        message.hypotheses = [
            self.types.PoseHypothesis(mode_id=index, weight=mode.weight, samples=mode.count, pose=pose)
            for index, mode, pose in zip(tracked.ids, found.modes, modes, strict=True)
        ]
        message.best_mode_id = tracked.best_id
        message.sample_quaternions = flat_quaternions(found.rotations)
        message.sample_positions = flat_positions(poses.sample_positions)
        return message

    def absence(self, header: Any, object_id: str, presence: float) -> Any:
        """The message of an object that was searched and is not there: no hypotheses."""
        return self.types.PoseHypothesisArray(
            header=header, object_id=object_id, ambiguity=AMBIGUITIES[Ambiguity.UNRESOLVED], presence=presence,
            state=STATES[LOST], location_score=math.nan,
        )  # fmt: skip

    def odometry(self, header: Any, object_id: str, predicted: Predicted) -> Any:
        """A pose with its velocity, which nav_msgs has in the object's own frame; its origin is the pose's."""
        turn = np.kron(np.eye(2), predicted.rotation.T)
        message = self.types.Odometry(header=header, child_frame_id=object_id)
        message.pose.pose = self.pose_of(predicted.rotation, predicted.position)
        message.pose.covariance = predicted.covariance.reshape(-1)
        message.twist.twist.linear = self.vector_of((predicted.rotation.T @ predicted.linear).tolist())
        message.twist.twist.angular = self.vector_of((predicted.rotation.T @ predicted.angular).tolist())
        message.twist.covariance = (turn @ predicted.velocity_covariance @ turn.T).reshape(-1)
        return message

    def later(self, header: Any, seconds: float) -> Any:
        """A header of the same frame, so much later."""
        stamp_ns = nanoseconds_of(header.stamp) + round(seconds * 1e9)
        stamp = type(header.stamp)(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return type(header)(stamp=stamp, frame_id=header.frame_id)

    def object_info(self, target: Target, model_object: str, symmetry: Symmetry) -> Any:
        """What is known of an object beforehand; a ball is continuous about two axes."""
        info = self.types.ObjectInfo(object_id=target.object_id, model_object=model_object, diameter=target.diameter)
        listed = zip(symmetry.rotations, symmetry.translations, strict=True)
        info.symmetries_discrete = [
            self.types.Transform(translation=self.vector_of(shift.tolist()), rotation=self.quaternion_of(turn))
            for turn, shift in listed
            if not np.allclose(turn, np.eye(3), atol=1e-6)
        ]
        offset = self.vector_of(symmetry.centre.tolist())
        info.symmetries_continuous = [
            self.types.SymmetryAxis(axis=self.vector_of(axis.tolist()), offset=offset) for axis in symmetry.axes
        ]
        return info

    def vector_of(self, values: Sequence[float]) -> Any:
        """Three numbers as a Vector3."""
        x, y, z = values
        return self.types.Vector3(x=x, y=y, z=z)

    def sample_poses(self, header: Any, found: list[ObjectPoses]) -> Any:
        """Every sample of every object as a pose."""
        poses: list[Any] = []
        for one in found:
            rotations = one.hypotheses.rotations.double().numpy()
            places = map(self.point_of, one.sample_positions)
            turns = self.quaternions_of(rotations)
            poses += [
                self.types.Pose(position=place, orientation=turn) for place, turn in zip(places, turns, strict=True)
            ]
        return self.types.PoseArray(header=header, poses=poses)
