"""Parts of boxes, cylinders and hulls: brackets, housings, mugs, clamps, pipes, levers, blocks with bores."""

from __future__ import annotations

import itertools
import math

import numpy as np

from lie_picard.data.random_parts import sections
from lie_picard.data.random_parts.bodies import (
    Built,
    Dice,
    Solid,
    aligned,
    ball,
    box,
    circle,
    cut,
    hulled,
    joined,
    mirrored,
    ring,
    rod,
    swept,
    torus,
)
from lie_picard.data.random_parts.extruded import extrude
from lie_picard.data.random_parts.sections import disc, rectangle, rounded, slot


def bracket(dice: Dice) -> Built:
    """Two plates at a right angle, with holes, and a rib or two."""
    t, wide = dice.between(0.08, 0.25), dice.ratio(0.4, 1.6)
    a, b = dice.between(0.6, 1.2), dice.between(0.4, 1.2)
    solid = joined(box((a, wide, t), (a / 2, 0, t / 2)), box((t, wide, b), (t / 2, 0, b / 2)))
    symmetric = dice.happens(0.35)
    rib = min(a, b) * dice.between(0.4, 0.9)
    gusset = extrude(sections.polygon([(0, 0), (rib, 0), (0, rib)]), t).rotate((90, 0, 0)).translate((t / 2, 0, t / 2))
    ribs = dice.count(0, 2)
    if ribs == 1:
        solid = solid + gusset.translate((0, 0 if symmetric else dice.between(-0.4, 0.4) * wide, 0))
    elif ribs == 2:
        solid = solid + mirrored(gusset.translate((0, (wide - t) / 2, 0)))
    size, tools = dice.between(0.06, 0.13) * min(1.0, wide), []
    if symmetric:
        place = wide * dice.between(0.15, 0.33)
        tools = [mirrored(rod(size, 1, (a * 0.7, place, 0), around=20))]
        tools.append(rod(2 * size, 1, (0, 0, b * 0.62), (1, 0, 0), around=24))
    else:
        for _ in range(dice.count(1, 3)):
            place = dice.between(-0.35, 0.35) * wide
            low = dice.happens(0.5)
            at = (a * dice.between(0.4, 0.85), place, 0) if low else (0, place, b * dice.between(0.4, 0.85))
            tools.append(rod(size * dice.between(0.7, 2.0), 1, at, (0, 0, 1) if low else (1, 0, 0), around=20))
        if dice.happens(0.4):
            tools.append(box((a, wide, 1), (a, wide * dice.between(0.6, 0.9), 0)))
    return Built(cut(solid, *tools), "Cs" if symmetric else "C1")


def housing(dice: Dice) -> Built:
    """A hollow box or tub with bosses, openings, flanges and feet."""
    x, y, z = 2.0, dice.ratio(0.6, 2.0), dice.ratio(0.4, 1.6)
    wall, fillet = dice.between(0.06, 0.16), dice.between(0.0, 0.3) * min(2.0, y)
    outline = rounded(rectangle(x, y), fillet) if fillet > 0.05 else rectangle(x, y)
    solid = extrude(outline, z)
    symmetric = dice.happens(0.3)
    inner = outline.offset(-wall)
    if dice.happens(0.7):
        solid = cut(solid, extrude(inner, z).translate((0, 0, wall)))
    if dice.happens(0.4):
        lip = outline.offset(dice.between(0.1, 0.25)) - inner
        solid = solid + extrude(lip, wall).translate((0, 0, z / 2 - wall / 2))
    if symmetric:
        size = dice.between(0.1, 0.25) * min(y, z)
        end = rod(size, x * 1.2, (0, 0, 0), (1, 0, 0), around=24)
        solid = cut(solid, end) if dice.happens(0.5) else cut(solid, rod(size, 9, (0, 0, 0), (0, 1, 0), around=24))
        if dice.happens(0.6):
            foot = box((0.4, 0.3, wall), (x / 2 + 0.1, 0, wall / 2 - z / 2))
            solid = solid + ring(foot, 2)
        return Built(solid, "C2")
    for _ in range(dice.count(1, 4)):
        side = dice.one((0, 1, 2, 3))
        axis = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)][side], float)
        half = (x if side < 2 else y) / 2
        across = np.array([axis[1], axis[0], 0]) * dice.between(-0.3, 0.3) * (y if side < 2 else x)
        at = axis * half + across + (0, 0, dice.between(-0.25, 0.25) * z)
        size = dice.between(0.1, 0.3) * min(z, y)
        kind = dice.count(0, 2)
        if kind == 0:
            solid = cut(solid, rod(size, 2.5 * wall, at, axis, around=24))
        elif kind == 1:
            pipe = rod(size, 0.6, at, axis, around=24)
            solid = cut(solid + pipe, rod(0.65 * size, 0.9, at, axis, around=24))
        else:
            solid = solid + box((3 * size, 3 * size, wall), at - (0, 0, at[2] + z / 2 - wall / 2))
    return Built(solid)


def mug(dice: Dice) -> Built:
    """A vessel with one handle, or two, a spout."""
    high, wall, top = dice.ratio(0.8, 2.2), dice.between(0.06, 0.14), dice.between(0.7, 1.0)
    bottom = 1.0 if dice.happens(0.5) else dice.between(0.6, 1.0)
    body = rod(bottom, high, top=top, around=48)
    hollow = rod(bottom - wall, high, (0, 0, wall), top=top - wall, around=48)
    size, thick = high * dice.between(0.25, 0.38), dice.between(0.07, 0.14)
    grip = torus(size, thick, axis=(0, 1, 0)).scale((dice.between(0.7, 1.3), dice.between(0.8, 1.8), 1))
    grip = grip.translate(((bottom + top) / 2, 0, high * dice.between(-0.1, 0.1)))
    handles = 2 if dice.happens(0.2) else 1
    solid = cut(body + ring(grip, handles), hollow)
    if handles == 2:
        return Built(solid, "C2")
    if dice.happens(0.3):
        spout = hulled(ball(0.15, (-top, 0, high * 0.3), 12), ball(0.1, (-top - 0.4, 0, high / 2), 12))
        spout = spout.rotate((0, 0, dice.one((0, 60, 90, 0))))
        return Built(cut(solid + spout, hollow), "C1")
    return Built(solid, "Cs")


def clamp(dice: Dice) -> Built:
    """A split collar with lugs, or a saddle with feet."""
    inner, thick, wide = 0.6, dice.between(0.15, 0.4), dice.ratio(0.25, 1.4)
    lug, gap = dice.between(0.25, 0.6), dice.between(0.1, 0.3)
    outer = inner + thick
    hole = dice.between(0.06, 0.12) * min(1.0, wide * 2)
    if dice.happens(0.5):
        tall = gap + 2 * dice.between(0.12, 0.25)
        area = disc(outer, around=40) + rectangle(lug + thick, tall, (outer + (lug - thick) / 2, 0))
        area -= disc(inner, around=40) + rectangle(2, gap, (1, 0))
        shift = 0.0 if dice.happens(0.5) else dice.between(-0.25, 0.25) * wide
        tool = rod(hole, 3, (outer + lug / 2, 0, shift), (0, 1, 0), around=20)
        solid = cut(extrude(area, wide), tool)
        return Built(solid.rotate((0, -90, 0)), "C2") if shift == 0.0 else Built(solid, "Cs")
    foot = dice.between(0.12, 0.25)
    area = disc(outer, around=40) + rectangle(2 * (outer + lug), foot, (0, foot / 2))
    area -= disc(inner, around=40)
    area -= rectangle(6, 4, (0, -2))
    solid = extrude(area, wide)
    holes = [rod(hole, 3, (s * (outer + lug / 2), 0, 0), (0, 1, 0), around=20) for s in (-1, 1)]
    one_sided = dice.happens(0.4)
    solid = cut(solid, *(holes[:1] if one_sided else holes))
    return Built(solid, "Cs") if one_sided else Built(solid.rotate((90, 0, 0)), "C2")


def pipe(dice: Dice) -> Built:
    """Straight, tee, cross, elbow or wye, with flanges that have holes."""
    outer, wall, reach = dice.between(0.25, 0.5), dice.between(0.06, 0.12), dice.between(0.7, 1.4)
    kind = dice.one(("straight", "tee", "cross", "elbow", "wye", "corner"))
    all_ways: dict[str, list[tuple[float, float, float]]] = {
        "straight": [(0, 0, 1), (0, 0, -1)], "tee": [(0, 0, 1), (1, 0, 0), (-1, 0, 0)], "elbow": [(1, 0, 0), (0, 0, 1)],
        "cross": [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)], "corner": [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
        "wye": [(math.cos(a), math.sin(a), 0) for a in (0, 2 * math.pi / 3, -2 * math.pi / 3)],
    }  # fmt: skip
    ways = all_ways[kind]
    group = {"straight": "D2", "tee": "C2", "cross": "D4", "elbow": "Cs", "wye": "D3", "corner": "Cs"}[kind]
    bolts = dice.one((0, 4, 4, 6))
    flange = dice.between(1.4, 2.0) * outer if dice.happens(0.7) else outer * 1.15
    equal = dice.happens(0.5)
    solids, tools = [ball(outer, around=24)], []
    for way in ways:
        length = reach if equal else reach * dice.between(0.6, 1.4)
        thick = dice.between(0.1, 0.2) if not equal else 0.15
        area = disc(flange, around=32)
        if bolts and flange > 1.35 * outer:
            area -= sections.about(disc(0.12 * flange, (flange * 0.82, 0), 12).rotate(180 / bolts), bolts)
        end = aligned(extrude(area, thick).translate((0, 0, length)), way)
        solids += [aligned(rod(outer, length, (0, 0, length / 2), around=24), way), end]
        tools.append(aligned(rod(outer - wall, length + 1, (0, 0, (length + 1) / 2), around=24), way))
    solid = cut(joined(*solids), ball(outer - wall, around=24), *tools)
    if dice.happens(0.25):
        at = np.array([0, outer, 0]) if kind not in ("cross", "wye") else np.array([0, 0, outer])
        return Built(joined(solid, rod(0.12, 0.5, at, at, around=16)), "C1")
    if kind == "straight":
        group = f"D{bolts}" if bolts and flange > 1.35 * outer else "D∞"
    return Built(solid, group if equal else "C1")


def block(dice: Dice) -> Built:
    """A block with bores, pockets, slots, steps and broken edges."""
    size = np.array([2.0, dice.ratio(0.5, 2.0), dice.ratio(0.3, 1.6)])
    solid = box(size)
    if dice.happens(0.4):
        c = dice.between(0.03, 0.15) * size.min()
        inner = [size - c * np.array(v) for v in ((0, 2, 2), (2, 0, 2), (2, 2, 0))]
        solid = hulled(*(box(one) for one in inner))
    symmetric = dice.happens(0.25)
    tools: list[Solid] = []
    for _ in range(dice.count(1, 2 if symmetric else 5)):
        axis = dice.count(0, 2)
        across = [k for k in range(3) if k != axis]
        normal, at = np.eye(3)[axis], np.zeros(3)
        if not symmetric:
            at[across] = dice.generator.uniform(-0.35, 0.35, 2) * size[across]
        room = float(size[across].min())
        deep = symmetric or dice.happens(0.4)
        if not deep:
            at = at + normal * size[axis] * dice.one((-0.5, 0.5))
        kind = dice.count(0, 2 if symmetric else 3)
        length = float(size[axis]) * (1.2 if deep else dice.between(0.3, 1.2))
        if kind == 0:
            tools.append(rod(dice.between(0.1, 0.35) * room, length, at, normal))
        elif kind == 1:
            lengths = np.full(3, 1.0)
            lengths[across] = dice.between(0.15, 0.6) * room, dice.between(0.2, 0.7) * room
            lengths[axis] = length
            tools.append(box(lengths, at))
        elif kind == 2:
            lengths = size * 1.2
            lengths[across[0]] = dice.between(0.1, 0.4) * size[across[0]]
            lengths[axis] = length
            tools.append(box(lengths, at if symmetric else at + normal * size[axis] / 2))
        else:
            corner = size / 2 * dice.generator.choice([-1, 1], 3)
            tools.append(box(size * dice.generator.uniform(0.25, 0.9, 3), corner))
    return Built(cut(solid, *tools), "D2" if symmetric else "C1")


def lever(dice: Dice) -> Built:
    """Two or three bosses joined by arms: levers, links, rods, wrenches, rockers."""
    count, height = dice.count(2, 3), dice.between(0.12, 0.4)
    symmetric = dice.happens(0.2)
    places, angle = [np.zeros(2)], 0.0
    for _ in range(count - 1):
        angle += dice.between(-1.2, 1.2)
        places.append(places[-1] + dice.between(0.9, 1.6) * np.array([math.cos(angle), math.sin(angle)]))
    radii = [dice.between(0.18, 0.45) for _ in places]
    if symmetric:
        places, radii = [np.array([-1.0, 0]), np.array([1.0, 0])], [radii[0]] * 2
    solids, tools = [], []
    slim = dice.between(0.4, 1.0)
    for (a, r), (b, s) in itertools.pairwise(zip(places, radii, strict=True)):
        solids.append(hulled(rod(r * slim, height, (*a, 0), around=24), rod(s * slim, height, (*b, 0), around=24)))
    for place, radius in zip(places, radii, strict=True):
        tall = height * (1.5 if symmetric else dice.between(0.9, 3.0))
        shift = 0.0 if symmetric or dice.happens(0.6) else (tall - height) / 2
        solids.append(rod(radius, tall, (*place, shift), around=32))
        if symmetric or dice.happens(0.75):
            sides = 32 if symmetric else dice.one((32, 32, 6, 4))
            share = 0.5 if symmetric else dice.between(0.3, 0.7)
            tools.append(rod(radius * share, 9, (*place, 0), around=sides))
    solid = cut(joined(*solids), *tools) if tools else joined(*solids)
    if not symmetric and dice.happens(0.2):  # an open jaw
        end = places[-1] - places[-2]
        jaw = box((radii[-1] * 2, radii[-1] * 0.9, 9)).rotate((0, 0, math.degrees(math.atan2(end[1], end[0]))))
        solid = cut(solid, jaw.translate((*(places[-1] + end / np.linalg.norm(end) * radii[-1]), 0)))
    return Built(solid, "D2" if symmetric else "C1")


def fork(dice: Dice) -> Built:
    """A clevis, yoke or stand on a stem."""
    wide, deep, gap = dice.between(0.6, 1.2), dice.between(0.3, 0.8), dice.between(0.25, 0.6)
    arm, base = dice.between(0.5, 1.4), dice.between(0.15, 0.4)
    outline = rectangle(wide, arm + base, (0, (arm + base) / 2)) - rectangle(
        gap * wide, arm, (0, base + arm / 2 + 1e-3)
    )
    solid = extrude(rounded(outline, 0.02, 0.08), deep).rotate((90, 0, 0))
    solid = cut(solid, rod(deep * dice.between(0.15, 0.3), 3, (0, 0, base + arm * 0.7), (1, 0, 0), around=24))
    stem = dice.ratio(0.4, 2.0)
    kind = dice.count(0, 2)
    if kind == 0:
        solid = solid + rod(min(wide, deep) * 0.4, stem, (0, 0, -stem / 2 + 0.01))
    elif kind == 1:
        solid = solid + box((2.0, deep * 1.3, 0.15), (0, 0, -0.07))
        solid = cut(solid, ring(rod(0.08, 1, (0.82, 0, 0), around=16), 2))
    if dice.happens(0.4):
        return Built(cut(solid, box((wide, 2, arm), (wide / 2, 0, base + arm * dice.between(0.75, 1.1)))), "Cs")
    return Built(solid, "C2")


def wire(dice: Dice) -> Built:
    """Bars bent in space: hooks, springs, handles, clips, rails."""
    thick = dice.ratio(0.06, 0.2)
    section = dice.one((circle(thick, 10), np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * thick * 0.9,
                        np.array([[1, 0.4], [-1, 0.4], [-1, -0.4], [1, -0.4]]) * thick))  # fmt: skip
    kind = dice.one(("spring", "bent", "hook", "wave"), (2, 4, 2, 1))
    if kind == "spring":
        turns = dice.between(2.0, 6.0)
        angles = np.linspace(-turns * math.pi, turns * math.pi, int(18 * turns))
        pitch = dice.between(2.6, 5.0) * thick
        radius = np.full(len(angles), dice.between(0.45, 0.9))
        group = "C2"
        if dice.happens(0.3):
            radius, group = radius * np.linspace(1, 0.5, len(angles)), "C1"
        path = np.stack([pitch * angles / (2 * math.pi), radius * np.sin(angles), radius * np.cos(angles)], 1)
        return Built(swept(path, section), group if len(section) == 10 else "C1")
    if kind == "hook":
        angles = np.linspace(0, dice.between(3.0, 4.8), 22)
        arc = np.stack([np.sin(angles), np.cos(angles) - 1, 0 * angles], 1) * dice.between(0.4, 0.8)
        path = np.concatenate([[(-dice.between(0.5, 2.0), 0, 0)], arc])
        solid = swept(path, section)
        end = dice.happens(0.6)
        return Built(solid + torus(thick * 2.2, thick, path[0] - (2.2 * thick, 0, 0)) if end else solid, "Cs")
    if kind == "wave":
        x = np.linspace(-1, 1, 44)
        path = np.stack([x, dice.between(0.1, 0.35) * np.sin(dice.count(2, 5) * math.pi * x), 0 * x], 1)
        return Built(swept(path, section), "C1")
    flat = dice.happens(0.4)
    direction, corners = np.array([1.0, 0, 0]), [np.zeros(3)]
    for _ in range(dice.count(2, 5)):
        corners.append(corners[-1] + direction * dice.between(0.5, 1.3))
        across = np.cross(direction, (0, 0, 1.0) if flat else dice.direction())
        across /= np.linalg.norm(across)
        angle = dice.between(0.5, 1.6)
        direction = math.cos(angle) * direction + math.sin(angle) * across * dice.one((-1, 1))
    corners.append(corners[-1] + direction * dice.between(0.4, 1.0))
    path = _round_bends(np.array(corners), 2.2 * thick)
    return Built(swept(path, section), "Cs" if flat else "C1")


def _round_bends(corners: np.ndarray, radius: float) -> np.ndarray:
    """A polyline (N, 3) with quadratic curves at its bends, each a `radius` long at both sides or less."""
    points = [corners[0]]
    for a, b, c in zip(corners[:-2], corners[1:-1], corners[2:], strict=True):
        before, after = a - b, c - b
        reach = min(radius, 0.45 * float(np.linalg.norm(before)), 0.45 * float(np.linalg.norm(after)))
        p, q = b + before / np.linalg.norm(before) * reach, b + after / np.linalg.norm(after) * reach
        points += [(1 - s) ** 2 * p + 2 * s * (1 - s) * b + s**2 * q for s in np.linspace(0, 1, 6)]
    return np.array([*points, corners[-1]])


def slider(dice: Dice) -> Built:
    """A plate on rails or a rail itself: dovetails, slotted rails, racks."""
    long, wide = dice.ratio(1.2, 4.0), 1.0
    top = dice.between(0.3, 0.9)
    area = sections.polygon([(-wide / 2, 0), (wide / 2, 0), (wide / 2 * top, 0.45), (-wide / 2 * top, 0.45)])
    if dice.happens(0.6):
        area += rectangle(wide * dice.between(1.0, 1.8), 0.25, (0, -0.12))
    if dice.happens(0.4):
        area -= rectangle(wide * top * 0.4, 0.6, (0, 0.45))
    solid = extrude(area, long).rotate((90, 0, 0))
    rack, tools = dice.happens(0.35), []
    if rack:
        count = dice.count(4, 12)
        step = long / count
        tools = [box((9, step * 0.5, 0.3), (0, (k + 0.5) * step - long / 2, 0.45)) for k in range(count)]
    even = dice.happens(0.4)
    for _ in range(dice.count(1, 3)):
        at = (0, dice.between(0.1, 0.42) * long, 0)
        hole = rod(dice.between(0.07, 0.13), 3, at, around=20)
        tools += [hole, hole.rotate((0, 0, 180))] if even else [hole]
    return Built(cut(solid, *tools), "C2" if even else "Cs")


def slotted(dice: Dice) -> Built:
    """An arm with a long hole, a boss and a step."""
    long, wide, height = 2.0, dice.between(0.4, 0.9), dice.between(0.12, 0.3)
    area = slot(long, wide) - slot(long * dice.between(0.3, 0.6), wide * 0.4, (long * 0.2, 0))
    solid = extrude(area, height)
    boss = rod(wide * 0.45, height * dice.between(2, 5), (-long / 2, 0, 0))
    solid = cut(solid + boss, rod(wide * dice.between(0.15, 0.3), 9, (-long / 2, 0, 0)))
    return Built(solid.rotate((0, -90, 0)), "C2")


KINDS = {bracket: 4, housing: 4, mug: 3, clamp: 2, pipe: 3, block: 4, lever: 4, fork: 3, wire: 3, slider: 2, slotted: 1}
