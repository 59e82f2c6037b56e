"""Casting with Embree: the fastest engine on x86-64 CPUs.

Images are shared out among threads: Embree and NumPy's loops run without Python's lock. What a thread handles at a time
stays in its core's cache: one image's rays, or a part of them.
"""

from __future__ import annotations

import functools
import math
import os
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.rendering.buffers import Buffers
from lie_picard.rendering.meshes.tables import Floats, Tables
from lie_picard.rendering.meshes.threads import each

_RAYS = 16384  # at a time
_FEWEST = 256  # rays that are an image's
_WIDEST = 5  # gap between hits in a row, in which rays are cast again
_ONE = np.float32(1)
_MARGIN = 1 + 1e-5  # of the circumscribed sphere, for rounding


class EmbreeEngine:
    """Casts at one surface on the CPU (`caster.Engine`)."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._robust = _scene(tables, robust=True)
        self._fast = _scene(tables, robust=False) if tables.is_one_closed_body else None

    def cast(self, rotations: Tensor, translations: Tensor, rays: Tensor, zoom: Tensor) -> Buffers:
        """`rendering.buffers.Castable.cast`."""
        count, many = len(rotations), len(rays)
        hit, depth = torch.zeros(count, many, dtype=torch.bool), torch.zeros(count, many)
        normal = torch.zeros(count, 3, many)
        uniform = self._tables.is_plain and self._tables.uv is None
        if uniform:
            albedo = torch.from_numpy(self._tables.colours[:, :, None]).expand(count, 3, many)
        else:
            albedo = torch.zeros(count, 3, many)
        turns, places, scale = rotations.numpy(), translations.numpy(), zoom.numpy()
        shared = np.ascontiguousarray(rays.numpy())
        squares = shared * shared
        reach = float(np.sqrt((squares[:, 0] + squares[:, 1]).max(initial=0)))
        out = hit.numpy(), depth.numpy(), normal.numpy(), None if uniform else albedo.numpy()
        stretch = np.concatenate([scale, np.ones((count, 1), np.float32)], 1)

        def image(k: int) -> None:
            for begin in range(0, many, _RAYS):
                part = slice(begin, begin + _RAYS)
                into = [None if one is None else one[k, ..., part] for one in out]
                self._part(turns[k], places[k], stretch[k], shared[part], squares[part], reach, into)

        each(image, range(count), parallel=count * many > _RAYS)
        return Buffers(hit, depth, normal, albedo)

    def _part(
        self, turn: Floats, place: Floats, stretch: Floats, rays: Floats, squares: Floats, reach: float,
        out: list[NDArray | None],
    ) -> None:  # fmt: skip
        """One image of a part of the rays, written into hit, depth, normal, albedo (None: the same everywhere).

        Args:
            squares: (P, 3) of the rays. reach: largest distance of (x, y) from 0 among all rays.
        """
        chosen = _near(place, stretch, rays, squares, reach, self._tables.radius * _MARGIN)
        directions = (rays if chosen is None else rays.take(chosen, 0)) @ (stretch[:, None] * turn)  # object frame
        if not len(directions):
            return
        origin = np.ascontiguousarray(-(place @ turn))
        found, facing = self._found(origin, directions)
        triangle, u, v, depths = (found[name] for name in ("primID", "u", "v", "tfar"))
        hits = triangle >= 0
        at: NDArray[np.intp] | slice
        met = np.flatnonzero(hits)
        if not len(met):
            return
        if 2 * len(met) < len(hits):
            at = met if chosen is None else chosen.take(met)
            triangle, u, v, depths = triangle.take(met), u.take(met), v.take(met), depths.take(met)
            facing, hits = facing[met], hits[met]
        else:  # to choose among them takes longer than to do the few others too, and to write 0 there
            at = slice(None) if chosen is None else chosen
            if len(met) < len(hits):
                triangle, u, v, depths = (np.where(hits, one, one.dtype.type(0)) for one in (triangle, u, v, depths))
        hit, depth, normal, albedo = out
        assert hit is not None and depth is not None and normal is not None
        hit[at] = hits
        depth[at] = depths
        for k, values in enumerate(turn @ self._normals(triangle, u, v, np.where(facing, _ONE, -_ONE) * hits)):
            normal[k][at] = values
        if albedo is not None:
            for k, values in enumerate(self._colours(triangle, u, v)):
                albedo[k][at] = values * hits

    def _found(self, origin: Floats, directions: Floats) -> tuple[dict[str, NDArray], NDArray[np.bool_]]:
        """What rays meet, as Embree tells it, and whether they meet it from outside.

        Its fast mode takes a fifth less time than the robust one, and lets one ray in 100,000 slip through between two
        triangles, more where many meet an edge exactly. In a closed body such a ray meets a triangle from behind, or,
        if it slips through twice, nothing between neighbours that hit: these are cast again.
        """
        if self._fast is None or len(directions) < _FEWEST:
            found = _run(self._robust, origin, directions)
            return found, _dot(found["Ng"], directions) < 0
        found = _run(self._fast, origin, directions)
        facing = _dot(found["Ng"], directions) < 0
        missed = found["primID"] < 0
        again = np.flatnonzero(~(facing | missed))
        if missed.any():
            met = np.flatnonzero(~missed)
            gap = np.diff(met)
            narrow = np.flatnonzero((gap > 1) & (gap <= _WIDEST))
            before, gap = met[narrow], gap[narrow]
            again = np.concatenate([again, *(before[gap > k] + k for k in range(1, _WIDEST))])
        if len(again):
            chosen = directions.take(again, 0)
            for name, values in _run(self._robust, origin, chosen).items():
                found[name][again] = values
            facing[again] = _dot(found["Ng"].take(again, 0), chosen) < 0
        return found, facing

    def _normals(self, triangle: NDArray[np.int32], u: Floats, v: Floats, length: Floats) -> Floats:
        """Normals of a length, negative: to the other side; object frame. -> (3, N)."""
        normals = _interpolated(self._tables.normals, 3, triangle, u, v)
        normals *= length / np.maximum(np.sqrt(np.einsum("kn,kn->n", normals, normals)), 1e-12)
        return normals

    def _colours(self, triangle: NDArray[np.int32], u: Floats, v: Floats) -> Floats:
        """-> (3, N) RGB in [0, 1]."""
        tables = self._tables
        if tables.is_plain:
            colours = np.repeat(tables.colours.T, len(triangle), 1)
        else:
            colours = _interpolated(tables.colours, 3, triangle, u, v)
        if tables.uv is not None:
            kind = tables.texture.take(triangle)
            painted = np.flatnonzero(kind >= 0)
            place = _interpolated(tables.uv, 2, triangle.take(painted), u.take(painted), v.take(painted))
            colours[:, painted] *= _pixels(tables, kind.take(painted), place)
        return colours


def _dot(one: Floats, other: Floats) -> Floats:
    """Of rows: (N, 3) -> (N,)."""
    return one[:, 0] * other[:, 0] + one[:, 1] * other[:, 1] + one[:, 2] * other[:, 2]


@functools.lru_cache(maxsize=1)
def _device(process: int) -> Any:
    """One for all scenes of a process: where memory is short a second one is null, and the first call of it the end."""
    from embreex.rtcore import EmbreeDevice

    return EmbreeDevice()


def _scene(tables: Tables, robust: bool) -> Any:
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    scene = EmbreeScene(_device(os.getpid()), robust)
    TriangleMesh(scene, tables.vertices, tables.triangles)
    ray = np.ones((1, 3), np.float32)
    scene.run(ray, ray)  # builds its tree now, once: threads only read it
    return scene


def _run(scene: Any, origin: Floats, directions: Floats) -> dict[str, NDArray]:
    # One row for all: the strides of a broadcast array, which Embree's binding wants to be writable.
    found: dict[str, NDArray] = scene.run(as_strided(origin, directions.shape, (0, 4)), directions, output=1)
    return found


def _near(
    place: Floats, stretch: Floats, rays: Floats, squares: Floats, reach: float, radius: float
) -> NDArray[np.intp] | None:
    """Which rays meet a sphere around `place`; None: all."""
    x, y, z = map(float, place)
    away = x * x + y * y + z * z - radius * radius
    if away <= 0:
        return None
    # All do where the cone that holds them is within the one that holds the sphere.
    cone = math.atan(reach * float(stretch.max())) + math.atan2(math.hypot(x, y), z)
    if cone <= math.atan2(radius, math.sqrt(away)):
        return None
    along = rays @ (stretch * place)
    return np.flatnonzero((along > 0) & (along * along > squares @ (stretch * stretch * np.float32(away))))


def _interpolated(table: Floats, channels: int, triangle: NDArray[np.int32], u: Floats, v: Floats) -> Floats:
    """Values at points of triangles, from a table of `Tables`. -> (channels, N)."""
    rows = np.ascontiguousarray(table.take(triangle, 0).T)
    if len(rows) == channels:
        return rows
    value, first, second = rows[:channels], rows[channels : 2 * channels], rows[2 * channels :]
    first *= u
    second *= v
    value += first
    value += second
    return value


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
