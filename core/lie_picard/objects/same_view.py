"""Whether two poses give the same image, as far as a camera can tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.rendering.buffers import Castable, ViewGeometry


@dataclass(frozen=True)
class Tolerance:
    """What a camera cannot tell apart.

    Two images are compared ray by ray; what the other shows within one ray's distance is allowed for, so edges may
    shift by half a pixel. Depth counts only where it shows: in the outline and in the normals, which make the shading.

    Attributes:
        side: rays along the image: 96 for 64 pixels, so that one ray is two thirds of a pixel.
        normal_deg: largest difference of the normals. colour: of R, G or B, 0 to 1.
        share: of the image's area that may differ: four pixels of 64 x 64.
        coarse: rays along the image where candidates are looked through; coarse_share: what rules one out there.
    """

    side: int = 96
    normal_deg: float = 15.0
    colour: float = 0.12
    share: float = 0.001
    coarse: int = 32
    coarse_share: float = 0.006


class Comparison:
    """One image of a shape at its true pose, with which others are compared."""

    def __init__(self, shape: Castable, view: ViewGeometry, image: int, truth: Tensor, tolerance: Tolerance) -> None:
        """Args:
        view: of the images; `image`: which of them. truth: (3, 3) camera_from_object of its rendering.
        """
        self.shape, self.tolerance = shape, tolerance
        self.translation = view.translations[image].to(truth)
        self._truth = truth
        self._zoom = view.half_tangent[image].to(truth)
        self._cover = None if view.cover is None else view.cover[image].to(truth)
        self._kept: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def coarse(self, rotations: Tensor, moves: Tensor) -> Tensor:
        """Which poses are not ruled out at low resolution; arguments as `same`. -> (N,) bool."""
        return self._differing(rotations, moves, self.tolerance.coarse) <= self.tolerance.coarse_share

    def same(self, rotations: Tensor, moves: Tensor) -> Tensor:
        """Which poses give the same image.

        Args:
            rotations: (N, 3, 3) camera_from_object. moves: (N, 3) of the object's centre from its true place, radii.

        Returns:
            (N,) bool.
        """
        return self._differing(rotations, moves, self.tolerance.side) < self.tolerance.share

    def seen(self) -> tuple[Tensor, Tensor]:
        """Points (P, 3) of the shape that the image shows, object frame in radii, and their colours (P, 3)."""
        side = self.tolerance.coarse
        rays, weight = self._rays(side)
        found = self.shape.cast(self._truth[None], self.translation[None], rays, self._zoom[None])
        hit = found.hit[0] & (weight > 0.5)
        there = rays * torch.cat([self._zoom, self._zoom.new_ones(1)]) * found.depth[0][:, None] - self.translation
        return (there @ self._truth)[hit], found.albedo[0].T[hit]

    def _rays(self, side: int) -> tuple[Tensor, Tensor]:
        """(P, 3) rays of a square image and (P,) how much of each no occluder hides."""
        offsets = ((torch.arange(side, device=self._truth.device) + 0.5) / side * 2 - 1).to(self._truth)
        y, x = torch.meshgrid(offsets, offsets, indexing="ij")
        rays = torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1)
        if self._cover is None:
            return rays, rays.new_ones(len(rays))
        places = torch.stack([x, y], -1)[None]
        hidden = F.grid_sample(self._cover[None, None], places, align_corners=False, padding_mode="border")
        return rays, 1 - hidden.flatten()

    def _looks(self, rotations: Tensor, moves: Tensor, rays: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """(N, 1, S, S) mask and (N, 6, S, S) normals and colours, in units of their tolerances."""
        found = self.shape.cast(rotations, self.translation + moves, rays, self._zoom.expand(len(rotations), 2))
        angle = 2 * math.sin(math.radians(self.tolerance.normal_deg) / 2)
        albedo = found.albedo.expand_as(found.normal)
        looks = torch.cat([found.normal / angle, albedo / self.tolerance.colour], 1)
        return found.hit.to(looks)[:, None].unflatten(-1, (side, side)), looks.unflatten(-1, (side, side))

    def _differing(self, rotations: Tensor, moves: Tensor, side: int) -> Tensor:
        """Share of the image's area in which poses differ from the true one. -> (N,)."""
        if side not in self._kept:
            rays, weight = self._rays(side)
            mask, looks = self._looks(self._truth[None], self._truth.new_zeros(1, 3), rays, side)
            self._kept[side] = rays, weight.unflatten(0, (side, side)), mask, looks
        rays, weight, mask, looks = self._kept[side]
        result = []
        some = max(1, (1 << 19) // side**2)
        for turn, move in zip(rotations.split(some), moves.split(some), strict=True):
            other_mask, other = self._looks(turn, move, rays, side)
            off = _outside(other_mask, other, mask, looks) | _outside(mask, looks, other_mask, other)
            result.append((off * weight).mean((1, 2)))
        return torch.cat(result) if result else rotations.new_zeros(0)


def _outside(mask: Tensor, looks: Tensor, other_mask: Tensor, other: Tensor) -> Tensor:
    """Where an image (N or 1, ...) shows what another does not within one ray's distance. -> (N, S, S) bool."""
    hit, there = mask > 0.5, other_mask > 0.5
    high = F.max_pool2d(torch.where(there, other, -math.inf), 3, 1, 1)
    low = -F.max_pool2d(torch.where(there, -other, -math.inf), 3, 1, 1)
    near = F.max_pool2d(other_mask, 3, 1, 1) > 0.5
    differs = ((looks > high + 1) | (looks < low - 1)).any(1, keepdim=True)
    return (hit & (~near | differs))[:, 0]
