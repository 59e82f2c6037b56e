"""Parts of known symmetry, as an integrator's meshes are: in any pose, noisy, remeshed, decimated, off their origin.

`KINDS` makes a part by name; `made` one of them, dressed; `symmetric` and `asymmetric` whole lists. Metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from machine_parts import ASYMMETRIC, SYMMETRIC
from trimesh.transformations import random_rotation_matrix

from lie_picard.geometry.surface import Surface


@dataclass(frozen=True)
class Part:
    """A surface, its group by shape and by look, and an axis of highest order, (3,), where there is one."""

    kind: str
    name: str
    surface: Surface
    group: str
    look: str
    axis: np.ndarray | None
    dress: str = ""


KINDS = {make.__name__: make for make in (*SYMMETRIC, *ASYMMETRIC)}


def made(kind: str, seed: int, dressed: bool = True) -> Part:
    """A part of a kind: the same for the same seed; 4 to 30 cm large."""
    rng = np.random.default_rng([seed, *kind.encode()])
    bare = KINDS[kind](rng)
    mesh, colours, dress = bare.mesh.copy(), bare.colours, ""
    size = rng.uniform(0.04, 0.3) / mesh.scale
    mesh.apply_scale(size)
    if dressed:
        mesh, colours, dress = _dressed(mesh, colours, rng)
    move = random_rotation_matrix(rng.random(3))
    move[:3, 3] = rng.normal(size=3) * 0.1 * (rng.random() < 0.7)
    mesh.apply_transform(move)
    axis = None if bare.axis is None else move[:3, :3] @ bare.axis
    surface = Surface(np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int64), colours)
    return Part(kind, f"{kind} {bare.name}".strip(), surface, bare.group, bare.look or bare.group, axis, dress)


def _dressed(mesh, colours, rng):
    """As meshes are that others have worked on. Colours stay with their triangles."""
    scale, words = mesh.scale, []
    size = 2 * float(np.linalg.norm(mesh.vertices - mesh.bounds.mean(0), axis=1).max())
    if colours is None and rng.random() < 0.6:
        # Not conforming, as of tools that split edges one by one: decimation would tear it.
        mesh = mesh.subdivide_to_size(scale * rng.uniform(0.015, 0.06), max_iter=12)
        words.append("remeshed")
    elif colours is None and rng.random() < 0.6:
        mesh = _decimated(mesh, rng)
        words.append("decimated")
    if colours is None and rng.random() < 0.4:
        half = np.flatnonzero(mesh.triangles_center @ rng.normal(size=3) > 0)
        mesh = mesh.subdivide(half)
        words.append("uneven")
    if rng.random() < 0.5:
        mesh.vertices = mesh.vertices + rng.normal(size=mesh.vertices.shape) * size * rng.uniform(0.0003, 0.001)
        words.append("noisy")
    if rng.random() < 0.25:
        faces = np.array(mesh.faces)
        chosen = rng.random(len(faces)) < 0.3
        faces[chosen] = faces[chosen][:, ::-1]
        colours = None if colours is None else np.where(chosen[:, None, None], colours[:, ::-1], colours)
        mesh = trimesh.Trimesh(mesh.vertices, faces, process=False)
        words.append("wound both ways")
    return mesh, colours, ", ".join(words)


def _decimated(mesh, rng):
    """Triangles of other places and sizes, on the same surface to 0.1%."""
    fine = mesh.copy()
    fine.merge_vertices()
    while len(fine.faces) < 6000:
        fine = fine.subdivide()
    few = fine.simplify_quadric_decimation(face_count=int(len(fine.faces) * rng.uniform(0.3, 0.7)))
    same = fine.is_watertight and few.is_watertight and abs(few.area / fine.area - 1) < 1e-3
    return few if same else fine


def symmetric(count: int = 200, seed: int = 0) -> list[tuple[str, int]]:
    """Kind and seed of parts that have a symmetry."""
    return [(SYMMETRIC[k % len(SYMMETRIC)].__name__, 1000 * seed + k) for k in range(count)]


def asymmetric(count: int = 50, seed: int = 0) -> list[tuple[str, int]]:
    """Of parts whose look has none."""
    return [(ASYMMETRIC[k % len(ASYMMETRIC)].__name__, 1000 * seed + k) for k in range(count)]
