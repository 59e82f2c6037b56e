"""What views of an object leave open, computed once on a grid of directions and looked up while training.

To render and compare the candidates of one image takes tens of milliseconds (`view_poses`), a whole training step a few
hundred for 80 images. What a view leaves open depends on where the camera stands about the object; a turn about the
line of sight changes nothing. Where neighbours of the grid disagree, the smaller set counts: it is right as well, and
averages less.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.objects.alike import GRID, Family, Shares
from lie_picard.objects.catalogue import Object
from lie_picard.objects.view_candidates import Motions, motions_of
from lie_picard.objects.view_looks import LookOptions
from lie_picard.objects.view_orbits import Group, circles_of, compared, groups_of, spread
from lie_picard.rendering.buffers import ViewGeometry

DIRECTIONS = 300  # 12 degrees apart
DISTANCES = (4.0, 12.0)  # radii: near, an outline hides more
_OPTIONS = LookOptions(size=32)
_NEIGHBOURS = 3


@dataclass(frozen=True, eq=False)
class Part:
    """What views leave open of one group of motions.

    Attributes:
        directions: (L, m, n, 3) unit, from the object's centre to the camera, object frame: for each distance of
            `DISTANCES` m orbits of n views. same: (L, m, n, n) bool, which of n motions leave a view as it is.
        columns: (C,) of the family's turns, then its circles' grids. motions: (C,) which of the group's these are.
        rings: whether orbits are circles of views that are close together.
    """

    directions: Tensor
    same: Tensor
    columns: Tensor
    motions: Tensor
    rings: bool

    def at(self, which: Tensor, towards: Tensor) -> Tensor:
        """Of views from directions (B, 3), at the distances `which` (B,): the least of the neighbours. -> (B, n)."""
        directions, same = self.directions.to(towards), self.same.to(towards.device)
        cosines = (towards @ directions.flatten(0, 2).mT).unflatten(1, directions.shape[:3])  # (B, L, m, n)
        cosines = cosines[torch.arange(len(towards), device=towards.device), which]
        if self.rings:  # two views of each of two rings
            best = cosines.topk(2, 2)
            rings = best.values[..., 0].topk(min(2, cosines.shape[1])).indices  # (B, 2)
            views = best.indices.gather(1, rings[..., None].expand(-1, -1, 2))
            return same[which[:, None, None], rings[..., None], views].all(2).all(1)
        near = cosines.flatten(1).topk(min(_NEIGHBOURS, cosines[0].numel())).indices
        return same.flatten(1, 2)[which[:, None], near].all(1)


@dataclass(frozen=True, eq=False)
class ViewTable:
    """The shares of an object's family by direction of view.

    Attributes:
        family: of the object. parts: one for each of its groups of motions.
    """

    family: Family
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, body: Object, directions: int = DIRECTIONS) -> ViewTable:
        """Rendered, each orbit of views once: about three seconds for one group of motions.

        Several groups share the directions.
        """
        motions = motions_of(body)
        with _one_thread():
            groups = groups_of(motions)
            each = math.ceil(directions / len(groups))
            parts = tuple(_part(body, motions, group, each) for group in groups)
        return cls(family_of(motions), parts)

    def at(self, truth: Tensor, view: ViewGeometry) -> Shares:
        """Of images of the true poses (B, 3, 3) that were taken so.

        Of several groups the one that leaves most open counts: two relations together are none.
        """
        away = view.translations.norm(dim=1)
        towards = -(truth.mT @ F.normalize(view.translations, dim=1).to(truth)[..., None])[..., 0]
        which = (away > math.sqrt(DISTANCES[0] * DISTANCES[1])).long()
        turns, circles = len(self.family.turns), len(self.family.axes)
        rows, most = truth.new_zeros(len(truth), turns + circles * GRID), away.new_zeros(len(truth))
        for part in self.parts:
            same = part.at(which, towards)
            count = same.sum(1).to(most)
            more = (count > most)[:, None]
            found = torch.zeros_like(rows)
            found[:, part.columns.to(rows.device)] = same[:, part.motions.to(rows.device)].to(rows)
            rows, most = torch.where(more, found, rows), torch.maximum(count, most)
        shares = Shares(rows[:, :turns], rows[:, turns:].unflatten(1, (circles, GRID)))
        identity = torch.eye(3).to(truth)
        base = (self.family.bases.to(truth) - identity).abs().amax((1, 2)) < 1e-6
        return with_the_truth(shares, base)


def family_of(motions: Motions) -> Family:
    """The motions that may leave a view of an object as it is, without their shifts."""
    circles = [circle for line in circles_of(motions) for circle in line]
    none = torch.zeros(0, 3, 3)
    bases = torch.stack([circle.base for circle in circles]) if circles else none
    along = torch.stack([circle.axis for circle in circles]) if circles else none[:, 0]
    return Family(motions.turns, bases, along)


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


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Many small steps: threads that wait for one another at each take several times the work, and spin meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _part(body: Object, motions: Motions, group: Group, directions: int) -> Part:
    places = spread(group, directions)
    found = [compared(body, group, places, distance, _OPTIONS) for distance in DISTANCES]
    parts = [(motions.turns, motions.shifts), *(c.motions() for line in circles_of(motions) for c in line)]
    index = group.indices(torch.cat([turns for turns, _ in parts]), torch.cat([shifts for _, shifts in parts]))
    columns = index.ge(0).nonzero()[:, 0]
    away, same = (torch.stack(kind) for kind in zip(*found, strict=True))
    return Part(away, same, columns, index[columns], group.lines)
