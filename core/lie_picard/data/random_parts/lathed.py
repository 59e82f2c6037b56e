"""Turned parts: shafts, bottles, cups, bolts, knobs, wheels, rings; with flats, keyways and cross holes, or without."""

from __future__ import annotations

import math

import numpy as np

from lie_picard.data.random_parts import sections
from lie_picard.data.random_parts.bodies import (
    Built,
    Dice,
    Solid,
    ball,
    bounds,
    box,
    cut,
    joined,
    kernel,
    ring,
    rod,
    sides,
)
from lie_picard.data.random_parts.extruded import chamfered, extrude


def revolved(profile: np.ndarray, around: int = 48, fillet: float = 0.0) -> Solid:
    """A profile (N, 2) of radius and height, from the lower end of the axis to the upper one; its edges rounded."""
    corners = np.concatenate([[(0.0, profile[0, 1])], profile, [(0.0, profile[-1, 1])]])
    area = sections.polygon(corners)
    if fillet:  # of the whole cut through the axis, so that the ends stay flat there
        area = sections.rounded(area + area.mirror((1, 0)), fillet, fillet)
    return area.revolve(around)


def _smooth(dice: Dice, count: int, low: float, high: float) -> np.ndarray:
    """Radii of a smooth curve at `count` heights."""
    knots = dice.generator.uniform(low, high, dice.count(3, 6))
    at = np.linspace(0, 1, len(knots))
    x = np.linspace(0, 1, count)
    # Cosine steps between the knots: no overshoot, and level where a knot is an extremum.
    left = np.clip(np.searchsorted(at, x, "right") - 1, 0, len(knots) - 2)
    share = (x - at[left]) / (at[1] - at[0])
    share = (1 - np.cos(math.pi * share)) / 2
    return np.asarray(knots[left] * (1 - share) + knots[left + 1] * share)


def _flats(built: Built, dice: Dice, radius: float) -> Built:
    """With flats, a keyway, a cross hole, or as it is."""
    low, high = bounds(built.solid)[:, 2]
    height, even = high - low, built.group.startswith("D")
    kind = dice.one(("none", "flats", "key", "hole"), (5, 2, 1, 1))
    if kind == "none":
        return built
    if kind == "flats":
        count, depth = dice.one((1, 2, 3, 4, 6)), dice.between(0.65, 0.9)
        long = even and dice.happens(0.5)
        at = (low + high) / 2 if long else high - height * dice.between(0.1, 0.3)
        tool = box((radius, 3 * radius, 2 * height if long else height * 0.8), (radius * (depth + 0.5), 0, at))
        solid = cut(built.solid, ring(tool, count))
        if count == 1:  # a plane of mirror symmetry is left, and a half turn where both ends are alike
            return Built(solid.rotate((0, -90, 0)) if long else solid, "C2" if long else "Cs")
        return Built(solid, f"{'D' if long else 'C'}{count}")
    if kind == "key":
        wide = radius * dice.between(0.2, 0.5)
        tool = box((radius, wide, height * dice.between(0.3, 0.7)), (radius * 1.1, 0, high - height * 0.3))
        return Built(cut(built.solid, tool), "Cs")
    at = low + height * dice.between(0.2, 0.8)
    tool = rod(radius * dice.between(0.1, 0.35), 4 * radius, (0, 0, at), (1, 0, 0), around=20)
    return Built(cut(built.solid, tool), "C2")


def shaft(dice: Dice) -> Built:
    """Steps of several radii, with chamfers and cones between some."""
    radii = [dice.between(0.25, 1.0) for _ in range(dice.count(2, 5))]
    heights = [dice.ratio(0.2, 1.5) for _ in radii]
    even = dice.happens(0.3)
    if even:
        radii, heights = radii + radii[-2::-1], heights + heights[-2::-1]
    points, floor = [], 0.0
    for radius, height in zip(radii, heights, strict=True):
        points += [(radius, floor), (radius, floor + height)]
        floor += height
    profile = np.array(points)
    if dice.happens(0.5):  # break the outer edges
        size = 0.12 * min(radii[0], heights[0], heights[-1], radii[-1])
        first, last = profile[0], profile[-1]
        begin, end = [first - (size, 0), first + np.array((0, size))], [last - (0, size), last - (size, 0)]
        profile = np.concatenate([begin, profile[1:-1], end])
    profile[:, 1] *= dice.ratio(0.5, 1.5)
    fillet = dice.between(0.02, 0.1) if dice.happens(0.4) else 0.0
    return _flats(Built(revolved(profile, fillet=fillet), "D∞" if even else "C∞"), dice, max(radii))


def vase(dice: Dice) -> Built:
    """A smooth profile: bottles, handles, bulbs, pawns; solid or hollow."""
    radii = _smooth(dice, 26, 0.2, 1.0)
    high = dice.ratio(0.8, 4.0)
    profile = np.stack([radii, np.linspace(0, high, 26)], 1)
    if dice.happens(0.3):  # a round end
        arc = np.linspace(0, math.pi / 2, 7)[1:]
        end = radii[-1] * np.stack([np.cos(arc), np.sin(arc)], 1) + (0, high)
        profile = np.concatenate([profile, np.maximum(end, (1e-3, 0))])
    solid = revolved(profile)
    if dice.happens(0.4):
        wall = dice.between(0.06, 0.15)
        inner = np.stack([np.maximum(radii - wall, 0.03), np.linspace(wall, high + 1.5, 26)], 1)
        inner[:, 0] = np.minimum(inner[:, 0], np.interp(inner[:, 1], profile[:26, 1], radii) - wall).clip(0.03)
        solid = cut(solid, revolved(inner))
    return Built(solid, "C∞") if dice.happens(0.7) else _flats(Built(solid, "C∞"), dice, float(radii.max()))


def cup(dice: Dice) -> Built:
    """A bowl, cup, funnel, cap or tray of revolution."""
    bottom, top, high, wall = dice.between(0.3, 1.0), 1.0, dice.ratio(0.25, 3.0), dice.between(0.05, 0.2)
    bulge = dice.between(-0.2, 0.3) if dice.happens(0.5) else 0.0
    x = np.linspace(0, 1, 12 if bulge else 2)
    radii = bottom + (top - bottom) * x + bulge * np.sin(math.pi * x)
    outer = revolved(np.stack([radii, high * x], 1), fillet=dice.one((0.0, wall / 2, 0.15)))
    inner = np.stack([np.maximum(radii - wall, 0.05), high * x], 1)
    inner[:, 1] = wall + (high - wall + 0.1) * x
    through = dice.happens(0.2)
    if through:
        inner[0] = (inner[0, 0], -0.1)
    solid = cut(outer, revolved(inner, fillet=0.0 if through else dice.one((0.0, 0.15))))
    if dice.happens(0.3):
        rim = sections.rectangle(dice.between(0.15, 0.5), wall).translate((1.0, high - wall / 2)).revolve(48)
        solid = solid + rim
    return _flats(Built(solid, "C∞"), dice, 1.0) if dice.happens(0.4) else Built(solid, "C∞")


def bolt(dice: Dice) -> Built:
    """Heads of many kinds on a shank, with a drive or none, grooves for a thread."""
    order = dice.one((1, 2, 4, 6, 8), (3, 1, 2, 5, 1))
    head, length, shank = dice.between(0.25, 0.8), dice.ratio(0.8, 4.0), dice.between(0.35, 0.65)
    around = 48
    if order == 1:
        low = dice.one((1.0, shank, 0.8))
        top = rod(low, head, (0, 0, head / 2), top=1.0 if low < 1 else dice.between(0.5, 1.0), around=around)
        group = "C∞"
    else:
        count = order if order > 2 else 4
        area = sections.polar(np.ones(count)).scale((1.0, 1.0 if order > 2 else dice.between(0.4, 0.8)))
        top = chamfered(area, head, 0.1 * head, dice.happens(0.5)).translate((0, 0, head / 2))
        group = f"C{order}"
    if dice.happens(0.3):
        top = top + rod(1.25, 0.12, (0, 0, 0.06), around=around)
    solid = top + rod(shank, length, (0, 0, -length / 2 + 0.01), around=around)
    if dice.happens(0.5):
        grooves = dice.count(3, 9)
        step = length * 0.6 / grooves
        ditch = sections.polygon([(0.88, 0), (1.1, -0.5), (1.1, 0.5)]).scale((shank, step * 0.9)).revolve(32)
        solid = cut(solid, *(ditch.translate((0, 0, -length + (k + 0.7) * step)) for k in range(grooves)))
    if dice.happens(0.5):
        solid = joined(solid, rod(shank * 0.7, 0.3, (0, 0, -length - 0.14), around=around))
    drive = dice.one(("none", "slot", "hex", "cross"), (3, 2, 2, 1))
    if drive == "none":
        return Built(solid, group)
    at = head * dice.between(0.75, 1.0)
    if drive == "slot":
        tool, own = box((3, dice.between(0.12, 0.3), head), (0, 0, at)), 2
    elif drive == "hex":
        tool, own = extrude(sections.polar(np.full(6, dice.between(0.3, 0.5))), head).translate((0, 0, at)), 6
    else:
        tool, own = box((0.9, 0.2, head), (0, 0, at)), 4
        tool = tool + tool.rotate((0, 0, 90))
    order = own if group == "C∞" else math.gcd(own, order)
    return Built(cut(solid, tool), f"C{order}" if order > 1 else "Cs")


def knob(dice: Dice) -> Built:
    """A turned body with grooves, lobes or wings around it."""
    count, high = dice.count(3, 12), dice.ratio(0.4, 1.6)
    around = sides(count)
    x = np.linspace(0, 1, 10)
    radii = 1 - dice.between(0, 0.3) * x - dice.between(0, 0.3) * x**4
    solid = revolved(np.stack([radii, high * x], 1), around)
    if dice.happens(0.4):
        solid = solid + rod(dice.between(0.3, 0.5), high * 1.6, (0, 0, 0), around=around)
    far = dice.between(0.95, 1.15)
    if dice.happens(0.6):
        tool = rod(dice.between(0.5, 0.9) * math.pi * far / count * 0.7, 3 * high, (far, 0, high / 2), around=16)
        solid = cut(solid, ring(tool, count))
    else:
        wing = box((0.5, dice.between(0.1, 0.25), high * 0.8), (0.95, 0, high * 0.4))
        solid = solid + ring(wing, count)
    if dice.happens(0.25):  # the pointer
        return Built(solid + box((dice.between(0.9, 1.5), 0.15, high * 0.3), (0.7, 0, high * 0.9)), "C1")
    if dice.happens(0.4):
        solid = cut(solid, rod(dice.between(0.12, 0.3), 5 * high, around=around))
    return Built(solid, f"C{count}")


def wheel(dice: Dice) -> Built:
    """Rims and hubs with spokes, pulleys, flywheels, fans, handwheels."""
    count, width = dice.count(2, 8), dice.ratio(0.12, 0.6)
    around = sides(count)
    rim = dice.between(0.08, 0.22)
    if dice.happens(0.4):
        section = kernel().CrossSection.circle(rim, 12).translate((1, 0))
    else:
        section = sections.rectangle(2 * rim, width, (1, 0))
        if dice.happens(0.4):
            section = section - sections.rectangle(rim, width * 0.5, (1 + 0.8 * rim, 0))
    tyre = section.revolve(around)
    hub = rod(dice.between(0.18, 0.4), width * dice.between(0.8, 2.0), around=around)
    blade = box((0.95, dice.between(0.06, 0.3), width * dice.between(0.3, 0.9)), (0.52, 0, 0))
    tilt = dice.between(15, 50) if dice.happens(0.3) else 0.0
    spokes = ring(blade.rotate((tilt, 0, 0)), count)
    fan = tilt and dice.happens(0.6)
    solid = hub + spokes if fan else joined(tyre, hub, spokes)
    solid = cut(solid, rod(dice.between(0.06, 0.14), 3, around=around))
    if dice.happens(0.25):
        handle = rod(0.09, dice.between(0.4, 0.9), (1.0, 0, 0.3), around=16)
        return Built(solid + handle.rotate((0, 0, dice.between(0, 360))), "C1")
    return Built(solid, f"D{count}")


def hoop(dice: Dice) -> Built:
    """Rings of any section, whole, split or a part of the round: tori, washers, seals, elbows, segments, handles."""
    section = sections.drawn(dice, holes=0.0)
    size = dice.ratio(0.12, 0.6)
    area = section.area.rotate(dice.one((0, 90))).scale((size, size)).translate((dice.between(1.05, 1.4), 0))
    part = dice.happens(0.45)
    degrees = dice.between(60, 310) if part else 360.0
    solid = area.revolve(40 if not part else max(8, int(degrees / 9)), degrees)
    if not part:
        return _flats(Built(solid, "C∞"), dice, 1.0) if dice.happens(0.3) else Built(solid, "C∞")
    if dice.happens(0.5):
        arm = extrude(area, dice.between(0.3, 1.2)).rotate((90, 0, 0))
        solid = solid + arm.translate((0, -float(bounds(arm)[1, 1]) + 1e-3, 0))
        return Built(solid, "C1")
    return Built(solid, "Cs")


def domed(dice: Dice) -> Built:
    """Balls with cut sides, lenses, capsules, domes, cones."""
    kind = dice.count(0, 4)
    if kind == 0:
        count = dice.one((1, 2, 3, 4, 5, 6))
        far = dice.between(0.5, 0.9)
        solid = cut(ball(1, around=48), ring(box((1, 3, 3), (far + 0.5, 0, 0)), count))
        return (
            Built(solid, "C∞" if count == 1 else f"D{count}") if count > 1 else Built(solid.rotate((0, -90, 0)), "C∞")
        )
    if kind == 1:
        far, other = dice.between(0.2, 0.8), dice.ratio(1.0, 2.0)
        solid = ball(1, around=48) ^ ball(other, (0, 0, far + other - 1), around=48)
        return Built(solid, "C∞")
    if kind == 2:
        long, top = dice.ratio(0.3, 2.5), dice.between(0.4, 1.0)
        solid = kernel().Manifold.batch_hull([ball(1, around=32), ball(top, (0, 0, long + 1 - top), around=32)])
        return _flats(Built(solid, "C∞"), dice, 1.0)
    if kind == 3:
        solid = ball(1, around=40).trim_by_plane((0, 0, 1), dice.between(-0.5, 0.5))
        if dice.happens(0.6):
            solid = solid + rod(dice.between(0.2, 0.6), dice.ratio(0.5, 3), around=40)
        return Built(solid, "C∞")
    solid = rod(1, dice.ratio(0.5, 3.5), top=dice.between(0, 0.8), around=48)
    if dice.happens(0.4):
        solid = cut(solid, rod(dice.between(0.15, 0.5), 9, around=48))
    return _flats(Built(solid, "C∞"), dice, 1.0)


KINDS = {shaft: 4, vase: 4, cup: 3, bolt: 4, knob: 3, wheel: 3, hoop: 4, domed: 3}
