"""What every engine reads of a surface: per triangle, in single precision, prepared for interpolation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.surface import Surface

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_MOST_CHECKED = 500_000  # triangles
_EQUAL = 1e-6  # normals and colours that differ by less count as the same


class MeshError(ValueError):
    """A surface that cannot be rendered; the message says why."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Triangles with what is interpolated over them: a value at corner 0, and the steps to corners 1 and 2.

    A point with the barycentric coordinates (1 - u - v, u, v) has ``value + u * first + v * second``.

    Attributes:
        vertices: (V, 3). triangles: (T, 3). radius: of the sphere around the origin that holds them.
        normals: (T, 9) value and steps; (T, 3) where every triangle is flat. Not of unit length between corners.
        colours: (T, 9) likewise, (T, 3) where each triangle has one, (1, 3) where all have the same.
        uv: (T, 6) places in textures; None: no textures.
        texture: (T,) which of them; -1: none.
        pictures: (K, 3) of each texture: its first row in `pixels`, width, height. pixels: (N, 3) uint8 RGB.
    """

    vertices: Floats
    triangles: Ints
    radius: float
    normals: Floats
    colours: Floats
    uv: Floats | None
    texture: Ints
    pictures: Ints
    pixels: NDArray[np.uint8]

    @classmethod
    def of(cls, surface: Surface, crease_deg: float) -> Tables:
        """Of a surface. Triangles without area are left out: no ray meets them.

        Raises:
            MeshError: no triangle has an area, a corner is not finite, or an index points nowhere.
        """
        triangles = np.asarray(surface.triangles, np.int64).reshape(-1, 3)
        vertices = np.asarray(surface.vertices, np.float64).reshape(-1, 3)
        if len(triangles) and not (triangles.min() >= 0 and triangles.max() < len(vertices)):
            raise MeshError(f"a mesh of {len(vertices)} vertices has triangles of others: export it again")
        if not np.isfinite(vertices).all():
            raise MeshError(f"{int((~np.isfinite(vertices)).any(1).sum())} vertices of a mesh are not finite numbers: "
                            "export it again")  # fmt: skip
        corners = vertices.astype(np.float32)[triangles].astype(np.float64)
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        kept = (across != 0).any(1)
        if not kept.any():
            raise MeshError(f"none of a mesh's {len(triangles)} triangles has an area: export it again")
        normals = surface.normals(crease_deg)[kept]
        pictures, pixels = _joined(surface.textures)
        uv, texture = None, np.full(int(kept.sum()), -1, np.int32)
        if surface.texture is not None and surface.uv is not None and len(pictures):
            uv = _steps(surface.uv[kept])
            texture = np.asarray(surface.texture, np.int32)[kept]
        used = np.unique(triangles[kept])
        place = np.zeros(len(vertices), np.int32)
        place[used] = np.arange(len(used), dtype=np.int32)
        held = vertices[used].astype(np.float32)
        return cls(
            held, place[triangles[kept]], float(np.linalg.norm(held, axis=1).max()),
            normals[:, 0].copy() if _flat(normals) else _steps(normals),
            _colours(surface.colours, kept), uv, texture, pictures, pixels,
        )  # fmt: skip

    @property
    def is_plain(self) -> bool:
        """Whether all triangles have the same colour."""
        return self.colours.shape == (1, 3)

    @property
    def is_one_closed_body(self) -> bool:
        """Whether they are the outside of one body: each edge is between two triangles, and all are connected."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        if len(self.triangles) > _MOST_CHECKED:
            return False
        step = max(self.radius, 1e-30) * 1e-6
        _, place = np.unique(np.round(self.vertices / step).astype(np.int64), axis=0, return_inverse=True)
        at = place.reshape(-1)[self.triangles].astype(np.int64)
        many = int(at.max()) + 1
        ahead = (at * many + np.roll(at, -1, 1)).reshape(-1)
        back = (np.roll(at, -1, 1) * many + at).reshape(-1)
        ordered = np.sort(ahead)
        if (np.diff(ordered) == 0).any() or not np.array_equal(ordered, np.sort(back)):
            return False
        ends = at.reshape(-1), np.roll(at, -1, 1).reshape(-1)
        graph = coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(many, many))
        corners = self.vertices[self.triangles].astype(np.float64)
        volume = float(np.einsum("td,td->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])))
        return volume > 0 and connected_components(graph, directed=False)[0] == 1


def _steps(corners: Floats) -> Floats:
    """Values of corners (T, 3, C) as a value and two steps. -> (T, 3 * C)."""
    corners = np.asarray(corners, np.float32)
    first = corners[:, :1]
    return np.ascontiguousarray(np.concatenate([first, corners[:, 1:] - first], 1).reshape(len(corners), -1))


def _flat(corners: Floats) -> bool:
    """Whether the three corners of each triangle have the same value."""
    return bool((np.abs(corners - corners[:, :1]) <= _EQUAL).all())


def _colours(colours: Floats | None, kept: NDArray[np.bool_]) -> Floats:
    if colours is None:
        return np.ones((1, 3), np.float32)
    chosen = np.asarray(colours, np.float32)[kept]
    if not _flat(chosen):
        return _steps(chosen)
    each = chosen[:, 0]
    return each[:1].copy() if bool((np.abs(each - each[:1]) <= _EQUAL).all()) else np.ascontiguousarray(each)


def _joined(textures: tuple[NDArray[np.uint8], ...]) -> tuple[Ints, NDArray[np.uint8]]:
    """All textures' pixels in one table, and where each stands in it."""
    pictures, rows = [], 0
    for one in textures:
        height, width = one.shape[:2]
        pictures.append((rows, width, height))
        rows += width * height
    if rows > np.iinfo(np.int32).max:
        raise MeshError(f"textures of {rows} pixels in all are too large: scale them down to 2 billion or less")
    pixels = np.concatenate([one.reshape(-1, 3) for one in textures]) if textures else np.zeros((0, 3), np.uint8)
    return np.asarray(pictures, np.int32).reshape(-1, 3), pixels
