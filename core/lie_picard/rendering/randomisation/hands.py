"""What people and machines hold before an object: fingers, rods, cables, as thick curves. Images are (..., S, S)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.rendering.constants import constant
from lie_picard.rendering.randomisation.options import Rng

_CURVES, _PIECES = 4, 5  # of an image; straight pieces of a curve
_SKINS = ((0.96, 0.80, 0.69), (0.85, 0.62, 0.47), (0.62, 0.41, 0.28), (0.33, 0.21, 0.15))


def draw_hands(count: int, size: int, rng: Rng) -> Tensor:
    """Fingers (half of them), one or two rods, or cables, that come from a side. -> (count, 4, S, S) premultiplied.

    A curve is quadratic: from outside the image over a bend to its tip. Distances to it are found at half the
    resolution, as they are smooth.
    """
    kind = rng.uniform(count)
    fingers, rods = kind < 0.5, (kind >= 0.5) & (kind < 0.75)
    points, radius = _curves(count, fingers, rods, rng)
    coarse = max(8, size // 2)
    offsets = (torch.arange(coarse, device=rng.device) + 0.5) / coarse * 2 - 1
    distance = _outside(points, radius, offsets)
    distance = F.interpolate(distance[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    alpha = (0.5 - distance * (size / 2)).clamp(0, 1)
    thick = radius.amax(1)[:, None, None]
    inside = (-distance / thick).clamp(0, 1)  # 0 at the outline, 1 on the axis
    # The slope of a round body's surface, as far as the distance tells it.
    height = (1 - (1 - inside).square()).sqrt()
    light = rng.normal(count, 2, 1, 1)
    padded = F.pad(height[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    slope = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) * light[:, 0]
    slope = slope + (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) * light[:, 1]
    shade = (0.45 + 0.45 * height + 0.5 * slope).clamp(0.1, 1.2) * rng.uniform(count, 1, 1, between=(0.4, 1.1))
    colour = _colours(count, fingers, rng)[:, :, None, None] * shade[:, None]
    return torch.cat([colour.clamp(0, 1) * alpha[:, None], alpha[:, None]], 1)


def _curves(count: int, fingers: Tensor, rods: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """-> (B, K, n + 1, 2) points in half images from the centre, (B, K) radii; those not drawn lie far outside."""
    angle = rng.uniform(count, 1, between=(0.0, 2 * math.pi))
    number = torch.arange(_CURVES, device=rng.device)
    thick = rng.uniform(count, 1, between=(0.09, 0.17))
    thin = rng.uniform(count, _CURVES, between=(0.015, 0.07))
    held = fingers[:, None]
    radius = torch.where(held, thick * rng.uniform(count, _CURVES, between=(0.85, 1.0)), thin)
    # Along the hand's direction and across it.
    tip = torch.where(
        held, rng.uniform(count, 1, between=(0.1, 0.9)) + rng.uniform(count, _CURVES, between=(0, 0.3)), -2.0
    )
    spread = (number - 1.5) * thick * rng.uniform(count, 1, between=(1.8, 2.4))
    place = torch.where(
        held, rng.uniform(count, 1, between=(-0.6, 0.6)) + spread, rng.uniform(count, _CURVES, between=(-0.9, 0.9))
    )
    lean = torch.where(
        held, rng.uniform(count, 1, between=(-0.3, 0.3)), rng.uniform(count, _CURVES, between=(-0.5, 0.5))
    )
    bend = torch.where(rods[:, None], 0.0, rng.uniform(count, _CURVES, between=(-0.4, 0.4)))
    bend = torch.where(held, bend[:, :1] * 0.5, 2 * bend)
    begin = torch.stack([torch.full_like(place, 2.0), place + lean], -1)
    end = torch.stack([tip.expand_as(place), place - lean], -1)
    middle = (begin + end) / 2 + torch.stack([torch.zeros_like(bend), bend], -1)
    t = torch.linspace(0, 1, _PIECES + 1, device=rng.device)[:, None]
    points = (1 - t) ** 2 * begin[..., None, :] + 2 * t * (1 - t) * middle[..., None, :] + t**2 * end[..., None, :]
    wanted = torch.where(fingers, rng.integers(_CURVES, count) + 1, rng.integers(2, count) + 1)
    points = torch.where((number < wanted[:, None])[..., None, None], points, points + 20.0)
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([torch.cat([cosine, -sine], 1), torch.cat([sine, cosine], 1)], 1)
    return torch.einsum("bij,bknj->bkni", turn, points), radius


def _outside(points: Tensor, radius: Tensor, offsets: Tensor) -> Tensor:
    """Signed distance to the nearest curve's outline, negative inside. -> (B, S, S)."""
    first, step = points[..., :-1, :].flatten(1, 2), points.diff(dim=2).flatten(1, 2)
    dx = offsets - first[..., :1]  # (B, K n, S)
    dy = offsets - first[..., 1:]
    length = step.square().sum(-1).clamp_min(1e-9)[..., None]
    along = (dy * step[..., 1:] / length)[..., None] + (dx * step[..., :1] / length)[..., None, :]
    along = along.clamp(0, 1)
    x = dx[..., None, :] - along * step[..., :1, None]
    y = dy[..., None] - along * step[..., 1:, None]
    distance = (x.square() + y.square()).sqrt() - radius.repeat_interleave(_PIECES, 1)[..., None, None]
    return distance.amin(1)


def _colours(count: int, fingers: Tensor, rng: Rng) -> Tensor:
    """Skin, and gloves now and then; rods and cables dark or of any colour. -> (B, 3)."""
    skin = constant(_SKINS, rng.uniform(1))[rng.integers(len(_SKINS), count)] * rng.uniform(
        count, 3, between=(0.85, 1.05)
    )
    anything = rng.uniform(count, 3) * rng.uniform(count, 1)
    dark = rng.uniform(count, 1, between=(0.02, 0.2)).expand(-1, 3)
    other = torch.where(rng.happens(0.5, count)[:, None], dark, anything)
    return torch.where((fingers & ~rng.happens(0.15, count))[:, None], skin, other)
