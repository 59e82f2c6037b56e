"""Photographs of randomised worlds: the steps in their order, from views over buffers to 8-bit images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.rendering.buffers import Buffers, ViewGeometry
from lie_picard.rendering.randomisation import sensor, surroundings
from lie_picard.rendering.randomisation.lighting import draw_lighting, light
from lie_picard.rendering.randomisation.options import Randomisation, Rng


@dataclass(frozen=True)
class World:
    """What randomised images are made of.

    Attributes:
        options: ranges. crops: (N, 3, S, S) uint8 backgrounds (`photograph_crops`), on the device that renders.
        supersample: rays a pixel and side.
    """

    options: Randomisation
    crops: Tensor
    supersample: int = 2

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.crops.shape[-1])


def draw_views(count: int, options: Randomisation, rng: Rng) -> ViewGeometry:
    """Random distances, scales, aspect ratios and centres."""
    near, far = options.distance
    distance = near * (far / near) ** rng.uniform(count)
    tangent = torch.tan(torch.asin(1 / distance)) / rng.uniform(count, between=options.fill)
    aspect = 1 + rng.uniform(count, between=(-options.aspect / 2, options.aspect / 2))
    half_tangent = torch.stack([tangent * aspect, tangent / aspect], 1)
    shift = rng.uniform(count, 2, between=(-options.shift, options.shift))
    sideways = shift * half_tangent * distance[:, None]
    return ViewGeometry(torch.cat([sideways, distance[:, None]], 1), half_tangent)


def photograph(buffers: Buffers, world: World, rng: Rng, others: Buffers | None = None) -> tuple[Tensor, Tensor]:
    """Images of objects in random light, among `others`, taken by random cameras.

    Args:
        buffers: of B objects, rays row by row of a square grid of side ``size * supersample``.
        others: K bodies, seen likewise, of which each image may get some beside and some before its object.

    Returns:
        (B, 3, S, S) in [0, 1], and (B, S, S) which share of each pixel an occluder hides.
    """
    options, count = world.options, len(buffers.depth)
    scene = surroundings.backdrop(count, world.crops, options, rng)
    cover = scene.new_zeros(count, world.size, world.size)
    target = _layer(buffers, world, rng)
    if others is None:
        scene = surroundings.over(target, scene)
    else:
        clutter, occluder = surroundings.scatter(_layer(others, world, rng), count, options, rng)
        hidden = (occluder[:, 3] * target[:, 3]).sum((1, 2)) / target[:, 3].sum((1, 2)).clamp_min(1)
        occluder = occluder * (hidden <= options.hidden)[:, None, None, None]
        scene = surroundings.over(occluder, surroundings.over(target, surroundings.over(clutter, scene)))
        cover = occluder[:, 3]
    return develop(scene, options, rng), cover


def develop(scene: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """What random cameras make of light: blur, exposure, noise, compression. (B, 3, S, S) in [0, 1]."""
    scene = sensor.expose(sensor.blur(scene, options, rng), options, rng)
    return sensor.compress(sensor.add_noise(scene, options, rng), options, rng)


def _layer(buffers: Buffers, world: World, rng: Rng) -> Tensor:
    """Lit objects as premultiplied RGBA. -> (B, 4, S, S)."""
    colour = light(buffers, draw_lighting(len(buffers.depth), world.options, rng)).clamp(0, 1)
    side = math.isqrt(colour.shape[-1])
    fine = torch.cat([colour, buffers.hit[:, None]], 1).unflatten(2, (side, side))
    return F.avg_pool2d(fine, world.supersample)
