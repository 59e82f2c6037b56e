"""Lens distortion and its inverse, both exact as far as a lens is invertible, and where that ends.

Distortion polynomials turn back somewhere: beyond, two directions meet in one pixel, and directions far outside the
field of view seem to lie in the image. The lens is used up to there only; what lies beyond is NaN here.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ANGLES, _RADII = 96, 256
_MAX_TANGENT = 20.0  # 87 degrees: no distortion polynomial of tangents holds farther out
_NEAREST = 1e-3  # cosine to the optical axis; nearer to 90 degrees no perspective camera sees
_ROUNDS = 60  # of Newton's method: few nearly everywhere, more where the lens turns back
_NO_TURN, _SAME = np.zeros(3), np.eye(3)


@functools.lru_cache(maxsize=16)
def lens(distortion: bytes, fisheye: bool) -> Perspective | Fisheye:
    """The lens of these float64 coefficients (OpenCV's order)."""
    coefficients = np.frombuffer(distortion, np.float64)
    return Fisheye(coefficients) if fisheye else Perspective(coefficients)


class Perspective:
    """OpenCV's model: radial (also rational), tangential, thin prism, tilt. From tangents x / z, y / z to distorted."""

    def __init__(self, coefficients: Array) -> None:
        self._coefficients = coefficients
        if not coefficients.size:
            return
        angles = np.linspace(0, 2 * math.pi, _ANGLES, endpoint=False)
        self._around = np.stack([np.cos(angles), np.sin(angles)], 1)
        radii = np.concatenate([np.linspace(0, 4, _RADII // 2), np.geomspace(4, _MAX_TANGENT, _RADII // 2 + 1)[1:]])
        grid = (self._around[:, None] * radii[:, None]).reshape(-1, 2)
        bad = ~(self._distorted(grid)[1] > 0).reshape(_ANGLES, -1)
        first = np.where(bad.any(1), bad.argmax(1), len(radii))
        inside, outside = radii[np.maximum(first - 1, 0)], radii[np.minimum(first, len(radii) - 1)]
        for _ in range(40):
            middle = (inside + outside) / 2
            good = self._distorted(self._around * middle[:, None])[1] > 0
            inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
        self._limits = np.append(inside, inside[0])
        # A start for the inverse: the radius that has a distorted one, in the mean over all directions.
        self._radii = np.linspace(0, float(inside.min()), _RADII)
        rings = self._distorted((self._around[:, None] * self._radii[:, None]).reshape(-1, 2))[0]
        self._distorted_radii = np.linalg.norm(rings, axis=1).reshape(_ANGLES, -1).mean(0)

    def project(self, points: Array) -> Array:
        """(N, 3) points in the camera frame -> (N, 2) distorted; NaN where the lens does not see."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            seen = points[:, 2] > _NEAREST * np.linalg.norm(points, axis=1)
            tangents = points[:, :2] / np.where(seen, points[:, 2], np.nan)[:, None]
            if not self._coefficients.size:
                return tangents
            tangents[~self._within(tangents)] = np.nan
            return self._distorted(tangents, jacobian=False)[0]

    def rays(self, distorted: Array, tolerance: float) -> Array:
        """(N, 2) -> (N, 3) points in the camera frame at z = 1, whose distortion is right up to a tolerance; or NaN."""
        if not self._coefficients.size:
            return np.concatenate([distorted, np.ones((len(distorted), 1))], 1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = self._guessed(distorted)
            wrong = self._missed(found, distorted) > tolerance
            if wrong.any():
                found[wrong] = self._searched(distorted[wrong])
                found[self._missed(found, distorted) > tolerance] = np.nan
        return np.concatenate([found, np.ones((len(found), 1))], 1)

    def _guessed(self, distorted: Array) -> Array:
        """By OpenCV's fixed point, which is fast where the distortion is weak, and wrong where it is strong."""
        if not len(distorted):
            return distorted.copy()
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 1e-12)
        found = cv2.undistortPointsIter(distorted[:, None], _SAME, self._coefficients, _SAME, _SAME, stop)
        return np.asarray(found, np.float64).reshape(-1, 2)

    def _missed(self, tangents: Array, distorted: Array) -> Array:
        """How far tangents come to lie from what they should become; infinite outside."""
        missed = np.linalg.norm(self._distorted(tangents, jacobian=False)[0] - distorted, axis=1)
        return np.where(self._within(tangents) & np.isfinite(missed), missed, np.inf)

    def _searched(self, distorted: Array) -> Array:
        """By Newton's method with halved steps."""
        lengths = np.linalg.norm(distorted, axis=1, keepdims=True)
        # The distorted radii rise but where the lens turns back in some direction.
        start = np.interp(lengths, np.maximum.accumulate(self._distorted_radii), self._radii)
        found = distorted / np.maximum(lengths, 1e-300) * start
        missed = self._missed(found, distorted)
        for _ in range(_ROUNDS):
            values, _, slopes = self._distorted(found, slopes=True)
            determinant = slopes[:, 0, 0] * slopes[:, 1, 1] - slopes[:, 0, 1] * slopes[:, 1, 0]
            gap = values - distorted
            step = np.stack([slopes[:, 1, 1] * gap[:, 0] - slopes[:, 0, 1] * gap[:, 1],
                             slopes[:, 0, 0] * gap[:, 1] - slopes[:, 1, 0] * gap[:, 0]], 1)  # fmt: skip
            step = np.nan_to_num(step / determinant[:, None], posinf=0, neginf=0)
            for _ in range(12):
                better = self._missed(found - step, distorted)
                worse = better >= missed
                if not worse.any():
                    break
                step[worse] /= 2
            moved = better < missed
            if not moved.any():
                break
            found[moved] -= step[moved]
            missed[moved] = better[moved]
        return found

    def _within(self, tangents: Array) -> NDArray[np.bool_]:
        """Whether tangents (N, 2) lie where the lens is invertible."""
        radii = np.hypot(tangents[:, 0], tangents[:, 1])
        within = radii <= self._limits.min()
        rest = ~within & np.isfinite(radii)
        if rest.any():
            turns = np.arctan2(tangents[rest, 1], tangents[rest, 0]) / (2 * math.pi) % 1 * _ANGLES
            within[rest] = radii[rest] <= np.interp(turns, np.arange(_ANGLES + 1), self._limits)
        return within

    def _distorted(self, tangents: Array, jacobian: bool = True, slopes: bool = False) -> tuple[Array, Array, Array]:
        """Distorted tangents (N, 2), the determinant of their Jacobian (N,), and it (N, 2, 2), as far as asked for."""
        if not len(tangents):
            return tangents.copy(), np.zeros(0), np.zeros((0, 2, 2))
        points = np.concatenate([tangents, np.ones((len(tangents), 1))], 1)[:, None]
        values, full = cv2.projectPoints(points, _NO_TURN, _NO_TURN, _SAME, self._coefficients)
        found = np.asarray(values[:, 0], np.float64)
        if not (jacobian or slopes):
            return found, np.zeros(0), np.zeros((0, 2, 2))
        matrix = np.asarray(full[:, 3:5], np.float64).reshape(
            -1, 2, 2
        )  # by the translation; at z = 1 that is by the tangents
        with np.errstate(invalid="ignore", over="ignore"):
            determinant = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
        return found, determinant, matrix


class Fisheye:
    """OpenCV's fisheye, Kannala and Brandt's: the distorted radius is an odd polynomial of the angle to the axis."""

    def __init__(self, coefficients: Array) -> None:
        self._terms = np.array([1.0, *coefficients])
        slope = (self._terms * (2 * np.arange(5) + 1))[::-1]  # of the square of the angle
        with np.errstate(over="ignore", invalid="ignore"):
            roots = np.roots(slope) if np.isfinite(slope).all() else np.zeros(1)
        real = roots.real[(np.abs(roots.imag) < 1e-9 * np.abs(roots).clip(1e-12)) & (roots.real > 0)]
        self._limit = math.sqrt(min([*real.tolist(), math.pi**2]))
        self._table = np.linspace(0, self._limit, 2048)
        self._radii = self._radius(self._table)

    def _radius(self, angles: Array) -> Array:
        return np.asarray(angles * np.polyval(self._terms[::-1], angles**2))

    def project(self, points: Array) -> Array:
        """(N, 3) points in the camera frame -> (N, 2) distorted; NaN where the lens does not see."""
        across = np.hypot(points[:, 0], points[:, 1])
        angles = np.arctan2(across, points[:, 2])
        radii = np.where(angles <= self._limit, self._radius(angles), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(across > 0, radii / across, 0.0)
        return points[:, :2] * scale[:, None] + np.where(angles <= self._limit, 0.0, np.nan)[:, None]

    def rays(self, distorted: Array, tolerance: float) -> Array:
        """(N, 2) -> (N, 3) unit directions, whose distortion is right up to a tolerance; or NaN."""
        radii = np.hypot(distorted[:, 0], distorted[:, 1])
        angles = np.interp(radii, self._radii, self._table)
        slope = self._terms * (2 * np.arange(5) + 1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for _ in range(_ROUNDS):
                step = np.nan_to_num((self._radius(angles) - radii) / np.polyval(slope[::-1], angles**2))
                angles = np.clip(angles - step, 0, self._limit)
                if np.abs(step).max(initial=0) < 1e-15:
                    break
            angles[~(np.abs(self._radius(angles) - radii) <= tolerance)] = np.nan
            sideways = distorted * np.where(radii > 0, np.sin(angles) / radii, 0.0)[:, None]
        return np.concatenate([sideways, np.cos(angles)[:, None]], 1)
