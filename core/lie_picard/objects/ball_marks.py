"""Marks on a ball: where its colours differ from most of it. They alone tell a ball's poses apart."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard import so3
from lie_picard.rendering.buffers import Castable
from lie_picard.rendering.clean import Crop

_POINTS = 40_000
_NEAR = 3.0  # spacings of the points: what is nearer belongs to one mark


def find_mark_axes(ball: Castable, colour: float = 0.12) -> list[Tensor]:
    """Directions (3,) of the middles of a ball's marks, object frame.

    Args:
        colour: from the usual one (the median), in R, G or B, 0 to 1; less is no mark.
    """
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    points, colours = _seen_from_all_sides(ball)
    k = np.arange(_POINTS) + 0.5  # a Fibonacci lattice: as many points on every part
    height, angle = 1 - 2 * k / _POINTS, math.pi * (1 + 5**0.5) * k
    around = np.sqrt(1 - height**2)
    lattice = np.stack([around * np.cos(angle), around * np.sin(angle), height], 1)
    found = colours[cKDTree(points).query(lattice)[1]]
    odd = lattice[(np.abs(found - np.median(found, axis=0)) > colour).any(1)]
    if not len(odd):
        return []
    near = cKDTree(odd).sparse_distance_matrix(cKDTree(odd), _NEAR * math.sqrt(4 * math.pi / _POINTS))
    count, label = connected_components(near, directed=False)
    middles = torch.stack([torch.from_numpy(odd[label == one].mean(0)) for one in range(count)])
    return list(F.normalize(middles, dim=1).float())


def _seen_from_all_sides(ball: Castable) -> tuple[np.ndarray, np.ndarray]:
    """Points on the unit sphere (N, 3) and their colours (N, 3)."""
    crop = Crop(distance=20.0, fill=0.98)
    corners = torch.tensor([[x, y, z] for x in (-1.0, 0, 1) for y in (-1.0, 0, 1) for z in (-1.0, 0, 1)])
    sides = F.normalize(corners[corners.norm(dim=1) > 0], dim=1)
    turns = torch.stack([so3.frame_of(side).mT for side in sides])
    rays, shift = crop.rays(96), torch.tensor([[0.0, 0.0, crop.distance]])
    found = ball.cast(turns, shift.expand(len(turns), 3), rays)
    there = (rays * found.depth[..., None] - shift[:, None]) @ turns
    hit = found.hit & (-found.normal[:, 2] > 0.4)
    return F.normalize(there[hit], dim=1).double().numpy(), found.albedo.expand_as(found.normal).mT[hit].numpy()
