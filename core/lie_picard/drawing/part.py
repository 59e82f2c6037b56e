"""A picture of an object: four views with its frame, its axes of symmetry and its size, to check what was read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lie_picard import so3
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects import Object
from lie_picard.rendering.clean import Crop, shade

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

_SIDE, _SUPERSAMPLE = 420, 2
_CROP = Crop(distance=8.0, fill=0.72)
_PAPER, _INK, _DIM = 250, (40, 40, 40), (150, 150, 150)
_FRAME = ((200, 40, 40), (30, 140, 30), (40, 70, 210))
_SYMMETRY, _BREAKS = (190, 60, 190), (230, 140, 20)
_SHIFT, _SAME_AXIS = 4, 0.999
# Where the camera stands, in the object's frame: from above on two sides, from below, and along the main axis.
_VIEWS = ((1.0, 0.7, 0.6), (-0.8, 1.0, 0.5), (0.6, -0.9, -0.7))


def draw_part(
    shape: Object, diameter: float, lines: Sequence[str] = (), nearly: Sequence[tuple[Array, Array, str]] = ()
) -> Image:
    """Four views of an object. -> (H, W, 3) RGB.

    Args:
        diameter: of its circumscribed sphere, metres. lines: text below.
        nearly: axes (3,) through points (3,) in metres and what to call them: symmetries that almost hold.
    """
    axes = _axes(shape.symmetry, _SYMMETRY)
    broken = [(*one, _BREAKS) for one in nearly if all(abs(one[0] @ other[0]) < _SAME_AXIS for other in axes)]
    axes = [*axes, *broken]
    along = axes[0][0] if axes else np.array([0.0, 0.0, 1.0])
    views = [np.array(view) for view in _VIEWS] + [along + 0.05 * np.array([0.3, 0.5, 0.2])]
    rotations = torch.stack([_looking_from(view) for view in views])
    pictures = _shaded(shape, rotations)
    for picture, rotation in zip(pictures, rotations.double().numpy(), strict=True):
        _annotate(picture, rotation, axes, diameter)
    grid = np.concatenate([np.concatenate(pictures[:2], 1), np.concatenate(pictures[2:], 1)])
    return np.concatenate([grid, _caption(list(lines), grid.shape[1])])


def _looking_from(place: Array) -> torch.Tensor:
    """camera_from_object of a camera at a place, the object's z up where it can be. -> (3, 3)."""
    forward = -place / np.linalg.norm(place)
    up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 0.95 else np.array([0.0, 1.0, 0.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return torch.from_numpy(np.stack([right, np.cross(forward, right), forward])).float()


def _shaded(shape: Object, rotations: torch.Tensor) -> list[Image]:
    """The object on paper. -> (S, S, 3) each."""
    fine = _SIDE * _SUPERSAMPLE
    rays, found = _CROP.rays(fine), []
    for rotation in rotations:
        buffers = shape.cast(rotation[None], torch.tensor([[0.0, 0.0, _CROP.distance]]), rays)
        colour = torch.where(buffers.hit[:, None], 0.12 + 0.75 * shade(buffers), _PAPER / 255)
        small = F.avg_pool2d(colour.unflatten(2, (fine, fine)), _SUPERSAMPLE)[0].clamp(0, 1)
        found.append(np.ascontiguousarray((small * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()))
    return found


def _axes(symmetry: Symmetry, colour: tuple[int, int, int]) -> list[tuple[Array, Array, str, tuple[int, int, int]]]:
    """Every axis of a symmetry with the highest order about it, the highest first."""
    found: list[tuple[Array, str, float]] = [(axis, "any turn", math.inf) for axis in symmetry.axes]
    logs = so3.log(torch.from_numpy(symmetry.rotations[1:])).numpy()
    # About one axis the smallest turn tells the order.
    for vector in sorted(logs, key=np.linalg.norm):
        angle = float(np.linalg.norm(vector))
        axis = vector / angle
        if all(abs(axis @ other) < _SAME_AXIS for other, _, _ in found):
            found.append((axis, f"C{round(2 * math.pi / angle)}", 2 * math.pi / angle))
    return [(axis, symmetry.centre, name, colour) for axis, name, order in sorted(found, key=lambda one: -one[2])]


def _project(points: Array, rotation: Array, diameter: float) -> Array:
    """Points (N, 3) in metres, object's frame -> (N, 2) pixels."""
    there = points @ rotation.T / (diameter / 2) + np.array([0, 0, _CROP.distance])
    return np.asarray((there[:, :2] / there[:, 2:] / _CROP.half_angle_tangent + 1) * _SIDE / 2 - 0.5)


def _annotate(
    picture: Image, rotation: Array, axes: list[tuple[Array, Array, str, tuple[int, int, int]]], diameter: float
) -> None:
    radius = diameter / 2
    centre = (_SIDE / 2 - 0.5, _SIDE / 2 - 0.5)
    cv2.circle(picture, _fixed(centre), round(_CROP.fill * _SIDE / 2 * (1 << _SHIFT)), _DIM, 1, cv2.LINE_AA, _SHIFT)
    for axis, point, name, colour in axes[:12]:
        middle = point + axis * float(-point @ axis)
        ends = _project(np.stack([middle - 1.12 * radius * axis, middle + 1.12 * radius * axis]), rotation, diameter)
        _dashed(picture, ends[0], ends[1], colour)
        _text(picture, ends[1], name, colour)
    tips = _project(np.concatenate([np.zeros((1, 3)), 0.55 * radius * np.eye(3)]), rotation, diameter)
    for tip, colour, letter in zip(tips[1:], _FRAME, "xyz", strict=True):
        cv2.line(picture, _fixed(tips[0]), _fixed(tip), (255, 255, 255), 4, cv2.LINE_AA, _SHIFT)
        cv2.line(picture, _fixed(tips[0]), _fixed(tip), colour, 2, cv2.LINE_AA, _SHIFT)
        _text(picture, tip, letter, colour)


def _dashed(picture: Image, start: Array, end: Array, colour: tuple[int, int, int]) -> None:
    count = max(1, round(float(np.linalg.norm(end - start)) / 8))
    for k in range(0, count, 2):
        one, other = (start + (end - start) * share for share in (k / count, min(1.0, (k + 1) / count)))
        cv2.line(picture, _fixed(one), _fixed(other), colour, 1, cv2.LINE_AA, _SHIFT)


def _text(picture: Image, place: Array, text: str, colour: tuple[int, int, int]) -> None:
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    x = int(np.clip(place[0] + 3, 1, _SIDE - wide - 2))
    y = int(np.clip(place[1] - 3, tall + 2, _SIDE - 3))
    for width, shade_ in ((3, (255, 255, 255)), (1, colour)):
        cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, shade_, width, cv2.LINE_AA)


def _fixed(place: Sequence[float] | Array) -> tuple[int, int]:
    x, y = (round(float(value) * (1 << _SHIFT)) for value in place)
    return x, y


def _caption(lines: list[str], width: int) -> Image:
    wide = lambda text: cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0]  # noqa: E731
    wrapped: list[str] = []
    for line in lines:
        row = ""
        for word in line.replace("∞", "inf").split():  # OpenCV draws ASCII alone
            if row and wide(f"{row} {word}") > width - 16:
                wrapped.append(row)
                row = f"    {word}"
            else:
                row = f"{row} {word}" if row else word
        wrapped.append(row)
    strip = np.full((18 * len(wrapped) + 14 if wrapped else 0, width, 3), _PAPER, np.uint8)
    for number, line in enumerate(wrapped):
        cv2.putText(strip, line, (8, 20 + 18 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
    return strip
