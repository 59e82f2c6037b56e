"""Shadows: on the object, of something outside the image; and of the object, on what lies behind it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.rendering.randomisation.options import Rng


def darkened(target: Tensor, chosen: Tensor, rng: Rng) -> Tensor:
    """Soft or hard edges and bars of shadow over chosen (k,) of premultiplied objects (B, 4, S, S); uneven light."""
    count, size = len(chosen), target.shape[-1]
    if not count:
        return target
    offsets = (torch.arange(size, device=rng.device) + 0.5) / size * 2 - 1
    angle = rng.uniform(2, count, 1, 1, between=(0.0, 2 * math.pi))
    across, other = angle.cos() * offsets + angle.sin() * offsets[:, None]
    beyond = across - rng.uniform(count, 1, 1, between=(-0.6, 0.6))
    wide = torch.where(rng.happens(0.5, count), rng.uniform(count, between=(0.1, 0.5)), 4.0)[:, None, None]
    sharp = 2 ** rng.uniform(count, 1, 1, between=(2.0, 6.0))
    shade = torch.sigmoid(beyond * sharp) * torch.sigmoid((wide - beyond) * sharp)
    deep = rng.uniform(count, 1, 1, between=(0.3, 0.8)) * rng.happens(0.6, count, 1, 1)
    factor = (1 - deep * shade) * (1 + rng.uniform(count, 1, 1, between=(0.0, 0.6)) * other).clamp_min(0.1)
    # The alpha stays, so that shares of light that cover a pixel do.
    some = target[chosen]
    lit = torch.minimum(some[:, :3] * factor[:, None], some[:, 3:])
    return target.index_copy(0, chosen, torch.cat([lit, some[:, 3:]], 1))


def cast_behind(scene: Tensor, target: Tensor, chosen: Tensor, rng: Rng) -> Tensor:
    """Chosen (k,) of scenes (B, 3, S, S) with the blurred, shifted shadow of the objects (B, 4, S, S) before them."""
    count, size = len(chosen), scene.shape[-1]
    if not count:
        return scene
    coarse = max(1, size // 16)
    alpha = F.avg_pool2d(target[chosen, 3:], coarse)
    soft = F.avg_pool2d(alpha, 3, 1, 1)
    alpha = torch.where(rng.happens(0.5, count)[:, None, None, None], soft, alpha)
    theta = torch.zeros(count, 2, 3, device=rng.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / rng.uniform(count, between=(0.95, 1.25))
    theta[:, :, 2] = rng.uniform(count, 2, between=(-0.35, 0.35))
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
    shade = F.grid_sample(alpha, grid, align_corners=False) * rng.uniform(count, 1, 1, 1, between=(0.3, 0.9))
    return scene.index_copy(0, chosen, scene[chosen] * (1 - shade))
