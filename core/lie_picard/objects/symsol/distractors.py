"""Bodies that are none of the solids: clutter, occluders, and what the presence score must turn down."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.objects.symsol.solids import Solid
from lie_picard.rendering.constants import constant
from lie_picard.rendering.randomisation.options import Rng

_CUTS = 5
_FACES = 14  # planes a body, with repeated ones
_SIDES = (3, 5, 7, 8)  # of prisms and pyramids; those with four and six sides are held out
_ROUND = (7, 8, 9, 10, 11, 13, 14)  # faces of round bodies; that with twelve is held out


def polyhedra(count: int, rng: Rng) -> Solid:
    """Convex polyhedra in the unit sphere, one a pose: cut boxes, round ones, prisms and pyramids.

    Planes (count, F, 4). Their kinds are near to those of `unseen_shapes`, which are never among them.
    """
    kinds = torch.stack([_cut_boxes(count, rng), _round(count, rng), _tapered(count, rng)])
    planes = kinds[rng.integers(len(kinds), count), torch.arange(count, device=rng.device)]
    planes[..., 3] /= _radius(planes)[:, None]
    return _solid("polyhedra", planes)


def _cut_boxes(count: int, rng: Rng) -> Tensor:
    """Boxes with corners and edges cut off."""
    half = rng.uniform(count, 3, between=(0.3, 1.0))
    axes = torch.eye(3, device=rng.device)
    axes = torch.cat([axes, -axes]).expand(count, -1, -1)
    cuts = F.normalize(rng.normal(count, _CUTS, 3), dim=-1)
    reach = (cuts.abs() @ half[..., None]).squeeze(-1)  # how far the box extends along each cut
    heights = torch.cat([half, half, reach * rng.uniform(count, _CUTS, between=(0.55, 1.0))], 1)
    return _padded(torch.cat([torch.cat([axes, cuts], 1), heights[..., None]], 2))


def _round(count: int, rng: Rng) -> Tensor:
    """Faces on all sides at about the same distance, as a fullerene's or a worn pebble's."""
    chosen = rng.integers(len(_ROUND), count)
    faces = constant(_ROUND, chosen)[chosen]
    used = torch.arange(_FACES, device=rng.device) < faces[:, None]
    normals = F.normalize(rng.normal(count, _FACES, 3), dim=-1)
    for _ in range(12):  # they repel each other until they are nearly even
        apart = normals[:, :, None] - normals[:, None]
        push = apart / (apart.square().sum(-1, keepdim=True) + 0.05) * used[:, None, :, None]
        normals = F.normalize(normals + 0.1 * push.sum(2), dim=-1)
    heights = rng.uniform(count, _FACES, between=(0.9, 1.0))
    planes = torch.cat([normals, heights[..., None]], 2)
    return torch.where(used[..., None], planes, planes[:, :1])


def _tapered(count: int, rng: Rng) -> Tensor:
    """Regular prisms, and pyramids whose tip may be cut off."""
    chosen = rng.integers(len(_SIDES), count)
    sides = constant(_SIDES, chosen)[chosen]
    angles = torch.arange(_FACES - 2, device=rng.device) % sides[:, None] * (2 * math.pi / sides[:, None])
    half = rng.uniform(count, between=(0.25, 0.9))  # below the centre, where the width is 1
    slope = rng.uniform(count, between=(-0.5, 0.9)).clamp_min(0) / half.clamp_min(0.5)  # a third are prisms
    top = torch.where(slope > 0, half * rng.uniform(count, between=(1.0, 2.0)), half)
    wide = torch.stack([angles.cos(), angles.sin(), slope[:, None].expand_as(angles)], -1)
    length = wide.norm(dim=-1, keepdim=True)
    walls = torch.cat([wide / length, 1 / length], -1)
    ends = torch.zeros(count, 2, 4, device=rng.device)
    ends[:, 0, 2], ends[:, 1, 2], ends[:, 0, 3], ends[:, 1, 3] = 1.0, -1.0, top, half
    return torch.cat([walls, ends], 1)


def _padded(planes: Tensor) -> Tensor:
    return torch.cat([planes, planes[:, :1].expand(-1, _FACES - planes.shape[1], -1)], 1)


def _radius(planes: Tensor) -> Tensor:
    """Distance of the farthest corner: (B, F, 4) -> (B,)."""
    i, j, k = _triples(planes.shape[1], planes.device)
    normals, heights = planes[..., :3], planes[..., 3:]
    across = torch.linalg.cross(normals[:, j], normals[:, k])
    volume = (normals[:, i] * across).sum(-1, keepdim=True)
    corner = heights[:, i] * across + heights[:, j] * torch.linalg.cross(normals[:, k], normals[:, i])
    corner = (corner + heights[:, k] * torch.linalg.cross(normals[:, i], normals[:, j])) / volume
    inside = (corner @ normals.mT <= heights.mT + 1e-4).all(2) & (volume.squeeze(-1).abs() > 1e-4)
    return torch.where(inside, corner.norm(dim=-1), 0.0).amax(1)


@functools.lru_cache(maxsize=8)
def _triples(count: int, device: torch.device) -> Tensor:
    """All choices of three of so many: (3, n). Once: the number of choices is read back from the device."""
    with torch.inference_mode(False):
        return torch.combinations(torch.arange(count), 3).T.contiguous().to(device)


def unseen_shapes() -> dict[str, Solid]:
    """Regular bodies that training never shows, to test the presence score with."""
    corners = torch.tensor([[x, y, z] for x in (1.0, -1) for y in (1.0, -1) for z in (1.0, -1)]) / 3**0.5
    golden = (1 + 5**0.5) / 2
    twelve = [[0.0, a, b * golden] for a in (1, -1) for b in (1, -1)]
    faces = F.normalize(torch.tensor([p[k:] + p[:k] for p in twelve for k in range(3)]), dim=1)
    inradius = math.sqrt((5 + 2 * math.sqrt(5)) / 15)  # of a dodecahedron in the unit sphere
    sides = torch.arange(6) * (math.pi / 3)
    prism = torch.cat(
        [torch.stack([sides.cos(), sides.sin(), torch.zeros(6)], 1), torch.tensor([[0.0, 0, 1], [0, 0, -1]])]
    )
    slope = torch.tensor([[1.0, 0, 0.5], [-1, 0, 0.5], [0, 1, 0.5], [0, -1, 0.5], [0, 0, -1]])
    brick = torch.cat([torch.eye(3), -torch.eye(3)])
    return {
        "octahedron": _of(corners, torch.full((8,), 1 / 3**0.5)),
        "dodecahedron": _of(faces, torch.full((12,), inradius)),
        "hexagonal prism": _of(prism, torch.tensor([0.6 * 3**0.5 / 2] * 6 + [0.8, 0.8])),
        "pyramid": _of(slope, torch.tensor([1 / 5**0.5] * 4 + [1 / 3])),
        "brick": _of(brick, torch.tensor([0.85, 0.45, 0.27] * 2)),
    }


def _of(normals: Tensor, heights: Tensor) -> Solid:
    return _solid("held out", torch.cat([F.normalize(normals, dim=1), heights[:, None]], 1))


def _solid(name: str, planes: Tensor) -> Solid:
    return Solid(name, planes, torch.zeros(0, 2, 3))
