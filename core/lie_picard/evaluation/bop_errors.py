"""Errors of a pose: VSD, MSSD, MSPD, ADD and ADD-S, as BOP defines them.

VSD, MSSD, MSPD: Hodan et al., BOP challenge 2020 on 6D object localization (ECCV workshops 2020); VSD before that in
Hodan et al., BOP: benchmark for 6D object pose estimation (ECCV 2018). ADD, ADD-S (also ADI): Hinterstoisser et al.
(ACCV 2012). Poses are (4, 4), camera_from_object in any one frame of the object; lengths in any one unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lie_picard import so3
from lie_picard.geometry.models_info import Listed

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Depth = NDArray[np.floating]

STEP = 0.01  # of a point of a circle of symmetry, as a share of the diameter: BOP's max_sym_disc_step
DELTA = 0.015  # metres; 5 mm for ITODD
_CHUNK = 4_000_000  # points at a time


def symmetry_transforms(listed: Listed, step: float = STEP) -> Array:
    """Transforms of the model's frame that count as equal: each turn about each axis after each discrete one.

    The list of `models_info.json` as it is; that it is a group is the author's affair, as for BOP. Turns about an axis
    are so many that the farthest point of the object moves by `step` diameters. -> (M, 4, 4), identity first.
    """
    discrete = np.tile(np.eye(4), (len(listed.rotations) + 1, 1, 1))
    discrete[1:, :3, :3], discrete[1:, :3, 3] = listed.rotations, listed.translations
    turns = [np.eye(4)[None]] if not len(listed.axes) else []
    count = math.ceil(math.pi / step)
    for axis, offset in zip(listed.axes, listed.offsets, strict=True):
        some = np.tile(np.eye(4), (count, 1, 1))
        some[:, :3, :3] = _about(axis, 2 * math.pi / count * np.arange(count))
        some[:, :3, 3] = offset - some[:, :3, :3] @ offset
        turns.append(some)
    return (np.concatenate(turns)[None] @ discrete[:, None]).reshape(-1, 4, 4)


def _about(axis: NDArray[Any], angles: NDArray[Any]) -> Array:
    import torch

    unit = torch.from_numpy(np.asarray(axis / np.linalg.norm(axis)))
    return so3.about_axis(unit, torch.from_numpy(angles)).numpy()


def mssd(vertices: Array, estimate: Array, truth: Array, equal: Array) -> float:
    """Maximum symmetry-aware surface distance: the largest distance of a vertex, least over the equal true poses.

    Args:
        vertices: (V, 3) of the object. equal: (M, 4, 4) transforms of its frame, `symmetry_transforms`.
    """
    here = placed(vertices, estimate)
    return _least(vertices, truth @ equal, lambda there: np.linalg.norm(there - here, axis=-1))


def mspd(vertices: Array, estimate: Array, truth: Array, equal: Array, matrix: Array) -> float:
    """Maximum symmetry-aware projection distance, pixels: as `mssd`, of the vertices' places in the image.

    Args:
        matrix: (3, 3) K.
    """
    here = _projected(placed(vertices, estimate), matrix)
    return _least(vertices, truth @ equal, lambda there: np.linalg.norm(_projected(there, matrix) - here, axis=-1))


def _least(vertices: Array, poses: Array, distance) -> float:  # type: ignore[no-untyped-def]
    """The least, over poses (M, 4, 4), of the largest distance of a vertex."""
    some = max(1, _CHUNK // len(vertices))
    found = [distance(placed(vertices, poses[start : start + some])).max(-1) for start in range(0, len(poses), some)]
    return float(np.concatenate(found).min())


def _projected(points: Array, matrix: Array) -> Array:
    image = points @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(image[..., :2] / image[..., 2:], nan=np.inf)


def vsd(
    estimated: Depth, true: Depth, seen: Depth, matrix: Array, diameter: float, taus: Sequence[float],
    delta: float = DELTA,
) -> list[float]:  # fmt: skip
    """Visible surface discrepancy for each misalignment tolerance: which share of what is visible does not agree.

    A pixel agrees that is visible at both poses, at distances that differ by less than tau diameters. Visible is a
    rendered surface that is at most `delta` behind what was measured, or where nothing was; at the estimated pose also
    wherever it lies in the visible part of the true one.

    Args:
        estimated, true: (H, W) rendered depth of the object at either pose, 0 or NaN where it is not.
        seen: (H, W) measured depth, 0 or NaN where unknown. matrix: (3, 3) K. diameter: of the object, same unit.

    Returns:
        One error a tolerance; 1 where nothing is visible.
    """
    here, there, measured = (_distances(one, matrix) for one in (estimated, true, seen))
    visible = _visible(there, measured, delta)
    found = _visible(here, measured, delta) | (visible & (here > 0))
    both, either = visible & found, np.count_nonzero(visible | found)
    if not either:
        return [1.0] * len(taus)
    apart = np.abs(there[both] - here[both]) / diameter
    alone = either - np.count_nonzero(both)
    return [float(np.count_nonzero(apart >= tau) + alone) / either for tau in taus]


def _distances(depth: Depth, matrix: Array) -> Array:
    """Distances from the camera's centre; 0 where unknown."""
    rows, columns = depth.shape
    x = (np.arange(columns) - matrix[0, 2]) / matrix[0, 0]
    y = (np.arange(rows)[:, None] - matrix[1, 2]) / matrix[1, 1]
    return np.asarray(np.nan_to_num(depth.astype(np.float64), nan=0.0) * np.sqrt(1 + x**2 + y**2))


def _visible(rendered: Array, measured: Array, delta: float) -> NDArray[np.bool_]:
    return np.asarray((rendered > 0) & ((rendered - measured <= delta) | (measured == 0)))


def add(vertices: Array, estimate: Array, truth: Array) -> float:
    """Mean distance of the vertices (V, 3) at two poses."""
    return float(np.linalg.norm(placed(vertices, estimate) - placed(vertices, truth), axis=1).mean())


def add_s(points: Array, surface: cKDTree, estimate: Array, truth: Array) -> float:
    """ADD-S: mean distance of the object's points at its true pose to the nearest at the estimated one.

    Args:
        points: (P, 3) and surface: points to choose from, both of the object and in its frame. BOP takes its vertices
            for both; denser ones make it a distance of surfaces.
    """
    there = placed(points, np.linalg.inv(estimate) @ truth)
    return float(surface.query(there)[0].mean())


def placed(points: Array, poses: Array) -> Array:
    """Points (P, 3) at poses (..., 4, 4). -> (..., P, 3)."""
    return np.asarray(points @ np.swapaxes(poses[..., :3, :3], -1, -2) + poses[..., None, :3, 3])
