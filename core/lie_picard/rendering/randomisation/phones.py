"""What small cameras and phones add: metering, uneven balance, coloured and patterned noise, sharpening, vivid colours.

Images are (B, 3, S, S) in [0, 1]; only those that have a feature are computed.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.rendering.buffers import LUMINANCE
from lie_picard.rendering.constants import constant
from lie_picard.rendering.randomisation.options import Randomisation, Rng

_LARGEST_GAIN = 4.0


def meter(images: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """Exposure by the brightness around the middle, as automatic cameras choose it; nothing bright there is lost."""
    chosen = rng.some(options.metered, len(images))
    if not len(chosen):
        return images
    some = images[chosen]
    grey = (F.avg_pool2d(some, max(1, some.shape[-1] // 8)) * constant(LUMINANCE, images)[:, None, None]).sum(1)
    offsets = torch.linspace(-1, 1, grey.shape[-1], device=images.device)
    weight = torch.exp(-2 * (offsets.square() + offsets.square()[:, None]))
    mean = (grey * weight).sum((1, 2)) / weight.sum()
    gain = rng.uniform(len(chosen), between=(0.25, 0.6)) / mean.clamp_min(1e-3)
    brightest = (grey * weight.sqrt()).amax((1, 2))
    gain = torch.minimum(gain, rng.uniform(len(chosen), between=(0.7, 1.2)) / brightest.clamp_min(1e-3))
    gain = gain.clamp(1 / _LARGEST_GAIN, _LARGEST_GAIN)
    return images.index_copy(0, chosen, some * gain[:, None, None, None])


def unbalance(images: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """A white balance that changes from one side of the image to the other, and its brightness."""
    chosen = rng.some(options.balance, len(images))
    if not len(chosen):
        return images
    across = _across(len(chosen), images.shape[-1], rng)[:, None]
    colour = rng.uniform(len(chosen), 3, 1, 1, between=(-0.2, 0.2)) + rng.uniform(
        len(chosen), 1, 1, 1, between=(-0.2, 0.2)
    )
    return images.index_copy(0, chosen, images[chosen] * (1 + across * colour))


def add_patterned_noise(images: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """Noise of small sensors after their processing: blotches, colour, rows and columns. It grows with the light."""
    chosen = rng.some(options.small_sensor, len(images))
    if not len(chosen):
        return images
    count, size = len(chosen), images.shape[-1]
    half = max(1, size // 2)
    blotches = F.interpolate(rng.normal(count, 3, half, half), (size, size), mode="bilinear")
    grey = blotches.mean(1, keepdim=True)
    coloured = rng.uniform(count, 1, 1, 1, between=(0.0, 1.0))
    lines = 0.25 * rng.uniform(count, 1, 1, 1) * (rng.normal(count, 1, size, 1) + rng.normal(count, 1, 1, size))
    strength = rng.uniform(count, 1, 1, 1).square() * 0.1
    some = images[chosen]
    noise = (torch.lerp(1.7 * grey, blotches, coloured) + lines) * strength * (0.2 + 0.8 * some).sqrt()
    return images.index_copy(0, chosen, (some + noise).clamp(0, 1))


def sharpen(images: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """Edges with halos, more contrast, stronger colours."""
    chosen = rng.some(options.sharpened, len(images))
    if not len(chosen):
        return images
    count, some = len(chosen), images[chosen]
    amount = rng.uniform(count, 1, 1, 1, between=(0.0, 1.5))
    some = some + amount * (some - F.avg_pool2d(some, 3, 1, 1, count_include_pad=False))
    grey = (some * constant(LUMINANCE, images)[:, None, None]).sum(1, keepdim=True)
    some = torch.lerp(grey.expand_as(some), some, rng.uniform(count, 1, 1, 1, between=(1.0, 1.6))).clamp(0, 1)
    steep = torch.lerp(some, some.square() * (3 - 2 * some), rng.uniform(count, 1, 1, 1))
    return images.index_copy(0, chosen, steep)


def _across(count: int, size: int, rng: Rng) -> Tensor:
    """From -1 at one side to 1 at the other, in random directions. -> (count, S, S)."""
    offsets = (torch.arange(size, device=rng.device) + 0.5) / size * 2 - 1
    angle = rng.uniform(count, 1, 1, between=(0.0, 2 * math.pi))
    return angle.cos() * offsets + angle.sin() * offsets[:, None]
