"""The smallest ball that holds some points: its centre is where an object's frame has its origin."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_EXACT = 1e-9  # of the radius
_ROUNDS = 1000


def smallest_ball(points: Array) -> tuple[Array, float]:
    """Centre and radius of the smallest ball that holds points (N, 3), exact but for rounding. -> (3,), float.

    At most four of the points decide it. From some such support, the ball is grown to the farthest point: the new
    support is found among the old one and that point (the pivot rule of Gaertner, Fast and robust smallest enclosing
    balls, ESA 1999). The radius grows at each step, so it ends.

    Raises:
        ValueError: there are no points, or some are not finite.
    """
    points = np.asarray(points, float).reshape(-1, 3)
    if not len(points) or not np.isfinite(points).all():
        raise ValueError("a ball needs at least one point, and finite ones")
    middle = points.mean(0)
    size = float(np.abs(points - middle).max())
    if size == 0:
        return points[0].copy(), 0.0
    unit = (points - middle) / size
    support = unit[[int(np.linalg.norm(unit, axis=1).argmax())]]
    centre, radius = support[0], 0.0
    for _ in range(_ROUNDS):
        distance = np.linalg.norm(unit - centre, axis=1)
        farthest = int(distance.argmax())
        if distance[farthest] <= radius * (1 + _EXACT):
            break
        support, centre, grown = _of_few(np.concatenate([support, unit[[farthest]]]))
        if grown <= radius:  # rounding: no support of four is larger
            break
        radius = grown
    radius = float(np.linalg.norm(unit - centre, axis=1).max())
    return middle + size * centre, size * radius


def _of_few(points: Array) -> tuple[Array, Array, float]:
    """Of at most five points: those that decide, centre and radius."""
    best: tuple[Array, Array, float] | None = None
    for count in range(2, min(4, len(points)) + 1):
        for chosen in itertools.combinations(range(len(points)), count):
            centre = _circumcentre(points[list(chosen)])
            radius = float(np.linalg.norm(points[chosen[0]] - centre))
            if (best is None or radius < best[2]) and (
                np.linalg.norm(points - centre, axis=1).max() <= radius * (1 + 1e-10) + 1e-14
            ):
                best = points[list(chosen)], centre, radius
    assert best is not None
    return best


def _circumcentre(points: Array) -> Array:
    """The point of their plane (or line, or space) that is equally far from all: (k, 3) -> (3,)."""
    sides = points[1:] - points[0]
    return np.asarray(points[0] + np.linalg.lstsq(2 * sides, (sides**2).sum(1), rcond=None)[0])
