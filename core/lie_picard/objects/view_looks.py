"""Whether a camera could tell two poses apart: their renderings compared, with a tolerance at edges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lie_picard.objects.catalogue import Object
from lie_picard.rendering.buffers import ViewGeometry


@dataclass(frozen=True)
class LookOptions:
    """What a camera could tell apart. Depth is not compared: a camera sees it only by outlines and shading.

    Attributes:
        size: pixels along each side of the images that are compared.
        share: of an image's area that may differ. colour: difference of one channel's reflectance, 0 to 1.
        normal_deg: of surfaces, by which they are shaded alike.
        step_deg: of the grid on turns by any angle. end_deg: error of an arc's ends.
        arc_deg: a shorter arc counts as one pose: it is the tolerance's own width.
    """

    size: int = 64
    share: float = 0.001
    colour: float = 0.15
    normal_deg: float = 15.0
    step_deg: float = 3.0
    end_deg: float = 0.5
    arc_deg: float = 15.0

    def __post_init__(self) -> None:
        """Raises:
        ValueError: a number is out of its range.
        """
        if self.size < 8 or self.size % 2:
            raise ValueError(f"size is {self.size} pixels: give an even number from 8")
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}: give a share of the image between 0 and 1")
        for name in ("colour", "normal_deg", "step_deg", "end_deg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number above 0")
        if self.step_deg > 30:
            raise ValueError(f"step_deg is {self.step_deg}: give at most 30 degrees, or arcs are missed")


class Look:
    """The rendering of one true pose, that those of candidates are compared with.

    Outlines and normals agree where the truth's do at one of the 3 x 3 rays half a pixel around. Colours are compared
    ray by ray: half a pixel would swallow small marks; the share that may differ allows for their edges.
    """

    def __init__(
        self, body: Object, truth: Tensor, view: ViewGeometry, image: int, options: LookOptions, reach: float = 0.0
    ) -> None:
        """Args:
        truth: (3, 3) camera_from_object of an image of the view.
        reach: how far candidates may move the object's centre, radii.
        """
        self.body, self.options, self.truth = body, options, truth
        self.at = view.translations[image].to(truth)
        half = view.half_tangent[image].to(truth)
        size = options.size
        fine = torch.arange(2 * size + 1, device=truth.device).to(truth) / size - 1
        y, x = torch.meshgrid(fine, fine, indexing="ij")
        rays = torch.stack([x * half[0], y * half[1], torch.ones_like(x)], -1)
        seen = self._features(truth[None], self.at[None], rays.flatten(0, 1)).unflatten(1, rays.shape[:2])[0]
        around = [seen[i : i + 2 * size - 1 : 2, j : j + 2 * size - 1 : 2] for i in range(3) for j in range(3)]
        reference = torch.stack(around).flatten(1, 2)  # (9, P, 7)
        weight = torch.ones(size, size, device=truth.device).to(truth)
        if view.cover is not None:
            cover = view.cover[image][None, None].to(truth)
            weight = 1 - torch.nn.functional.interpolate(cover, (size, size), mode="area")[0, 0]
        rays = rays[1::2, 1::2].flatten(0, 1)
        # Beside the circumscribed sphere, wherever a candidate puts it, there is nothing to see.
        unit = rays / rays.norm(dim=1, keepdim=True)
        near = torch.linalg.cross(unit, self.at.expand_as(unit), dim=1).norm(dim=1) < 1.1 + reach
        keep = near & (weight.flatten() > 0.5)
        self.rays, self.weight, self.reference = rays[keep], weight.flatten()[keep], reference[:, keep]
        grid = torch.arange(size * size, device=truth.device)[keep]
        self.coarse = ((grid // size) % 2 == 0) & ((grid % size) % 2 == 0)

    def _features(self, rotations: Tensor, at: Tensor, rays: Tensor) -> Tensor:
        """Mask, normal and colour of each ray. -> (N, P, 7)."""
        seen = self.body.cast(rotations, at, rays)
        hit = seen.hit[..., None].to(rotations)
        return torch.cat([hit, seen.normal.mT * hit, seen.albedo.mT * hit], -1)

    def differing(self, rotations: Tensor, at: Tensor, part: Tensor | None = None) -> Tensor:
        """Share of the image that differs from the truth's, poses (N, 3, 3) and (N, 3). -> (N,)."""
        rays, reference, weight = self.rays, self.reference, self.weight
        total = self.options.size**2
        if part is not None:
            rays, reference, weight, total = rays[part], reference[:, part], weight[part], total // 4
        if not len(rays):
            return torch.zeros(len(rotations)).to(rotations)
        shares = []
        cosine = math.cos(math.radians(self.options.normal_deg))
        chunk = max(1, 100_000 // len(rays))
        for turns, places in zip(rotations.split(chunk), at.split(chunk), strict=True):
            seen = self._features(turns, places, rays)
            centre = reference[4]
            painted = ((seen[..., 4:] - centre[:, 4:]).abs() >= self.options.colour).any(-1)
            painted &= (seen[..., 0] > 0) & (centre[:, 0] > 0)
            formed = self._alike(seen, centre, cosine).logical_not()
            left = torch.nonzero(formed, as_tuple=True)
            if len(left[0]):
                one, others = seen[left], reference[:, left[1]]
                formed[left] = ~self._alike(one[None], others, cosine).any(0)
            differs = painted | formed
            shares.append((differs * weight).sum(1) / total)
        return torch.cat(shares)

    @staticmethod
    def _alike(one: Tensor, other: Tensor, cosine: float) -> Tensor:
        """Whether surfaces or their absence (..., 7) look alike but for their colours. -> (...) bool."""
        there, where = one[..., 0] > 0, other[..., 0] > 0
        turned = (one[..., 1:4] * other[..., 1:4]).sum(-1) <= cosine
        return (there == where) & ~(there & turned)

    def same(self, rotations: Tensor, at: Tensor) -> Tensor:
        """Whether poses (N, 3, 3), (N, 3) give the truth's image. -> (N,) bool."""
        result = torch.zeros(len(rotations), dtype=torch.bool, device=rotations.device)
        if not len(rotations):
            return result
        # A quarter of the rays rules out what differs clearly.
        maybe = torch.nonzero(self.differing(rotations, at, self.coarse) < 4 * self.options.share)[:, 0]
        if len(maybe):
            result[maybe] = self.differing(rotations[maybe], at[maybe]) < self.options.share
        return result

    def uniform(self, rotations: Tensor) -> Tensor:
        """Whether poses (N, 3, 3) of a ball show one colour, the one that fills most of the truth's image. -> (N,)."""
        reference = self.reference[4]
        hit = reference[:, 0] > 0
        if not bool(hit.any()):
            return torch.ones(len(rotations), dtype=torch.bool, device=rotations.device)
        ground = reference[hit, 4:].median(0).values
        seen = self._features(rotations, self.at.expand(len(rotations), 3), self.rays)
        other = (seen[..., 0] > 0) & ((seen[..., 4:] - ground).abs() >= self.options.colour).any(-1)
        return (other * self.weight).sum(1) / self.options.size**2 < self.options.share
