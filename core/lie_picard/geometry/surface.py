"""Coloured triangle surfaces: what a part looks like, as renderers and comparisons of appearance take it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.mesh import Mesh

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles and their paint. Corners of different triangles may share a vertex and differ in colour.

    Attributes:
        vertices: (V, 3) in the object's frame, metres unless it is said otherwise.
        triangles: (T, 3) indices, counter-clockwise seen from outside.
        colours: (T, 3, 3) RGB in [0, 1] of each corner, as an image shows it under white light; None: unknown.
        uv: (T, 3, 2) places in a texture: u to the right, v up, (0, 0) its lower left corner; repeated beyond [0, 1].
        textures: (H, W, 3) uint8 RGB images, first row on top.
        texture: (T,) which of them a triangle has, multiplied by its colours; -1: none.
    """

    vertices: Array
    triangles: NDArray[np.int64]
    colours: Floats | None = None
    uv: Floats | None = None
    textures: tuple[NDArray[np.uint8], ...] = ()
    texture: NDArray[np.int64] | None = field(default=None)

    @classmethod
    def of(cls, mesh: Mesh) -> Surface:
        """A mesh whose colours are unknown."""
        return cls(mesh.vertices, mesh.triangles)

    @property
    def mesh(self) -> Mesh:
        """Its shape alone."""
        return Mesh(self.vertices, self.triangles)

    @property
    def corners(self) -> Array:
        """(T, 3, 3) of each triangle."""
        return self.vertices[self.triangles]

    @property
    def is_coloured(self) -> bool:
        """Whether it says anything of colours."""
        return self.colours is not None or self.texture is not None

    def moved(self, centre: Array, scale: float = 1.0) -> Surface:
        """About another origin, (3,) in its frame, and then scaled."""
        return replace(self, vertices=(self.vertices - centre) * scale)

    def some(self, keep: NDArray[np.bool_]) -> Surface:
        """Only those of its triangles, (T,) bool; the vertices stay."""
        return replace(
            self,
            triangles=self.triangles[keep],
            colours=None if self.colours is None else self.colours[keep],
            uv=None if self.uv is None else self.uv[keep],
            texture=None if self.texture is None else self.texture[keep],
        )

    def turned(self, which: NDArray[np.bool_]) -> Surface:
        """With those triangles, (T,) bool, seen from the other side."""
        order = np.where(which[:, None], [2, 1, 0], [0, 1, 2])
        rows = np.arange(len(which))[:, None]
        colours, uv = (None if part is None else part[rows, order] for part in (self.colours, self.uv))
        return replace(self, triangles=self.triangles[rows, order], colours=colours, uv=uv)

    def colour_at(self, triangle: NDArray[np.int64], shares: Array) -> Floats:
        """RGB of points on it; white where nothing is known.

        Args:
            triangle: (N,) of each point. shares: (N, 3) barycentric coordinates in it.

        Returns:
            (N, 3) in [0, 1].
        """
        found = np.ones((len(triangle), 3), np.float32)
        if self.colours is not None:
            found = np.einsum("nk,nkc->nc", shares, self.colours[triangle]).astype(np.float32)
        if self.texture is None or self.uv is None:
            return found
        place = np.einsum("nk,nkc->nc", shares, self.uv[triangle])
        for index, picture in enumerate(self.textures):
            chosen = self.texture[triangle] == index
            if chosen.any():
                found[chosen] *= _pixels(picture, place[chosen])
        return found

    def normals(self, crease_deg: float = 30.0) -> Floats:
        """Unit normals of the corners: the mean of neighbours (by angle) where they meet at less than the crease angle.

        Vertices at one place count as one. Flat triangles' own normal at sharp edges. -> (T, 3, 3).
        """
        corners = self.corners
        own = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-300)
        at = places(self.vertices)[1][self.triangles].reshape(-1)  # of each corner, three a triangle
        weight = _angles(corners).reshape(-1)
        return _averaged(own, at, weight, float(np.cos(np.deg2rad(crease_deg)))).astype(np.float32)


def places(vertices: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which vertices (V, 3) are at one place, to half a millionth of their extent.

    -> index of the first vertex at each place (P,), and the place of each vertex (V,).
    """
    low = vertices.min(0, initial=np.inf)
    step = max(float((vertices - low).max(initial=0)), 1e-300) / ((1 << 21) - 1)
    grid = np.round((vertices - low) / step).astype(np.int64)
    key = (grid[:, 0] << 42) | (grid[:, 1] << 21) | grid[:, 2]
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    return first, place.reshape(-1)


def _pixels(picture: NDArray[np.uint8], place: Array) -> Floats:
    """Bilinear colours of a repeated texture at (N, 2) places. -> (N, 3) in [0, 1]."""
    height, width = picture.shape[:2]
    x = (place[:, 0] % 1.0) * width - 0.5
    y = ((1 - place[:, 1]) % 1.0) * height - 0.5
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right_share, low_share = (x - left)[:, None], (y - top)[:, None]
    rows, columns = (top % height, (top + 1) % height), (left % width, (left + 1) % width)
    upper = picture[rows[0], columns[0]] * (1 - right_share) + picture[rows[0], columns[1]] * right_share
    lower = picture[rows[1], columns[0]] * (1 - right_share) + picture[rows[1], columns[1]] * right_share
    return np.asarray((upper * (1 - low_share) + lower * low_share) / 255, np.float32)


def _angles(corners: Array) -> Array:
    """Of the triangles (T, 3, 3) at their corners, radians. -> (T, 3)."""
    ahead, behind = np.roll(corners, -1, 1) - corners, np.roll(corners, 1, 1) - corners
    across = np.linalg.norm(np.cross(ahead, behind), axis=-1)
    return np.asarray(np.arctan2(across, (ahead * behind).sum(-1)))


def _averaged(own: Array, at: NDArray[np.int64], weight: Array, cosine: float) -> Array:
    """Of triangles' normals (T, 3), those of the corners (3 T,) that lie at one place and are near in direction."""
    triangle = np.arange(len(at)) // 3
    order = np.argsort(at, kind="stable")
    begin = np.searchsorted(at[order], np.arange(int(at.max(initial=-1)) + 2))
    count = np.diff(begin)
    result = np.zeros((len(at), 3))
    # Corners of places where as many triangles meet are handled together: (places, corners, corners) at a time.
    for many in np.unique(count[count > 0]):
        places = np.flatnonzero(count == many)
        for some in np.array_split(places, max(1, len(places) * int(many) ** 2 // 2_000_000)):
            corner = order[begin[some][:, None] + np.arange(many)]
            normal = own[triangle[corner]]
            near = np.einsum("pid,pjd->pij", normal, normal) >= cosine
            result[corner] = np.einsum("pij,pj,pjd->pid", near, weight[corner], normal)
    length = np.linalg.norm(result, axis=1, keepdims=True)
    result = np.where(length > 1e-12, result / np.maximum(length, 1e-12), own[triangle])
    return result.reshape(-1, 3, 3)
