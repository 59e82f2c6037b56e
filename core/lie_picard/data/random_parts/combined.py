"""Parts made of others: random unions and differences, copies about an axis, one part on another, hulls."""

from __future__ import annotations

import numpy as np

from lie_picard.data.random_parts import extruded, lathed, machined
from lie_picard.data.random_parts.bodies import (
    Built,
    Dice,
    Solid,
    ball,
    both,
    bounds,
    box,
    cut,
    hulled,
    joined,
    mirrored,
    ring,
    rod,
    sides,
    torus,
)

SIMPLE = {**extruded.KINDS, **lathed.KINDS, **machined.KINDS}


def primitive(dice: Dice, size: float = 1.0) -> Solid:
    """A box, cylinder, cone, ball, ring or wedge of about a size, lying anyhow about the axes."""
    kind = dice.one(("box", "rod", "cone", "ball", "torus", "wedge"), (4, 4, 1, 1.5, 1, 1))
    a, b, c = (size * dice.ratio(0.35, 1.2) for _ in range(3))
    axis = np.eye(3)[dice.count(0, 2)]
    if dice.happens(0.2):
        axis = dice.direction()
    if kind == "box":
        solid = box((a, b, c))
        return solid if dice.happens(0.75) else solid.rotate(tuple(dice.generator.uniform(0, 90, 3)))
    if kind == "rod":
        return rod(a / 2, b, axis=axis)
    if kind == "cone":
        return rod(a / 2, b, axis=axis, top=a / 2 * dice.between(0.0, 0.8))
    if kind == "ball":
        return ball(a / 2).scale((1, 1, dice.one((1.0, dice.between(0.5, 1.0)))))
    if kind == "torus":
        return torus(a / 2, a * dice.between(0.08, 0.18), axis=axis)
    corners = size * dice.generator.uniform(-0.5, 0.5, (6, 3))
    return hulled(box((0.2 * a,) * 3, corners[0]), *(box((0.05 * a,) * 3, one) for one in corners[1:]))


def cluster(dice: Dice, count: int) -> Solid:
    """Primitives that overlap, some of which are cut away."""
    solid = primitive(dice, 1.4)
    for k in range(count):
        low, high = bounds(solid)
        at = dice.generator.uniform(low, high)
        axis = dice.count(0, 2)
        at[axis] = (low, high)[dice.count(0, 1)][axis] * 0.85 + 0.15 * (low + high)[axis] / 2
        other = primitive(dice, dice.ratio(0.4, 1.1)).translate(tuple(at))
        solid = cut(solid, other) if k and dice.happens(0.35) else solid + other
    return solid


def blocks(dice: Dice) -> Built:
    """A cluster of primitives; one in four is mirrored, which keeps a plane of symmetry."""
    solid = cluster(dice, dice.count(1, 5))
    if dice.happens(0.25):
        low, high = bounds(solid)
        solid = mirrored(solid.translate((0, -low[1] - dice.between(0.1, 0.5) * (high - low)[1], 0)))
        return Built(solid, "Cs")
    return Built(solid)


def arrayed(dice: Dice) -> Built:
    """Copies of a cluster about a hub: Cn; turned over as well: Dn."""
    count = dice.one((2, 3, 4, 5, 6, 8), (3, 4, 3, 2, 2, 1))
    arm = cluster(dice, dice.count(0, 2))
    low, high = bounds(arm)
    half = float((high - low)[1]) / 2
    arm = arm.translate((0, -float((low + high)[1]) / 2 + dice.between(-0.6, 0.6) * half, -float((low + high)[2]) / 2))
    arm = arm.translate((-low[0] + dice.between(-0.1, 0.3), 0, dice.between(-0.4, 0.4)))
    turned = dice.happens(0.4)
    arms = ring(both(arm) if turned else arm, count)
    far = float(bounds(arms)[1, 0])
    hub = rod(far * dice.between(0.3, 0.6), dice.ratio(0.3, 1.8) * max(half, 0.3), around=sides(count))
    solid = arms + hub
    if dice.happens(0.5):
        solid = cut(solid, rod(far * dice.between(0.1, 0.25), 9 * max(far, 1), around=sides(count)))
    return Built(solid, f"{'D' if turned else 'C'}{count}")


def compound(dice: Dice) -> Built:
    """A part grown onto another."""
    first, second = (dice.one(tuple(SIMPLE), tuple(SIMPLE.values()))(dice).solid for _ in range(2))
    first, second = (one.scale((1 / np.ptp(bounds(one)).max(),) * 3) for one in (first, second))
    second = second.scale((dice.between(0.35, 0.8),) * 3)
    turn = dice.generator.choice([0, 90, 180, 270], 3) if dice.happens(0.7) else dice.generator.uniform(0, 360, 3)
    second = second.rotate(tuple(float(x) for x in turn))
    low, high = bounds(first)
    low2, high2 = bounds(second)
    axis, side = dice.count(0, 2), dice.one((-1, 1))
    at = (low + high) / 2 + dice.generator.uniform(-0.3, 0.3, 3) * (high - low)
    at[axis] = (low + high)[axis] / 2 + side * ((high - low)[axis] / 2 + (high2 - low2)[axis] * dice.between(0.1, 0.4))
    second = second.translate(tuple(at - (low2 + high2) / 2))
    return Built(first + second)


def convex(dice: Dice) -> Built:
    """The hull of points, balls or discs: stones, housings of tools, cushions, aerodynamic bodies."""
    size = np.array([1.0, dice.ratio(0.4, 1.0), dice.ratio(0.25, 1.0)])
    count = dice.count(3, 9)
    symmetric = dice.happens(0.4)
    if dice.happens(0.4):
        items = [box((0.02, 0.02, 0.02), dice.generator.normal(size=3) * size) for _ in range(count + 4)]
    else:
        items = [ball(dice.between(0.1, 0.5), dice.generator.uniform(-1, 1, 3) * size, 16) for _ in range(count)]
    if symmetric:
        order = dice.one((2, 3, 4))
        return Built(hulled(*(one.rotate((0, 0, 360 * k / order)) for one in items for k in range(order))), f"C{order}")
    return Built(hulled(*items))


def frame(dice: Dice) -> Built:
    """Bars along the edges of a box, with some missing, braces, a plate."""
    size = np.array([1.0, dice.ratio(0.5, 1.2), dice.ratio(0.4, 1.5)])
    thick = dice.between(0.08, 0.18)
    solids = []
    for axis in range(3):
        u, v = (k for k in range(3) if k != axis)
        for signs in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            if dice.happens(0.7):
                at, lengths = np.zeros(3), np.full(3, thick)
                at[u], at[v] = signs[0] * size[u] / 2, signs[1] * size[v] / 2
                lengths[axis] = size[axis] + thick
                solids.append(box(lengths, at))
    if dice.happens(0.5):
        axis = dice.count(0, 2)
        lengths, at = size.copy(), np.zeros(3)
        lengths[axis], at[axis] = 0.6 * thick, dice.one((-0.5, 0.5, 0.0)) * size[axis]
        solids.append(box(lengths, at))
    return Built(joined(*solids) if solids else box(size))


KINDS = {blocks: 8, arrayed: 8, compound: 12, convex: 4, frame: 1}
