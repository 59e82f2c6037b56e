"""Camera images of several objects in front of a pinhole camera: what the demo recording is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.geometry.camera import Camera, Region, sphere_region, turn_z_to
from lie_picard.objects import Object
from lie_picard.rendering.buffers import LUMINANCE
from lie_picard.rendering.clean import BACKGROUND, shade


@dataclass(frozen=True)
class Placed:
    """An object that turns in one place.

    Attributes:
        shape: the object. diameter: of its circumscribed sphere, metres.
        position: (3,) of its centre in the camera frame, metres.
        rotations: (T, 3, 3) camera_from_object of every frame.
    """

    shape: Object
    diameter: float
    position: NDArray[np.float64]
    rotations: Tensor

    @property
    def name(self) -> str:
        """Of the object."""
        return self.shape.name

    def region(self, camera: Camera) -> Region:
        """Bounding box of its circumscribed sphere in the image."""
        return sphere_region(camera, self.position, self.diameter / 2)


class Patch(NamedTuple):
    """The part of an image that a region covers.

    Attributes:
        place: rows and columns. size: their numbers.
        directions: (rows f columns f, 3) float32 rays with z = 1, f to a pixel and side, row by row.
    """

    place: tuple[slice, slice]
    size: tuple[int, int]
    directions: Tensor


def patch(camera: Camera, region: Region, supersample: int = 1) -> Patch | None:
    """What an undistorted camera sees of a region; None where that is not in the image."""
    left, top = max(0, math.floor(region.x)), max(0, math.floor(region.y))
    right = min(camera.width, math.ceil(region.x + region.width))
    bottom = min(camera.height, math.ceil(region.y + region.height))
    if left >= right or top >= bottom:
        return None
    fine = (np.arange(max(right - left, bottom - top) * supersample) + 0.5) / supersample - 0.5
    u, v = left + fine[: (right - left) * supersample], top + fine[: (bottom - top) * supersample]
    inverse = np.linalg.inv(camera.matrix)
    # Not a product of matrices: one so thin costs thirty times as much.
    rays = u[None, :, None] * inverse[:, 0] + (v[:, None, None] * inverse[:, 1] + inverse[:, 2])
    place = slice(top, bottom), slice(left, right)
    return Patch(place, (bottom - top, right - left), torch.from_numpy(rays).float().flatten(0, 1))


def render_scene(
    camera: Camera, objects: Sequence[Placed], supersample: int = 2, lights_follow: bool = False
) -> NDArray[np.uint8]:
    """Grey images of all frames, nearer objects in front. -> (T, H, W) uint8. The camera must be undistorted.

    Args:
        lights_follow: every object is lit as on the optical axis, as if the lights turned towards it; else the lights
            are those of the scene, and fall on an object off the axis from another side.
    """
    frames = len(objects[0].rotations)
    image = np.full((frames, camera.height, camera.width), round(BACKGROUND * 255), np.uint8)
    for placed in sorted(objects, key=lambda one: -float(np.linalg.norm(one.position))):
        part = patch(camera, placed.region(camera), supersample)
        if part is None:
            continue
        (height, width), directions = part.size, part.directions
        centre = torch.from_numpy(placed.position / (placed.diameter / 2)).float()
        turn = torch.from_numpy(turn_z_to(placed.position)) if lights_follow else None
        for t in range(frames):
            buffers = placed.shape.cast(placed.rotations[t : t + 1].float(), centre[None], directions)
            shape = (height, supersample, width, supersample)
            grey = (torch.tensor(LUMINANCE)[:, None] * shade(buffers, turn)[0]).sum(0)
            brightness = grey.reshape(shape).mean((1, 3))
            covered = buffers.hit.reshape(shape).any(3).any(1).numpy()
            shown = image[t][part.place]
            shown[covered] = (brightness * 255).round().to(torch.uint8).numpy()[covered]
    return image
