"""How nearly a surface is symmetric about an axis: the figures, and a sentence of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.symmetry_search.candidates import angles_of
from lie_picard.geometry.symmetry_search.refine import about
from lie_picard.geometry.symmetry_search.residuals import Residual, compared, queries
from lie_picard.geometry.symmetry_search.sampling import Indices, Samples

Array = NDArray[np.float64]

TOLERANCE = 0.006  # share of the diameter: 0.4 pixels of a 64 px image
NORMALS = 0.01  # share of the surface whose shading may differ
_PLACE = 1.5  # tolerances that a single pixel may differ by: noise of a vertex
_QUERIES = 14_000
_FOCUS = 400  # samples that break a symmetry
_FEW = 2000  # that suffice where a turn is far off


@dataclass(frozen=True, eq=False)
class Nearly:
    """How nearly a surface is symmetric under the turns about an axis.

    Attributes:
        axis: (3,) unit vector, and centre: (3,) point of it, in the surface's frame and unit.
        order: n of turns by 360 / n degrees; 0: every turn.
        residual_max, residual_p95: distance between the surface and itself turned, both ways, as a share of its
            diameter: the largest mean over a pixel's patch, and the 95th percentile. A surface that faces elsewhere
            counts as farther, by up to 1% of the diameter.
        normals: share of the surface whose planes, fitted to a pixel each, differ by more than 15 degrees.
        colour: largest difference of a patch in one of R, G and B, 0 to 1; None: the surface has no colours.
        held: whether it is a symmetry at the chosen tolerance, colours included if they were asked for.
        shape_held: whether it is without them.
        diameter: of the surface, in its unit. worst: (3,) where it differs most. extent: how large that place is.
    """

    axis: Array
    order: int
    residual_max: float
    residual_p95: float
    normals: float
    colour: float | None
    held: bool
    shape_held: bool = False
    centre: Array = field(default_factory=lambda: np.zeros(3))
    diameter: float = 1.0
    worst: Array = field(default_factory=lambda: np.zeros(3))
    extent: float = 0.0

    def describe(self) -> str:
        """In a sentence; lengths in millimetres where the surface is in metres."""
        name = "C∞" if self.order == 0 else f"C{self.order}"
        size = 1e3 * self.diameter
        text = (
            f"{name} about {_direction(self.axis)}: symmetric to {100 * self.residual_max:.2g}% of the diameter "
            f"({self.residual_max * size:.2g} mm at most, 95%: {self.residual_p95 * size:.2g} mm)"
        )
        if not self.shape_held:
            text += f", broken by a place of {1e3 * self.extent:.2g} mm at {_place(self.worst)}"
            if self.normals > NORMALS:
                text += f", and {100 * self.normals:.2g}% of it is shaded otherwise"
        elif not self.held:
            text += f", broken by its colours, which differ by {self.colour or 0.0:.2f} at {_place(self.worst)}"
        return text


class Judge:
    """Compares a surface with itself at one tolerance."""

    def __init__(self, samples: Samples, tolerance: float, colour_tolerance: float, ignore_colour: bool) -> None:
        self.samples = samples
        self.tolerance = tolerance
        self.colour_tolerance = colour_tolerance
        self.ignore_colour = ignore_colour
        self.chosen, self.patch = queries(samples, _QUERIES)
        self._few = queries(samples, _FEW)
        self.seen: list[Nearly] = []

    def about(self, axis: Array, order: int, centre: Array) -> tuple[Nearly, Indices]:
        """Of the turns by 360 / order degrees and their multiples about an axis of the samples' frame.

        Returns:
            The figures, and (N,) the samples that break it most.
        """
        turns = [about(axis, angle) for angle in angles_of(order)]
        found, chosen = self._worst(turns, centre, *self._few), self._few[0]
        # What breaks a full turn is wanted in detail: it tells the orders apart.
        if order == 0 or found.largest < 2.5 * self.tolerance:
            found, chosen = self._worst(turns, centre, self.chosen, self.patch), self.chosen
        nearly = self._nearly(axis, order, centre, found, chosen)
        self.seen.append(nearly)
        return nearly, chosen[np.argsort(-found.distance.max(0))[:_FOCUS]]

    def _worst(self, turns: list[Array], centre: Array, chosen: Indices, patch: Indices) -> Residual:
        """The worst of several turns at each query sample."""
        each = [compared(self.samples, turn, centre, chosen, patch) for turn in turns]
        colours = [one.colour for one in each if one.colour is not None]
        return Residual(
            np.max([one.distance for one in each], 0),
            np.max([one.angle for one in each], 0),
            np.max(colours, 0) if colours else None,
        )

    def _nearly(self, axis: Array, order: int, centre: Array, found: Residual, chosen: Indices) -> Nearly:
        samples = self.samples
        shape = found.most <= self.tolerance and found.largest <= _PLACE * self.tolerance and found.normals <= NORMALS
        colour = None if found.colour is None else float(found.colour.max())
        coloured = self.ignore_colour or colour is None or colour <= self.colour_tolerance
        broken = found.colour if shape and not coloured and found.colour is not None else found.distance
        worst, extent = self._place(broken, self.samples.points[chosen])
        return Nearly(
            axis,
            order,
            found.largest,
            float(np.percentile(found.distance, 95)),
            found.normals,
            colour,
            shape and coloured,
            shape,
            samples.outside(centre),
            samples.diameter,
            samples.outside(worst),
            extent * samples.diameter,
        )

    @staticmethod
    def _place(value: Array, points: Array) -> tuple[Array, float]:
        """Where a value (2, M) at points (M, 3) is largest, and how far points half as bad spread around it."""
        each = value.max(0)
        worst = points[int(each.argmax())]
        bad = points[each > 0.5 * each.max()]
        reached = np.linalg.norm(bad - worst, axis=1) < 0.03
        for _ in range(20):
            centre = bad[reached].mean(0)
            wide = float(np.linalg.norm(bad[reached] - centre, axis=1).max()) + 0.03
            grown = np.linalg.norm(bad - centre, axis=1) < wide
            if grown.sum() <= reached.sum():
                break
            reached = grown
        return worst, float(np.ptp(bad[reached], axis=0).max())


def _direction(axis: Array) -> str:
    for name, k in (("x", 0), ("y", 1), ("z", 2)):
        if abs(axis[k]) > math.cos(math.radians(0.5)):
            return name
    return "(" + ", ".join(f"{value:.3f}" for value in axis) + ")"


def _place(point: Array) -> str:
    return "(" + ", ".join(f"{1e3 * value:.1f}" for value in point) + ") mm"
