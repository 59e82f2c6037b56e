"""From messages to the core's types. With `write`, the only place that knows quaternion order."""

from __future__ import annotations

import dataclasses
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
_FISHEYE = ("equidistant", "fisheye", "kannala_brandt4")  # one model under three names
_PERSPECTIVE = ("plumb_bob", "rational_polynomial", "")
_NO_LENS = "none"
# A principal point nearer to the border than this share of the image is of another resolution. So is one that is off
# the middle by `_SHIFT`, in both directions by the same factor up to `_ALIKE`: where K was scaled, both are.
_BORDER, _SHIFT, _ALIKE = 0.05, 0.2, 0.03


class ResolutionError(CameraError):
    """A calibration that is of another resolution by its own numbers."""


def camera_of(info: Any, rectified: bool) -> Camera:
    """The camera of a sensor_msgs/CameraInfo.

    Args:
        rectified: use P and no distortion (an `image_rect`) instead of K and D (an `image_raw`).

    Raises:
        CameraError: not calibrated, an unknown distortion model, or numbers of another resolution.
    """
    if rectified:
        matrix, distortion, fisheye = np.array(info.p, float).reshape(3, 4)[:, :3], np.zeros(0), False
    else:
        matrix = np.array(info.k, float).reshape(3, 3)
        distortion, fisheye = _lens(info.distortion_model, np.array(info.d, float))
    # REP-104: K and P hold for the full resolution; the image may be a part of it, then binned.
    roi, binned = info.roi, (max(1, info.binning_x), max(1, info.binning_y))
    Camera(matrix, distortion, info.width, info.height, fisheye)  # raises what is wrong with the whole one
    _check_middle(matrix, info.width, info.height, "P" if rectified else "K")
    matrix = matrix.copy()
    if roi.width and roi.height:
        if roi.x_offset + roi.width > info.width or roi.y_offset + roi.height > info.height:
            raise CameraError(
                f"camera_info's roi, {roi.width} x {roi.height} at ({roi.x_offset}, {roi.y_offset}), reaches beyond "
                f"its {info.width} x {info.height} pixels: width and height are those of the full resolution"
            )
        matrix[0, 2] -= roi.x_offset
        matrix[1, 2] -= roi.y_offset
    for row, binning in enumerate(binned):
        matrix[row] /= binning
    return Camera(matrix, distortion, *_size(info), fisheye)


def check_size(info: Any, width: int, height: int) -> None:
    """Whether an image of this size is the one that its camera_info is of.

    Raises:
        CameraError: it is not; names both sizes, and how the expected one came about.
    """
    expected = _size(info)
    if (width, height) == expected:
        return
    roi, how = info.roi, ""
    if (info.width, info.height) != expected:
        part = f", of these the roi's {roi.width} x {roi.height}" if roi.width and roi.height else ""
        binned = f", binned {info.binning_x} x {info.binning_y}" if max(info.binning_x, info.binning_y) > 1 else ""
        how = f" ({info.width} x {info.height}{part}{binned})"
    raise CameraError(
        f"the image is {width} x {height} pixels but camera_info says {expected[0]} x {expected[1]}{how}: "
        "publish a camera_info that belongs to the image"
    )


def _size(info: Any) -> tuple[int, int]:
    """Width and height of the image that a camera_info is of."""
    roi = info.roi
    width, height = (roi.width, roi.height) if roi.width and roi.height else (info.width, info.height)
    return width // max(1, info.binning_x), height // max(1, info.binning_y)


def _lens(model: str, coefficients: Array) -> tuple[Array, bool]:
    """Distortion coefficients as `Camera` has them, and whether they are a fisheye's."""
    name = model.lower()
    if name in _FISHEYE:
        if np.any(coefficients[4:]) or 0 < coefficients.size < 4:
            raise CameraError(
                f"distortion model '{model}' has 4 coefficients but D holds {coefficients.size}: publish k1 to k4"
            )
        return (coefficients[:4] if coefficients.size else np.zeros(4)), True  # without any it is still no pinhole
    if name == _NO_LENS:
        if np.any(coefficients):
            raise CameraError(
                f"distortion model '{model}' but D holds {coefficients.size} coefficients that are not 0: "
                "name their model, or leave D empty"
            )
        return np.zeros(0), False
    if name not in _PERSPECTIVE:
        raise CameraError(
            f"unknown distortion model '{model[:40]}': use {', '.join(filter(None, _PERSPECTIVE))}, "
            f"{', '.join(_FISHEYE)} or {_NO_LENS}, or send a rectified image and set `rectified`"
        )
    return (coefficients if np.any(coefficients) else np.zeros(0)), False


def _check_middle(matrix: Array, width: int, height: int, name: str) -> None:
    """Refuse a principal point that tells that the matrix is of another resolution than camera_info says."""
    x, y = float(matrix[0, 2]) + 0.5, float(matrix[1, 2]) + 0.5
    across, down = x / width, y / height
    inside = all(_BORDER <= share <= 1 - _BORDER for share in (across, down))
    scaled = abs(2 * across - 1) > _SHIFT and abs(across / down - 1) < _ALIKE if inside else True
    if scaled:
        likely = f" as if for about {2 * x:.0f} x {2 * y:.0f} pixels" if x > 0 and y > 0 else ""
        raise ResolutionError(
            f"the principal point of {name}, ({x - 0.5:.4g}, {y - 0.5:.4g}), is not that of {width} x {height} pixels"
            f"{likely}: publish the calibration of this resolution; of a part of a larger image, with its roi"
        )


def region_of(roi: Any) -> Region | None:
    """A region of interest; None where its width is 0 (all of the image)."""
    return Region(roi.x_offset, roi.y_offset, roi.width, roi.height) if roi.width and roi.height else None


def rotation_of(quaternion: Any) -> Array:
    """ROS quaternion -> (3, 3)."""
    return transforms3d.quaternions.quat2mat([quaternion.w, quaternion.x, quaternion.y, quaternion.z])


def vector_of(message: Any) -> Array:
    """A Point or Vector3. -> (3,)."""
    return np.array([message.x, message.y, message.z])


def pose_of(rotation: Array, position: Array) -> Array:
    """(3, 3) and (3,) -> (4, 4)."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


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
    rotation, covariance = rotation_of(message.best.pose.orientation), _pose_covariance(message.best.covariance)
    return Tracked(
        ids=tuple(int(one.mode_id) for one in message.hypotheses),
        best=rotation,
        best_covariance=to_body(rotation, covariance[3:, 3:]),
        best_id=int(message.best_mode_id),
        best_position=vector_of(message.best.pose.position),
        best_pose_covariance=covariance,
    )


def _pose_covariance(covariance: Any) -> Array:
    """(6, 6) as `Mode.pose_covariance` has it: `write.flat_covariances` turned around."""
    full = np.array(covariance, float).reshape(6, 6)
    if full[3, 3] < 0:
        full[3:, :] = full[:, 3:] = np.nan
    return full


def positions_of(message: Any) -> Array | None:
    """Of all samples of a PoseHypothesisArray, metres; None where it has none, as older ones. -> (N, 3)."""
    flat, count = np.array(getattr(message, "sample_positions", ()), np.float64), len(message.sample_quaternions) // 4
    return flat.reshape(count, 3) if count and flat.size == 3 * count else None


def symmetry_of(info: Any) -> Symmetry:
    """Of an ObjectInfo: `write.Writer.object_info` turned around.

    Raises:
        SymmetryError: what it lists is no symmetry of a solid.
    """
    turns, lines = info.symmetries_discrete, info.symmetries_continuous
    return Symmetry.generated(
        [rotation_of(one.rotation) for one in turns],
        [vector_of(line.axis) for line in lines],
        [vector_of(one.translation) for one in turns],
        [vector_of(line.offset) for line in lines],
    )


def poses_of(message: Any, symmetry: Symmetry) -> ObjectPoses:
    """A PoseHypothesisArray with hypotheses as what it was made of: `write.Writer.hypothesis_array` turned around.

    Args:
        symmetry: of the object, which the message does not tell.
    """
    rotations, modes = samples_of(message), []
    for one in message.hypotheses:
        rotation, covariance = rotation_of(one.pose.pose.orientation), _pose_covariance(one.pose.covariance)
        modes.append(
            Mode(
                torch.from_numpy(rotation),
                one.weight,
                torch.from_numpy(to_body(rotation, covariance[3:, 3:])),
                one.samples,
                torch.from_numpy(vector_of(one.pose.pose.position)),
                torch.from_numpy(covariance),
            )
        )
    axis, positions = vector_of(message.symmetry_axis), positions_of(message)
    centres = torch.stack([mode.rotation for mode in modes])
    hypotheses = Hypotheses(
        rotations=rotations.float(),
        modes=tuple(modes),
        ambiguity=next(kind for kind, number in AMBIGUITIES.items() if number == message.ambiguity),
        axis=torch.from_numpy(axis) if axis.any() else None,
        mode_of=so3.pairwise_angle(rotations, centres).argmin(1),
        presence=float(message.presence),
    )
    if positions is None:  # of an older message, whose hypotheses have the symmetries' centre at one point
        first = ObjectPoses.told(message.object_id, hypotheses, symmetry)
        positions = symmetry.origin_at(first.position, rotations.numpy())
    whole = dataclasses.replace(hypotheses, positions=torch.from_numpy(positions))
    return ObjectPoses.told(message.object_id, whole, symmetry)
