"""Casting with Embree: the fastest engine on x86-64 CPUs.

Images are shared out among threads: Embree and NumPy's loops run without Python's lock. What a thread handles at a time
stays in its core's cache: one image's rays, or a part of them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.rendering.buffers import Buffers
from lie_picard.rendering.meshes.tables import Floats, Tables
from lie_picard.rendering.meshes.threads import each

_RAYS = 16384  # at a time
_MARGIN = 1 + 1e-5  # of the circumscribed sphere, for rounding


class EmbreeEngine:
    """Casts at one surface on the CPU (`caster.Engine`)."""

    def __init__(self, tables: Tables) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self._tables = tables
        self._scene = EmbreeScene(robust=True)  # watertight: no pinholes along edges
        self._mesh = TriangleMesh(self._scene, tables.vertices, tables.triangles)
        nothing = np.zeros((1, 3), np.float32)
        self._scene.run(nothing, nothing + 1)  # builds its tree now, once: threads only read it

    def cast(self, rotations: Tensor, translations: Tensor, rays: Tensor, zoom: Tensor) -> Buffers:
        """`rendering.buffers.Castable.cast`."""
        count, many = len(rotations), len(rays)
        hit, depth = torch.zeros(count, many, dtype=torch.bool), torch.zeros(count, many)
        normal = torch.zeros(count, 3, many)
        uniform = len(self._tables.colours) == 1 and self._tables.uv is None
        if uniform:
            albedo = torch.from_numpy(self._tables.colours[:, :, None]).expand(count, 3, many)
        else:
            albedo = torch.zeros(count, 3, many)
        turns, places, scale = rotations.numpy(), translations.numpy(), zoom.numpy()
        shared = np.ascontiguousarray(rays.numpy())
        squares = shared * shared
        out = hit.numpy(), depth.numpy(), normal.numpy(), None if uniform else albedo.numpy()
        stretch = np.concatenate([scale, np.ones((count, 1), np.float32)], 1)

        def image(k: int) -> None:
            for begin in range(0, many, _RAYS):
                part = slice(begin, begin + _RAYS)
                into = [None if one is None else one[k, ..., part] for one in out]
                self._part(turns[k], places[k], stretch[k], shared[part], squares[part], into)

        each(image, range(count), parallel=count * many > _RAYS)
        return Buffers(hit, depth, normal, albedo)

    def _part(
        self, turn: Floats, place: Floats, stretch: Floats, rays: Floats, squares: Floats, out: list[NDArray | None]
    ) -> None:
        """One image of a part of the rays; written into hit, depth, normal, albedo (the last: None, not asked for)."""
        chosen = _near(place, stretch, rays, squares, self._tables.radius * _MARGIN)
        whole = len(chosen) == len(rays)
        directions = (rays if whole else rays.take(chosen, 0)) @ (stretch[:, None] * turn)  # object frame
        if not len(directions):
            return
        origin = np.ascontiguousarray(-(place @ turn))
        # One row for all: the strides of a broadcast array, which Embree's binding wants to be writable.
        found = self._scene.run(as_strided(origin, directions.shape, (0, 4)), directions, output=1)
        triangle = found["primID"]
        met = np.flatnonzero(triangle >= 0)
        if not len(met):
            return
        at = met if whole else chosen.take(met)
        triangle, u, v = triangle.take(met), found["u"].take(met), found["v"].take(met)
        hit, depth, normal, albedo = out
        assert hit is not None and depth is not None and normal is not None
        hit[at] = True
        depth[at] = found["tfar"].take(met)
        directions = directions.take(met, 0)
        behind = np.einsum("nk,nk->n", found["Ng"].take(met, 0), directions) > 0
        normal[:, at] = turn @ self._normals(triangle, u, v, behind, directions)
        if albedo is not None:
            albedo[:, at] = self._colours(triangle, u, v)

    def _normals(
        self, triangle: NDArray[np.int32], u: Floats, v: Floats, behind: NDArray[np.bool_], directions: Floats
    ) -> Floats:
        """Unit normals on the camera's side, object frame. -> (3, N)."""
        normals = _interpolated(self._tables.normals, 3, triangle, u, v)
        length = np.sqrt((normals * normals).sum(0))
        normals *= np.where(behind, -1, 1).astype(np.float32) / np.maximum(length, 1e-12)
        return normals

    def _colours(self, triangle: NDArray[np.int32], u: Floats, v: Floats) -> Floats:
        """-> (3, N) RGB in [0, 1]."""
        tables = self._tables
        if len(tables.colours) == 1:
            colours = np.repeat(tables.colours.T, len(triangle), 1)
        else:
            colours = _interpolated(tables.colours, 3, triangle, u, v)
        if tables.uv is not None:
            kind = tables.texture.take(triangle)
            painted = np.flatnonzero(kind >= 0)
            place = _interpolated(tables.uv, 2, triangle.take(painted), u.take(painted), v.take(painted))
            colours[:, painted] *= _pixels(tables, kind.take(painted), place)
        return colours


def _near(place: Floats, stretch: Floats, rays: Floats, squares: Floats, radius: float) -> NDArray[np.intp]:
    """Which rays meet a sphere around `place`."""
    away = float(place @ place) - radius * radius
    if away <= 0:
        return np.arange(len(rays))
    along = rays @ (stretch * place)
    return np.flatnonzero((along > 0) & (along * along > squares @ (stretch * stretch * np.float32(away))))


def _interpolated(table: Floats, channels: int, triangle: NDArray[np.int32], u: Floats, v: Floats) -> Floats:
    """Values at points of triangles, from a table of `Tables`. -> (channels, N)."""
    rows = np.ascontiguousarray(table.take(triangle, 0).T)
    if len(rows) == channels:
        return rows
    return rows[:channels] + u * rows[channels : 2 * channels] + v * rows[2 * channels :]


def _pixels(tables: Tables, kind: NDArray[np.int32], place: Floats) -> Floats:
    """Bilinear colours of repeated textures at (2, N) places. -> (3, N) in [0, 1]."""
    first, width, height = tables.pictures.take(kind, 0).T
    x = (place[0] - np.floor(place[0])) * width - 0.5
    y = (np.ceil(place[1]) - place[1]) * height - 0.5
    left, top = np.floor(x), np.floor(y)
    right_share, low_share = (x - left).astype(np.float32), (y - top).astype(np.float32)
    columns = left.astype(np.int32) % width, (left.astype(np.int32) + 1) % width
    rows = first + top.astype(np.int32) % height * width, first + (top.astype(np.int32) + 1) % height * width
    mixed = []
    for row in rows:
        ends = [tables.pixels.take(row + column, 0).T.astype(np.float32) for column in columns]
        mixed.append(ends[0] + right_share * (ends[1] - ends[0]))
    return np.asarray((mixed[0] + low_share * (mixed[1] - mixed[0])) / 255, np.float32)
