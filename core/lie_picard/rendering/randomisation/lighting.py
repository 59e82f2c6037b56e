"""Lights and materials: from a renderer's buffers to colour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.rendering.buffers import Buffers
from lie_picard.rendering.constants import constant
from lie_picard.rendering.randomisation.options import Randomisation, Rng

_LIGHTS = 3


@dataclass(frozen=True)
class Lighting:
    """Distant lights and one material for each of B images.

    Attributes:
        directions: (B, L, 3) unit, towards the light, camera frame. colours: (B, L, 3) RGB strength.
        ambient: (B, 3). tint: (B, 3) factor of the albedo. gloss, shininess: (B,) of Blinn-Phong highlights.
    """

    directions: Tensor
    colours: Tensor
    ambient: Tensor
    tint: Tensor
    gloss: Tensor
    shininess: Tensor


def draw_lighting(count: int, options: Randomisation, rng: Rng) -> Lighting:
    """Random lights and materials. The first light stands on the camera's side, so that something is lit."""
    directions = F.normalize(rng.normal(count, _LIGHTS, 3), dim=-1)
    directions[:, 0, 2] = -directions[:, 0, 2].abs()
    low, high = options.lights
    strength = torch.cat(
        [
            rng.uniform(count, 1, between=(low, high)),
            rng.uniform(count, _LIGHTS - 1, between=(0, high / 2)) * rng.happens(0.6, count, _LIGHTS - 1),
        ],
        1,
    )
    colours = strength[..., None] * _tinted(rng, options.tinted / 2, count, _LIGHTS)
    ambient = rng.uniform(count, 1, between=options.ambient) * _tinted(rng, options.tinted / 2, count)
    tint = _tinted(rng, options.tinted, count) * rng.uniform(count, 1, between=(0.5, 1.0))
    gloss = rng.uniform(count, between=(0, options.gloss)) * rng.happens(0.5, count)
    return Lighting(directions, colours, ambient, tint, gloss, 2 ** rng.uniform(count, between=(2.0, 6.0)))


def light(buffers: Buffers, lighting: Lighting) -> Tensor:
    """RGB where something is hit, 0 elsewhere. -> (B, 3, P), not clamped."""
    diffuse = (lighting.directions @ buffers.normal).clamp_min(0)
    # A sky that is brighter than the ground: the camera's y points down.
    sky = 1 - 0.3 * buffers.normal[:, 1:2]
    irradiance = lighting.colours.mT @ diffuse + lighting.ambient[..., None] * sky
    colour = irradiance * (buffers.albedo * lighting.tint[..., None])
    _add_highlights(colour, buffers, lighting)
    # Not a product: normals beside an object may be of any length, and their highlights infinite.
    return torch.where(buffers.hit[:, None], colour, 0.0)


def _add_highlights(colour: Tensor, buffers: Buffers, lighting: Lighting) -> None:
    """Those of the first light, on (B, 3, P) in place. Powers are dear: on a CPU only glossy images pay for them."""
    towards_camera = constant((0.0, 0.0, -1.0), lighting.directions)
    half = F.normalize(lighting.directions[:, :1] + towards_camera, dim=-1)
    strength, power, normal = lighting.gloss[:, None] * lighting.colours[:, 0], lighting.shininess, buffers.normal
    glossy = (lighting.gloss > 0).nonzero()[:, 0] if colour.device.type == "cpu" else None
    if glossy is not None:
        half, strength, power, normal = half[glossy], strength[glossy], power[glossy], normal[glossy]
    highlight = strength[..., None] * (half @ normal).clamp_min(1e-4) ** power[:, None, None]
    if glossy is None:
        colour += highlight
    else:
        colour[glossy] += highlight


def _tinted(rng: Rng, amount: float, *shape: int) -> Tensor:
    """Colours between white and random, RGB. -> (*shape, 3)."""
    colour = rng.uniform(*shape, 3)
    return torch.lerp(torch.ones_like(colour), colour, rng.uniform(*shape, 1, between=(0, amount)))
