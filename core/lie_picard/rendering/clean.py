"""Clean images: one object in front of a dark background, under fixed lights.

Light and camera are fixed to one another, so indistinguishable poses give equal images; `rendering.randomisation`
makes the other kind from the same buffers.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.rendering.buffers import LUMINANCE, Buffers, Castable, ViewGeometry
from lie_picard.rendering.constants import constant

# Two lights from different sides: no two visible normals that a silhouette confuses have the same shade.
LIGHTS = ((-0.48, -0.64, -0.60), (0.80, 0.10, -0.59))
STRENGTHS = (0.55, 0.25)
AMBIENT = 0.18
BACKGROUND = 0.04


@dataclass(frozen=True)
class Crop:
    """The square virtual camera that looks straight at the object; what the model is trained on.

    Attributes:
        distance: from the camera to the object's centre, in object radii.
        fill: share of the half image that the circumscribed sphere covers.
    """

    distance: float = 10.0
    fill: float = 0.9

    @property
    def half_angle_tangent(self) -> float:
        """Tangent of half the field of view."""
        return math.tan(math.asin(1 / self.distance)) / self.fill

    def view(self, count: int) -> ViewGeometry:
        """Of `count` images that this camera takes."""
        translations = torch.tensor([0.0, 0.0, self.distance]).expand(count, 3)
        return ViewGeometry(translations, torch.full((count, 2), self.half_angle_tangent))

    def rays(self, size: int) -> Tensor:
        """Viewing directions (z = 1) through the pixel centres, row by row. -> (size * size, 3)."""
        offsets = ((torch.arange(size) + 0.5) / size * 2 - 1) * self.half_angle_tangent
        y, x = torch.meshgrid(offsets, offsets, indexing="ij")
        return torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1)


def shade(buffers: Buffers, turn: Tensor | None = None) -> Tensor:
    """Lambertian RGB in [0, 1] under the fixed lights; the background is nearly black. -> (B, 3, P).

    Args:
        turn: (3, 3) rotation of the lights.
    """
    like = torch.empty(0, device=buffers.depth.device)
    lights = F.normalize(constant(LIGHTS, like), dim=1)
    lights = lights if turn is None else lights @ turn.to(lights).T
    strengths = constant(STRENGTHS, like)
    brightness = AMBIENT + strengths @ (lights @ buffers.normal).clamp_min(0)
    return torch.where(buffers.hit[:, None], brightness[:, None] * buffers.albedo, BACKGROUND)


def render(
    shape: Castable,
    rotations: Tensor,
    size: int = 64,
    crop: Crop | None = None,
    channels: int = 1,
    supersample: int = 2,
) -> Tensor:
    """Images of a shape at several rotations, seen by the model's virtual camera.

    Args:
        rotations: (B, 3, 3) camera_from_object; the result is on their device.
        size: side of the square images in pixels. channels: 1 (grey) or 3 (RGB).
        supersample: rays per pixel and side (anti-aliasing).

    Returns:
        (B, size, size) or (B, size, size, 3) uint8 images.
    """
    crop = crop or Crop()
    fine = size * supersample
    translations = constant((0.0, 0.0, crop.distance), rotations).expand(len(rotations), 3)
    rays, inside = _rays_inside(crop, fine, rotations.device, rotations.dtype)
    colour = rotations.new_full((len(rotations), 3, fine * fine), BACKGROUND)
    colour[:, :, inside] = shade(shape.cast(rotations, translations, rays))
    return quantised(F.avg_pool2d(colour.unflatten(2, (fine, fine)), supersample), channels)


@functools.lru_cache(maxsize=32)
def _rays_inside(crop: Crop, size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rays that meet the circumscribed sphere, and so can hit: about two thirds of the image.

    -> (P, 3) directions, (P,) their index among the rays of the whole image.
    """
    with torch.inference_mode(False):
        rays = crop.rays(size).to(dtype)
        inside = (rays[:, :2].norm(dim=1) < crop.half_angle_tangent * crop.fill).nonzero()[:, 0]
        return rays[inside].to(device), inside.to(device)


def quantised(colour: Tensor, channels: int = 3) -> Tensor:
    """RGB in [0, 1] as 8-bit images: (B, 3, S, S) -> (B, S, S, 3), or (B, S, S) luminance for one channel."""
    if channels == 1:
        colour = torch.einsum("c,bc...->b...", constant(LUMINANCE, colour), colour)[:, None]
    images = (colour * 255).round().clamp(0, 255).to(torch.uint8)
    return images[:, 0] if channels == 1 else images.movedim(1, -1).contiguous()
