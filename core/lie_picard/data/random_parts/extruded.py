"""Parts of one direction: prisms, plates, gears, twisted and tapered bars, stacks, bent sheet."""

from __future__ import annotations

import itertools
import math

import numpy as np

from lie_picard.data.random_parts import sections
from lie_picard.data.random_parts.bodies import Built, Dice, Solid, box, cut, hulled, joined, kernel, rod, sides
from lie_picard.data.random_parts.sections import Section


def group_of(section: Section, even: bool) -> str:
    """Of a prism about z; `even`: its two ends are alike."""
    if section.order == 0:
        return "D∞" if even else "C∞"
    if section.order == 1:
        return ("C2" if even else "Cs") if section.mirror else ("Cs" if even else "C1")
    return f"{'D' if even and section.mirror else 'C'}{section.order}"


def upright(solid: Solid, section: Section, even: bool) -> Built:
    """With its axis of symmetry along z, where the section's mirror line x is that."""
    group = group_of(section, even)
    return Built(solid.rotate((0, -90, 0)) if group == "C2" and section.order == 1 else solid, group)


def extrude(area: sections.Area, height: float) -> Solid:
    """About the middle plane."""
    return area.extrude(height).translate((0, 0, -height / 2))


def chamfered(area: sections.Area, height: float, size: float, lower: bool = True, round_edges: bool = False) -> Solid:
    """Of a convex area, its edges broken at 45 degrees or rounded; or the upper ones alone."""
    module = kernel()
    angles = np.linspace(0, math.pi / 2, 5)[1:] if round_edges else np.array([math.pi / 2])
    core = extrude(area, height - size * (2 if lower else 1))
    layers = [core if lower else core.translate((0, 0, -size / 2))]
    for angle in angles:
        back, up = size * (1 - math.cos(angle)), size * (1 - math.sin(angle))
        inner = area.offset(-back, module.JoinType.Round if round_edges else module.JoinType.Miter)
        if inner.is_empty():
            return extrude(area, height)
        layers.append(extrude(inner, height - 2 * up) if lower else inner.extrude(height / 2 - up))
    return hulled(*layers)


def prism(dice: Dice) -> Built:
    """A section drawn straight, its edges sharp or broken."""
    section = sections.drawn(dice)
    height = dice.ratio(0.15, 5.0)
    convex = section.is_convex
    if convex and dice.happens(0.5):
        lower = dice.happens(0.6)
        size = dice.between(0.05, 0.2) * min(1.0, height)
        return upright(chamfered(section.area, height, size, lower, dice.happens(0.5)), section, lower)
    return upright(extrude(section.area, height), section, True)


def twisted(dice: Dice) -> Built:
    """A bar twisted about its axis."""
    section = dice.one((sections.lobed, sections.regular, sections.oblong))(dice)
    order, height = section.order, dice.ratio(0.6, 4.0)
    turn = dice.one((-1, 1)) * dice.between(0.2, 1.0) * min(360.0 / max(order, 2), 120.0) * max(1.0, height / 2)
    taper = dice.between(0.4, 0.9) if dice.happens(0.4) else 1.0
    area = section.area.simplify(0.004)
    solid = area.extrude(height, max(4, int(abs(turn) / 6)), turn, (taper, taper))
    solid = solid.translate((0, 0, -height / 2)).rotate((0, 0, -turn / 2))
    return Built(solid, f"{'D' if section.mirror and taper == 1.0 else 'C'}{order}")


def tapered(dice: Dice) -> Built:
    """A pyramid or its stump; a wedge where it narrows one way only."""
    section = sections.drawn(dice, holes=0.15)
    height, top = dice.ratio(0.3, 3.0), dice.between(0.0, 0.8)
    wedge = dice.happens(0.3)
    solid = section.area.extrude(height, 0, 0.0, (top, 1.0) if wedge else (top, top))
    if wedge:
        keeps = section.mirror and section.order in (1, 2)
        return Built(solid, "C1" if not keeps else ("C2" if section.order == 2 else "Cs"))
    return upright(solid, section, False)


def plate(dice: Dice) -> Built:
    """Thin, with holes, slots and cut corners."""
    length, width = 2.0, dice.ratio(0.5, 2.0)
    area = sections.rectangle(length, width)
    least = min(length, width)
    if dice.happens(0.6):
        area = sections.rounded(area, dice.between(0.03, 0.3) * least)
    if dice.happens(0.5):
        across, along = (dice.between(0.15, 0.5) * least for _ in range(2))
        corner = sections.rectangle(across, along, (length / 2, width / 2))
        area -= corner
    count = dice.count(0, 2)
    height = dice.ratio(0.12, 0.4)
    at = (0.5 * length - 0.17 * least, 0.5 * width - 0.17 * least)
    hole = sections.disc(dice.between(0.04, 0.1) * least, at, 20)
    symmetric = dice.happens(0.35)
    if symmetric:
        area = sections.rectangle(length, width) if dice.happens(0.5) else sections.rounded(
            sections.rectangle(length, width), 0.15 * least)  # fmt: skip
        tools = hole + hole.mirror((1, 0))
        area -= tools + tools.mirror((0, 1))
        return Built(extrude(area, height), "D2")
    for signs in dice.generator.permutation([(1, 1), (1, -1), (-1, 1), (-1, -1)])[: dice.count(1, 4)]:
        area -= hole.scale(tuple(float(s) for s in signs)) if signs.prod() > 0 else hole.mirror(
            (1.0, 0.0) if signs[0] < 0 else (0.0, 1.0))  # fmt: skip
    for _ in range(count):
        place = dice.generator.uniform(-0.3, 0.3, 2) * (length, width)
        area -= sections.slot(dice.between(0.2, 0.6), dice.between(0.08, 0.25), place, dice.one((0, 90, 45)))
    solid = extrude(area, height)
    if dice.happens(0.5):
        place = dice.generator.uniform(-0.35, 0.35, 2) * (length, width)
        size = dice.between(0.1, 0.3) * least
        boss = rod(size, 3 * height, (*place, height)) if dice.happens(0.6) else box(
            (size, 2 * size, 3 * height), (*place, height))  # fmt: skip
        solid = solid + boss
    return Built(solid)


def gear(dice: Dice) -> Built:
    """Teeth, a bore, a hub, spokes or holes in the web, a keyway."""
    section = sections.toothed(dice)
    order, area, height = section.order, section.area, dice.ratio(0.15, 0.9)
    bore = dice.between(0.1, 0.25)
    key = dice.happens(0.4)
    around = sides(order)
    hole = sections.disc(bore, around=around)
    if key:
        hole += sections.rectangle(bore * 1.4, bore * 0.6, (bore * 0.7, 0))
    arms = dice.one([n for n in (2, 3, 4, 5, 6, order) if order % n == 0] or [order])
    web = dice.happens(0.5) and 1 < arms <= 6
    if web:
        area -= sections.about(sections.disc(dice.between(0.08, 0.5 / max(arms, 3)), (0.52, 0), 20), arms)
        order = arms
    solid = extrude(area - hole, height)
    hubs = dice.count(0, 2)
    if hubs:
        outer = sections.disc(bore * dice.between(1.3, 1.8), around=around) - hole
        solid = solid + outer.extrude(height * dice.between(0.7, 2.0))
        if hubs == 2:
            solid = solid + solid.mirror((0, 0, 1))
    if key:
        return Built(solid, "Cs")
    return Built(solid, f"{'D' if section.mirror and hubs != 1 else 'C'}{order}")


def stacked(dice: Dice) -> Built:
    """Two or three sections on one axis: steps, nuts with collars, knobs on plates."""
    order = dice.one((2, 3, 4, 5, 6))
    regular = dice.happens(0.4)
    floor, layers, size = 0.0, [], 1.0
    for _ in range(dice.count(2, 4)):
        if regular:
            disc, polygon = (
                sections.disc(1.0, around=sides(order)),
                sections.polar(np.ones(max(order, 4 * (order == 2)))),
            )
            area = dice.one((disc, polygon, sections.about(sections.rectangle(1, 0.4, (0.5, 0)), order)))
        else:
            area = sections.drawn(dice, holes=0.2).area
        height = dice.ratio(0.1, 1.2)
        shift = (0.0, 0.0) if regular else tuple(dice.generator.uniform(-0.3, 0.3, 2))
        layers.append(area.scale((size, size)).translate(shift).extrude(height).translate((0, 0, floor)))
        floor, size = floor + height * 0.999, size * dice.between(0.45, 0.95)
    return Built(joined(*layers), f"C{order}" if regular else "C1")


def sheet(dice: Dice) -> Built:
    """Bent sheet: a strip of several straight legs, with round bends, holes and cut corners."""
    thickness = dice.ratio(0.05, 0.14)
    legs = dice.count(1, 4)
    symmetric = legs > 1 and dice.happens(0.4)
    turns = [dice.one((90, 90, 90, 45, 60, 30, 120)) * dice.one((-1, 1)) for _ in range(legs)]
    lengths = [dice.between(0.35, 1.0) for _ in range(legs + 1)]
    if symmetric:
        turns, lengths = turns + turns[::-1], [*lengths, *lengths[:-1][::-1]]
        turns = [t if abs(t) <= 90 else 90 for t in turns][:4]
        half = len(turns) // 2
        turns = turns[:half] + turns[:half][::-1]
        lengths = lengths[: half + 1] + lengths[:half][::-1]
    angle, place, path = 0.0, np.zeros(2), [np.zeros(2)]
    for turn, length in zip([0, *turns], lengths, strict=True):
        angle += math.radians(turn)
        place = place + length * np.array([math.cos(angle), math.sin(angle)])
        path.append(place)
    strip = sections.polygon([])
    for a, b in itertools.pairwise(path):
        way = b - a
        leg = sections.rectangle(float(np.linalg.norm(way)), thickness).rotate(math.degrees(math.atan2(way[1], way[0])))
        strip += leg.translate(tuple((a + b) / 2))
    for corner in path[1:-1]:
        strip += sections.disc(thickness / 2, corner, 16)
    strip = sections.rounded(strip, 0.0, thickness * dice.between(0.5, 1.5))
    width = dice.ratio(0.35, 1.6)
    solid = extrude(strip, width)
    tools = []
    whole = not symmetric and dice.happens(0.4)
    for a, b in itertools.pairwise(path):
        if not symmetric and dice.happens(0.6):
            way, size = b - a, dice.between(0.06, 0.25) * min(width, float(np.linalg.norm(b - a)))
            normal = (-way[1], way[0], 0.0)
            at = a + way * dice.between(0.35, 0.65)
            up = 0.0 if whole else dice.between(-0.3, 0.3) * width
            tools.append(rod(size, 4 * thickness, (*at, up), normal, around=20))
    if not symmetric and not whole and dice.happens(0.5):
        size = dice.between(0.2, 0.5)
        tools.append(box((2 * size, 2 * size, size), (*path[-1], width / 2)))
    solid = cut(solid, *tools) if tools else solid
    # A mirror plane through the middle of the width; a symmetric strip has the one across as well.
    return Built(solid, "Cs" if symmetric or whole or not tools else "C1")


KINDS = {prism: 6, twisted: 2, tapered: 2, plate: 4, gear: 3, stacked: 4, sheet: 5}
