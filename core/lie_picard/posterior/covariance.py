"""How far the true pose may be from a mode's mean, estimated from few samples.

The samples of one image miss the truth alike in all modes: of poses R_k = R G_k that look the same, with G_k the turns
of a symmetric object, the model's samples are Exp(e) R G_k with errors e in the camera's frame that know nothing of k.
So modes lend each other their scatter there, however few samples each has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.posterior import arrays

Array = NDArray[np.float64]

_LENT = 10.0  # samples' worth of all modes' scatter in each mode's, and of its middle axis in all modes'
_TYPICAL = 1.0  # samples' worth of the calibration's spread in the middle axis


Matrices = TypeVar("Matrices", Tensor, Array)


def to_camera(rotation: Matrices, covariance: Matrices) -> Matrices:
    """Covariances of body-frame tangents about the camera's fixed axes: R Exp(v) = Exp(R v) R. (..., 3, 3) x 2."""
    return rotation @ covariance @ rotation.swapaxes(-1, -2)


def to_body(rotation: Matrices, covariance: Matrices) -> Matrices:
    """The inverse of `to_camera`."""
    return rotation.swapaxes(-1, -2) @ covariance @ rotation


def pose_covariance(position: Array, rotation: Array) -> Array:
    """(x, y, z, rotation about X, Y, Z), ROS's order, of parts that err alone. (..., 3, 3) x 2 -> (..., 6, 6)."""
    found = np.zeros((*rotation.shape[:-2], 6, 6))
    found[..., :3, :3], found[..., 3:, 3:] = position, rotation
    return found


def at_point(covariance: Array, lever: Array) -> Array:
    """Of the pose of another point of the body, which lies at a lever from that of the covariance.

    To first order d(p + l) = dp + dw x l for a rotation dw about fixed axes. A rotation that is unknown (NaN) is left
    out of the position. Same frame, (..., 6, 6) and (..., 3) -> (..., 6, 6).
    """
    move = np.zeros((*lever.shape[:-1], 6, 6))
    move[..., range(6), range(6)] = 1.0
    move[..., :3, 3:] = np.cross(np.eye(3), lever[..., None, :]).swapaxes(-1, -2)
    known = np.isfinite(covariance)
    return np.where(known, move @ np.where(known, covariance, 0.0) @ move.swapaxes(-1, -2), np.nan)


@dataclass(frozen=True)
class Calibration:
    """What calibrates a mode's covariance, measured on images of its own (`evaluation.calibration`).

    A model is surer than it should be where its error is one that all its samples share.

    Attributes:
        scale: of the standard deviations. floor: standard deviation in radians that is added to every axis.
        spread: typical standard deviation of a mode's samples in radians, for images whose samples are too few to
            tell; None: unknown.
        sideways_scale, sideways_floor: the same of a place's x and y, in half images (`model.position`).
        range_scale, range_floor: of its logarithm of the size.
    """

    scale: float = 1.0
    floor: float = 0.0
    spread: float | None = None
    sideways_scale: float = 1.0
    sideways_floor: float = 0.0
    range_scale: float = 1.0
    range_floor: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"calibration: {one.name} must be a finite number of at least 0, got {value}")

    def places(self, covariance: Array) -> Array:
        """Calibrated covariances of places (x, y, log size) from those that the model tells. (..., 3, 3) -> same."""
        scale = np.array([self.sideways_scale, self.sideways_scale, self.range_scale])
        floor = np.array([self.sideways_floor, self.sideways_floor, self.range_floor])
        return scale[:, None] * covariance * scale + np.diag(floor**2)


@dataclass(frozen=True)
class Scatter:
    """What covariances are made of. Tangents are Log(R mean^T), in the camera's frame, rad.

    Attributes:
        within: (..., 3, 3) sum of a mode's tangents' outer products. count: (...,) number of its samples.
        total: (..., 3, 3) sum over all modes. freedom: (...,) samples less modes. Both are broadcast.
    """

    within: Array
    count: Array
    total: Array
    freedom: Array

    @classmethod
    def of(cls, centres: Array, rotations: Array, mode_of: NDArray[np.intp]) -> Scatter:
        """Of all modes. (M, 3, 3), (N, 3, 3), (N,) -> within (M, 3, 3), total (3, 3)."""
        tangents = arrays.log(rotations @ centres[mode_of].swapaxes(-1, -2))
        outer = tangents[:, :, None] * tangents[:, None, :]
        within, count = arrays.sums(outer, mode_of, len(centres)), np.bincount(mode_of, minlength=len(centres))
        return cls(within, count.astype(float), within.sum(0), np.array(float(len(rotations) - len(centres))))

    def covariance(self, calibration: Calibration) -> Array:
        """Of the true pose about the mean, in the camera's frame, rad^2. (..., 3, 3), NaN where nothing tells.

        Twice the mean of an inverse Wishart posterior: of all modes' covariance, whose prior is a ball as large as its
        middle axis, and of one mode's, whose prior is that. (Along an axis of symmetry samples spread as far as modes
        are wide, which says nothing of the axes across.) Of n samples the mean misses the truth by another 1/n.
        """
        spread, weight = calibration.spread or 0.0, 0.0 if calibration.spread is None else _TYPICAL
        middle = np.linalg.eigvalsh(self.total)[..., 1]
        # The middle eigenvalue of the sum of F outer products of normal vectors in 3 dimensions is F - 1 in the mean.
        with np.errstate(invalid="ignore", divide="ignore"):  # by 0 where nothing tells
            middle = (middle + weight * spread**2) / (np.maximum(self.freedom - 1, 0) + weight)
            ball = middle[..., None, None] * np.eye(3)
        pooled = (self.total + _LENT * ball) / (self.freedom + _LENT)[..., None, None]
        own = (self.within + _LENT * pooled) / (self.count - 1 + _LENT)[..., None, None]
        predicted = own * (1 + 1 / self.count)[..., None, None]
        return calibration.scale**2 * predicted + calibration.floor**2 * np.eye(3)
