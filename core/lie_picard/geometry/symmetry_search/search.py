"""The whole search: from candidates to the group of a shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.symmetry_search import group
from lie_picard.geometry.symmetry_search.candidates import GENERIC, Candidate, angle_of, angles_of, searched
from lie_picard.geometry.symmetry_search.nearly import Judge
from lie_picard.geometry.symmetry_search.refine import about, fitted
from lie_picard.geometry.symmetry_search.residuals import mean_distance

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

MAX_ORDER = 120
_LIKELY = 0.02  # mean distance, share of the diameter, of what is judged at all
_FITS = 0.006  # mean distance of what is symmetric but for a blemish
_ALIKE = 0.7  # of the distances that most orders have: one of them that is no better than the rest
_AXES = 4  # that are looked at
_SAME = math.cos(math.radians(4.0))
_ACROSS = math.sin(math.radians(4.0))
_ONLY = 6  # order of an axis beside which there are but half turns
_JUDGED = 6  # orders about an axis


@dataclass(frozen=True, eq=False)
class Found:
    """A group in the samples' frame: elements (K, 3, 3) up to turns about the axes, generators, its centre."""

    elements: Array
    centre: Array
    axes: tuple[Array, ...] = ()

    @property
    def size(self) -> float:
        return math.inf if self.axes else len(self.elements)


def shape_group(judge: Judge) -> Found:
    """The largest group whose turns all hold."""
    samples = judge.samples
    likely = [one for one in searched(samples) if one.residual < _LIKELY]
    best = Found(np.eye(3)[None], np.zeros(3))
    if not likely:
        return best
    tops = _distinct([one for one in likely if one.order != 2])
    if len(tops) > 1:
        best, sure = _of_several(judge, likely)
        if sure or len(best.axes) > 1:
            return best
        tops = [*_blemishes(judge), *tops]
    # An axis of many turns before those of half turns alone; each as nearly as it fits.
    done: list[Array] = []
    count = 0
    for candidate in _distinct([*tops[:3], *likely]):
        # Half turns about axes across one that was looked at have been tried with it.
        across = candidate.order == 2 and any(abs(float(axis @ candidate.axis)) < _ACROSS for axis in done)
        if count >= _AXES or across or _is_in(best, candidate):
            continue
        count += 1
        if candidate.order != 2:
            done.append(candidate.axis)
        found = _about_one(judge, candidate)
        if found.size > best.size:
            best = found
        # No finite group has two axes of such an order, nor a continuous one.
        if best.axes or any(order >= _ONLY for _, order in group.axes_of(best.elements)):
            break
    return best


def _is_in(found: Found, candidate: Candidate) -> bool:
    """Whether a group has the candidate's turn already, so that it can be no more than a part of it."""
    close = np.einsum("kij,ij->k", found.elements, about(candidate.axis, candidate.angle))
    return bool((close > 1 + 2 * math.cos(math.radians(3))).any()) and len(found.elements) > 4


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """The best of those that share an axis."""
    kept: list[Candidate] = []
    for one in candidates:
        if all(abs(float(one.axis @ other.axis)) < _SAME for other in kept):
            kept.append(one)
    return kept


def _about_one(judge: Judge, candidate: Candidate) -> Found:
    """The cyclic or dihedral group about an axis."""
    samples = judge.samples
    frame, centre = fitted(samples, about(candidate.axis, candidate.angle)[None], candidate.centre, 2500, 12)
    axis, order, centre, focus = _order(judge, frame @ candidate.axis, centre)
    return _flipped(judge, axis, order, centre, focus)


def _order(judge: Judge, axis: Array, centre: Array) -> tuple[Array, int, Array, Indices]:
    """Axis, highest order that holds about it (0: continuous, 1: none), centre, and samples that break higher ones."""
    samples = judge.samples
    generic = np.stack([about(axis, angle) for angle in (GENERIC, 1.1, 0.37)])
    focus, places = judge.chosen[:400], [(axis, centre)]
    if mean_distance(samples, generic, centre, samples.points[focus]).max() < _LIKELY:
        frame, middle = fitted(samples, generic, centre, 2000, 10)
        nearly, found = judge.about(frame @ axis, 0, middle)
        if nearly.shape_held:
            return frame @ axis, 0, middle, focus
        # Fitted to turns of another order, the line is a little off: as well as it was before, or better.
        focus, places = found, [(frame @ axis, middle), *places]
    # Teeth that lock out of step draw the line aside: the centroid is no worse.
    places.append((axis, np.zeros(3)))
    for n, k in _promising(judge, places, samples.points[focus]):
        frame, middle = fitted(samples, about(places[k][0], angle_of(n))[None], places[k][1], 2500, 12, focus)
        if judge.about(frame @ places[k][0], n, middle)[0].shape_held:
            return frame @ places[k][0], n, middle, focus
    axis, centre = places[0]
    return axis, 1, centre, focus


def _promising(judge: Judge, places: list[tuple[Array, Array]], focus: Array) -> list[tuple[int, int]]:
    """Orders that are to be judged, the highest first, and which of the places (axis, centre) fits each best.

    What breaks a full turn, the focus (N, 3), tells them apart.
    """
    samples = judge.samples
    points = samples.points[judge.chosen[:150]]
    orders = np.arange(2, MAX_ORDER + 1)
    once = np.stack([
        mean_distance(samples, np.stack([about(axis, angle_of(int(n))) for n in orders]), centre, points)
        for axis, centre in places
    ]).min(0)  # fmt: skip
    orders = orders[once < 1.5 * _LIKELY]
    if not len(orders):
        return []
    turns = [(k, angle) for k, n in enumerate(orders) for angle in angles_of(int(n))]
    each = np.zeros((len(places), len(orders)))
    for row, (axis, centre) in zip(each, places, strict=True):
        some = mean_distance(samples, np.stack([about(axis, angle) for _, angle in turns]), centre, focus)
        np.maximum.at(row, [k for k, _ in turns], some)
    apart, place = each.min(0), each.argmin(0)
    low, high = float(apart.min()), max(float(np.percentile(apart, 90)), float(once.max()))
    if low > _ALIKE * high and low > 0.5 * judge.tolerance:
        return []
    good = sorted(np.flatnonzero(apart <= low + 0.3 * (high - low)).tolist(), reverse=True)
    good = good[:_JUDGED] + [k for k in good[_JUDGED:] if orders[k] <= 4]
    return [(int(orders[k]), int(place[k])) for k in good]


def _flipped(judge: Judge, axis: Array, order: int, centre: Array, focus: Indices) -> Found:
    """C_n or, where half turns about perpendicular axes hold as well, D_n; C2 about one of these alone."""
    samples = judge.samples
    plain = Found(group.cyclic(axis, order), centre) if order else Found(np.eye(3)[None], centre, (axis,))
    turns = [about(axis, angle_of(order))] if order != 1 else []
    for flip in _flips(judge, axis, order, centre, focus):
        frame, middle = fitted(samples, np.stack([*turns, about(flip, math.pi)]), centre, 2500, 14, focus)
        if not judge.about(frame @ flip, 2, middle)[0].shape_held:
            continue
        main = frame @ axis
        if order == 1:
            return Found(group.cyclic(frame @ flip, 2), middle)
        if order == 0:
            return Found(np.stack([np.eye(3), about(frame @ flip, math.pi)]), middle, (main,))
        if judge.about(main, order, middle)[0].shape_held:
            return Found(group.dihedral(main, order, frame @ flip), middle)
    return plain


def _flips(judge: Judge, axis: Array, order: int, centre: Array, focus: Indices) -> list[Array]:
    """Axes of half turns, perpendicular to one, that may hold: (3,) each, best first."""
    samples = judge.samples
    across = np.cross(axis, np.eye(3)[int(np.abs(axis).argmin())])
    across /= np.linalg.norm(across)
    reach = math.pi / max(order, 1)
    angles = np.arange(0, reach, min(math.radians(2.0), reach / 6)) if order else np.zeros(1)
    axes = [about(axis, float(angle)) @ across for angle in angles]
    turns = np.stack([about(one, math.pi) for one in axes])
    # What breaks the full turn tells half turns apart that are nearly alike otherwise.
    whole = mean_distance(samples, turns, centre, samples.points[judge.chosen[:300]])
    apart = whole + mean_distance(samples, turns, centre, samples.points[focus])
    lowest = [k for k in range(len(axes)) if apart[k] <= min(apart[k - 1], apart[(k + 1) % len(axes)])]
    lowest = sorted((k for k in lowest if whole[k] < 1.5 * _LIKELY), key=lambda k: apart[k])[:2]
    # A blemish may break some of the half turns only, which all look alike otherwise.
    more = min(order, 6) if order > 1 else 1
    return [about(axis, k * reach) @ axes[low] for low in lowest for k in range(more)]


def _of_several(judge: Judge, likely: list[Candidate]) -> tuple[Found, bool]:
    """A ball, or what holds of I, O or T; and whether that is all there can be."""
    samples = judge.samples
    points = samples.points[judge.chosen[:250]]
    none = Found(np.eye(3)[None], np.zeros(3))
    generic = np.stack([about(axis, GENERIC) for axis in np.eye(3)])
    _, centre = fitted(samples, generic, np.zeros(3), 2000, 10)
    roundish = bool(mean_distance(samples, generic, centre, points).max() < _LIKELY)
    if roundish:
        oblique = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
        if all(judge.about(axis, 0, centre)[0].shape_held for axis in oblique):
            return Found(np.eye(3)[None], centre, tuple(np.eye(3))), True
    best = none
    axes = [(one.axis, one.order) for one in likely if one.order in (2, 3, 5)][:10]
    for name in group.SIZES:
        elements = group.polyhedral(name)
        frames = group.aligned(name, axes)
        if not frames:
            continue
        some = elements[1 :: max(1, len(elements) // 12)]
        score = [float(mean_distance(samples, f @ some @ f.T, centre, points).mean()) for f in frames]
        if min(score) > _LIKELY:
            continue
        frame = frames[int(np.argmin(score))]
        placed = frame @ elements @ frame.T
        step, middle = fitted(samples, placed[1 :: max(1, len(elements) // 6)], centre, 1500, 12)
        found = Found(held(judge, step @ placed @ step.T, middle), middle)
        if found.size > best.size:
            best = found
        # T is a part of both others: where they fit nearly, all its turns have been judged. On a ball they all fit.
        if len(best.elements) == len(elements) or (min(score) < _FITS and not roundish):
            return best, True
    return best, False


def _blemishes(judge: Judge) -> list[Candidate]:
    """Of what is nearly a ball, axes through the few places that are none of it: these alone choose an axis."""
    points = judge.samples.points
    centre = np.zeros(3)
    for _ in range(5):
        away = points - centre
        length = np.linalg.norm(away, axis=1)
        off = np.abs(length - np.median(length))
        round_ = off < max(judge.tolerance, 2 * float(np.median(off)))
        # |p - c|^2 = r^2 is linear in c and r^2 - |c|^2.
        rows = np.concatenate([2 * points[round_], np.ones((int(round_.sum()), 1))], 1)
        centre = np.linalg.lstsq(rows, (points[round_] ** 2).sum(1), rcond=None)[0][:3]
    if not 0.6 < round_.mean() < 1:
        return []
    directions = (away / length[:, None])[~round_]
    mean = directions.mean(0)
    axes = [mean / max(float(np.linalg.norm(mean)), 1e-9), *np.linalg.eigh(directions.T @ directions)[1].T[::-2]]
    return _distinct([Candidate(axis, GENERIC, 0, centre, 0.0) for axis in axes])


def held(judge: Judge, elements: Array, centre: Array) -> Array:
    """The largest subgroup of a polyhedral group (K, 3, 3) that holds."""
    good = np.zeros(len(elements), bool)
    good[0] = True
    # Each turn of a cyclic group is tried until its generator holds; what generators keep, their products keep.
    for axis, order in sorted(group.axes_of(elements), key=lambda one: -one[1]):
        for n in [d for d in range(order, 1, -1) if order % d == 0]:
            if judge.about(axis, n, centre)[0].shape_held:
                own = group.cyclic(axis, n).reshape(n, 9)
                good |= (elements.reshape(-1, 9) @ own.T > 3 - 1e-6).any(1)
                break
        if len(group.held_subgroup(elements, good)) == len(elements):
            break
        whole = _closure_size(elements, good)
        if whole == len(elements):
            return elements
    return group.held_subgroup(elements, good)


def _closure_size(elements: Array, good: NDArray[np.bool_]) -> int:
    """How many elements the good ones generate."""
    count = len(elements)
    product = np.einsum("aij,bjk->abik", elements, elements).reshape(-1, 9) @ elements.reshape(count, 9).T
    table = product.argmax(1).reshape(count, count)
    closed = set(np.flatnonzero(good).tolist())
    level = set(closed)
    while level:
        level = {int(table[x, y]) for x in level for y in np.flatnonzero(good)} - closed
        closed |= level
    return len(closed)
