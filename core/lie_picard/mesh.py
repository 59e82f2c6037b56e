"""Surfaces of objects: the embedded solids' and users' own, checked against the size that is told of the object."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from lie_picard.symsol.solids import solid

Array = NDArray[np.float64]

_ROUND = 48  # corners of a circle
_TOLERANCE = 0.1  # of a mesh's diameter, relative to the one it should have


class MeshError(ValueError):
    """A mesh that cannot be used; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) metres, in the object's frame. triangles: (T, 3) indices, counter-clockwise seen from outside.
        file: that it was read from, absolute and in metres; empty where there is none.
    """

    vertices: Array
    triangles: NDArray[np.int64]
    file: str = ""

    @classmethod
    def of_solid(cls, name: str, diameter: float) -> Mesh:
        """One of the embedded solids, its circumscribed sphere of this diameter around the origin.

        Raises:
            ValueError: the name is unknown.
        """
        shape = solid(name)
        if shape.ball:
            heights = np.linspace(-math.pi / 2, math.pi / 2, _ROUND // 2 + 1)
            points = np.concatenate([_ring(math.cos(h), math.sin(h)) for h in heights])
        elif shape.radius is not None:
            ends = np.unique(shape.corners[..., 2].numpy().round(9))
            points = np.concatenate([_ring(max(0.0, shape.radius - shape.slope * z), z) for z in ends])
        else:
            points = shape.corners.reshape(-1, 3).double().numpy()
        points = np.unique(points.round(9), axis=0) * (diameter / 2)
        hull = ConvexHull(points)
        corners = points[hull.simplices]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        inward = np.einsum("td,td->t", normals, hull.equations[:, :3]) < 0
        triangles = hull.simplices.astype(np.int64)
        triangles[inward] = triangles[inward][:, ::-1]
        return cls(points, triangles)

    @classmethod
    def read(cls, path: str | Path, diameter: float | None = None, scale: float = 1.0) -> Mesh:
        """From a PLY, OBJ or STL file.

        Args:
            diameter: of the object's circumscribed sphere, metres; the mesh must fit it. scale: metres a unit.

        Raises:
            MeshError: no such file, no mesh, or of another size, such as millimetres for metres.
        """
        import trimesh

        try:
            loaded = trimesh.load_mesh(str(path), process=False)
        except Exception as error:  # whatever a parser raises, the file is bad
            raise MeshError(
                f"mesh {path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
            ) from None
        triangles = np.asarray(getattr(loaded, "faces", ()), np.int64).reshape(-1, 3)
        vertices = np.asarray(getattr(loaded, "vertices", ()), np.float64).reshape(-1, 3) * scale
        if not len(triangles) or not np.isfinite(vertices).all():
            raise MeshError(f"mesh {path} has no triangles of finite corners: export it as PLY, OBJ or STL")
        mesh = cls(vertices, triangles, str(Path(path).absolute()) if scale == 1 else "")
        if diameter is not None:
            mesh._check(path, diameter, scale)
        return mesh

    def _check(self, path: str | Path, diameter: float, scale: float) -> None:
        ratio = self.diameter / diameter
        if abs(ratio - 1) <= _TOLERANCE:
            return
        found = (
            f"mesh {path} fits a sphere of {self.diameter:.4g} m around its origin, the object one of {diameter:.4g} m"
        )
        for unit, size in (("millimetres", 1e-3), ("centimetres", 1e-2), ("inches", 0.0254)):
            if abs(ratio * size - 1) <= _TOLERANCE:
                raise MeshError(f"{found}: it is in {unit}, export it in metres (or give scale {scale * size:g})")
        low, high = self.vertices.min(0), self.vertices.max(0)
        away = float(np.linalg.norm(low + high)) / 2
        if away > _TOLERANCE * float(np.linalg.norm(high - low)):
            raise MeshError(f"{found}: its origin is {away:.4g} m off its middle, move it there")
        raise MeshError(f"{found}: correct the object's diameter or the mesh's scale")

    @property
    def diameter(self) -> float:
        """Of the smallest sphere around the origin that holds it, metres."""
        return 2 * float(np.linalg.norm(self.vertices, axis=1).max())

    def points(self, count: int, seed: int) -> Array:
        """Points spread evenly over the surface. -> (count, 3)."""
        generator = np.random.default_rng(seed)
        corners = self.vertices[self.triangles]
        areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        chosen = corners[generator.choice(len(corners), count, p=areas / areas.sum())]
        first, second = np.sqrt(generator.random(count)), generator.random(count)
        shares = np.stack([1 - first, first * (1 - second), first * second], 1)
        return np.einsum("nk,nkd->nd", shares, chosen)


def _ring(radius: float, height: float) -> Array:
    angles = np.arange(_ROUND) * (2 * math.pi / _ROUND)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(_ROUND, height)], 1)
