"""Between ROS messages and the core's types. The only place that knows quaternion order and covariance layout."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
import torch
import transforms3d
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion, Transform, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header
from torch import Tensor

from lie_picard import Ambiguity, SamplerOptions, so3
from lie_picard.camera import Camera, CameraError, Region
from lie_picard.poses import ObjectPoses, Target
from lie_picard.symmetry import Symmetry
from lie_picard.tracking import Tracked
from lie_picard_msgs.msg import ObjectInfo, PoseHypothesis, PoseHypothesisArray, SamplerStatistics, SymmetryAxis

Array = NDArray[np.float64]

_AMBIGUITY = {
    Ambiguity.ONE_POSE: PoseHypothesisArray.AMBIGUITY_ONE_POSE,
    Ambiguity.DISCRETE: PoseHypothesisArray.AMBIGUITY_DISCRETE,
    Ambiguity.AXIAL: PoseHypothesisArray.AMBIGUITY_AXIAL,
    Ambiguity.UNRESOLVED: PoseHypothesisArray.AMBIGUITY_UNRESOLVED,
}
_FISHEYE = ("equidistant", "fisheye")
_PERSPECTIVE = ("plumb_bob", "rational_polynomial", "")
UNKNOWN = -1.0


def camera_of(info: CameraInfo, rectified: bool) -> Camera:
    """The camera that took an image.

    Args:
        rectified: use P and no distortion (an `image_rect`) instead of K and D (an `image_raw`).

    Raises:
        CameraError: not calibrated, or an unknown distortion model.
    """
    if rectified:
        matrix, distortion, fisheye = np.array(info.p, float).reshape(3, 4)[:, :3], np.zeros(0), False
    else:
        matrix, distortion = np.array(info.k, float).reshape(3, 3), np.array(info.d, float)
        fisheye = info.distortion_model in _FISHEYE
        if not fisheye and info.distortion_model not in _PERSPECTIVE:
            raise CameraError(
                f"unknown distortion model '{info.distortion_model}': use plumb_bob, rational_polynomial or "
                "equidistant, or send a rectified image and set `rectified`"
            )
        if fisheye:  # without coefficients it is still not a pinhole
            distortion = np.append(distortion, np.zeros(4))[:4]
        elif not distortion.any():
            distortion = np.zeros(0)
    # REP-104: K and P hold for the full resolution; the image may be a part of it, then binned.
    matrix = matrix.copy()
    width, height = info.width, info.height
    if info.roi.width and info.roi.height:
        matrix[0, 2] -= info.roi.x_offset
        matrix[1, 2] -= info.roi.y_offset
        width, height = info.roi.width, info.roi.height
    for row, binning in ((0, info.binning_x), (1, info.binning_y)):
        if binning > 1:
            matrix[row] /= binning
    width, height = width // max(1, info.binning_x), height // max(1, info.binning_y)
    return Camera(matrix, distortion, width, height, fisheye)


def region_of(roi: RegionOfInterest) -> Region | None:
    """A region of interest; None where its width is 0 (all of the image)."""
    return Region(roi.x_offset, roi.y_offset, roi.width, roi.height) if roi.width and roi.height else None


def quaternion_of(rotation: Array) -> Quaternion:
    """(3, 3) -> ROS quaternion (x, y, z, w); transforms3d gives w first."""
    w, x, y, z = transforms3d.quaternions.mat2quat(rotation)
    return Quaternion(x=float(x), y=float(y), z=float(z), w=float(w))


def quaternions_of(rotations: Array) -> list[Quaternion]:
    """(M, 3, 3) -> M ROS quaternions."""
    wxyz = so3.to_quaternion(torch.from_numpy(rotations)).tolist()
    return [Quaternion(x=x, y=y, z=z, w=w) for w, x, y, z in wxyz]


def rotation_of(quaternion: Quaternion) -> Array:
    """ROS quaternion -> (3, 3)."""
    return transforms3d.quaternions.quat2mat([quaternion.w, quaternion.x, quaternion.y, quaternion.z])


def point_of(position: Array) -> Point:
    """(3,) metres -> Point."""
    return Point(x=float(position[0]), y=float(position[1]), z=float(position[2]))


def pose_of(rotation: Array, position: Array) -> Pose:
    """Rotation (3, 3) and position (3,) in metres -> Pose."""
    return Pose(position=point_of(position), orientation=quaternion_of(rotation))


def transform_of(pose: Pose) -> Transform:
    """The transform that places a child frame at a pose."""
    p = pose.position
    return Transform(translation=Vector3(x=p.x, y=p.y, z=p.z), rotation=pose.orientation)


def covariance_of(rotation: Array, tangent_covariance: Array, position_covariance: Array) -> Array:
    """Row-major 6 x 6 about the fixed axes of the header's frame, from body-frame (right) tangent covariances.

    R Exp(v) = Exp(R v) R: the rotation block is R S R^T. An unknown S (NaN) becomes -1 on its diagonal.
    (..., 3, 3), (..., 3, 3), (3, 3) -> (..., 36).
    """
    covariance = np.zeros((*rotation.shape[:-2], 6, 6))
    covariance[..., :3, :3] = position_covariance
    turned = rotation @ tangent_covariance @ np.swapaxes(rotation, -1, -2)
    known = np.isfinite(turned).all((-2, -1), keepdims=True)
    covariance[..., 3:, 3:] = np.where(known, turned, UNKNOWN * np.eye(3))
    return covariance.reshape(*rotation.shape[:-2], 36)


def hypothesis_array(
    header: Header, poses: ObjectPoses, tracked: Tracked | None, options: SamplerOptions
) -> PoseHypothesisArray:
    """One object's hypotheses as a message with the image's header; without them where it is lost (`tracked` None)."""
    found = poses.hypotheses
    message = PoseHypothesisArray(
        header=header, object_id=poses.object_id, ambiguity=_AMBIGUITY[found.ambiguity], presence=found.presence
    )
    message.statistics = SamplerStatistics(
        method=found.method,
        integrator=options.integrator if options.method != "walk" else "euler",
        steps=options.steps,
        rounds=found.rounds,
        evaluations=float(found.evaluations),
        inefficiency=float(found.inefficiency),
        converged=found.converged,
    )
    if tracked is None:
        message.ambiguity = PoseHypothesisArray.AMBIGUITY_UNRESOLVED
        return message
    if found.axis is not None:
        message.symmetry_axis = vector_of(found.axis.tolist())
    # All at once, the followed pose last: one by one the modes would take longer than the encoder.
    rotations = np.stack([*(mode.rotation.double().numpy() for mode in found.modes), tracked.best])
    spreads = np.stack([*(mode.covariance.double().numpy() for mode in found.modes), tracked.best_covariance])
    covariances = covariance_of(rotations, spreads, poses.position_covariance)
    position = point_of(poses.position)
    *modes, message.best = (
        PoseWithCovariance(pose=Pose(position=position, orientation=orientation), covariance=covariance)
        for orientation, covariance in zip(quaternions_of(rotations), covariances, strict=True)
    )
    message.hypotheses = [
        PoseHypothesis(mode_id=index, weight=mode.weight, samples=mode.count, pose=pose)
        for index, mode, pose in zip(tracked.ids, found.modes, modes, strict=True)
    ]
    message.best_mode_id = tracked.best_id
    message.sample_quaternions = flat_quaternions(found.rotations)
    return message


def object_info(target: Target, model_object: str, symmetry: Symmetry) -> ObjectInfo:
    """What is known of an object beforehand; a ball is continuous about two axes."""
    info = ObjectInfo(object_id=target.object_id, model_object=model_object, diameter=target.diameter)
    turns = [turn for turn in symmetry.rotations if not np.allclose(turn, np.eye(3), atol=1e-6)]
    info.symmetries_discrete = [Transform(rotation=quaternion_of(turn)) for turn in turns]
    info.symmetries_continuous = [SymmetryAxis(axis=vector_of(axis.tolist())) for axis in symmetry.axes]
    return info


def vector_of(values: Sequence[float]) -> Vector3:
    """Three numbers as a Vector3."""
    x, y, z = values
    return Vector3(x=x, y=y, z=z)


def seconds_of(stamp: Time) -> float:
    """A stamp in seconds."""
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


def flat_quaternions(rotations: Tensor) -> array.array[float]:
    """(N, 3, 3) -> x, y, z, w, x, y, z, w, ... An array: rclpy checks every number of a list."""
    wxyz = so3.to_quaternion(rotations.double())
    return array.array("f", wxyz[:, [1, 2, 3, 0]].float().numpy().tobytes())
