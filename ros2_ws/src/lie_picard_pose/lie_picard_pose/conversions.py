"""Between ROS messages and the core's types. The only place that knows quaternion order and covariance layout."""

from __future__ import annotations

import numpy as np
import transforms3d
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion, Transform, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from lie_picard import Ambiguity, SamplerOptions
from lie_picard.camera import Camera, CameraError, Region
from lie_picard.hypotheses import Mode
from lie_picard.poses import ObjectPoses
from lie_picard_msgs.msg import PoseHypothesis, PoseHypothesisArray, SamplerStatistics

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


def rotation_of(quaternion: Quaternion) -> Array:
    """ROS quaternion -> (3, 3)."""
    return transforms3d.quaternions.quat2mat([quaternion.w, quaternion.x, quaternion.y, quaternion.z])


def pose_of(rotation: Array, position: Array) -> Pose:
    """Rotation (3, 3) and position (3,) in metres -> Pose."""
    return Pose(position=Point(x=float(position[0]), y=float(position[1]), z=float(position[2])),
                orientation=quaternion_of(rotation))  # fmt: skip


def transform_of(pose: Pose) -> Transform:
    """The transform that places a child frame at a pose."""
    p = pose.position
    return Transform(translation=Vector3(x=p.x, y=p.y, z=p.z), rotation=pose.orientation)


def covariance_of(rotation: Array, tangent_covariance: Array, position_covariance: Array) -> Array:
    """Row-major 6 x 6 about the fixed axes of the header's frame, from a body-frame (right) tangent covariance.

    R Exp(v) = Exp(R v) R: the rotation block is R S R^T. An unknown S (NaN) becomes -1 on its diagonal.
    """
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = position_covariance
    if np.isfinite(tangent_covariance).all():
        covariance[3:, 3:] = rotation @ tangent_covariance @ rotation.T
    else:
        covariance[3:, 3:] = np.diag([UNKNOWN] * 3)
    return covariance.reshape(-1)


def hypothesis_array(
    header: Header, poses: ObjectPoses, options: SamplerOptions, processing_ms: float
) -> PoseHypothesisArray:
    """One object's hypotheses as a message with the image's header."""
    found = poses.hypotheses
    message = PoseHypothesisArray(
        header=header, object_id=poses.object_id, ambiguity=_AMBIGUITY[found.ambiguity], presence=found.presence
    )
    if found.axis is not None:
        x, y, z = found.axis.tolist()
        message.symmetry_axis = Vector3(x=x, y=y, z=z)
    message.hypotheses = [_hypothesis(index, mode, poses) for index, mode in enumerate(found.modes)]
    message.sample_quaternions = flat_quaternions(found.rotations.double().numpy())
    message.statistics = SamplerStatistics(
        method=found.method,
        integrator=options.integrator if options.method != "walk" else "euler",
        steps=options.steps,
        rounds=found.rounds,
        evaluations=float(found.evaluations),
        inefficiency=float(found.inefficiency),
        converged=found.converged,
        processing_ms=processing_ms,
    )
    return message


def flat_quaternions(rotations: Array) -> list[float]:
    """(N, 3, 3) -> x, y, z, w, x, y, z, w, ..."""
    quaternions = [transforms3d.quaternions.mat2quat(rotation) for rotation in rotations]
    return [float(value) for w, x, y, z in quaternions for value in (x, y, z, w)]


def _hypothesis(index: int, mode: Mode, poses: ObjectPoses) -> PoseHypothesis:
    rotation = mode.rotation.double().numpy()
    covariance = covariance_of(rotation, mode.covariance.double().numpy(), poses.position_covariance)
    return PoseHypothesis(
        mode_id=index,
        weight=mode.weight,
        samples=mode.count,
        pose=PoseWithCovariance(pose=pose_of(rotation, poses.position), covariance=covariance),
    )
