"""Triangle meshes: read from files, checked against the size that is stated of the object."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry import mesh_files
from lie_picard.geometry.mesh_files import MeshError

Array = NDArray[np.float64]

ROUND = 48  # corners of a circle
_TOLERANCE = 0.1  # of a mesh's diameter, relative to the one it should have
_FARTHEST = 1e9  # from the origin, in any unit; beyond, the difference of corners is lost
_UNITS = 1.0, 1e-3, 1e-2, 0.0254  # metres, milli- and centimetres, inches: farther apart than the tolerance


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) metres, in the object's frame. triangles: (T, 3) indices, counter-clockwise seen from outside.
        file: absolute path that it was read from; empty where there is none. scale: metres in one unit of the file.
    """

    vertices: Array
    triangles: NDArray[np.int64]
    file: str = ""
    scale: float = 1.0

    @classmethod
    def hull(cls, points: Array) -> Mesh:
        """The convex hull of points (N, 3), metres."""
        from scipy.spatial import ConvexHull

        points = np.unique(points, axis=0)
        hull = ConvexHull(points)
        corners = points[hull.simplices]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        inward = np.einsum("td,td->t", normals, hull.equations[:, :3]) < 0
        triangles = hull.simplices.astype(np.int64)
        triangles[inward] = triangles[inward][:, ::-1]
        return cls(points, triangles)

    @classmethod
    def ball(cls, diameter: float) -> Mesh:
        """A sphere around the origin, of a diameter in metres."""
        heights = np.linspace(-math.pi / 2, math.pi / 2, ROUND // 2 + 1)
        points = np.concatenate([ring(math.cos(h), math.sin(h)) for h in heights])
        return cls.hull(points.round(9) * (diameter / 2))

    @classmethod
    def read(cls, path: str | Path, diameter: float | None = None) -> Mesh:
        """From a PLY, OBJ or STL file, around its origin; triangles that face the wrong way are turned.

        Args:
            diameter: of the object's circumscribed sphere, metres. The mesh must fit it in metres or, as BOP's models
                do, in another usual unit, which `scale` then tells. None: the file is in metres.

        Raises:
            MeshError: no such file, no mesh, a truncated one, or none of this size.
        """
        import trimesh

        content, kind = mesh_files.read(path)
        more = {"skip_materials": True} if kind == "obj" else {}
        try:
            loaded = trimesh.load_mesh(io.BytesIO(content), kind, process=False, **more)
        except Exception as error:  # whatever a parser raises, the file is bad
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MeshError(f"mesh {path} cannot be read: {reason[:200]}; export it as PLY, OBJ or STL") from None
        triangles = np.asarray(getattr(loaded, "faces", ()), np.int64).reshape(-1, 3)
        vertices = np.asarray(getattr(loaded, "vertices", ()), np.float64).reshape(-1, 3)
        if len(triangles) and not (triangles.min() >= 0 and triangles.max() < len(vertices)):
            raise MeshError(f"mesh {path} has triangles of corners that are not in the file: export it again")
        if not (np.abs(vertices) < _FARTHEST).all() or not _areas(vertices[triangles]).any():
            raise MeshError(f"mesh {path} has no surface of finite corners: export it as PLY, OBJ or STL")
        surface = trimesh.Trimesh(vertices, triangles, process=False)
        surface.merge_vertices(merge_norm=True, merge_tex=True)  # STL repeats each corner; neighbours share theirs
        surface.update_faces(surface.nondegenerate_faces())
        if not surface.is_winding_consistent:
            trimesh.repair.fix_winding(surface)
        trimesh.repair.fix_inversion(surface)
        mesh = cls(np.asarray(surface.vertices), np.asarray(surface.faces, np.int64), str(Path(path).absolute()))
        return mesh if diameter is None else mesh._fitted(diameter)

    def _fitted(self, diameter: float) -> Mesh:
        """In metres, by the object's diameter."""
        for size in _UNITS:
            if abs(self.diameter * size / diameter - 1) <= _TOLERANCE:
                return self if size == 1 else replace(self, vertices=self.vertices * size, scale=size)
        low, high = self.vertices.min(0), self.vertices.max(0)
        away, extent = float(np.linalg.norm(low + high)) / 2, float(np.linalg.norm(high - low))
        found = f"mesh {self.file} fits a sphere of {self.diameter:.4g} units around its origin, "
        if away > _TOLERANCE * extent:
            raise MeshError(f"{found}which is {away:.4g} off its middle: move it there")
        raise MeshError(
            f"{found}the object one of {diameter:.4g} m: correct the object's diameter, or export the mesh in metres"
        )

    @property
    def diameter(self) -> float:
        """Of the smallest sphere around the origin that holds it, metres."""
        return 2 * float(np.linalg.norm(self.vertices, axis=1).max())

    def points(self, count: int, seed: int) -> Array:
        """Points spread evenly over the surface. -> (count, 3)."""
        return self.sampled(count, seed)[0]

    def sampled(self, count: int, seed: int) -> tuple[Array, NDArray[np.int64]]:
        """Points spread evenly over the surface, and the triangle of each. -> (count, 3), (count,)."""
        generator = np.random.default_rng(seed)
        corners = self.vertices[self.triangles]
        areas = _areas(corners)
        owner = generator.choice(len(corners), count, p=areas / areas.sum())
        first, second = np.sqrt(generator.random(count)), generator.random(count)
        shares = np.stack([1 - first, first * (1 - second), first * second], 1)
        return np.einsum("nk,nkd->nd", shares, corners[owner]), owner


def _areas(corners: Array) -> Array:
    """Of triangles (T, 3, 3). -> (T,)."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(np.linalg.norm(normals, axis=1)) / 2


def ring(radius: float, height: float) -> Array:
    """Corners of a circle about z. -> (ROUND, 3)."""
    angles = np.arange(ROUND) * (2 * math.pi / ROUND)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(ROUND, height)], 1)
