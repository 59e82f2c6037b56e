"""How far a turned surface is from itself: distances, normals and colours at corresponding points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.symmetry_search.sampling import Indices, Samples

Array = NDArray[np.float64]

NEIGHBOURS = 6  # samples whose triangles may be nearest
PATCH = 7  # query samples over which a residual is averaged: about a pixel of 64 px
_AGREE = math.radians(30.0)  # normals as near as that are of one surface
_TURNED = 0.01  # added where they are perpendicular, share of the diameter: what faces elsewhere is half a pixel away
_VISIBLE = math.radians(15.0)  # difference of planes that shading shows


@dataclass(frozen=True, eq=False)
class Residual:
    """Of query samples (M,) both ways: (2, M) distances, angles of fitted planes, differences of colour or None."""

    distance: Array
    angle: Array
    colour: Array | None

    @property
    def largest(self) -> float:
        return float(self.distance.max())

    @property
    def most(self) -> float:
        """All but 0.1% of the surface is as near."""
        return float(np.quantile(self.distance, 0.999))

    @property
    def normals(self) -> float:
        """Share of the surface whose fitted planes differ visibly."""
        return float((self.angle > _VISIBLE).mean())


def queries(samples: Samples, count: int) -> tuple[Indices, Indices]:
    """Evenly chosen samples (M,), and for each the positions (M, PATCH) among them of those around it."""
    from scipy.spatial import cKDTree

    count = min(count, len(samples.points))
    # Samples are stratified along the triangles: a fixed stride might follow a pattern of theirs.
    chosen = np.random.default_rng(1).permutation(len(samples.points))[:count]
    points = samples.points[chosen]
    return chosen, np.asarray(cKDTree(points).query(points, min(PATCH, count))[1]).reshape(count, -1)


def compared(samples: Samples, rotation: Array, centre: Array, chosen: Indices, patch: Indices | None) -> Residual:
    """Chosen samples turned there and back, against the surface.

    The distance is to the nearest surface that faces alike: one that faces elsewhere counts as farther, by up to 1%.
    All figures are means over a patch (M, P) where one is given, so that noise of single vertices does not decide.
    """
    found = [_one_way(samples, turn, centre, chosen) for turn in (rotation, rotation.T)]
    distance, angle, colour = (None if part[0] is None else np.stack(part) for part in zip(*found, strict=True))
    assert distance is not None and angle is not None
    if patch is None:
        return Residual(distance, angle, colour)
    return Residual(*(None if part is None else part[:, patch].mean(-1) for part in (distance, angle, colour)))  # type: ignore[arg-type]


def _one_way(samples: Samples, rotation: Array, centre: Array, chosen: Indices) -> tuple[Array, Array, Array | None]:
    points = centre + (samples.points[chosen] - centre) @ rotation.T
    normals = samples.facing[chosen] @ rotation.T
    _, near = samples.tree.query(points, NEIGHBOURS, workers=-1)
    flat = near.reshape(-1)
    away = _to_triangles(samples, np.repeat(points, NEIGHBOURS, 0), flat)
    cosine = np.abs(np.einsum("nd,nkd->nk", normals, samples.facing[near])).clip(0, 1)
    excess = ((np.arccos(cosine) - _AGREE) / (math.pi / 2 - _AGREE)).clip(0, 1)
    distance = np.sqrt(away.reshape(near.shape) ** 2 + (_TURNED * excess) ** 2).min(1)
    planes, flat_there = samples.planes
    alike = np.abs(np.einsum("nd,nkd->nk", planes[chosen] @ rotation.T, planes[near])).clip(0, 1)
    angle = np.where(flat_there[chosen] & flat_there[near].all(1), np.arccos(alike).min(1), 0.0)
    if samples.blurred is None:
        return distance, angle, None
    return distance, angle, np.abs(samples.blurred[chosen][:, None] - samples.blurred[near]).max(-1).min(1)


def mean_distance(samples: Samples, rotations: Array, centre: Array, points: Array) -> Array:
    """Mean distance, each at most 5% of the diameter, of points (N, 3) turned by (K, 3, 3) to the surface. -> (K,)."""
    turned = centre + np.einsum("kij,nj->kni", rotations, points - centre)
    away, near = samples.tree.query(turned.reshape(-1, 3), 1, distance_upper_bound=0.1, workers=-1)
    valid = near < len(samples.points)
    near = np.where(valid, near, 0)
    offset = turned.reshape(-1, 3) - samples.points[near]
    height = np.abs((offset * samples.normals[near]).sum(-1))
    spacing = math.sqrt(samples.area / len(samples.points))
    across = np.sqrt((np.where(valid, away, 0.1) ** 2 - height**2).clip(0))
    found = np.where(valid, np.hypot(height, (across - spacing).clip(0)), 0.05).clip(0, 0.05)
    return np.asarray(found.reshape(len(rotations), -1).mean(1))


def _to_triangles(samples: Samples, points: Array, index: Indices) -> Array:
    """Distances of points (N, 3) to samples' triangles (N,), which reach farther by their slack in their plane."""
    axes, corners, edges = samples.flats
    local = np.einsum("nij,nj->ni", axes[index], points - samples.corners[index, 0])
    edge, to = edges[index], local[:, None, :2] - corners[index]
    along = edge[..., 0] * to[..., 0] + edge[..., 1] * to[..., 1]
    share = (along / np.maximum(edge[..., 0] ** 2 + edge[..., 1] ** 2, 1e-300)).clip(0, 1)
    x, y = to[..., 0] - share * edge[..., 0], to[..., 1] - share * edge[..., 1]
    across = (x * x + y * y).min(1)
    outside = (edge[..., 0] * to[..., 1] < edge[..., 1] * to[..., 0]).any(1)
    beyond = np.where(outside, (np.sqrt(across) - samples.slack[index]).clip(0), 0.0)
    return np.asarray(np.hypot(local[:, 2], beyond))
