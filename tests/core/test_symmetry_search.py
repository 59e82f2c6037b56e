"""Symmetries that are found of meshes. FUZZ=1 or more tries all 250 parts, with other seeds for other numbers."""

import math
import os

import numpy as np
import parts
import pytest
import shapes
import trimesh

from lie_picard.geometry.models_info import SymmetryError
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.geometry.symmetry_search import assess, find_symmetry, group, partial_symmetries

FUZZ = int(os.environ.get("FUZZ", "0"))
SOME = [("gear_with_hub", 14), ("dodecahedron", 12), ("keyed_ring", 33), ("scalene_prism", 8)]
ALL = parts.symmetric(200, FUZZ) + parts.asymmetric(50, FUZZ)


def surface_of(mesh):
    return Surface(np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int64))


@pytest.mark.parametrize(("kind", "seed"), ALL if FUZZ else SOME)
def test_a_part_has_its_group_and_its_axis(kind, seed):
    part = parts.made(kind, seed)
    found = find_symmetry(part.surface)
    said = f"{part.name}, {part.dress}: {[one.describe() for one in found.candidates]}"
    assert group.name_of(found.shape_symmetry) == part.group, said
    assert found.group == part.look, said
    if part.axis is not None:
        lines = found.shape_symmetry.axes or [
            max(group.axes_of(found.shape_symmetry.rotations), key=lambda one: one[1])[0]
        ]
        off = min(np.linalg.norm(np.cross(line, part.axis)) for line in lines)
        assert math.degrees(math.asin(off)) < 0.3, said


def test_a_hole_breaks_a_plate_and_the_tolerance_is_a_choice():
    plate = shapes.block((0.06, 0.06, 0.01))
    drilled = surface_of(shapes.cut(plate, shapes.cylinder(0.002, 0.05, (0.02, 0.01, 0))))
    found = find_symmetry(drilled)
    assert found.group == "C1"
    best = min((one for one in found.candidates if one.order == 4), key=lambda one: one.residual_max)
    assert not best.held
    assert best.residual_p95 < 0.002
    assert np.linalg.norm(best.worst[:2]) == pytest.approx(math.hypot(0.02, 0.01), abs=0.003)
    assert "C4 about z: symmetric to" in best.describe() and "broken by" in best.describe()
    assert find_symmetry(drilled, tolerance=0.1).group == "D4"


def test_a_given_list_is_assessed_as_it_is():
    box = surface_of(shapes.block((0.1, 0.06, 0.03)))
    turns = [np.diag([1.0, -1, -1]), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])]
    found = assess(box, Symmetry.generated(turns))
    held = {(one.order, tuple(np.abs(one.axis).round(3).tolist())): one.held for one in found}
    assert held == {(4, (0, 0, 1)): False, (2, (1, 0, 0)): True, (2, (0, 1, 0)): True, (2, (0.707, 0.707, 0)): False}


def test_symmetries_lie_about_their_centre():
    gear = surface_of(shapes.extruded(shapes.ring_of(shapes.disc(0.02, 0.03), 5), 0.01))
    moved = gear.moved(np.array([-0.3, 0.1, 0.2]))
    found = find_symmetry(moved).symmetry
    assert len(found.rotations) == 10
    assert found.centre == pytest.approx([0.3, -0.1, -0.2], abs=1e-4)
    for turn in found.rotations:
        products = np.einsum("ij,kjl->kil", turn, found.rotations)
        nearest = np.abs(products[:, None] - found.rotations[None]).max((-1, -2)).min(1)
        assert nearest.max() < 1e-9


def test_groups_of_many_teeth_are_read_back_and_what_never_closes_is_refused():
    teeth = group.dihedral(np.array([0.0, 0, 1]), 120, np.array([1.0, 0, 0]))
    assert len(Symmetry.generated(teeth).rotations) == 240
    with pytest.raises(SymmetryError, match="more than 120 rotations: no group of a solid"):
        Symmetry.generated([_turn(1.0123)])


def _turn(angle):
    return trimesh.transformations.rotation_matrix(angle, [0, 0, 1])[:3, :3]


def test_the_body_of_a_mug_is_round_about_its_axis():
    mesh = parts.KINDS["mug"](np.random.default_rng(0)).mesh
    mesh.apply_translation([0.1, 0.2, 0])
    best = partial_symmetries(surface_of(mesh))[0]
    assert best.angle is None
    assert 0.8 < best.share < 1
    assert math.degrees(math.acos(min(1.0, abs(best.axis[2])))) < 0.3
    assert best.point == pytest.approx([0.1, 0.2, 0], abs=0.003)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda s: Surface(s.vertices * np.nan, s.triangles), "12 of 12 triangles have corners that are not finite"),
        (lambda s: Surface(s.vertices * (1, 0, 0), s.triangles), "has no area"),
        (lambda s: Surface(s.vertices, s.triangles[:0]), "without triangles"),
    ],
)
def test_what_is_no_surface_is_said_in_a_line(broken, words):
    with pytest.raises(SymmetryError, match=words):
        find_symmetry(broken(surface_of(trimesh.creation.box((1, 1, 1)))))


def test_a_tolerance_is_a_share():
    with pytest.raises(SymmetryError, match=r"tolerance must be a share above 0 and at most 0\.2, got 5"):
        find_symmetry(surface_of(trimesh.creation.box((1, 1, 1))), tolerance=5)
