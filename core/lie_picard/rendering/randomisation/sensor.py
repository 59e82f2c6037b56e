"""What a camera does to light: exposure, colour, blur, noise, compression. Images are (B, 3, S, S) in [0, 1]."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.rendering.buffers import LUMINANCE
from lie_picard.rendering.constants import constant
from lie_picard.rendering.randomisation.options import Randomisation, Rng

_REACH = 4  # of the blur's kernel, pixels to each side


def expose(images: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """Gain, white balance, loss of colour, tone curve and saturation of the sensor."""
    count = len(images)
    gain = 2 ** rng.uniform(count, 1, 1, 1, between=(-options.exposure, options.exposure))
    balance = rng.uniform(count, 3, 1, 1, between=(1 - options.colour, 1 + options.colour))
    images = (images * gain * balance).clamp(1e-4, 1)
    images = images ** rng.uniform(count, 1, 1, 1, between=options.gamma)
    grey = (images * constant(LUMINANCE, images)[:, None, None]).sum(1, keepdim=True)
    # Full colour, paler colour, or none, as monochrome cameras give.
    saturation = rng.uniform(count, 1, 1, 1, between=(0.5, 1.0)) * ~rng.happens(options.grey, count, 1, 1, 1)
    return torch.lerp(grey.expand_as(images), images, saturation)


def blur(images: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """A Gaussian (focus) stretched along a random direction (motion); half the images stay sharp."""
    count, size = len(images), images.shape[-1]
    blurred = rng.happens(0.5, count) * (size / 64)
    across = 0.2 + blurred * rng.uniform(count, between=(0.0, options.blur))
    # A uniform line of length n has the standard deviation n / sqrt(12).
    along = (across.square() + (blurred * rng.uniform(count, between=(0.0, options.motion))).square() / 12).sqrt()
    angle = rng.uniform(count, between=(0.0, math.pi))
    offsets = torch.arange(-_REACH, _REACH + 1, device=images.device, dtype=torch.float32)
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    u, v = (x * cosine + y * sine) / along[:, None, None], (y * cosine - x * sine) / across[:, None, None]
    kernel = torch.exp(-(u.square() + v.square()) / 2)
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    padded = F.pad(images, (_REACH,) * 4, mode="replicate")
    # One group an image and colour: every image has a kernel of its own.
    weight = kernel[:, None].expand(-1, 3, -1, -1).flatten(0, 1)[:, None]
    return F.conv2d(padded.flatten(0, 1)[None], weight, groups=3 * count)[0].unflatten(0, (count, 3))


def add_noise(images: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """Photon noise, whose variance grows with the light, and the sensor's own."""
    strength = rng.uniform(len(images), 1, 1, 1, between=(0.0, options.noise))
    noise = strength * (0.2 + 0.8 * images).sqrt() * rng.normal(*images.shape)
    return (images + noise).clamp(0, 1)


def compress(images: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """JPEG's loss: the quantised cosine transform of 8 x 8 blocks, colour at half resolution; half the images."""
    count = len(images)
    quality = rng.uniform(count, between=(options.jpeg, 95.0))
    # The usual scaling of the standard tables by quality.
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    chosen = rng.happens(0.5, count)[:, None, None, None]
    matrix, inverse, luminance, chrominance, cosines = _tables(images.device)
    planes = torch.einsum("kc,bchw->bkhw", matrix, images * 255)
    coarse = F.interpolate(F.avg_pool2d(planes[:, 1:], 2), scale_factor=2.0, mode="bilinear")
    planes = torch.cat([planes[:, :1] - 128, coarse], 1)
    table = torch.stack([luminance, chrominance, chrominance]) * scale[:, None, None, None]
    table = table.round().clamp(1, 255)[:, :, None, :, None, :]
    blocks = planes.unflatten(3, (-1, 8)).unflatten(2, (-1, 8))  # (B, 3, S/8, 8, S/8, 8)
    transformed = torch.einsum("ui,bcyixj,vj->bcyuxv", cosines, blocks, cosines)
    transformed = (transformed / table).round() * table
    blocks = torch.einsum("ui,bcyuxv,vj->bcyixj", cosines, transformed, cosines)
    planes = blocks.flatten(4, 5).flatten(2, 3)
    planes = torch.cat([planes[:, :1] + 128, planes[:, 1:]], 1)
    restored = torch.einsum("ck,bkhw->bchw", inverse, planes) / 255
    return torch.where(chosen, restored.clamp(0, 1), images)


@functools.cache
def _tables(device: torch.device) -> tuple[Tensor, ...]:
    """RGB to YCbCr and back, quantisation tables (ISO/IEC 10918-1, annex K), orthonormal cosine transform."""
    red, green, blue = LUMINANCE
    matrix = torch.tensor(
        [
            [red, green, blue],
            [-red / (2 - 2 * blue), -green / (2 - 2 * blue), 0.5],
            [0.5, -green / (2 - 2 * red), -blue / (2 - 2 * red)],
        ]
    )
    luminance = torch.tensor(
        [
            [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
            [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
            [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
            [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
        ],
        dtype=torch.float32,
    )  # fmt: skip
    chrominance = torch.full((8, 8), 99.0)
    chrominance[:4, :4] = torch.tensor([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])
    frequency, place = torch.arange(8)[:, None], torch.arange(8)[None] + 0.5
    cosines = torch.cos(math.pi / 8 * frequency * place) / 2
    cosines[0] /= math.sqrt(2)
    tables = matrix, torch.linalg.inv(matrix), luminance, chrominance, cosines
    return tuple(table.to(device) for table in tables)
