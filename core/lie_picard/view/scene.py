"""What one image says, as numbers that the page draws: outlines in pixels, rotations as points of a globe.

A rotation R is shown by a pointer that is fixed to the object: (R P)[:, 0] is where it points, and the turn about it is
a hue. This is the map of `drawing.distribution`, before it is flattened.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.drawing.distribution import hues, pointed, rotation_coordinates
from lie_picard.drawing.overlay import MAX_MODES, Outline, colour_of
from lie_picard.estimation.poses import ObjectPoses, Target
from lie_picard.geometry.camera import Camera
from lie_picard.geometry.mesh import Mesh
from lie_picard.node.pictures import drawn, jpeg, true_rotations
from lie_picard.node.pipeline import Result, Shot
from lie_picard.posterior.tracking import Tracked

Array = NDArray[np.float64]
Scene = dict[str, Any]
"""JSON: `caption`, `width`, `height`, `part` (the box that is shown), `image` (data URI), `objects`, `missing`."""

MAX_SAMPLES = 1000  # shown of one object: more are no longer told apart
_MAX_TRUE = 500
_DETAILED = 16  # modes whose edges within the outline are shown too


def scene(
    shot: Shot,
    result: Result,
    targets: Sequence[Target],
    meshes: Mapping[str, Mesh],
    truth: Mapping[str, Array] | None = None,
    caption: str = "",
    only: str = "",
    around: tuple[float, float, float] | None = None,
) -> Scene:
    """An image with what was found in it.

    Args:
        targets, meshes: of the objects that were looked for; one without a mesh is a ball.
        truth: (4, 4) camera_from_object by object, metres. only: the one object that is shown; empty: all.
        around: x, y and half the side of the part of the image that is shown, pixels; None: all of it.
    """
    objects = []
    for poses, tracked in zip(result.poses, result.tracked, strict=True):
        name = poses.object_id
        index = next(k for k, target in enumerate(targets) if target.object_id == name)
        if not only or name == only:
            true = None if truth is None else truth.get(name)
            objects.append(_object(shot.camera, poses, tracked, targets[index], meshes.get(name), index, true))
    return {
        "caption": caption,
        "width": shot.camera.width,
        "height": shot.camera.height,
        "part": _part(shot.camera, around),
        "image": "data:image/jpeg;base64," + base64.b64encode(jpeg(shot.image, 90)).decode(),
        "objects": objects,
        "missing": [one.object_id for one in result.missing if not only],
    }


def _object(
    camera: Camera, poses: ObjectPoses, tracked: Tracked, target: Target, mesh: Mesh | None, index: int,
    truth: Array | None,
) -> dict[str, Any]:  # fmt: skip
    found = poses.hypotheses
    item = drawn(poses, tracked, mesh, colour_of(index), target.diameter)
    shown = min(len(found.modes), MAX_MODES)
    lines = item.outline.lines(camera, item.rotations[:shown], item.positions[:shown])
    places = points(torch.stack([mode.rotation for mode in found.modes[:shown]]))
    modes = [
        {
            "id": number,
            "weight": mode.weight,
            "samples": mode.count,
            "spread": _degrees(mode.covariance),
            "rim": _flat(rim),
            "inner": _flat(inner) if k < _DETAILED else [],
            **place,
        }
        for k, (mode, number, (rim, inner), place) in enumerate(
            zip(found.modes, tracked.ids, lines, places, strict=False)
        )
    ]
    true = None if truth is None else true_rotations(poses, truth)
    return {
        "name": target.object_id,
        "colour": _hex(np.array(item.colour) / 255),
        "ambiguity": found.ambiguity.value,
        "state": poses.state,
        "presence": _number(found.presence),
        "likeness": _number(found.likeness),
        "count": len(found.rotations),
        "modes": modes,
        "hidden": len(found.modes) - shown,
        "samples": points(_thinned(found.rotations, MAX_SAMPLES)),
        "truth": [] if true is None else points(_thinned(true, _MAX_TRUE)),
        "true_rim": [] if truth is None else _true_rim(camera, item.outline, truth),
    }


def _part(camera: Camera, around: tuple[float, float, float] | None) -> list[float]:
    """Left, top, width and height of what is shown."""
    if around is None:
        return [0, 0, camera.width, camera.height]
    x, y, half = around
    left, top = max(0.0, x - half), max(0.0, y - half)
    right, bottom = min(float(camera.width), x + half), min(float(camera.height), y + half)
    return [round(value, 1) for value in (left, top, right - left, bottom - top)]


def points(rotations: Tensor) -> list[dict[str, Any]]:
    """Rotations (N, 3, 3) as points of the unit sphere, in the camera's axes, and colours."""
    turn = rotation_coordinates(rotations)[2]
    places = pointed(rotations).round(decimals=4).tolist()
    return [{"at": place, "hue": _hex(hue)} for place, hue in zip(places, hues(turn), strict=True)]


def _thinned(rotations: Tensor, most: int) -> Tensor:
    return rotations[torch.linspace(0, len(rotations) - 1, min(most, len(rotations))).round().long()]


def _true_rim(camera: Camera, outline: Outline, truth: Array) -> list[float]:
    return _flat(outline.lines(camera, truth[None, :3, :3], truth[None, :3, 3])[0][0])


def _flat(lines: Array) -> list[float]:
    """Lines (S, 2, 2) as x1, y1, x2, y2, ... in tenths of a pixel; a pixel's middle is a whole number and a half."""
    return [float(value) for value in (lines.reshape(-1) + 0.5).round(1)]


def _degrees(covariance: Tensor) -> float | None:
    """Root mean square angle of a mode's covariance (3, 3) rad^2."""
    return _number(math.degrees(math.sqrt(max(0.0, float(covariance.trace())))))


def _number(value: float) -> float | None:
    """None where it is not known: JSON has no NaN."""
    return value if math.isfinite(value) else None


def _hex(colour: Any) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in colour)
