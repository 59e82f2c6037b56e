"""Symmetries of a part of a surface: the round body of a mug, a plate of a bracket about its own centre."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.models_info import SymmetryError
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry_search.candidates import GENERIC
from lie_picard.geometry.symmetry_search.nearly import TOLERANCE, Judge, Nearly
from lie_picard.geometry.symmetry_search.refine import about
from lie_picard.geometry.symmetry_search.sampling import Samples, sampled
from lie_picard.geometry.symmetry_search.search import shape_group

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_LOOK = 3000  # samples that are carried
_NEAR = 0.004  # of what is carried, share of the diameter
_ROUGH = 0.015  # before a line is fitted
_AGREE = math.cos(math.radians(20.0))
_PATCHES = 160  # neighbourhoods that lines are fitted to
_MANY = 400  # samples of one
_STRAIGHT = 0.012  # normals miss their axis by that, share of the diameter
_KEPT = 40
_SAME_AXIS, _SAME_POINT = math.cos(math.radians(3.0)), 0.02
_ONE_REGION, _MOST_TORN = 0.97, 0.08
_ANY = [GENERIC, 1.1, 0.45, 4.0]  # radians, that stand for every turn
_OTHER_TURN, _OTHER_PLACE = math.radians(8.0), 0.02
_ORDERS = 6, 5, 4, 3, 2


def partial_symmetries(surface: Surface, min_share: float = 0.1) -> list[PartialSymmetry]:
    """Turns about lines that carry at least a share of a surface onto the surface; those of all of it are among them.

    Normals of a surface that is round about an axis meet it: they are a linear line complex without a pitch (Pottmann
    and Wallner, Computational Line Geometry, 2001). Axes are fitted to the complexes of neighbourhoods, and to flat
    regions about their centroids; the largest share first.

    Raises:
        SymmetryError: `min_share` is none, or the surface has no area.
    """
    if not (math.isfinite(min_share) and 0 < min_share <= 1):
        raise SymmetryError(f"min_share must be a share of the area above 0 and at most 1, got {min_share}")
    samples = sampled(surface, colour=False)
    found: list[tuple[Array, Array, float | None, float]] = []
    for axis, point in _round_lines(samples):
        _add(samples, found, axis, point, None, min_share)
    for near in _of_all(samples):
        _add(samples, found, near.axis, samples.inside(near.centre), 2 * math.pi / near.order, min_share)
    for axis, point in _plates(samples, min_share):
        for order in _ORDERS:
            if _add(samples, found, axis, point, 2 * math.pi / order, min_share):
                break
    found.sort(key=lambda one: -one[3])
    return [
        PartialSymmetry(axis, _foot(samples.outside(point), axis), angle, share) for axis, point, angle, share in found
    ]


def _of_all(samples: Samples) -> list[Nearly]:
    """What a search for symmetries of the whole comes by, whether it holds or not."""
    judge = Judge(samples, TOLERANCE, 1.0, True)
    shape_group(judge)
    return sorted((one for one in judge.seen if one.order), key=lambda one: -one.order)


def _foot(point: Array, axis: Array) -> Array:
    """The point of a line that is nearest to the origin."""
    return np.asarray(point - axis * float(axis @ point))


def _add(
    samples: Samples,
    found: list[tuple[Array, Array, float | None, float]],
    axis: Array,
    point: Array,
    angle: float | None,
    min_share: float,
) -> bool:
    """Fit a line to what it carries, and keep it if that is enough and new."""
    angles = _ANY if angle is None else [angle]
    if _is_known(found, axis, point, angle):
        return True
    if carried(samples, axis, point, angles, 700, _ROUGH).mean() < 0.7 * min_share:
        return False
    axis, point = _fitted(samples, axis, point, angles)
    if _is_known(found, axis, point, angle):
        return True
    good = carried(samples, axis, point, angles)
    share = float(good.mean())
    if share < min_share or _torn(samples, good) > _MOST_TORN or _slides(samples, axis, point, angle, share):
        return False
    found.append((axis, point, angle, share))
    return True


def _is_known(
    found: list[tuple[Array, Array, float | None, float]], axis: Array, point: Array, angle: float | None
) -> bool:
    """Whether a turn, or one that it is a multiple of, has been found about nearly the same line."""
    for other, place, turn, _ in found:
        off = float(np.linalg.norm(np.cross(place - point, other)))
        multiple = turn is None or (angle is not None and abs(round(angle / turn) - angle / turn) < 1e-6)
        if multiple and abs(float(axis @ other)) > _SAME_AXIS and off < _SAME_POINT:
            return True
    return False


def carried(
    samples: Samples, axis: Array, point: Array, angles: list[float], count: int = _LOOK, near: float = _NEAR
) -> NDArray[np.bool_]:
    """Which of some samples each turn carries onto the surface, facing alike. -> (N,)."""
    chosen = _some(samples, count)
    good = np.ones(len(chosen), bool)
    for angle in angles:
        turn = about(axis, angle)
        points = point + (samples.points[chosen] - point) @ turn.T
        good &= _meets(samples, points, samples.normals[chosen] @ turn.T, near)[0]
    return good


def _torn(samples: Samples, good: NDArray[np.bool_]) -> float:
    """Share of what is carried, (N,) of some samples, beside which the same flat region is not.

    Any turn about its normal slides a plane within itself: what looks alike ends where the plane does.
    """
    from scipy.spatial import cKDTree

    chosen = _some(samples, len(good))
    points, (normals, flat) = samples.points[chosen], samples.planes
    normals, flat = normals[chosen], flat[chosen]
    _, near = cKDTree(points).query(points, 5)
    same = np.abs(np.einsum("nd,nkd->nk", normals, normals[near])) > _ONE_REGION
    torn = good & flat & (same & flat[near] & ~good[near]).any(1)
    return float(torn.sum() / max(1, good.sum()))


def _slides(samples: Samples, axis: Array, point: Array, angle: float | None, share: float) -> bool:
    """Whether other turns carry nearly as much: of planes that slide within themselves nothing singles out one."""
    if angle is not None:
        beside = [carried(samples, axis, point, [angle + turn]).mean() for turn in (-_OTHER_TURN, _OTHER_TURN)]
        return bool(max(beside) > 0.9 * share)
    across = np.linalg.svd(axis[None])[2][1:]
    moved = [point + _OTHER_PLACE * sign * one for one in across for sign in (-1, 1)]
    return bool(max(carried(samples, axis, one, _ANY).mean() for one in moved) > 0.98 * share)


def _some(samples: Samples, count: int) -> Indices:
    return np.random.default_rng(4).permutation(len(samples.points))[:count]


def _meets(samples: Samples, points: Array, normals: Array, near: float) -> tuple[NDArray[np.bool_], Array, Array]:
    """Whether points are on the surface, their heights above it (N,) and its normals there (N, 3)."""
    spacing = math.sqrt(samples.area / len(samples.points))
    _, index = samples.tree.query(points, 3, distance_upper_bound=near + 3 * spacing)
    there = index < len(samples.points)
    index = np.where(there, index, 0)
    facing = samples.normals[index]
    height = np.einsum("nkd,nkd->nk", points[:, None] - samples.points[index], facing)
    agree = np.abs(np.einsum("nd,nkd->nk", normals, facing)) > _AGREE
    good = there & agree & (np.abs(height) < near)
    best = np.where(good, np.abs(height), np.inf).argmin(1)
    row = np.arange(len(points))
    return good.any(1), height[row, best], facing[row, best]


def _fitted(samples: Samples, axis: Array, point: Array, angles: list[float], rounds: int = 8) -> tuple[Array, Array]:
    """A line moved to where its turns carry best what they carry: point-to-plane steps over what is near."""
    chosen = _some(samples, 4000)
    for k in range(rounds):
        near = max(0.002, 0.016 * 0.6**k)
        matrix, vector = np.zeros((6, 6)), np.zeros(6)
        for angle in angles:
            turn = about(axis, angle)
            arm = samples.points[chosen] - point
            turned = arm @ turn.T
            good, height, normal = _meets(samples, turned + point, samples.normals[chosen] @ turn.T, near)
            if good.sum() < 20:
                continue
            arm, turned, height, normal = arm[good], turned[good], height[good], normal[good]
            back = normal @ turn
            jacobian = np.concatenate([np.cross(turned, normal) - np.cross(arm, back), normal - back], 1)
            matrix, vector = matrix + jacobian.T @ jacobian, vector + jacobian.T @ height
        values, directions = np.linalg.eigh(matrix)
        sure = values > 1e-4 * max(values[-1], 1e-12)
        step = -directions[:, sure] @ ((directions[:, sure].T @ vector) / values[sure])
        size = float(np.abs(step).max())
        step *= min(1.0, 0.05 / max(size, 1e-12))
        axis = axis + np.cross(step[:3], axis)
        axis, point = axis / np.linalg.norm(axis), point + step[3:]
        if size < 1e-5 and k > 5:
            break
    return axis, point


def _round_lines(samples: Samples) -> list[tuple[Array, Array]]:
    """Axes that the normals of many neighbourhoods meet, those of most first: (3,) direction and point."""
    rng = np.random.default_rng(6)
    seeds = rng.choice(len(samples.points), _PATCHES, replace=False)
    normals = samples.planes[0]
    lines: list[tuple[float, Array, Array]] = []
    sizes = (_MANY, 4 * _MANY)
    for size in sizes:
        _, near = samples.tree.query(samples.points[seeds], size)
        for index in near:
            line = _complex(samples.points[index], normals[index])
            if line is not None:
                axis, point = line
                across = np.cross(samples.normals[index], axis)
                miss = np.abs(np.einsum("nd,nd->n", samples.points[index] - point, across))
                lines.append((float(np.median(miss)), axis, point))
    lines.sort(key=lambda line: line[0])
    kept: list[tuple[Array, Array]] = []
    for miss, axis, point in lines:
        if miss > _STRAIGHT or len(kept) >= _KEPT:
            break
        if not any(abs(float(axis @ a)) > _SAME_AXIS and np.linalg.norm(np.cross(point - p, a)) < _SAME_POINT
                   for a, p in kept):  # fmt: skip
            kept.append((axis, point))
    return kept


def _complex(points: Array, normals: Array) -> tuple[Array, Array] | None:
    """The line that normals meet: least (c . n + c_bar . (p x n))^2 over |c| = 1, without its pitch; None: many do.

    Here a rotation's velocity c_bar x p + c is tangent, so that c_bar is the axis.
    """
    middle = points.mean(0)
    rows = np.concatenate([normals, np.cross(points - middle, normals)], 1)
    full = rows.T @ rows / len(rows)
    a, b, d = full[:3, :3], full[:3, 3:], full[3:, 3:]
    # A plane or a cylinder leaves shifts open: they are left out, as the smallest of them.
    inverse = np.linalg.pinv(a, rcond=1e-3)
    values, directions = np.linalg.eigh(d - b.T @ inverse @ b)
    scale = float(((points - middle) ** 2).sum(1).mean())
    if values[1] < 0.02 * scale * np.trace(a) / 3 or np.linalg.eigvalsh(a)[1] < 1e-3:
        return None
    axis = directions[:, 0]
    shift = -inverse @ b @ axis
    shift = shift - axis * float(axis @ shift)
    return axis, middle + np.cross(axis, shift)


def _plates(samples: Samples, min_share: float) -> list[tuple[Array, Array]]:
    """Normals and centroids of large flat regions, also of pairs that lie back to back."""
    normals, flat = samples.planes
    left = flat.copy()
    found: list[tuple[Array, Array]] = []
    spacing = math.sqrt(samples.area / len(samples.points))
    for _ in range(12):
        if left.sum() < 0.3 * min_share * len(left):
            break
        seeds = np.random.default_rng(7).choice(np.flatnonzero(left), min(60, int(left.sum())), replace=False)
        best = np.zeros(len(left), bool)
        for k in seeds:
            height = (samples.points - samples.points[k]) @ normals[k]
            inside = left & (np.abs(height) < 0.005) & (np.abs(normals @ normals[k]) > 0.98)
            if inside.sum() > best.sum():
                best = inside
        members = np.flatnonzero(best)
        left &= ~best
        for piece in _connected(samples.points[members], 3 * spacing):
            own = members[piece]
            if len(own) < 0.3 * min_share * len(left):
                continue
            centre = samples.points[own].mean(0)
            found.append((np.linalg.eigh(np.cov(samples.points[own].T))[1][:, 0], centre))
    return found


def _connected(points: Array, reach: float) -> list[Indices]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(points),) * 2)
    count, label = connected_components(graph, directed=False)
    return [np.flatnonzero(label == k) for k in range(count)]
