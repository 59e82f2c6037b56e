"""What of `so3` a posterior needs, on NumPy arrays by SciPy: for a hundred rotations torch takes five times as long.

Shapes, units and conventions are those of `so3`. Leading dimensions are kept.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]
F = TypeVar("F", np.float32, np.float64)


def _as_they_are() -> dict[str, Any]:
    """What tells SciPy, from 1.17 on, that matrices are rotations already; before, it looks at each."""
    try:
        Rotation.from_matrix(np.eye(3), assume_valid=True)
    except TypeError:
        return {}
    return {"assume_valid": True}


_VALID = _as_they_are()
_DONE = 1e-7  # radians: a step of the mean below which there is no next


def exp(tangent: Array) -> Array:
    """Rotation by |v| radians about v. (..., 3) -> (..., 3, 3)."""
    turns = Rotation.from_rotvec(tangent.reshape(-1, 3))
    return np.asarray(turns.as_matrix()).reshape(*tangent.shape, 3)


def log(rotation: Array) -> Array:
    """Rotation vector with angle in [0, pi]. (..., 3, 3) -> (..., 3)."""
    turns = Rotation.from_matrix(rotation.reshape(-1, 3, 3), **_VALID)
    return np.asarray(turns.as_rotvec()).reshape(rotation.shape[:-1])


def quaternions(rotation: Array) -> Array:
    """Unit quaternions (x, y, z, w), as in ROS, with w >= 0. (N, 3, 3) -> (N, 4)."""
    return np.asarray(Rotation.from_matrix(rotation, **_VALID).as_quat(canonical=True))


def cosines(first: NDArray[F], second: NDArray[F]) -> NDArray[F]:
    """Cosine of every pair's angle, trace(A^T B) = <A, B> = 1 + 2 cos. (N, 3, 3), (M, 3, 3) -> (N, M)."""
    found = first.reshape(len(first), 9) @ second.reshape(len(second), 9).T
    found -= 1
    found /= 2
    return found


def sums(values: Array, group: NDArray[np.intp], groups: int) -> Array:
    """Of the rows (N, ...) of each group, (N,) indices. -> (groups, ...)."""
    total = np.zeros((groups, *values.shape[1:]))
    np.add.at(total, group, values)
    return total


def project(matrix: Array) -> Array:
    """Nearest rotation in the Frobenius norm (special orthogonal Procrustes). (..., 3, 3) -> same."""
    u, _, vt = np.linalg.svd(matrix)
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[..., None]
    return np.asarray(u @ vt)


def means(rotations: Array, group: NDArray[np.intp], groups: int, iterations: int = 3) -> Array:
    """As `so3.mean`, of several groups at once; an empty one has the identity. (N, 3, 3), (N,) -> (groups, 3, 3).

    Args:
        iterations: Gauss-Newton steps from the chordal means at most; 0: those.
    """
    count = np.bincount(group, minlength=groups)
    total = sums(rotations, group, groups)
    total[count == 0] = np.eye(3)
    centres = project(total)
    for _ in range(iterations):
        tangents = log(centres[group].swapaxes(-1, -2) @ rotations)
        steps = sums(tangents, group, groups) / np.maximum(count, 1)[:, None]
        centres = centres @ exp(steps)
        if np.abs(steps).max() < _DONE:
            break
    return centres
