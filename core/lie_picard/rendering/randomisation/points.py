"""Points of surfaces that are seen: which rays they stand for, and where they lie in their object's frame.

Only those of images that have a feature are looked at: (M,) of them, flat, every quantity of its own.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lie_picard.rendering.buffers import Buffers, Placement
from lie_picard.rendering.constants import uploaded

_SHARP = math.cos(math.radians(25))  # between normals at an edge that wears


class PlacementError(ValueError):
    """Buffers do not say how the objects lay that prints or reflections shall be drawn on."""


@dataclass(frozen=True)
class Points:
    """M points that are seen, and what of the buffers' rays each stands for.

    Attributes:
        image: (M,) index among the B images. chosen: (M,) index among those that were chosen. ray: (M,) of P.
        wide: neighbours in a row that a point stands for, 1 or 2. size: (B, P).
    """

    image: Tensor
    chosen: Tensor
    ray: Tensor
    wide: int
    size: tuple[int, int]

    @classmethod
    def of(cls, hit: Tensor, chosen: Tensor, supersample: int) -> Points:
        """Those of the chosen images (k,); on a GPU all their rays, as it would have to say how many hit.

        Of two rays side by side within a pixel one is enough: the left one in even rows, the right one in odd ones, so
        that nothing moves to a side.
        """
        rays = hit.shape[1]
        wide = 2 if supersample % 2 == 0 else 1
        mask = hit[chosen].view(-1, wide)
        seen = mask[:, 0] | mask[:, -1]
        where = seen.nonzero()[:, 0] if hit.device.type == "cpu" else torch.arange(len(mask), device=hit.device)
        among = torch.div(where, rays // wide, rounding_mode="floor")
        ray = (where - among * (rays // wide)) * wide
        if wide == 2:
            odd = torch.div(ray, math.isqrt(rays), rounding_mode="floor") % 2 == 1
            ray = ray + torch.where(odd, mask[where, 1], ~mask[where, 0])
        return cls(chosen[among], among, ray, wide, (len(hit), rays))

    def taken(self, field: Tensor) -> tuple[Tensor, ...]:
        """(B, C, P) -> C times (M,)."""
        channels = field.shape[1]
        first = self.image * (channels * self.size[1]) + self.ray
        flat = field.reshape(-1)
        return tuple(flat[first + k * self.size[1]] for k in range(channels))

    def cells(self, channels: int) -> Tensor:
        """(M,) where a point's rays are in the first of so many channels, in units of `wide` rays."""
        rays = self.image * (channels * self.size[1]) + self.ray
        return torch.div(rays, self.wide, rounding_mode="floor")

    def least(self, field: Tensor) -> Tensor:
        """(B, C, P) -> (M,) the least of all channels and of all rays that a point stands for."""
        first, flat = self.cells(field.shape[1]), field.reshape(-1, self.wide)
        step = self.size[1] // self.wide
        return torch.stack([flat[first + k * step].amin(1) for k in range(field.shape[1])]).amin(0)

    def on_edge(self, buffers: Buffers) -> Tensor:
        """(M,) whether the surface bends sharply within about a pixel."""
        side = math.isqrt(self.size[1])
        normal = torch.stack(self.taken(buffers.normal))
        hit = buffers.hit.reshape(-1)
        bends = torch.zeros_like(self.image, dtype=torch.bool)
        for step in (2, -2 * side):
            ray = (self.ray + step).clamp(0, self.size[1] - 1)
            beside = dataclasses.replace(self, ray=ray)
            near = (normal * torch.stack(beside.taken(buffers.normal))).sum(0) < _SHARP
            bends |= near & hit[self.image * self.size[1] + ray]
        return bends

    def put(self, field: Tensor, values: Tensor, allowed: Tensor | None = None) -> None:
        """Write (M, C) into a contiguous (B, C, P), where it is allowed: (M, 1), or (M, wide) for each ray."""
        first, flat = self.cells(field.shape[1]), field.view(-1, self.wide)
        for k in range(field.shape[1]):
            place, value = first + k * (self.size[1] // self.wide), values[:, k : k + 1]
            flat[place] = value if allowed is None else torch.where(allowed, value, flat[place])

    def split(self, images: int) -> tuple[slice, slice]:
        """Points of the first so many chosen images, and of the others."""
        on_cpu = self.image.device.type == "cpu"  # on a GPU there is one of each cell of each image
        count = int((self.chosen < images).sum()) if on_cpu else images * (self.size[1] // self.wide)
        return slice(0, count), slice(count, None)

    def some(self, which: slice) -> Points:
        """Some of them."""
        return dataclasses.replace(self, image=self.image[which], chosen=self.chosen[which], ray=self.ray[which])


def placement_of(buffers: Buffers) -> Placement:
    """How the objects lay.

    Raises:
        PlacementError: the buffers do not say.
    """
    if buffers.placement is None:
        raise PlacementError(
            "prints, wear, metal and coats need buffers with `placement`, as `cast_randomly` gives them"
        )
    return buffers.placement


def coloured_of(buffers: Buffers) -> Tensor:
    """(B,) bool, of objects with colours of their own, on the buffers' device."""
    return uploaded(placement_of(buffers).coloured, buffers.hit.device)


def in_object(buffers: Buffers, points: Points, chosen: Tensor, turn: Tensor) -> tuple[Tensor, ...]:
    """Places and normals in the frames of the objects, turned.

    Args:
        chosen: (k,) images. turn: (k, 3, 3) picture_from_object.

    Returns:
        Six times (M,): x, y, z of the place in radii, and of the normal.
    """
    placement = placement_of(buffers)
    matrices = turn @ placement.rotations[chosen].mT
    origin = matrices @ placement.translations[chosen][..., None]
    a = matrices.flatten(1).T[:, points.chosen]
    ox, oy, oz = origin[..., 0].T[:, points.chosen]
    x, y = rays_of(placement, points)
    depth = buffers.depth.reshape(-1)[points.image * points.size[1] + points.ray]
    nx, ny, nz = points.taken(buffers.normal)
    # In place: memory is what these points cost.
    normal = [(a[k] * nx).addcmul_(a[k + 1], ny).addcmul_(a[k + 2], nz) for k in (0, 3, 6)]
    place = [
        (a[3 * k] * x).addcmul_(a[3 * k + 1], y).add_(a[3 * k + 2]).mul_(depth).sub_(o)
        for k, o in enumerate((ox, oy, oz))
    ]
    return (*place, *normal)


def rays_of(placement: Placement, points: Points) -> tuple[Tensor, Tensor]:
    """x and y (M,) of directions from the camera whose z is 1."""
    x, y = placement.rays[:, :2].T[:, points.ray] * placement.zoom.T[:, points.image]
    return x, y
