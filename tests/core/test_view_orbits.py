"""Groups of motions, their orbits on the sphere, and their images compared in pairs."""

import math

import numpy as np
import pytest
import torch
import trimesh

from lie_picard import so3
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects import MeshObject
from lie_picard.objects.alike import GRID
from lie_picard.objects.view_candidates import motions_of
from lie_picard.objects.view_orbits import groups_of, spread
from lie_picard.objects.view_table import ViewTable
from lie_picard.rendering.clean import Crop

X, Y, Z = np.eye(3)


def turn(axis, degrees):
    return so3.about_axis(torch.from_numpy(axis), torch.tensor([math.radians(degrees)]).double())[0].numpy()


def box(partial=(), turns=(), colours=None):
    mesh = trimesh.creation.box((1.0, 1.0, 1.0))
    paint = None
    if colours is not None:
        paint = np.full((len(mesh.faces), 3, 3), 0.8, np.float32)
        paint[mesh.face_normals @ Z > 0.5] = colours
    surface = Surface(np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int64), paint)
    return MeshObject("box", surface, shape_symmetry=Symmetry.generated(turns), partial=partial)


CUBE = (turn(X, 90), turn(Z, 90))
AXIS = PartialSymmetry(Z, np.array([0.1, 0, 0]), None, 0.5)
HALF = PartialSymmetry(Y, np.array([0.1, 0, 0]), math.pi, 0.5)  # turns the axis over, about a point on it
ASIDE = PartialSymmetry(X, np.array([0, 0.2, 0.15]), math.pi / 2, 0.5)


@pytest.mark.parametrize(
    ("body", "sizes"),
    [
        (box(turns=CUBE), [24]),
        (box((AXIS,)), [GRID]),
        (box((AXIS, HALF)), [2 * GRID]),
        (box((HALF, ASIDE)), [2, 4]),  # their products are shifts without end
        (box((AXIS,), CUBE), [2 * GRID, 24]),  # but for one half turn, the cube's carry the axis elsewhere
    ],
)
def test_motions_fall_into_groups(body, sizes):
    groups = groups_of(motions_of(body))
    assert [len(group.turns) for group in groups] == sizes
    for group in groups:
        torch.testing.assert_close(group.turns[0], torch.eye(3).double())
        assert (group.products.sort(1).values == torch.arange(len(group.turns))).all()
        moved = group.turns @ group.centre + group.shifts
        torch.testing.assert_close(moved, group.centre.expand_as(moved), atol=0.01, rtol=0)


@pytest.mark.parametrize("body", [box(turns=CUBE), box((AXIS,)), box((HALF,))])
def test_orbits_cover_the_sphere(body):
    (group,) = groups_of(motions_of(body))
    places = spread(group, 300)
    orbits = (group.turns @ places[:, None, :, None])[..., 0].flatten(0, 1)
    samples = torch.nn.functional.normalize(torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    away = (samples.double() @ orbits.mT).amax(1).clamp(max=1).acos()
    assert math.degrees(float(away.max())) < 14  # of 300 directions that are spread evenly: 10


def test_faces_that_are_seen_settle_a_box():
    """Three faces are seen: the red one is any of the three others, or among them and leaves its own four turns."""
    body = box(turns=CUBE, colours=(0.8, 0.1, 0.1))
    table, view = ViewTable.of(body, directions=300), Crop().view(1)
    hidden = so3.exp(torch.tensor([[0.35, 0.15, 0.0]]))  # seen from -z: the red face is at the back
    shown = hidden @ torch.from_numpy(turn(X, 180)).float()
    single = {name: int(table.at(truth, view).turns.sum()) for name, truth in (("hidden", hidden), ("shown", shown))}
    known = {"hidden": body.true_poses(hidden, view).listed(0), "shown": body.true_poses(shown, view).listed(0)}
    assert single == {name: len(poses) for name, poses in known.items()} == {"hidden": 12, "shown": 4}


def test_of_two_groups_the_one_that_leaves_more_open_counts():
    table = ViewTable.of(box((HALF, ASIDE)), directions=40)
    found = table.at(so3.uniform(40, generator=torch.Generator().manual_seed(0)), Crop().view(40))
    owner = torch.zeros(2, len(table.family.turns), dtype=torch.bool)
    for k, part in enumerate(table.parts):
        owner[k, part.columns] = True
    assert (found.turns[:, 0] == 1).all()
    inside = [((found.turns > 0) <= one).all(1) for one in owner]
    assert (inside[0] | inside[1]).all()
