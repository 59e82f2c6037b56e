"""An image's result as pictures: drawn into the camera image, and as distributions on SO(3)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard.drawing.distribution import distribution_image
from lie_picard.drawing.overlay import Colour, Drawn, Outline, colour_of, draw_overlay, draw_regions
from lie_picard.estimation.following import GIVEN
from lie_picard.estimation.poses import ObjectPoses
from lie_picard.geometry.mesh import Mesh
from lie_picard.node.pipeline import Result, Shot
from lie_picard.node.settings import Settings
from lie_picard.posterior.tracking import Tracked

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

_TRUE_STEP_DEG = 3.0
_PANEL = 480, 320  # pixels of one object's distribution among several


def overlay(shot: Shot, result: Result, settings: Settings, truth: Mapping[str, Array] | None = None) -> Image:
    """The camera image (H, W, 3) RGB with every object's modes; one without a mesh is drawn as a ball.

    Args:
        shot: the result's own, or another rendition of it. truth: (4, 4) camera_from_object by object, metres.
    """
    sizes = {target.object_id: target.diameter for target in settings.targets}
    colours = {target.object_id: colour_of(index) for index, target in enumerate(settings.targets)}
    items, boxes = [], []
    for poses, tracked in zip(result.poses, result.tracked, strict=True):
        name, modes = poses.object_id, poses.hypotheses.modes
        item = drawn(poses, tracked, settings.meshes.get(name), colours[name], sizes[name])
        note = f"{len(modes)} mode{'s' if len(modes) > 1 else ''}, {modes[0].weight:.0%}"
        items.append(dataclasses.replace(item, truth=(truth or {}).get(name), note=note))
        if poses.state != GIVEN and poses.region is not None:
            boxes.append((poses.region, colours[name], poses.state, poses.score))
    shown = draw_overlay(shot.image, shot.camera, items)
    return draw_regions(shown, boxes, [f"{one.object_id}: not found" for one in result.missing])


def drawn(poses: ObjectPoses, tracked: Tracked, mesh: Mesh | None, colour: Colour, diameter: float = 0.0) -> Drawn:
    """An object's modes and the pose that is followed, to be drawn; as a ball of this diameter where it has no mesh."""
    mesh = mesh or _ball(diameter)
    rotations, positions, _ = poses.modes()
    best = np.eye(4)
    best[:3, :3], best[:3, 3] = tracked.best, poses.followed(tracked)[0]
    weights = np.array([mode.weight for mode in poses.hypotheses.modes])
    return Drawn(poses.object_id, _outline(mesh), colour, poses.position, rotations, positions, weights, best,
                 centre=poses.symmetry.centre)  # fmt: skip


def distributions(result: Result, truth: Mapping[str, Array] | None = None) -> Image:
    """Every object's distribution on SO(3), side by side. -> (H, W, 3) RGB."""
    shown = result.poses
    size = (720, 480) if len(shown) == 1 else _PANEL
    panels = [distribution(poses, (truth or {}).get(poses.object_id), size) for poses in shown]
    columns = max(1, int(np.ceil(np.sqrt(len(panels)))))
    blank = np.full((size[1], size[0], 3), 255, np.uint8)
    panels += [blank] * (-len(panels) % columns or (0 if panels else 1))
    rows = [np.concatenate(panels[k : k + columns], 1) for k in range(0, len(panels), columns)]
    return np.concatenate(rows)


def distribution(poses: ObjectPoses, truth: Array | None = None, size: tuple[int, int] = (720, 480)) -> Image:
    """One object's distribution on SO(3), with all its true poses where one (4, 4) is known."""
    found = poses.hypotheses
    count = len(found.modes)
    title = (
        f"{poses.object_id}: {len(found.rotations)} samples, {count} mode{'s' if count > 1 else ''}, "
        f"{found.ambiguity.value}"
    )
    equal = None if truth is None else true_rotations(poses, truth)
    means = torch.stack([mode.rotation for mode in found.modes])
    return distribution_image(found.rotations, means, [mode.weight for mode in found.modes], equal, title, size)


def true_rotations(poses: ObjectPoses, truth: Array) -> torch.Tensor | None:
    """All rotations (N, 3, 3) that look like the true pose (4, 4); None of a ball, which has no others."""
    if poses.symmetry.is_ball:
        return None
    return poses.symmetry.equivalents(torch.from_numpy(truth[:3, :3]), _TRUE_STEP_DEG)


def jpeg(image: Image, quality: int = 85) -> Any:
    """An RGB image as a JPEG file. -> (bytes,) uint8."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.reshape(-1)


@functools.lru_cache(maxsize=64)
def _outline(mesh: Mesh) -> Outline:
    return Outline.of(mesh)


@functools.lru_cache(maxsize=64)
def _ball(diameter: float) -> Mesh:
    return Mesh.ball(diameter)


__all__ = ["distribution", "distributions", "drawn", "jpeg", "overlay", "true_rotations"]
