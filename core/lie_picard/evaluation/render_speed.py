"""How fast meshes are rendered: images a second by the number of triangles, and by engine."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from lie_picard import so3
from lie_picard.data.seeds import stream_generator
from lie_picard.geometry.surface import Surface
from lie_picard.machine import timed
from lie_picard.objects import MeshObject
from lie_picard.rendering.clean import Crop, render
from lie_picard.rendering.meshes import ENGINES, engine_for

FACES = (24, 1_300, 5_000, 20_000, 100_000)
BODIES = ("ball", "tube")
COLUMNS = {
    "engine": "engine", "body": "body", "faces": "faces", "cast_per_s": "cast images/s", "cast_p10_per_s": "10 %",
    "cast_p90_per_s": "90 %", "render_per_s": "rendered images/s", "build_ms": "build ms",
}  # fmt: skip
_PACKAGES = {"embree": "embreex", "warp": "warp"}
_WARM_UP = 2


def engines(device: torch.device) -> list[str]:
    """Those that are installed and can render on a device, the chosen one first.

    Raises:
        EngineError: none can.
    """
    first = engine_for(device)
    others = [name for name in ENGINES if name != first and importlib.util.find_spec(_PACKAGES[name])]
    return [first, *(others if device.type == "cpu" else [])]


def render_speed(
    device: torch.device,
    faces: Sequence[int] = FACES,
    size: int = 64,
    supersample: int = 2,
    batch: int = 32,
    repeats: int = 20,
    seed: int = 0,
    on_row: Callable[[list[dict[str, Any]]], None] | None = None,
) -> list[dict[str, Any]]:
    """One row for each engine, body and number of triangles, warm.

    A ball fills its circumscribed sphere, so that every ray hits: the slowest case. A tube with a hole is like parts
    are. Casting gives mask, depth, normals and albedo of the rays that can meet the circumscribed sphere; rendering
    gives clean grey images. Each repeat renders other rotations.

    Args:
        faces: about how many triangles. size: side of the images, pixels. supersample: rays a pixel and side.
        batch: images at a time. on_row: called with all rows so far.
    """
    rows: list[dict[str, Any]] = []
    generator = stream_generator("speed", seed)
    crop = Crop()
    fine = crop.rays(size * supersample)
    rays = fine[fine[:, :2].norm(dim=1) < crop.half_angle_tangent * crop.fill].to(device)
    translations = torch.tensor([0.0, 0.0, crop.distance], device=device).expand(batch, 3)
    for engine in engines(device):
        for name, surface in _surfaces(faces):
            shape = MeshObject(name, surface, engine=engine)
            casting, rendering = [], []
            _, build = timed(device, shape.cast, torch.eye(3, device=device)[None], translations[:1], rays[:1])
            for repeat in range(repeats + _WARM_UP):
                rotations = so3.uniform(batch, generator=generator).float().to(device)
                _, cast_ms = timed(device, shape.cast, rotations, translations, rays)
                _, render_ms = timed(device, render, shape, rotations, size, crop, 1, supersample)
                if repeat >= _WARM_UP:
                    casting.append(batch / cast_ms * 1e3)
                    rendering.append(batch / render_ms * 1e3)
            deciles = statistics.quantiles(casting, n=10, method="inclusive") if len(casting) > 1 else [casting[0]] * 9
            rows.append({
                "engine": engine, "body": name, "faces": len(surface.triangles), "rays": len(rays), "batch": batch,
                "size": size, "supersample": supersample, "repeats": repeats, "build_ms": build,
                "cast_per_s": statistics.median(casting), "cast_p10_per_s": deciles[0], "cast_p90_per_s": deciles[-1],
                "render_per_s": statistics.median(rendering),
            })  # fmt: skip
            if on_row:
                on_row(rows)
    return rows


def _surfaces(faces: Sequence[int]) -> Iterator[tuple[str, Surface]]:
    """Bodies of about so many triangles, in metres."""
    import trimesh

    for count in faces:
        around = max(4, round((count / 2) ** 0.5))
        ball = trimesh.creation.uv_sphere(0.05, count=[max(3, round(count / (4 * around))) + 1, around])
        yield "ball", Surface(np.asarray(ball.vertices), np.asarray(ball.faces, np.int64))
        tube = trimesh.creation.annulus(0.02, 0.04, 0.06, sections=3)
        while len(tube.faces) * 4 <= count:
            tube = tube.subdivide()
        tube = trimesh.creation.annulus(0.02, 0.04, 0.06, sections=max(3, round(3 * count / len(tube.faces))))
        while len(tube.faces) * 4 <= count * 2:
            tube = tube.subdivide()
        vertices = np.asarray(tube.vertices)
        yield "tube", Surface(vertices - (vertices.min(0) + vertices.max(0)) / 2, np.asarray(tube.faces, np.int64))
