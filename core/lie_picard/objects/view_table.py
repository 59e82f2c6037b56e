"""What views of an object leave open, computed once on a grid of directions and looked up while training.

To render and compare the candidates of one image takes tens of milliseconds (`view_poses`), a whole training step a few
hundred for 80 images. What a view leaves open depends on where the camera stands about the object; a turn about the
line of sight changes nothing. Where neighbours of the grid disagree, the smaller set counts: it is right as well, and
averages less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard import so3
from lie_picard.objects.alike import GRID, Family, Shares
from lie_picard.objects.catalogue import Object
from lie_picard.objects.view_candidates import motions_of
from lie_picard.objects.view_looks import Look, LookOptions
from lie_picard.rendering.buffers import ViewGeometry
from lie_picard.rendering.clean import Crop

DIRECTIONS = 300  # 12 degrees apart
DISTANCES = (4.0, 12.0)  # radii: near, an outline hides more
_OPTIONS = LookOptions(size=32, share=0.0015)
_NEIGHBOURS = 3


@dataclass(frozen=True, eq=False)
class ViewTable:
    """The shares of an object's family by direction of view.

    Attributes:
        family: of the object. directions: (D, 3) unit, from the object's centre to the camera, object frame.
        shares: for each distance of `DISTANCES` those of D views.
    """

    family: Family
    directions: Tensor
    shares: tuple[Shares, ...]

    @classmethod
    def of(cls, body: Object, directions: int = DIRECTIONS) -> ViewTable:
        """Rendered: some 30 ms a direction and distance."""
        places, tables = _lattice(directions), []
        for distance in DISTANCES:
            view = Crop(distance).view(1)
            rows = [_open(body, _facing(place), view) for place in places]
            tables.append(Shares(*(torch.stack(parts) for parts in zip(*rows, strict=True))))
        return cls(family_of(body), places, tuple(tables))

    def at(self, truth: Tensor, view: ViewGeometry) -> Shares:
        """Of images of the true poses (B, 3, 3) that were taken so."""
        away = view.translations.norm(dim=1)
        towards = -(truth.mT @ F.normalize(view.translations, dim=1).to(truth)[..., None])[..., 0]
        near = (towards @ self.directions.to(truth).T).topk(_NEIGHBOURS).indices  # (B, n)
        middle = math.sqrt(DISTANCES[0] * DISTANCES[1])
        which = (away > middle).long()
        turns = torch.stack([one.turns.to(truth) for one in self.shares])[which[:, None], near].amin(1)
        circles = torch.stack([one.circles.to(truth) for one in self.shares])[which[:, None], near].amin(1)
        identity = torch.eye(3).to(truth)
        base = (self.family.bases.to(truth) - identity).abs().amax((1, 2)) < 1e-6
        return with_the_truth(Shares(turns, circles), base)


def family_of(body: Object) -> Family:
    """The motions that may leave a view of an object as it is, without their shifts."""
    motions = motions_of(body)
    turns = motions.turns
    axes = [axis for axis, _ in motions.lines]
    bases = torch.cat([turns] * len(axes)) if axes else torch.zeros(0, 3, 3)
    along = torch.stack(axes).repeat_interleave(len(turns), 0) if axes else torch.zeros(0, 3)
    return Family(turns, bases, along)


def with_the_truth(shares: Shares, base: Tensor) -> Shares:
    """The same with the rendered pose in it, alone or on an arc; where there are arcs, single poses do not count.

    Args:
        base: (A,) bool, which circles begin at the identity.
    """
    turns, circles = shares.turns.clone(), shares.circles.clone()
    # An arc that holds the truth holds a neighbour on the grid.
    through = (circles[:, :, 0] > 0) & ((circles[:, :, 1] > 0) | (circles[:, :, -1] > 0))
    on_arc = (through & base).any(1)
    turns[on_arc], circles[~on_arc] = 0.0, 0.0
    turns[~on_arc, 0] = 1.0
    return Shares(turns, circles)


def _open(body: Object, truth: Tensor, view: ViewGeometry) -> tuple[Tensor, Tensor]:
    """Which motions of `family_of` leave an image as it is. (3, 3) -> (K,) and (A, GRID)."""
    motions = motions_of(body)
    look = Look(body, truth, view, 0, _OPTIONS, motions.reach)
    turns, shifts = motions.turns.to(truth), motions.shifts.to(truth)
    single = look.same(truth @ turns, look.at + shifts @ truth.mT)
    angles = torch.arange(GRID).to(truth) * (2 * math.pi / GRID)
    rows = []
    for axis, point in motions.lines:
        about = so3.about_axis(axis.to(truth), angles)
        moved = point.to(truth) - about @ point.to(truth)
        for turn, shift in zip(turns, shifts, strict=True):
            rows.append(look.same(truth @ turn @ about, look.at + (moved @ turn.mT + shift) @ truth.mT))
    circles = torch.stack(rows).float() if rows else torch.zeros(0, GRID)
    return single.float(), circles


def _lattice(count: int) -> Tensor:
    """Directions that are spread evenly (a Fibonacci lattice). -> (count, 3)."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    height, angle = 1 - 2 * k / count, math.pi * (1 + 5**0.5) * k
    around = (1 - height**2).sqrt()
    return torch.stack([around * angle.cos(), around * angle.sin(), height], 1).float()


def _facing(direction: Tensor) -> Tensor:
    """A rotation camera_from_object under which the camera, looking along +z, sees the object from a direction."""
    return so3.frame_of(-direction).mT
