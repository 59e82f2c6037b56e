"""From messages to the core's types. With `write`, the only place that knows quaternion order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transforms3d
from numpy.typing import NDArray

from lie_picard import so3
from lie_picard.estimation.poses import ObjectPoses
from lie_picard.geometry.camera import Camera, CameraError, Region
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.posterior.covariance import to_body
from lie_picard.posterior.hypotheses import Ambiguity, Hypotheses, Mode
from lie_picard.posterior.tracking import Tracked

Array = NDArray[np.float64]

# The constants of lie_picard_msgs/PoseHypothesisArray.
AMBIGUITIES = {
    Ambiguity.ONE_POSE: 0,
    Ambiguity.DISCRETE: 1,
    Ambiguity.AXIAL: 2,
    Ambiguity.UNRESOLVED: 3,
}
_FISHEYE = ("equidistant", "fisheye")
_PERSPECTIVE = ("plumb_bob", "rational_polynomial", "")


def camera_of(info: Any, rectified: bool) -> Camera:
    """The camera of a sensor_msgs/CameraInfo.

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


def region_of(roi: Any) -> Region | None:
    """A region of interest; None where its width is 0 (all of the image)."""
    return Region(roi.x_offset, roi.y_offset, roi.width, roi.height) if roi.width and roi.height else None


def rotation_of(quaternion: Any) -> Array:
    """ROS quaternion -> (3, 3)."""
    return transforms3d.quaternions.quat2mat([quaternion.w, quaternion.x, quaternion.y, quaternion.z])


def vector_of(message: Any) -> Array:
    """A Point or Vector3. -> (3,)."""
    return np.array([message.x, message.y, message.z])


def nanoseconds_of(stamp: Any) -> int:
    """A stamp in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def seconds_of(stamp: Any) -> float:
    """A stamp in seconds."""
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


def samples_of(message: Any) -> torch.Tensor:
    """All samples of a PoseHypothesisArray. -> (N, 3, 3) float64."""
    flat = np.array(message.sample_quaternions, np.float64).reshape(-1, 4)
    return so3.from_quaternion(torch.from_numpy(flat[:, [3, 0, 1, 2]]))


def tracked_of(message: Any) -> Tracked:
    """What a PoseHypothesisArray with hypotheses says of the modes that are followed."""
    rotation = rotation_of(message.best.pose.orientation)
    return Tracked(
        ids=tuple(int(one.mode_id) for one in message.hypotheses),
        best=rotation,
        best_covariance=_body_covariance(rotation, message.best.covariance),
        best_id=int(message.best_mode_id),
    )


def _body_covariance(rotation: Array, covariance: Any) -> Array:
    """(3, 3) of the body-frame tangent from a message's 6 x 6; NaN where it is unknown: `write.covariance_of` back."""
    full = np.array(covariance).reshape(6, 6)
    if full[3, 3] < 0:
        return np.full((3, 3), np.nan)
    return to_body(rotation, full[3:, 3:])


def poses_of(message: Any, symmetry: Symmetry) -> ObjectPoses:
    """A PoseHypothesisArray with hypotheses as what it was made of: `write.Writer.hypothesis_array` turned around.

    Args:
        symmetry: of the object, which the message does not tell.
    """
    rotations, modes = samples_of(message), []
    for one in message.hypotheses:
        rotation = rotation_of(one.pose.pose.orientation)
        spread = _body_covariance(rotation, one.pose.covariance)
        modes.append(Mode(torch.from_numpy(rotation), one.weight, torch.from_numpy(spread), one.samples))
    first = message.hypotheses[0].pose
    centres = torch.stack([mode.rotation for mode in modes])
    axis = vector_of(message.symmetry_axis)
    hypotheses = Hypotheses(
        rotations=rotations.float(),
        modes=tuple(modes),
        ambiguity=next(kind for kind, number in AMBIGUITIES.items() if number == message.ambiguity),
        axis=torch.from_numpy(axis) if axis.any() else None,
        mode_of=so3.pairwise_angle(rotations, centres).argmin(1),
        presence=float(message.presence),
    )
    position = vector_of(first.pose.position)
    covariance = np.array(first.covariance).reshape(6, 6)[:3, :3]
    return ObjectPoses(message.object_id, hypotheses, position, covariance, symmetry)
