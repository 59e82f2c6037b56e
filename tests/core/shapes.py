"""What parts are made of: outlines, cuts and sweeps, and plain bodies. Metres, before they are dressed (`parts`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import trimesh
from shapely import affinity
from shapely.geometry import Point, Polygon
from shapely.ops import unary_union
from trimesh import creation
from trimesh.transformations import translation_matrix

Z = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Bare:
    """A mesh about its own axes. `colours`: (T, 3, 3) or None."""

    mesh: trimesh.Trimesh
    group: str
    axis: np.ndarray | None = None
    name: str = ""
    look: str = ""
    colours: np.ndarray | None = None


def extruded(outline, height):
    """A plate about its middle plane."""
    mesh = creation.extrude_polygon(outline, height)
    mesh.apply_translation([0, 0, -height / 2])
    return mesh


def regular(count, radius, turn=0.0):
    angles = turn + 2 * math.pi * np.arange(count) / count
    return Polygon(np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1))


def disc(radius, x=0.0, y=0.0):
    return Point(x, y).buffer(radius, quad_segs=24)


def ring_of(one, count):
    """A shape repeated about the origin."""
    return unary_union([affinity.rotate(one, 360 * k / count, origin=(0, 0)) for k in range(count)])


def cylinder(radius, height, at=(0, 0, 0), axis=Z, sections=64):
    mesh = creation.cylinder(radius, height, sections=sections)
    mesh.apply_transform(trimesh.geometry.align_vectors(Z, np.asarray(axis, float)))
    mesh.apply_translation(at)
    return mesh


def block(size, at=(0, 0, 0)):
    return creation.box(size, translation_matrix(at))


def joined(*meshes):
    return trimesh.boolean.union(list(meshes), engine="manifold")


def cut(mesh, *tools):
    return trimesh.boolean.difference([mesh, *tools], engine="manifold")


def swept(radius, path):
    """A wire along points (N, 3)."""
    return creation.sweep_polygon(Point(0, 0).buffer(radius, quad_segs=6), path)


def lathe(profile, sections=64):
    """A profile (N, 2) of radius and height about z."""
    return creation.revolve(np.asarray(profile, float), sections=sections)


def prism(rng):
    n = int(rng.integers(3, 13))
    return Bare(extruded(regular(n, 0.5), rng.uniform(0.2, 0.9) + (0.15 if n == 4 else 0)), f"D{n}", Z, f"{n}-gon")


def frustum(rng):
    n = int(rng.integers(3, 10))
    low, high = regular(n, 0.5), regular(n, rng.uniform(0.2, 0.38))
    low, high = np.array(low.exterior.coords)[:-1], np.array(high.exterior.coords)[:-1]
    points = np.concatenate([np.c_[low, np.zeros(n)], np.c_[high, np.full(n, 0.5)]])
    return Bare(trimesh.convex.convex_hull(points), f"C{n}", Z, f"{n}-gon")


def cuboid(rng):
    return Bare(block((1, rng.uniform(0.6, 0.8), rng.uniform(0.1, 0.45))), "D2")


def square_plate(rng):
    return Bare(block((1, 1, rng.uniform(0.02, 0.5))), "D4", Z)


def cube(rng):
    return Bare(block((1, 1, 1)), "O")


def rod(rng):
    return Bare(cylinder(0.5, rng.uniform(0.05, 3), sections=int(rng.integers(32, 100))), "D∞", Z)


def cone(rng):
    return Bare(creation.cone(0.5, rng.uniform(0.4, 1.2), sections=int(rng.integers(32, 80))), "C∞", Z)


def sphere(rng):
    return Bare(creation.icosphere(4) if rng.random() < 0.5 else creation.uv_sphere(1.0, count=[40, 48]), "ball")


def torus(rng):
    return Bare(creation.torus(0.5, rng.uniform(0.05, 0.25), 64, 40), "D∞", Z)


def tetrahedron(rng):
    points = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
    return Bare(trimesh.convex.convex_hull(points), "T")


def octahedron(rng):
    return Bare(trimesh.convex.convex_hull(np.concatenate([np.eye(3), -np.eye(3)])), "O")


def icosahedron(rng):
    return Bare(creation.icosahedron(), "I")


def dodecahedron(rng):
    return Bare(trimesh.convex.convex_hull(creation.icosahedron().triangles_center), "I")
