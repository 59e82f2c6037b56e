"""Bodies that are none of the solids: clutter, occluders, and what the presence score must turn down."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.randomisation.options import Draw
from lie_picard.symsol.solids import Solid

_CUTS = 5


def polyhedra(count: int, draw: Draw) -> Solid:
    """Irregular convex polyhedra, one a pose: boxes with corners and edges cut off. Planes (count, F, 4)."""
    half = draw.uniform(count, 3, between=(0.3, 1.0))
    half = half / half.norm(dim=1, keepdim=True)  # the box's corners lie on the unit sphere
    axes = torch.cat([torch.eye(3), -torch.eye(3)]).to(draw.device).expand(count, -1, -1)
    cuts = F.normalize(draw.normal(count, _CUTS, 3), dim=-1)
    reach = (cuts.abs() @ half[..., None]).squeeze(-1)  # how far the box extends along each cut
    heights = torch.cat([half, half, reach * draw.uniform(count, _CUTS, between=(0.55, 1.0))], 1)
    return _solid("polyhedra", torch.cat([torch.cat([axes, cuts], 1), heights[..., None]], 2))


def held_out() -> dict[str, Solid]:
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
    return Solid(name, planes, torch.eye(3)[None], torch.zeros(0, 2, 3))
