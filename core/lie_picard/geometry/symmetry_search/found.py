"""The public search: a surface's symmetry, with and without its colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.models_info import SymmetryError
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.geometry.symmetry_search import group
from lie_picard.geometry.symmetry_search.colours import coloured_group
from lie_picard.geometry.symmetry_search.nearly import TOLERANCE, Judge, Nearly
from lie_picard.geometry.symmetry_search.sampling import Samples, sampled
from lie_picard.geometry.symmetry_search.search import Found, shape_group

Array = NDArray[np.float64]

COLOUR_TOLERANCE = 0.15


@dataclass(frozen=True, eq=False)
class FoundSymmetry:
    """What a search found.

    Attributes:
        symmetry: of shape and colours, about its centre. shape_symmetry: of the shape alone.
        group: name of `symmetry`: C1, C6, D3, T, O, I; C∞ and D∞ about an axis; ball.
        candidates: what was compared, what holds first, each axis and order once.
    """

    symmetry: Symmetry
    shape_symmetry: Symmetry
    group: str
    candidates: tuple[Nearly, ...]


def find_symmetry(
    surface: Surface,
    tolerance: float = TOLERANCE,
    ignore_colour: bool = False,
    colour_tolerance: float = COLOUR_TOLERANCE,
) -> FoundSymmetry:
    """The turns after which a surface looks the same.

    Args:
        surface: in metres. tolerance: largest distance, averaged over a pixel's patch, as a share of the diameter.
        ignore_colour: of the shape alone. colour_tolerance: largest difference of R, G or B, 0 to 1.

    Raises:
        SymmetryError: a surface without area or with corners that are not finite, or no such tolerance.
    """
    judge = _judge(surface, tolerance, ignore_colour, colour_tolerance)
    shape = shape_group(judge)
    full = shape if ignore_colour or judge.samples.colours is None else coloured_group(judge, shape)
    symmetry = _symmetry(judge.samples, full)
    return FoundSymmetry(symmetry, _symmetry(judge.samples, shape), group.name_of(symmetry), _once(judge.seen))


def assess(
    surface: Surface,
    symmetry: Symmetry,
    tolerance: float = TOLERANCE,
    ignore_colour: bool = False,
    colour_tolerance: float = COLOUR_TOLERANCE,
) -> tuple[Nearly, ...]:
    """How nearly a surface has the symmetries of a list, as they are given: one answer for each axis.

    Raises:
        SymmetryError: as `find_symmetry`.
    """
    judge = _judge(surface, tolerance, ignore_colour, colour_tolerance)
    centre = judge.samples.inside(symmetry.centre)
    for axis in symmetry.axes:
        judge.about(axis, 0, centre)
    for axis, order in group.axes_of(symmetry.rotations):
        judge.about(axis, order, centre)
    return tuple(judge.seen)


def _judge(surface: Surface, tolerance: float, ignore_colour: bool, colour_tolerance: float) -> Judge:
    for value, what, most in ((tolerance, "tolerance", 0.2), (colour_tolerance, "colour_tolerance", 1.0)):
        if not (math.isfinite(value) and 0 < value <= most):
            raise SymmetryError(f"{what} must be a share above 0 and at most {most:g}, got {value}")
    return Judge(sampled(surface, colour=not ignore_colour), tolerance, colour_tolerance, ignore_colour)


def _symmetry(samples: Samples, found: Found) -> Symmetry:
    """In the surface's frame; its centre on an only axis is the point nearest to the origin."""
    centre = samples.outside(found.centre)
    if len(found.elements) == 1 and not found.axes:
        return Symmetry.none()
    lines = [axis for axis, _ in group.axes_of(found.elements)] if not found.axes else list(found.axes)
    if len(found.axes) == 1:
        lines += [axis for axis, _ in group.axes_of(found.elements)]
    if all(abs(float(axis @ lines[0])) > 1 - 1e-9 for axis in lines):
        centre = centre - lines[0] * float(lines[0] @ centre)
    return Symmetry(found.elements, found.axes, centre)


def _once(seen: list[Nearly]) -> tuple[Nearly, ...]:
    """Each axis and order with its best residual; what holds first, higher orders before."""
    kept: list[Nearly] = []
    for one in sorted(seen, key=lambda one: (not one.held, not one.shape_held, one.residual_max)):
        if not any(one.order == other.order and abs(float(one.axis @ other.axis)) > 0.999 for other in kept):
            kept.append(one)
    return tuple(sorted(kept, key=lambda one: (not one.held, not one.shape_held, -(one.order or 1000))))
