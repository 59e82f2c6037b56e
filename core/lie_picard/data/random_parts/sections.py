"""Random plane sections: polygons, profiles of beams, lobes, teeth; rounded, bored, slotted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lie_picard.data.random_parts.bodies import Dice, Vector, kernel, sides

Area = Any  # manifold3d.CrossSection


@dataclass(frozen=True)
class Section:
    """A plane area about its own origin.

    Attributes:
        order: turns by 360 degrees / order leave it as it is; 0: any turn does. mirror: whether the x axis mirrors it.
    """

    area: Area
    order: int = 1
    mirror: bool = False

    @property
    def is_convex(self) -> bool:
        """But for rounding."""
        return bool(self.area.area() > 0.999 * self.area.hull().area())


def polygon(points: Any) -> Area:
    """Of corners (N, 2), counter-clockwise."""
    return kernel().CrossSection([np.asarray(points, float)])


def disc(radius: float, at: Vector = (0, 0), around: int = 32) -> Area:
    """A circle."""
    return kernel().CrossSection.circle(radius, around).translate(tuple(at))


def rectangle(width: float, height: float, at: Vector = (0, 0)) -> Area:
    """About a point."""
    return kernel().CrossSection.square((width, height), True).translate(tuple(at))


def slot(length: float, width: float, at: Vector = (0, 0), turn: float = 0.0) -> Area:
    """A long hole of round ends; `turn` in degrees."""
    ends = [disc(width / 2, (sign * length / 2, 0), 20) for sign in (-1, 1)]
    return kernel().CrossSection.batch_hull(ends).rotate(turn).translate(tuple(at))


def rounded(area: Area, convex: float, concave: float = 0.0) -> Area:
    """With rounded corners of two radii."""
    join = kernel().JoinType.Round
    if convex > 0:
        area = area.offset(-convex, join).offset(convex, join, 2.0, 24)
    if concave > 0:
        area = area.offset(concave, join, 2.0, 24).offset(-concave, join)
    return area.simplify(2e-3)


def about(area: Area, order: int) -> Area:
    """Repeated about the origin."""
    module = kernel()
    copies = [area.rotate(360 * k / order) for k in range(order)]
    return module.CrossSection.batch_boolean(copies, module.OpType.Add)


def polar(radii: Any) -> Area:
    """Of radii at equal angles, counter-clockwise from x."""
    angles = np.arange(len(radii)) * (2 * math.pi / len(radii))
    return polygon(np.asarray(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1))


def regular(dice: Dice) -> Section:
    """A regular polygon."""
    order = dice.one((3, 4, 5, 6, 8, 7, 9, 10, 12), (4, 3, 3, 5, 3, 1, 1, 1, 1))
    area = polar(np.ones(order))
    if dice.happens(0.4):
        area = rounded(area, dice.between(0.03, 0.2))
    return Section(area, order, True)


def round_one(dice: Dice) -> Section:
    """A circle."""
    return Section(disc(1.0, around=48), 0, True)


def oblong(dice: Dice) -> Section:
    """A rectangle, slot or ellipse."""
    width = dice.ratio(0.15, 0.9)
    kind = dice.count(0, 3)
    if kind == 0:
        area = rectangle(2, 2 * width)
    elif kind == 1:
        area = rounded(rectangle(2, 2 * width), width * dice.between(0.1, 0.8))
    elif kind == 2:
        area = slot(2 - 2 * width, 2 * width)
    else:
        area = disc(1.0, around=44).scale((1, width))
    return Section(area, 2, True)


def irregular(dice: Dice) -> Section:
    """A polygon of random corners, star-shaped about the origin."""
    count = dice.count(3, 8)
    gaps = dice.generator.dirichlet(np.full(count, 4.0)) * 2 * math.pi
    angles = np.cumsum(gaps)
    radii = dice.generator.uniform(0.45, 1.0, count)
    corners = np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
    corners[:, 1] *= dice.ratio(0.4, 1.0)
    area = polygon(corners)
    if area.area() < 0.3:
        area = area.hull()
    if dice.happens(0.5):
        area = rounded(area, dice.between(0.02, 0.12), dice.between(0.0, 0.1))
    return Section(area)


def blob(dice: Dice) -> Section:
    """A smooth closed curve."""
    angles = np.arange(56) * (2 * math.pi / 56)
    radii = np.full(56, 0.75)
    for k in range(1, 5):
        radii += dice.between(0, 0.28) / k * np.cos(k * angles + dice.between(0, 2 * math.pi))
    return Section(polar(np.maximum(radii, 0.2)))


def lobed(dice: Dice) -> Section:
    """A star or clover; skewed ones turn one way."""
    order = dice.count(2, 9)
    depth = dice.between(0.1, 0.45)
    if dice.happens(0.5):
        samples = order * max(6, 60 // order)
        angles = np.arange(samples) * (2 * math.pi / samples)
        skew = dice.between(0.3, 0.8) if dice.happens(0.35) else 0.0
        radii = 1 - depth + depth * np.cos(order * angles + skew * np.sin(order * angles + 0.6) * (skew > 0))
        return Section(polar(np.maximum(radii, 0.15)), order, not skew)
    shift = dice.between(-0.35, 0.35) if dice.happens(0.3) else 0.0
    angles = (np.arange(2 * order) + shift * (np.arange(2 * order) % 2)) * (math.pi / order)
    radii = np.where(np.arange(2 * order) % 2, 1 - depth, 1.0)
    area = polygon(radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1))
    if dice.happens(0.5):
        area = rounded(area, dice.between(0.02, 0.06), dice.between(0.02, 0.06))
    return Section(area, order, not shift)


def toothed(dice: Dice) -> Section:
    """A gear of trapezoids, or a ratchet of saw teeth."""
    order = dice.count(6, 26)
    root = 1 - dice.between(1.5, 3.0) / order * 1.1
    if dice.happens(0.3):
        angles = np.arange(2 * order) * (math.pi / order)
        angles[1::2] -= 0.85 * math.pi / order
        radii = np.where(np.arange(2 * order) % 2, root, 1.0)
        return Section(polygon(radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)), order)
    tip, foot = dice.between(0.12, 0.22), dice.between(0.26, 0.38)
    step = np.arange(order)[:, None] * (2 * math.pi / order)
    angles = (step + np.array([-foot, -tip, tip, foot]) * (2 * math.pi / order)).reshape(-1)
    radii = np.tile([root, 1.0, 1.0, root], order)
    return Section(polygon(radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)), order, True)


def beam(dice: Dice) -> Section:
    """The profiles that are rolled and drawn: L, T, U, Z, I, C, cross, hollow, comb, step."""
    web, flange = dice.between(0.08, 0.3), dice.between(0.08, 0.3)
    high, wide = 1.0, dice.ratio(0.35, 1.0)
    equal = dice.happens(0.4)
    kind = dice.one("LTUZIXHSEY")
    order, mirror = 1, False
    if kind == "L":
        wide, flange = (high, web) if equal else (wide, flange)
        area = rectangle(2 * wide, flange, (wide, flange / 2)) + rectangle(web, 2 * high, (web / 2, high))
        if equal:
            area, mirror = area.rotate(-45), True
    elif kind == "T":
        place = 0.0 if equal else dice.between(-0.6, 0.6) * wide
        area = rectangle(2 * high, web) + rectangle(flange, 2 * wide, (high, place))
        mirror = equal
    elif kind == "U":
        other = web if equal else dice.between(0.08, 0.3)
        length = wide if equal else wide * dice.between(0.4, 0.9)
        area = rectangle(flange, 2 * high) + rectangle(2 * wide, web, (wide - flange / 2, high - web / 2))
        area += rectangle(2 * length, other, (length - flange / 2, other / 2 - high))
        mirror = equal
    elif kind == "Z":
        area = rectangle(web, 2 * high) + rectangle(wide, flange, (wide / 2 - web / 2, high - flange / 2))
        area += rectangle(wide, flange, (web / 2 - wide / 2, flange / 2 - high))
        order = 2
    elif kind == "I":
        lower = wide if equal else wide * dice.between(0.4, 0.9)
        area = rectangle(2 * high, web) + rectangle(flange, 2 * wide, (high - flange / 2, 0))
        area += rectangle(flange, 2 * lower, (flange / 2 - high, 0))
        order, mirror = 2 if equal else 1, True
    elif kind == "X":
        area = rectangle(2, web) + rectangle(web if equal else flange, 2 if equal else 2 * wide)
        order, mirror = 4 if equal else 2, True
    elif kind == "H":
        area = rectangle(2, 2 * wide) - rectangle(2 - web, 2 * wide - web)
        order, mirror = 2, True
    elif kind == "S":
        steps = sorted(dice.between(0.2, 1.0) for _ in range(dice.count(2, 4)))
        area = polygon([])
        for k, height in enumerate(steps):
            area += rectangle((len(steps) - k) * 0.6, 2 * height, ((len(steps) - k) * 0.3, height))
    elif kind == "E":
        count = dice.count(3, 5)
        area = rectangle(2, web, (0, web / 2))
        for k in range(count):
            area += rectangle(0.8 / count, wide, (-1 + (2 * k + 1) / count, wide / 2))
        area, mirror = area.rotate(-90), True
    else:
        arms = dice.count(3, 6)
        area = about(rectangle(1, web, (0.5, 0)), arms)
        order, mirror = arms, True
    if dice.happens(0.4):
        least = min(web, flange)
        area = rounded(area, 0.3 * least, 0.4 * least)
    return Section(area, order, mirror)


def lopsided(dice: Dice) -> Section:
    """One mirror line: cams, drops, keyholes, D shapes, sectors, half rings, arrows, kites."""
    kind = dice.count(0, 6)
    if kind == 0:  # cam
        small = dice.between(0.15, 0.6)
        area = kernel().CrossSection.batch_hull([disc(0.7, (-0.3, 0)), disc(small, (1 - small, 0))])
    elif kind == 1:
        area = disc(1.0, around=48) - rectangle(1, 4, (dice.between(0.2, 0.8) + 0.5, 0))
    elif kind == 2:
        half = dice.between(0.5, 2.4)
        angles = np.linspace(-half, half, 28)
        area = polygon([(0, 0), *zip(np.cos(angles), np.sin(angles), strict=True)])
    elif kind == 3:
        half, inner = dice.between(0.6, 2.7), dice.between(0.4, 0.8)
        angles = np.linspace(-half, half, 28)
        outer = np.stack([np.cos(angles), np.sin(angles)], 1)
        area = polygon(np.concatenate([outer, inner * outer[::-1]]))
    elif kind == 4:
        area = disc(0.6, (-0.4, 0)) + rectangle(1.2, dice.between(0.2, 0.7), (0.4, 0))
    elif kind == 5:
        shaft, head = dice.between(0.15, 0.4), dice.between(0.45, 0.9)
        area = rectangle(1.4, 2 * shaft, (-0.3, 0)) + polygon([(0.3, -head), (1, 0), (0.3, head)])
    else:
        area = polygon([(-dice.between(0.3, 0.8), 0), (0, -dice.between(0.4, 0.9)), (1, 0)])
        area += area.mirror((0, 1))
    return Section(area, 1, True)


def bored(section: Section, dice: Dice, keep: bool) -> Section:
    """With holes; with `keep` such that no symmetry is lost, else wherever there is room."""
    area, order = section.area, section.order
    inner = area.offset(-dice.between(0.05, 0.12), kernel().JoinType.Round)
    if inner.is_empty():
        return section
    if keep:
        hole = disc(dice.between(0.12, 0.5), around=sides(max(order, 1)))
        if order > 2 and dice.happens(0.5):
            count = order * max(1, dice.count(2, 6) // order)
            one = disc(dice.between(0.05, 0.13), (dice.between(0.4, 0.8), 0), 16)
            one = one.rotate(180 / count) if dice.happens(0.5) else one
            hole = about(one, count) + (hole if dice.happens(0.5) else polygon([]))
        elif order == 0:
            count = dice.count(2, 12)
            if dice.happens(0.5):
                hole += about(disc(dice.between(0.04, 0.12), (dice.between(0.55, 0.85), 0), 16), count)
                return Section(area - (hole ^ inner), count, True)
        elif order == 2 and section.mirror and dice.happens(0.6):
            far = float(np.asarray(area.bounds())[2]) * dice.between(0.4, 0.8)
            hole = about(disc(dice.between(0.06, 0.15), (far, 0), 16), 2)
        elif order == 1:
            hole = disc(dice.between(0.1, 0.25), (dice.between(-0.5, 0.6), 0))
        return Section(area - (hole ^ inner), order, section.mirror)
    low, high = np.asarray(area.bounds()).reshape(2, 2)
    for _ in range(dice.count(1, 5)):
        at = dice.generator.uniform(low, high)
        size = dice.between(0.06, 0.25)
        one = disc(size, at, 20) if dice.happens(0.65) else slot(dice.between(0.2, 0.7), size, at, dice.between(0, 180))
        fits = one ^ inner
        area = area - (fits if fits.area() > 0.5 * one.area() else polygon([]))
    return Section(area)


KINDS: tuple[Callable[[Dice], Section], ...] = (
    regular, round_one, oblong, irregular, blob, lobed, toothed, beam, lopsided,
)  # fmt: skip
_WEIGHTS = (4, 2, 4, 4, 2, 3, 3, 6, 4)


def drawn(dice: Dice, holes: float = 0.4, keep: float = 0.55) -> Section:
    """A random one; with a probability of holes, and then of such as keep its symmetry."""
    section = dice.one(KINDS, _WEIGHTS)(dice)
    return bored(section, dice, dice.happens(keep)) if dice.happens(holes) else section
