"""Paint that takes symmetry away: a coloured face, a dot, an X (the solids of SYMSOL II)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.rendering.constants import moved

# Of a hit point from its face, by rounding. More would paint a rim of the neighbouring faces: a few pixels that betray
# a face which is turned away.
_ON_FACE = -5e-5
_SAMPLES = 15  # points a side of the grid that stands for a marker's area


@dataclass(frozen=True)
class Marker:
    """A painted patch.

    The patch's frame has its origin at `centre` and the columns right, up and outward normal. A surface point is
    painted where it lies beyond `floor` along the normal and `outline(right, up)` holds.

    Attributes:
        colour: RGB reflectance. frame: (3, 3) in the object's frame. centre: (3,).
        turns: in how many turns about the normal the patch looks the same; 0: in all.
        points, normals: (K, 3) samples of the patch. area: (K,) that each stands for, squared radii.
    """

    colour: tuple[float, float, float]
    frame: Tensor
    centre: Tensor
    floor: float
    outline: Callable[[Tensor, Tensor], Tensor]
    turns: int
    points: Tensor
    normals: Tensor
    area: Tensor

    def covers(self, points: Tensor) -> Tensor:
        """Which surface points are painted. (B, 3, P) object frame -> (B, P) bool."""
        local = moved(self.frame, points).T @ (points - moved(self.centre, points)[:, None])
        right, up, out = local.unbind(1)
        return (out >= self.floor) & self.outline(right, up)

    def facing(self, rotations: Tensor, translations: Tensor) -> tuple[Tensor, Tensor]:
        """Foreshortening of the patch's samples seen from the camera's origin.

        Args:
            rotations: (..., 3, 3) camera_from_object. translations: (..., 3) in radii.

        Returns:
            (..., K) cosine of the angle to the line of sight, 0 where turned away (exact on convex solids), and
            (..., K, 3) the samples in the camera frame.
        """
        points = self.points.to(rotations) @ rotations.mT + translations[..., None, :]
        normals = self.normals.to(rotations) @ rotations.mT
        return (-(normals * points).sum(-1) / points.norm(dim=-1)).clamp_min(0), points


def painted_face(colour: tuple[float, float, float], corners: Tensor) -> Marker:
    """The whole flat face with these (3, 3) corners, which are not on any other face."""
    centre = corners.mean(0)
    frame = so3.frame_of(centre / centre.norm())
    steps = (torch.arange(_SAMPLES) + 0.5) / _SAMPLES
    a, b = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    share = torch.stack([1 - a.sqrt(), a.sqrt() * (1 - b), a.sqrt() * b], 1)  # uniform on a triangle
    points = share @ corners
    size = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0]).norm() / 2
    normals = frame[:, 2].expand_as(points)
    area = (size / len(points)).expand(len(points))
    return Marker(colour, frame, centre, _ON_FACE, lambda right, up: torch.ones_like(right, dtype=torch.bool), 3,
                  points, normals, area)  # fmt: skip


def dot(colour: tuple[float, float, float], centre: Tensor, size: float, curvature: tuple[float, float]) -> Marker:
    """A disc of radius `size` around a surface point; `curvature` along right and up (1 / radius, 0: flat).

    The outward direction is that of the point for a sphere, and of its x and y for a wall about z.
    """
    outward = centre if curvature[1] else centre * torch.tensor([1.0, 1.0, 0.0])
    normal = outward / outward.norm()
    return _patch(colour, centre, normal, size, curvature, lambda r, u: torch.hypot(r, u) <= size, 0)


def cross(colour: tuple[float, float, float], centre: Tensor, length: float, width: float) -> Marker:
    """An X of two crossing bars on the unit sphere, each 2 `length` long and 2 `width` wide."""

    def outline(right: Tensor, up: Tensor) -> Tensor:
        first, second = (right + up).abs() / math.sqrt(2), (right - up).abs() / math.sqrt(2)
        return (torch.minimum(first, second) <= width) & (torch.maximum(first, second) <= length)

    return _patch(colour, centre, centre / centre.norm(), length, (1.0, 1.0), outline, 4)


def _patch(
    colour: tuple[float, float, float],
    centre: Tensor,
    normal: Tensor,
    size: float,
    curvature: tuple[float, float],
    outline: Callable[[Tensor, Tensor], Tensor],
    turns: int,
) -> Marker:
    """A patch within `size` of a point of a surface that bends by `curvature` along right and up."""
    frame = so3.frame_of(normal)
    steps = ((torch.arange(_SAMPLES) + 0.5) / _SAMPLES * 2 - 1) * size
    right, up = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    keep = outline(right, up)
    right, up = right[keep], up[keep]
    bend = torch.tensor(curvature)
    tilt = torch.stack([right * bend[0], up * bend[1]], 1)  # sine of the slope along each
    cosine = (1 - tilt.square().sum(1)).sqrt()
    radius = 1 / bend.max()
    points = centre + torch.stack([right, up, radius * (cosine - 1)], 1) @ frame.T
    normals = torch.cat([tilt, cosine[:, None]], 1) @ frame.T
    area = (2 * size / _SAMPLES) ** 2 / cosine
    return Marker(colour, frame, centre, -float(radius), outline, turns, points, normals, area)
