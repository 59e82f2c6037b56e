"""Parts as machines and kitchens have them, each of a known symmetry, about its own axes."""

from __future__ import annotations

import math

import numpy as np
import trimesh
from shapely.geometry import Polygon, box
from shapely.ops import unary_union
from shapes import (
    Bare,
    Z,
    block,
    cone,
    cube,
    cuboid,
    cut,
    cylinder,
    disc,
    dodecahedron,
    extruded,
    frustum,
    icosahedron,
    joined,
    lathe,
    octahedron,
    prism,
    regular,
    ring_of,
    rod,
    sphere,
    square_plate,
    swept,
    tetrahedron,
    torus,
)
from trimesh import creation
from trimesh.transformations import rotation_matrix


def _gear(n, radius, depth):
    angles, radii = [], []
    for k in range(n):
        for share, out in ((0.0, 0), (0.28, 0), (0.42, 1), (0.72, 1), (0.86, 0)):
            angles.append(2 * math.pi * (k + share) / n)
            radii.append(radius if out else radius - depth)
    return Polygon(np.stack([np.array(radii) * np.cos(angles), np.array(radii) * np.sin(angles)], 1))


def gear(rng):
    n = int(rng.choice([8, 12, 17, 20, 24, 31, 40, 60, 72, 97, 120]))
    outline = _gear(n, 0.5, min(2.25 / (n + 2), 0.1)).difference(disc(rng.uniform(0.08, 0.2)))
    return Bare(extruded(outline, rng.uniform(0.08, 0.3)), f"D{n}", Z, f"{n} teeth")


def gear_with_hub(rng):
    n = int(rng.choice([9, 14, 18, 25, 36, 48, 64]))
    height = rng.uniform(0.08, 0.2)
    wheel = joined(
        extruded(_gear(n, 0.5, min(2.25 / (n + 2), 0.1)), height), cylinder(0.2, 0.2, (0, 0, height / 2 + 0.08))
    )
    return Bare(cut(wheel, cylinder(0.1, 2)), f"C{n}", Z, f"{n} teeth")


def twisted_gear(rng):
    n = int(rng.integers(5, 16))
    outline, steps = np.array(_gear(n, 0.5, 0.12).exterior.coords)[:-1], 12
    layers = []
    for k in range(steps + 1):
        turn = rotation_matrix(0.6 * k / steps, Z)[:2, :2]
        layers.append(np.c_[outline @ turn.T, np.full(len(outline), -0.2 + 0.4 * k / steps)])
    m = len(outline)
    base = np.arange(m)
    faces = [np.concatenate([np.stack([k * m + base, k * m + (base + 1) % m, (k + 1) * m + base], 1),
                             np.stack([k * m + (base + 1) % m, (k + 1) * m + (base + 1) % m, (k + 1) * m + base], 1)])
             for k in range(steps)]  # fmt: skip
    points = np.concatenate([*layers, [[0, 0, -0.2], [0, 0, 0.2]]])
    bottom = np.stack([(base + 1) % m, base, np.full(m, len(points) - 2)], 1)
    top = np.stack([steps * m + base, steps * m + (base + 1) % m, np.full(m, len(points) - 1)], 1)
    return Bare(trimesh.Trimesh(points, np.concatenate([*faces, bottom, top])), f"D{n}", Z, f"{n} teeth")


def nut(rng):
    return Bare(extruded(regular(6, 0.5).difference(disc(rng.uniform(0.2, 0.3))), rng.uniform(0.25, 0.5)), "D6", Z)


def flanged_nut(rng):
    mesh = joined(extruded(regular(6, 0.4), 0.4), cylinder(0.5, 0.1, (0, 0, -0.2)))
    return Bare(cut(mesh, cylinder(0.2, 2)), "C6", Z)


def bolt(rng):
    length = rng.uniform(0.5, 2)
    return Bare(joined(extruded(regular(6, 0.4), 0.3), cylinder(0.2, length, (0, 0, length / 2))), "C6", Z)


def socket_screw(rng):
    body = joined(cylinder(0.4, 0.5), cylinder(0.22, 1.2, (0, 0, 0.7)))
    socket = extruded(regular(6, rng.uniform(0.2, 0.25)), 0.5)
    socket.apply_translation([0, 0, -0.25])
    return Bare(cut(body, socket), "C6", Z)


def slotted_screw(rng):
    body = joined(cylinder(0.4, 0.3), cylinder(0.2, 1.0, (0, 0, 0.5)))
    return Bare(cut(body, block((1, rng.uniform(0.08, 0.14), 0.2), (0, 0, -0.15))), "C2", Z)


def threaded_bolt(rng):
    turn = np.linspace(0, 2 * math.pi * 5, 240)
    path = np.c_[0.2 * np.cos(turn), 0.2 * np.sin(turn), 0.2 + 0.8 * turn / turn[-1]]
    thread = swept(0.05, path)
    return Bare(trimesh.util.concatenate([bolt(rng).mesh, thread]), "C1")


def spring(rng):
    turns = rng.integers(3, 8)
    angle = np.linspace(0, 2 * math.pi * turns, int(turns * 40))
    return Bare(swept(0.04, np.c_[0.3 * np.cos(angle), 0.3 * np.sin(angle), angle / angle[-1] * 1.0]), "C2")


def mug(rng):
    body = cut(cylinder(0.4, 0.9), cylinder(0.36, 0.9, (0, 0, 0.05)))
    handle = creation.torus(0.22, 0.04, 40, 20)
    handle.apply_transform(rotation_matrix(math.pi / 2, [1, 0, 0]))
    handle.apply_translation([0.42, 0, 0])
    handle = cut(handle, cylinder(0.38, 2))
    return Bare(joined(body, handle), "C1")


def bottle(rng):
    neck = rng.uniform(0.08, 0.12)
    profile = [[0, 0], [0.25, 0], [0.28, 0.03], [0.28, 0.6], [0.22, 0.75], [neck, 0.85], [neck, 1.0], [0, 1.0]]
    return Bare(lathe(profile), "C∞", Z)


def oval_bottle(rng):
    mesh = bottle(rng).mesh
    mesh.apply_scale([1, rng.uniform(0.5, 0.75), 1])
    return Bare(mesh, "C2", Z)


def shaft(rng):
    radii, low, profile = rng.uniform(0.08, 0.3, 4), 0.0, [[0, 0]]
    for radius in radii:
        profile += [[radius, low], [radius, low + 0.3]]
        low += 0.3
    return Bare(lathe([*profile, [0, low]]), "C∞", Z)


def pulley(rng):
    groove = rng.uniform(0.3, 0.4)
    profile = [[0.1, -0.15], [0.5, -0.15], [0.5, -0.1], [groove, 0], [0.5, 0.1], [0.5, 0.15], [0.1, 0.15], [0.1, -0.15]]
    return Bare(lathe(profile), "D∞", Z)


def equal_bracket(rng):
    t = rng.uniform(0.08, 0.2)
    outline = Polygon([(0, 0), (1, 0), (1, t), (t, t), (t, 1), (0, 1)])
    return Bare(extruded(outline, rng.uniform(0.2, 0.9)), "C2", np.array([1, 1, 0]) / math.sqrt(2))


def drilled_bracket(rng):
    bare = equal_bracket(rng)
    holes = [cylinder(0.08, 0.6, (0.6, 0, 0), (0, 1, 0)), cylinder(0.08, 0.6, (0, 0.6, 0), (1, 0, 0))]
    return Bare(cut(bare.mesh, *holes), "C2", bare.axis)


def uneven_bracket(rng):
    t, leg = rng.uniform(0.08, 0.2), rng.uniform(0.5, 0.85)
    outline = Polygon([(0, 0), (1, 0), (1, t), (t, t), (t, leg), (0, leg)])
    return Bare(extruded(outline, rng.uniform(0.2, 0.9)), "C1")


def channel(rng):
    outline = box(-0.5, -0.3, 0.5, 0.3).difference(box(-0.4, -0.2, 0.4, 0.5))
    return Bare(extruded(outline, rng.uniform(0.3, 2)), "C2", np.array([0.0, 1, 0]))


def beam(rng):
    outline = unary_union([box(-0.4, -0.5, 0.4, -0.4), box(-0.05, -0.5, 0.05, 0.5), box(-0.4, 0.4, 0.4, 0.5)])
    return Bare(extruded(outline, rng.uniform(0.3, 2)), "D2")


def z_section(rng):
    outline = unary_union([box(-0.05, -0.5, 0.05, 0.5), box(-0.4, 0.4, 0.05, 0.5), box(-0.05, -0.5, 0.4, -0.4)])
    return Bare(joined(extruded(outline, rng.uniform(0.2, 1)), cylinder(0.12, 0.2, (0, 0, 0.5))), "C2", Z)


def knob(rng):
    n = int(rng.integers(3, 9))
    star = unary_union([disc(0.3), ring_of(disc(0.14, 0.36), n)])
    return Bare(joined(extruded(star, 0.25), cylinder(0.15, 0.4, (0, 0, 0.2))), f"C{n}", Z, f"{n} lobes")


def flange(rng):
    n = int(rng.integers(2, 13))
    outline = disc(0.5).difference(unary_union([disc(0.15), ring_of(disc(0.05, 0.36), n)]))
    return Bare(extruded(outline, rng.uniform(0.05, 0.2)), f"D{n}", Z, f"{n} holes")


def hub(rng):
    n = int(rng.integers(2, 9))
    outline = disc(0.5).difference(ring_of(disc(0.05, 0.4), n))
    return Bare(joined(extruded(outline, 0.1), cylinder(0.25, 0.3, (0, 0, 0.15))), f"C{n}", Z, f"{n} holes")


def keyed_ring(rng):
    outline = disc(0.5).difference(unary_union([disc(0.2), box(0, -0.05, rng.uniform(0.26, 0.3), 0.05)]))
    return Bare(extruded(outline, rng.uniform(0.1, 0.4)), "C2", np.array([1.0, 0, 0]))


def keyed_hub(rng):
    outline = disc(0.5).difference(unary_union([disc(0.18), box(0, -0.05, rng.uniform(0.24, 0.28), 0.05)]))
    boss = disc(0.32).difference(unary_union([disc(0.18), box(0, -0.05, 0.25, 0.05)]))
    upper = extruded(boss, 0.2)
    upper.apply_translation([0, 0, 0.15])
    return Bare(joined(extruded(outline, 0.15), upper), "C1")


def dimpled_rod(rng):
    ball = creation.icosphere(3, rng.uniform(0.08, 0.12))
    ball.apply_translation([0.4, 0, 0])
    return Bare(cut(cylinder(0.4, 0.8), ball), "C2", np.array([1.0, 0, 0]))


def dimpled_cone(rng):
    return Bare(cut(cone(rng).mesh, cylinder(rng.uniform(0.05, 0.08), 0.2, (0.3, 0, 0))), "C1")


def dimpled_cube(rng):
    ball = creation.icosphere(3, rng.uniform(0.12, 0.2))
    ball.apply_translation([0, 0, 0.5])
    return Bare(cut(block((1, 1, 1)), ball), "C4", Z)


def dimpled_ball(rng):
    dimple = creation.icosphere(2, rng.uniform(0.08, 0.15))
    dimple.apply_translation([0, 0, 0.5])
    return Bare(cut(creation.icosphere(4, 0.5), dimple), "C∞", Z)


def cross(rng):
    return Bare(
        extruded(unary_union([box(-0.5, -0.1, 0.5, 0.1), box(-0.1, -0.5, 0.1, 0.5)]), rng.uniform(0.1, 0.5)), "D4", Z
    )


def propeller(rng):
    n = int(rng.integers(2, 7))
    blades = []
    for k in range(n):
        blade = block((0.4, 0.12, 0.03), (0.28, 0, 0))
        blade.apply_transform(rotation_matrix(0.5, [1, 0, 0]))
        blade.apply_transform(rotation_matrix(2 * math.pi * k / n, Z))
        blades.append(blade)
    return Bare(joined(cylinder(0.1, 0.3, (0, 0, 0.1)), *blades), f"C{n}", Z, f"{n} blades")


def bearing(rng):
    """Several bodies: rings and balls."""
    n = int(rng.integers(5, 13))
    rings = [extruded(disc(0.5).difference(disc(0.43)), 0.2), extruded(disc(0.27).difference(disc(0.2)), 0.2)]
    balls = []
    for k in range(n):
        one = creation.icosphere(2, 0.07)
        one.apply_translation([0.35 * math.cos(2 * math.pi * k / n), 0.35 * math.sin(2 * math.pi * k / n), 0])
        balls.append(one)
    return Bare(trimesh.util.concatenate([*rings, *balls]), f"D{n}", Z, f"{n} balls")


def die(rng):
    mesh = block((1, 1, 1))
    mesh = mesh.subdivide_to_size(0.05)
    spots = {(0, 1): [(0, 0)], (0, -1): [(u, v) for u in (-1, 1) for v in (-1, 0, 1)], (1, 1): [(-1, -1), (1, 1)],
             (1, -1): [(-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)], (2, 1): [(-1, -1), (0, 0), (1, 1)],
             (2, -1): [(-1, -1), (-1, 1), (1, -1), (1, 1)]}  # fmt: skip
    colours = np.ones((len(mesh.faces), 3, 3), np.float32)
    centre, normal = mesh.triangles_center, mesh.face_normals
    for (axis, sign), pips in spots.items():
        u, v = [k for k in range(3) if k != axis]
        for a, b in pips:
            near = np.hypot(centre[:, u] - 0.26 * a, centre[:, v] - 0.26 * b) < 0.1
            colours[near & (normal[:, axis] * sign > 0.9)] = 0.05
    return Bare(mesh, "O", look="C1", colours=colours)


def labelled_can(rng):
    mesh = cylinder(0.35, 1.0).subdivide_to_size(0.06)
    centre = mesh.triangles_center
    colours = np.full((len(mesh.faces), 3, 3), 0.8, np.float32)
    label = (np.abs(centre[:, 2] - 0.1) < 0.25) & (np.abs(np.arctan2(centre[:, 1], centre[:, 0])) < 0.6)
    colours[label] = (0.9, 0.1, 0.1)
    return Bare(mesh, "D∞", look="C1", colours=colours)


def striped_rod(rng):
    n = int(rng.integers(2, 6))
    mesh = cylinder(0.35, 1.0, sections=60).subdivide_to_size(0.06)
    angle = np.arctan2(mesh.triangles_center[:, 1], mesh.triangles_center[:, 0])
    colours = np.full((len(mesh.faces), 3, 3), 0.8, np.float32)
    colours[(np.cos(n * angle) > 0.3) & (np.abs(mesh.face_normals[:, 2]) < 0.5)] = (0.1, 0.2, 0.8)
    colours[mesh.face_normals[:, 2] > 0.5] = (0.1, 0.1, 0.1)
    return Bare(mesh, "D∞", Z, f"{n} stripes", f"C{n}", colours)


def random_hull(rng):
    points = rng.normal(size=(14, 3)) * (1, 0.75, 0.5)
    return Bare(trimesh.convex.convex_hull(points), "C1")


def scalene_prism(rng):
    outline = Polygon([(0, 0), (1, 0), (rng.uniform(0.1, 0.3), rng.uniform(0.5, 0.7))])
    return Bare(extruded(outline, rng.uniform(0.15, 0.8)), "C1")


def blocks(rng):
    parts = [block((1, 0.4, 0.3)), block((0.3, 0.3, 0.5), (0.3, 0.05, 0.3)), block((0.2, 0.5, 0.2), (-0.3, 0.3, 0))]
    return Bare(joined(*parts), "C1")


def plate_with_holes(rng):
    holes = unary_union([disc(0.06, -0.3, 0.15), disc(0.09, 0.25, 0.1), disc(0.05, 0.1, -0.2)])
    mesh = joined(extruded(box(-0.5, -0.35, 0.5, 0.35).difference(holes), 0.1), cylinder(0.08, 0.2, (-0.3, -0.2, 0.1)))
    return Bare(mesh, "C1")


def hex_key(rng):
    short = rng.uniform(0.3, 0.5)
    return Bare(
        joined(block((1, 0.08, 0.08), (0.46, 0, 0)), block((0.08, 0.08, short), (0, 0, short / 2 - 0.04))), "C1"
    )


def vase(rng):
    """A round body with a spout on one side and a lug on another."""
    body = joined(bottle(rng).mesh, block((0.3, 0.1, 0.1), (0.3, 0, 0.5)), block((0.1, 0.3, 0.15), (0, 0.3, 0.2)))
    return Bare(body, "C1")


SYMMETRIC = (prism, frustum, cuboid, square_plate, cube, rod, cone, sphere, torus, tetrahedron, octahedron, icosahedron,
             dodecahedron, gear, gear_with_hub, twisted_gear, nut, flanged_nut, bolt, socket_screw, slotted_screw,
             spring, bottle, oval_bottle, shaft, pulley, equal_bracket, drilled_bracket, channel, beam, z_section, knob,
             flange, hub, keyed_ring, dimpled_rod, dimpled_cube, dimpled_ball, cross,
             propeller, bearing, striped_rod)  # fmt: skip
ASYMMETRIC = (threaded_bolt, mug, uneven_bracket, keyed_hub, dimpled_cone, die, labelled_can, random_hull,
              scalene_prism, blocks, plate_with_holes, hex_key, vase)  # fmt: skip
