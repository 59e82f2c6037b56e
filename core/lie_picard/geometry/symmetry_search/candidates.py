"""Axes about which a surface might be symmetric: a coarse search over all of them, then a fit of the best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.symmetry_search.refine import about, fitted
from lie_picard.geometry.symmetry_search.residuals import mean_distance
from lie_picard.geometry.symmetry_search.sampling import Samples

Array = NDArray[np.float64]

GENERIC = 2.4  # radians, 137.5 degrees: no symmetry of a low order
# Any nontrivial finite group of rotations holds one of prime order. Higher ones than these are nearly round: GENERIC.
# Of order 4, so that such an axis comes before the half turns across it.
_ORDERS = 2, 3, 4, 5, 7, 11, 13, 17, 19, 23
_AXES = 1600  # over the half sphere, 3.6 degrees apart
_GRID = 72  # cells of the distance field along a side
_CAP = 0.05  # of distances, share of the diameter
_COARSE = 0.032  # mean distance up to which an axis is looked at again
_APART = math.cos(math.radians(9.0))
_SAME = math.cos(math.radians(2.0))
_PARTS = 0.382, 0.24996, 0.44889, 0.15392  # of a circle: one of them is nearly half a step off, whatever n
_KEPT = 7  # axes of an angle


@dataclass(frozen=True, eq=False)
class Candidate:
    """A turn about a unit axis (3,) through a centre (3,): angle in radians, its order (0: any), mean distance."""

    axis: Array
    angle: float
    order: int
    centre: Array
    residual: float


def angle_of(order: int) -> float:
    """A turn that generates the cyclic group of an order and is large: k / order of a circle, k near 0.4 order."""
    if order == 0:
        return GENERIC
    return 2 * math.pi * _large(order) / order


def _large(order: int) -> int:
    return next(k for k in sorted(range(1, order + 1), key=lambda k: abs(k - 0.4 * order)) if math.gcd(k, order) == 1)


def angles_of(order: int) -> list[float]:
    """Turns that stand for a cyclic group: of a spiral, single steps are symmetries and many of them are not."""
    if order == 0:
        return [2 * math.pi * part for part in _PARTS]
    if order <= 6:
        return [angle_of(order)]
    steps = {1, _large(order), *(max(1, round(part * order)) for part in _PARTS)}
    return [2 * math.pi * k / order for k in sorted(steps)]


def searched(samples: Samples) -> list[Candidate]:
    """Candidates, best first. One of several that agree in axis and order."""
    points = samples.points[np.random.default_rng(3).permutation(len(samples.points))[:360]]
    field, low, step = _distances(samples)
    axes = np.concatenate([_principal(samples.points), np.eye(3), half_sphere(_AXES)])
    found: list[Candidate] = []
    for order in (*_ORDERS, 0):
        angle = angle_of(order)
        score = np.concatenate([_scores(some, angle, points, field, low, step) for some in np.array_split(axes, 8)])
        for k in _best(axes, score, _KEPT if order in (2, 3, 4, 5) else 3):
            turn = about(axes[k], angle)[None]
            frame, centre = fitted(samples, turn, np.zeros(3), 400, 6)
            axis = frame @ axes[k]
            if _is_double(found, axis, order):
                continue
            residual = float(mean_distance(samples, about(axis, angle)[None], centre, points)[0])
            found.append(Candidate(axis, angle, order, centre, residual))
    return sorted(found, key=lambda one: one.residual)


def _is_double(found: list[Candidate], axis: Array, order: int) -> bool:
    return any(one.order == order and abs(float(one.axis @ axis)) > _SAME for one in found)


def _distances(samples: Samples) -> tuple[Array, Array, float]:
    """Distance to the surface on a grid: (G, G, G), its lowest corner and the width of a cell."""
    from scipy.ndimage import distance_transform_edt

    reach = float(np.linalg.norm(samples.points, axis=1).max()) + 0.02
    step = 2 * reach / _GRID
    low = np.full(3, -reach)
    empty = np.ones((_GRID,) * 3, bool)
    empty[tuple(((samples.points - low) / step).astype(int).clip(0, _GRID - 1).T)] = False
    return np.asarray(distance_transform_edt(empty, step).clip(0, _CAP)), low, step


def _scores(axes: Array, angle: float, points: Array, field: Array, low: Array, step: float) -> Array:
    """Mean distance of turned points to the surface for each axis (A, 3), from the grid."""
    along = points @ axes.T  # (N, A)
    sideways = np.cross(axes[None], points[:, None])
    turned = (
        math.cos(angle) * points[:, None]
        + math.sin(angle) * sideways
        + (1 - math.cos(angle)) * along[..., None] * axes[None]
    )
    cell = ((turned - low) / step).astype(int).clip(0, _GRID - 1)
    return np.asarray(field[cell[..., 0], cell[..., 1], cell[..., 2]].mean(0))


def _best(axes: Array, score: Array, most: int) -> list[int]:
    """Least scores of axes that are well apart."""
    chosen: list[int] = []
    for k in np.argsort(score, kind="stable"):
        if score[k] > _COARSE or len(chosen) >= most:
            break
        if all(abs(float(axes[k] @ axes[other])) < _APART for other in chosen):
            chosen.append(int(k))
    return chosen


def _principal(points: Array) -> Array:
    return np.asarray(np.linalg.eigh(np.cov(points.T))[1].T)


def half_sphere(count: int) -> Array:
    """Directions evenly over a half sphere: a Fibonacci lattice."""
    k = np.arange(count)
    height = (k + 0.5) / count
    turn = k * math.pi * (3 - math.sqrt(5))
    across = np.sqrt(1 - height**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), height], 1)
