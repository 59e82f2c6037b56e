"""What colours leave of a shape's symmetry."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.symmetry_search import group
from lie_picard.geometry.symmetry_search.candidates import angles_of, half_sphere
from lie_picard.geometry.symmetry_search.nearly import Judge
from lie_picard.geometry.symmetry_search.refine import about
from lie_picard.geometry.symmetry_search.search import MAX_ORDER, Found

Array = NDArray[np.float64]

_LOOK = 5000  # samples that are compared
_NEAR = 4
_STEP = math.radians(2.0)


class Paint:
    """A surface's colours against themselves, turned."""

    def __init__(self, judge: Judge, centre: Array) -> None:
        self.judge, self.centre = judge, centre
        self.chosen = judge.chosen[:_LOOK]

    def difference(self, turn: Array) -> float:
        """Largest difference of colour under a turn, but for the last 0.1% of the samples."""
        return float(np.quantile(self.each(turn, self.chosen), 0.999))

    def mean(self, turn: Array) -> float:
        """Mean difference over fewer samples: to look through many turns."""
        return float(self.each(turn, self.chosen[:800]).mean())

    def each(self, turn: Array, chosen: NDArray[np.int64]) -> Array:
        """Differences at samples (N,)."""
        samples = self.judge.samples
        blurred = samples.blurred
        assert blurred is not None
        turned = self.centre + (samples.points[chosen] - self.centre) @ turn.T
        _, near = samples.tree.query(turned, _NEAR)
        return np.asarray(np.abs(blurred[chosen][:, None] - blurred[near]).max(-1).min(1))

    def holds(self, axis: Array, order: int) -> bool:
        """Whether colours allow it, at the judge's tolerance; listed among what was seen."""
        return self.judge.about(axis, order, self.centre)[0].held


def coloured_group(judge: Judge, shape: Found) -> Found:
    """The largest subgroup of a shape's that its colours have."""
    paint = Paint(judge, shape.centre)
    if not shape.axes:
        limit = judge.colour_tolerance
        good = np.array([k == 0 or paint.difference(one) <= limit for k, one in enumerate(shape.elements)])
        return Found(group.held_subgroup(shape.elements, good), shape.centre)
    if len(shape.axes) == 1:
        return _about_axis(paint, shape, shape.axes[0])
    return _of_ball(paint, shape)


def _about_axis(paint: Paint, shape: Found, axis: Array) -> Found:
    """Of a shape that is round about an axis."""
    order = _order(paint, axis)
    flips = len(shape.elements) > 1 or len(shape.axes) > 1
    own = (
        Found(np.eye(3)[None], shape.centre, (axis,)) if order == 0 else Found(group.cyclic(axis, order), shape.centre)
    )
    if not flips:
        return own
    across = np.cross(axis, np.eye(3)[int(np.abs(axis).argmin())])
    across /= np.linalg.norm(across)
    reach = math.pi / max(order, 1)
    angles = [0.0] if order == 0 else np.arange(0, reach, min(_STEP, reach / 8)).tolist()
    angle = min(angles, key=lambda one: paint.mean(about(about(axis, one) @ across, math.pi)))
    width = 0.0 if order == 0 else angles[-1] / max(len(angles) - 1, 1)
    near = [angle + width * k / 6 for k in range(-6, 7)] if width else [angle]
    angle = min(near, key=lambda one: paint.mean(about(about(axis, one) @ across, math.pi)))
    flip = about(axis, angle) @ across
    if not paint.holds(flip, 2):
        return own
    if order == 0:
        return Found(np.stack([np.eye(3), about(flip, math.pi)]), shape.centre, (axis,))
    return Found(group.dihedral(axis, order, flip) if order > 1 else group.cyclic(flip, 2), shape.centre)


def _order(paint: Paint, axis: Array) -> int:
    if paint.holds(axis, 0):
        return 0
    orders = np.arange(2, MAX_ORDER + 1)
    mean = np.array([max(paint.mean(about(axis, angle)) for angle in angles_of(int(n))) for n in orders])
    low, high = float(mean.min()), float(np.percentile(mean, 90))
    promising = orders[mean <= low + 0.3 * (high - low)]
    for n in sorted(promising.tolist(), reverse=True)[:8]:
        if paint.holds(axis, n):
            return int(n)
    return 1


def _of_ball(paint: Paint, shape: Found) -> Found:
    """Of a ball: the axis about which its colours turn best. Of T, O and I, one axis alone is found."""
    axes = half_sphere(800)
    samples = paint.judge.samples
    chosen = paint.chosen[:300]
    score = np.array([min(paint.each(about(axis, angle), chosen).mean() for angle in (math.pi, 2.4)) for axis in axes])
    best = Found(np.eye(3)[None], shape.centre)
    assert samples.blurred is not None
    for k in np.argsort(score)[:2]:
        axis = _sharpened(paint, axes[k])
        found = _about_axis(paint, Found(np.stack([np.eye(3)] * 2), shape.centre, (axis,)), axis)
        if found.size > best.size:
            best = found
    return best


def _sharpened(paint: Paint, axis: Array) -> Array:
    """An axis moved, in ever smaller steps, to where its half or full turns fit the colours best."""

    def score(one: Array) -> float:
        return min(paint.mean(about(one, angle)) for angle in (math.pi, 2.4))

    step, value = math.radians(3), score(axis)
    while step > math.radians(0.1):
        across = np.linalg.svd(axis[None])[2][1:]
        tried = [axis + step * sign * one for one in across for sign in (-1, 1)]
        tried = [one / np.linalg.norm(one) for one in tried]
        values = [score(one) for one in tried]
        if min(values) < value:
            axis, value = tried[int(np.argmin(values))], min(values)
        else:
            step /= 2
    return axis
