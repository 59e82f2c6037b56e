"""Poses that may look like a true one: what an object's symmetries, whole and partial, make of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.objects.ball_marks import find_mark_axes
from lie_picard.objects.catalogue import Object

_SAME = math.radians(1.0)
_PLACE = 0.01  # of the radius, between motions that count as one
_MOST = 120  # discrete motions of one object


@dataclass(frozen=True, eq=False)
class Motions:
    """Motions x -> turn x + shift of an object's frame, lengths in radii of its circumscribed sphere.

    Attributes:
        turns: (K, 3, 3) and shifts: (K, 3), the identity first.
        lines: (axis, point) of the turns by any angle, each (3,).
    """

    turns: Tensor
    shifts: Tensor
    lines: tuple[tuple[Tensor, Tensor], ...]

    @property
    def reach(self) -> float:
        """How far a motion, then a turn about a line, moves the object's centre at most, radii."""
        shift = float(self.shifts.norm(dim=1).max())
        away = max((float((point - axis * (axis @ point)).norm()) for axis, point in self.lines), default=0.0)
        return shift + 2 * away

    @classmethod
    def of(cls, body: Object) -> Motions:
        """Those that may leave a view of it as it is: of its shape, and its attribute `partial`; float64."""
        symmetry = body.shape_symmetry
        scale = 1.0 if body.diameter is None else 2 / body.diameter
        centre = torch.from_numpy(symmetry.centre) * scale
        turns = torch.from_numpy(symmetry.rotations)
        motions = [(turn, centre - turn @ centre) for turn in turns]
        axes = _mark_axes(body) if symmetry.is_ball else [torch.from_numpy(axis) for axis in symmetry.axes]
        lines = [(axis / axis.norm(), centre) for axis in axes]
        partial: Iterable[PartialSymmetry] = body.partial
        # Turns by any angle come first: they stand for the many turns by one angle that are products with them.
        for one in sorted(partial, key=lambda one: one.angle is not None):
            axis, point = torch.from_numpy(one.axis), torch.from_numpy(one.point) * scale
            if one.angle is None:
                lines.append((axis, point))
                continue
            multiples = range(1, max(2, min(_MOST, round(2 * math.pi / abs(one.angle)))))
            angles = torch.tensor([k * one.angle for k in multiples], dtype=torch.float64)
            more = [(turn, point - turn @ point) for turn in so3.about_axis(axis, angles)]
            products = [(a @ c, a @ d + b) for a, b in motions for c, d in [*more]]
            products += [(c @ a, c @ b + d) for a, b in motions for c, d in more]
            motions = distinct([*motions, *products], lines)
        return cls(torch.stack([a for a, _ in motions]), torch.stack([b for _, b in motions]), tuple(lines))


@functools.lru_cache(maxsize=64)
def motions_of(body: Object) -> Motions:
    """`Motions.of`, once for each object: a ball's marks take a second to find."""
    return Motions.of(body)


def _mark_axes(ball: Object) -> list[Tensor]:
    """The directions about which a ball may be turned while its marks stay where they are seen."""
    known = ball.landmarks.double()
    return list(known) if len(known) else [mark_axis.double() for mark_axis in find_mark_axes(ball)]


def distinct(motions: list[tuple[Tensor, Tensor]], lines: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The first of those that are alike up to a turn about a line, at most `_MOST`."""
    kept: list[tuple[Tensor, Tensor]] = []
    for turn, shift in motions:
        if len(kept) == _MOST:
            break
        if not any(_alike(turn, shift, a, b, lines) for a, b in kept):
            kept.append((turn, shift))
    return kept


def _alike(turn: Tensor, shift: Tensor, other: Tensor, by: Tensor, lines: list[tuple[Tensor, Tensor]]) -> bool:
    """Whether one motion is another one after a turn about one of the lines, or after none."""
    between, moved = other.mT @ turn, other.mT @ (shift - by)
    if float(so3.angle(turn, other)) <= _SAME and float(moved.norm()) <= _PLACE:
        return True
    return any(
        float((between @ axis - axis).norm()) <= _SAME and float((between @ point + moved - point).norm()) <= _PLACE
        for axis, point in lines
    )
