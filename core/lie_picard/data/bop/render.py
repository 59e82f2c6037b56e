"""Images of several objects in front of a pinhole camera, nearer ones in front, with depth and masks of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard import so3
from lie_picard.data.scene import patch
from lie_picard.geometry.camera import Camera, Region, sphere_region
from lie_picard.objects import Object
from lie_picard.rendering.buffers import Castable
from lie_picard.rendering.clean import shade
from lie_picard.rendering.randomisation import Rng

Array = NDArray[np.float64]

SHARPNESS = 1.1  # focal length over the image's width
_NEAREST, _FARTHEST = 5.0, 14.0  # from the camera, in radii
_TRIES = 100


@dataclass(frozen=True, eq=False)
class Placement:
    """An object at a place.

    Attributes:
        shape: the object. number: of it, in the data set. radius: of its circumscribed sphere, metres.
        pose: (4, 4) camera_from_object, metres.
    """

    shape: Object
    number: int
    radius: float
    pose: Array


@dataclass(frozen=True, eq=False)
class View:
    """A rendered image.

    Attributes:
        camera: that took it. placements: what it shows.
        picture: (H, W, 3) uint8 RGB. depth: (H, W) metres along the optical axis at the pixels' centres, 0 where
            nothing is. masks, visible: (N, H, W) of each object: its silhouette, and what is seen of it.
    """

    camera: Camera
    placements: Sequence[Placement]
    picture: NDArray[np.uint8]
    depth: NDArray[np.float32]
    masks: NDArray[np.bool_]
    visible: NDArray[np.bool_]


def depth_of(shape: Castable, radius: float, pose: Array, camera: Camera) -> NDArray[np.float32]:
    """Depth image of an object alone, at the pixels' centres; 0 where it is not. -> (H, W) metres.

    Args:
        radius: of its circumscribed sphere, metres. pose: (4, 4) camera_from_object, metres.
    """
    depth = np.zeros((camera.height, camera.width), np.float32)
    if (part := patch(camera, _region(camera, pose, radius))) is None:
        return depth
    buffers = shape.cast(*_in_radii(pose, radius), part.directions)
    metres = torch.where(buffers.hit[0], buffers.depth[0] * radius, 0.0)
    depth[part.place] = metres.reshape(part.size).numpy()
    return depth


def render(
    camera: Camera, placements: Sequence[Placement], background: NDArray[np.float32], supersample: int = 2
) -> View:
    """One image under the fixed lights of clean images.

    Args:
        background: (H, W, 3) RGB in [0, 1]. supersample: rays a pixel and side, for colours.
    """
    fine = background.repeat(supersample, 0).repeat(supersample, 1)
    nearest = np.full(fine.shape[:2], np.inf, np.float32)
    alone = np.zeros((len(placements), camera.height, camera.width), np.float32)
    for index, one in enumerate(placements):
        alone[index] = depth_of(one.shape, one.radius, one.pose, camera)
        part = patch(camera, _region(camera, one.pose, one.radius), supersample)
        if part is None:
            continue
        buffers = one.shape.cast(*_in_radii(one.pose, one.radius), part.directions)
        height, width = (n * supersample for n in part.size)
        rows, columns = (slice(s.start * supersample, s.stop * supersample) for s in part.place)
        depth = (buffers.depth[0] * one.radius).reshape(height, width).numpy()
        before = buffers.hit[0].reshape(height, width).numpy() & (depth < nearest[rows, columns])
        colour = shade(buffers)[0].reshape(3, height, width).permute(1, 2, 0).numpy()
        nearest[rows, columns][before] = depth[before]
        fine[rows, columns][before] = colour[before]
    coarse = cv2.resize(fine, (camera.width, camera.height), interpolation=cv2.INTER_AREA)  # means of whole pixels
    picture = (coarse * 255).round().clip(0, 255).astype(np.uint8)
    masks, first = alone > 0, np.where(alone > 0, alone, np.inf)
    depth = first.min(0, initial=np.inf)
    visible = masks & (first <= depth)
    return View(camera, placements, picture, np.where(np.isfinite(depth), depth, 0).astype(np.float32), masks, visible)


def draw_camera(width: int, height: int, rng: Rng) -> Camera:
    """A camera whose focal length and principal point vary by some percent."""
    focal = SHARPNESS * width * float(rng.uniform(1, between=(0.9, 1.1)))
    aspect, x, y = (float(one) for one in rng.uniform(3, between=(-0.02, 0.02)))
    matrix = np.array([[focal, 0, width * (0.5 + x)], [0, focal * (1 + aspect), height * (0.5 + y)], [0, 0, 1]])
    return Camera(matrix, np.zeros(0), width, height)


def draw_placements(objects: Sequence[tuple[Object, int, float]], camera: Camera, rng: Rng) -> list[Placement]:
    """Objects (with number and radius, metres) at random places whole in the image, none inside another.

    One that finds no place is left out.
    """
    found: list[Placement] = []
    for shape, number, radius in objects:
        pose = np.eye(4)
        pose[:3, :3] = so3.uniform(1, generator=rng.generator)[0].numpy()
        for _ in range(_TRIES):
            distance = radius * _NEAREST * (_FARTHEST / _NEAREST) ** float(rng.uniform(1))
            pixel = rng.uniform(2).double().numpy() * (camera.width, camera.height)
            centre = distance * camera.rays(pixel[None])[0]
            region = sphere_region(camera, centre, radius)
            inside = (
                region.x >= 0
                and region.y >= 0
                and region.x + region.width <= camera.width
                and region.y + region.height <= camera.height
            )
            if inside and all(np.linalg.norm(centre - one.pose[:3, 3]) > radius + one.radius for one in found):
                pose[:3, 3] = centre
                found.append(Placement(shape, number, radius, pose))
                break
    return found


def _region(camera: Camera, pose: Array, radius: float) -> Region:
    """Of the object's sphere; the whole image where that reaches behind the camera."""
    if pose[2, 3] <= radius:
        return Region(0, 0, camera.width, camera.height)
    return sphere_region(camera, pose[:3, 3], radius)


def _in_radii(pose: Array, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotation (1, 3, 3) and translation (1, 3) as casters take them."""
    return torch.from_numpy(pose[None, :3, :3]).float(), torch.from_numpy(pose[None, :3, 3] / radius).float()
