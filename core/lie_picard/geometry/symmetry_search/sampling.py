"""A surface as even samples, in units of its diameter about its centroid: what the search looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.models_info import SymmetryError
from lie_picard.geometry.surface import Surface

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

DENSE = 40_000  # samples of the surface; 0.7% of the diameter apart on a compact part
_SMOOTH = 50_000  # triangles up to which normals are smoothed; facets of finer meshes are small
_BLUR = 24  # samples that a pixel of a 64 px image averages over, about 2% of the diameter wide
_ORIENTED = 10_000  # samples that are looked up by place and normal
_TURNED = 0.08  # share of the diameter that a normal turned by 60 degrees counts as
_CELL = 0.015  # share of the diameter
_FLAT = 0.05  # thickness over width, squared, of a neighbourhood that has a plane


@dataclass(frozen=True, eq=False)
class Samples:
    """Stratified samples of a surface. Lengths are shares of the diameter, the origin is about its centroid.

    Attributes:
        points, normals: (N, 3). corners: (N, 3, 3) of each sample's triangle. slack: (N,) by which a small triangle
            stands for unsampled neighbours. colours: (N, 3) in [0, 1]; None: unknown.
        diameter: of the smallest enclosing ball, in the surface's unit. origin: (3,) centroid, in its frame.
    """

    points: Array
    normals: Array
    corners: Array
    slack: Array
    colours: Array | None
    diameter: float
    origin: Array
    area: float = field(default=0.0)

    @cached_property
    def tree(self) -> Any:
        """Nearest samples."""
        from scipy.spatial import cKDTree

        return cKDTree(self.points)

    @cached_property
    def _oriented(self) -> tuple[Any, Indices]:
        from scipy.spatial import cKDTree

        some = np.random.default_rng(8).permutation(len(self.points))[:_ORIENTED]
        both = [np.concatenate([self.points[some], sign * _TURNED * self.facing[some]], 1) for sign in (1, -1)]
        return cKDTree(np.concatenate(both)), np.concatenate([some, some])

    def nearest_facing(self, points: Array, normals: Array) -> tuple[Array, Indices]:
        """Distances and indices (N,) of samples near points (N, 3) that face as normals (N, 3) do, up to their sign.

        The nearest of a displaced rim is a thin plate's face: it says nothing of where the rim is.
        """
        tree, index = self._oriented
        near = index[tree.query(np.concatenate([points, _TURNED * normals], 1))[1]]
        return np.linalg.norm(points - self.points[near], axis=1), near

    @cached_property
    def flats(self) -> tuple[Array, Array, Array]:
        """Of each sample's triangle: axes and normal (N, 3, 3), corners (N, 3, 2) and edges (N, 3, 2) in its plane."""
        edge = self.corners[:, 1] - self.corners[:, 0]
        along = edge / np.maximum(np.linalg.norm(edge, axis=1, keepdims=True), 1e-300)
        normal = np.cross(along, self.corners[:, 2] - self.corners[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
        axes = np.stack([along, np.cross(normal, along), normal], 1)
        flat = np.einsum("nij,nkj->nki", axes[:, :2], self.corners - self.corners[:, :1])
        return axes, flat, np.roll(flat, -1, 1) - flat

    @cached_property
    def _pixel(self) -> Indices:
        return np.asarray(self.tree.query(self.points, _BLUR, workers=-1)[1])

    @cached_property
    def planes(self) -> tuple[Array, NDArray[np.bool_]]:
        """Normals (N, 3) of planes fitted to a pixel's neighbourhood, and whether it is flat at all, (N,).

        Vertex noise tilts the facets of a fine mesh by tens of degrees, these planes hardly, and they know no winding.
        """
        offset = self.points[self._pixel]
        offset = offset - offset.mean(1, keepdims=True)
        spread, directions = np.linalg.eigh(np.einsum("nki,nkj->nij", offset, offset))
        return np.asarray(directions[:, :, 0]), np.asarray(spread[:, 0] < _FLAT * spread[:, 1])

    @cached_property
    def facing(self) -> Array:
        """Normals (N, 3), of the plane where there is one: up to their sign."""
        normals, flat = self.planes
        return np.where(flat[:, None], normals, self.normals)

    @cached_property
    def blurred(self) -> Array | None:
        """Colours as a pixel averages them. -> (N, 3)."""
        return None if self.colours is None else np.asarray(self.colours[self._pixel].mean(1))

    def inside(self, point: Array) -> Array:
        """A point of the surface's frame in that of the samples."""
        return (point - self.origin) / self.diameter

    def outside(self, point: Array) -> Array:
        """A point of the samples' frame in the surface's."""
        return self.origin + self.diameter * point


def sampled(surface: Surface, count: int = DENSE, seed: int = 0, colour: bool = True) -> Samples:
    """Samples of a surface; the same each time.

    Raises:
        SymmetryError: it has no area, or corners that are not finite.
    """
    corners = np.asarray(surface.corners, float)
    if not len(corners) or not np.isfinite(corners).all():
        bad = int((~np.isfinite(corners)).any((1, 2)).sum()) if len(corners) else 0
        raise SymmetryError(
            f"{bad} of {len(corners)} triangles have corners that are not finite: export the mesh again"
            if bad
            else "a surface without triangles has no symmetry: give a mesh"
        )
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double = np.linalg.norm(across, axis=1)
    total = float(double.sum())
    used = np.unique(surface.triangles[double > 0])
    _, radius = enclosing_ball(surface.vertices[used]) if len(used) else (np.zeros(3), 0.0)
    if not total > 1e-9 * radius**2 or radius <= 0:
        raise SymmetryError(f"the surface of {len(corners)} triangles has no area: export the mesh again")
    rng = np.random.default_rng(seed)
    place = (np.arange(count) + rng.random(count)) / count * total
    triangle = np.minimum(np.searchsorted(np.cumsum(double), place), len(corners) - 1)
    first, second = np.sqrt(rng.random(count)), rng.random(count)
    shares = np.stack([1 - first, first * (1 - second), first * second], 1)
    chosen = corners[triangle]
    points = np.einsum("nk,nkd->nd", shares, chosen)
    if len(corners) <= _SMOOTH:
        normals = np.einsum("nk,nkd->nd", shares, surface.normals()[triangle])
    else:
        normals = across[triangle]
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    origin, diameter = _even_mean(points, _CELL * 2 * radius), 2 * radius
    area = total / 2 / diameter**2
    spacing = math.sqrt(area / count)
    small = double[triangle] / 2 / diameter**2 < 4 * spacing**2
    coloured = surface.colour_at(triangle, shares).astype(float) if colour and surface.is_coloured else None
    return Samples(
        (points - origin) / diameter,
        normals,
        (chosen - origin) / diameter,
        np.where(small, 0.7 * spacing, 0.0),
        coloured,
        diameter,
        origin,
        area,
    )


def _even_mean(points: Array, cell: float) -> Array:
    """Mean over the occupied cells: noise adds area where triangles are small, by half for slivers."""
    _, at = np.unique(np.floor((points - points.min(0)) / cell).astype(np.int64), axis=0, return_inverse=True)
    many = np.bincount(at.reshape(-1))
    return np.asarray((points / many[at.reshape(-1)][:, None]).sum(0) / len(many))


def enclosing_ball(points: Array, rounds: int = 300) -> tuple[Array, float]:
    """Centre and radius of nearly the smallest ball around points (N, 3); Badoiu and Clarkson's steps, to 0.5%."""
    directions = np.random.default_rng(0).normal(size=(100, 3))
    chunks = np.array_split(points, max(1, len(points) // 20_000))
    reach = [chunk[np.unique((chunk @ directions.T).argmax(0))] for chunk in chunks]
    outer = np.concatenate(reach)  # the farthest in many directions
    centre = (outer.min(0) + outer.max(0)) / 2
    for k in range(rounds):
        far = outer[np.argmax(((outer - centre) ** 2).sum(1))]
        centre = centre + (far - centre) / (k + 2)
    return centre, float(np.sqrt(((points - centre) ** 2).sum(1).max()))
