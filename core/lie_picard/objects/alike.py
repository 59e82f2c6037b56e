"""Poses that look alike, in the form that training wants: a fixed family of motions, and which of them a view allows.

The true poses of an image are R_0 S with S of a family that depends on the object alone: single turns, and circles
C Exp(a axis). What a view shows decides which singles and which parts of the circles count (`Shares`). Any finer
relation is right as well, as long as it is an equivalence: it averages less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.geometry.symmetry import Symmetry

GRID = 72  # angles of a circle at which a view is asked


@dataclass(frozen=True, eq=False)
class Family:
    """The motions of an object's frame that may leave its image as it is.

    Attributes:
        turns: (K, 3, 3), the identity first. bases: (A, 3, 3) and axes: (A, 3) unit, of circles base Exp(a axis).
    """

    turns: Tensor
    bases: Tensor
    axes: Tensor

    @classmethod
    def of(cls, symmetry: Symmetry) -> Family:
        """A symmetry's. Of a ball, whose every pose looks the same, the identity alone."""
        rotations = torch.from_numpy(symmetry.rotations)
        if symmetry.is_ball or not symmetry.axes:
            return cls(torch.eye(3)[None] if symmetry.is_ball else rotations, torch.zeros(0, 3, 3), torch.zeros(0, 3))
        axis = torch.from_numpy(symmetry.axes[0])
        return cls(torch.eye(3)[None], rotations, axis.expand(len(rotations), 3))


class Shares(NamedTuple):
    """What of a family B images allow, 0 to 1.

    Attributes:
        turns: (B, K). circles: (B, A, GRID) at the angles 0, 2 pi / GRID, ...
    """

    turns: Tensor
    circles: Tensor

    @classmethod
    def whole(cls, family: Family, count: int, like: Tensor) -> Shares:
        """All circles, or, where there are none, all turns."""
        turns, circles = len(family.turns), len(family.axes)
        return cls(like.new_full((count, turns), float(not circles)), like.new_ones(count, circles, GRID))

    @classmethod
    def alone(cls, family: Family, count: int, like: Tensor) -> Shares:
        """The rendered pose alone."""
        turns = like.new_zeros(count, len(family.turns))
        turns[:, 0] = 1.0
        return cls(turns, like.new_zeros(count, len(family.axes), GRID))


def circle_turns(family: Family, like: Tensor) -> Tensor:
    """The turns of a family's circles at the grid's angles. -> (A, GRID, 3, 3)."""
    angles = torch.arange(GRID, dtype=torch.float64) * (2 * torch.pi / GRID)
    about = so3.exp(angles[:, None] * family.axes.double()[:, None])
    return (family.bases.double()[:, None] @ about).to(like)
