"""Turns about one point fitted to a surface: frame and centre by robust point-to-plane steps, angles kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.symmetry_search.sampling import Samples

Array = NDArray[np.float64]

_SCALE = 0.003  # of residuals that count in full, share of the diameter; wider at first, to find the way
_WIDE, _NARROWER = 0.04, 0.6
_FAR = 0.008  # above which normals help to find what belongs together


def about(axis: Array, angle: float) -> Array:
    """Rotation matrix of a turn about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def exp(vector: Array) -> Array:
    """Rotation matrix of a rotation vector."""
    angle = float(np.linalg.norm(vector))
    return about(vector / angle, angle) if angle > 1e-12 else np.eye(3)


def fitted(
    samples: Samples,
    rotations: Array,
    centre: Array,
    count: int = 1500,
    rounds: int = 10,
    also: NDArray[np.int64] | None = None,
) -> tuple[Array, Array]:
    """The frame Q (3, 3) and centre for which the turns Q R Q^T about it carry the surface onto itself best.

    For r = n . (c + A v - q) with A = Q R Q^T, v = p - c and Q <- exp(w) Q:
    dr = (A v x n - v x A^T n) . w + (n - A^T n) . dc.
    What they leave open, a turn about and a shift along an only axis, stays.

    Args:
        rotations: (K, 3, 3). count: of samples that are compared. also: indices of samples that must be among them.
    """
    chosen = np.random.default_rng(2).permutation(len(samples.points))[:count]
    if also is not None:
        chosen = np.concatenate([chosen, also])
    points, facing = samples.points[chosen], samples.facing[chosen]
    frame, spacing = np.eye(3), np.sqrt(samples.area / len(samples.points))
    for step_number in range(rounds):
        wide = _WIDE * _NARROWER**step_number
        matrix, vector = np.zeros((6, 6)), np.zeros(6)
        for rotation in rotations:
            turn = frame @ rotation @ frame.T
            arm = points - centre
            turned = arm @ turn.T
            if wide > _FAR:
                away, near = samples.nearest_facing(turned + centre, facing @ turn.T)
            else:
                away, near = samples.tree.query(turned + centre, workers=-1)
            normal = samples.normals[near]
            offset = turned + centre - samples.points[near]
            residual = (offset * normal).sum(1)
            # Beyond the plane's reach the nearest point itself is what is missed.
            missed = np.maximum(np.abs(residual), away - 2 * spacing * (2 if wide > _FAR else 1))
            scale = max(_SCALE, 2.0 * float(np.median(missed)), wide)
            weight = 1 / (1 + (missed / scale) ** 2) ** 2
            weight = weight * np.abs(((facing @ turn.T) * normal).sum(1)).clip(0, 1)
            back = normal @ turn
            jacobian = np.concatenate([np.cross(turned, normal) - np.cross(arm, back), normal - back], 1)
            matrix += (jacobian * weight[:, None]).T @ jacobian
            vector += (jacobian * weight[:, None]).T @ residual
        values, directions = np.linalg.eigh(matrix)
        sure = values > 1e-4 * values[-1]
        step = -directions[:, sure] @ ((directions[:, sure].T @ vector) / values[sure])
        size = float(np.abs(step).max())
        if size > 0.1:
            step *= 0.1 / size
        frame, centre = exp(step[:3]) @ frame, centre + step[3:]
        if size < 1e-5 and wide < _SCALE:
            break
    return frame, centre
