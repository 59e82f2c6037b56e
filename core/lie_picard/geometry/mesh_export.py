"""Surfaces as glTF files (GLB): metres by its definition, paint and pictures in one file, which most programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.files import atomic_write
from lie_picard.geometry.surface import Surface

_MAX_TINTS = 64  # of textured triangles, each of which needs a material


def write_glb(path: str | Path, surface: Surface) -> None:
    """Write a surface whose lengths are metres; what `mesh_import.load` reads back, but for 8 bits of each colour."""
    import trimesh

    scene = trimesh.Scene()
    scene.units = "meters"
    for number, (chosen, visual) in enumerate(_groups(surface)):
        part = surface.some(chosen)
        colours = None if visual is not None or part.colours is None else np.round(part.colours * 255)
        vertices, triangles, extra = _corners(part, part.uv if visual is not None else colours)
        mesh = trimesh.Trimesh(vertices, triangles, process=False, validate=False)
        if visual is not None:
            assert extra is not None
            mesh.visual = trimesh.visual.TextureVisuals(uv=extra, material=visual)
        elif extra is not None:
            opaque = np.full((len(extra), 1), 255, np.uint8)
            mesh.visual = trimesh.visual.ColorVisuals(
                mesh, vertex_colors=np.concatenate([extra.astype(np.uint8), opaque], 1)
            )
        scene.add_geometry(mesh, geom_name=f"part{number}")
    with atomic_write(Path(path)) as partial:
        partial.write_bytes(scene.export(file_type="glb"))


def _groups(surface: Surface) -> list[tuple[NDArray[np.bool_], Any]]:
    """Triangles with a material each; None: without a texture."""
    from PIL import Image
    from trimesh.visual.material import PBRMaterial

    count = len(surface.triangles)
    if surface.texture is None or surface.uv is None:
        return [(np.ones(count, bool), None)]
    tints = np.full((count, 3), 255, np.int64)
    if surface.colours is not None:
        tints = np.round(surface.colours.mean(1) * 255).astype(np.int64)
    groups: list[tuple[NDArray[np.bool_], Any]] = []
    for index, picture in enumerate(surface.textures):
        own = surface.texture == index
        found, which = np.unique(tints[own], axis=0, return_inverse=True)
        if len(found) > _MAX_TINTS:
            found, which = np.round(tints[own].mean(0, keepdims=True)).astype(np.int64), np.zeros(int(own.sum()), int)
        for number, tint in enumerate(found):
            chosen = own.copy()
            chosen[own] = which.reshape(-1) == number
            factor = [*(int(value) for value in tint), 255]
            image = Image.fromarray(picture)
            groups.append((chosen, PBRMaterial(baseColorTexture=image, baseColorFactor=factor, metallicFactor=0.0)))
    plain = surface.texture < 0
    if plain.any():
        groups.append((plain, None))
    return groups


def _corners(
    surface: Surface, values: NDArray[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[Any] | None]:
    """Vertices that have one value each, (V, 3) and (V, n): those of a place differ where its corners do."""
    if values is None:
        used, triangles = np.unique(surface.triangles, return_inverse=True)
        return surface.vertices[used], triangles.reshape(-1, 3), None
    flat = values.reshape(len(surface.triangles) * 3, -1)
    rows = np.concatenate([surface.triangles.reshape(-1, 1).astype(np.float64), flat.astype(np.float64)], 1)
    found, index = np.unique(rows, axis=0, return_inverse=True)
    return surface.vertices[found[:, 0].astype(np.int64)], index.reshape(-1, 3), found[:, 1:]
