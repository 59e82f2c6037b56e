"""True poses of a view: as the analytic truth of marked solids, and right on parts whose answer is plain."""

import math
import os

import numpy as np
import pytest
import torch
import trimesh
import view_parts
from view_parts import surface_of

from lie_picard import so3
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects.mesh_object import MeshObject
from lie_picard.objects.symsol.solids import solid
from lie_picard.objects.symsol.true_poses import SEEN_SHARE, seen_share
from lie_picard.objects.view_looks import LookOptions
from lie_picard.objects.view_poses import Arc, ViewPoses
from lie_picard.rendering.buffers import ViewGeometry
from lie_picard.rendering.clean import Crop
from lie_picard.rendering.randomisation import Randomisation, Rng, draw_views

IMAGES = 100 if int(os.environ.get("FUZZ", "1")) == 1 else 1000
NEAR = math.radians(5.0)
Z = torch.tensor([0.0, 0.0, 1.0])


def views(count, seed):
    """A third straight ahead, a third by random cameras, a third of those behind a bar."""
    drawn = draw_views(count, Randomisation(), Rng(torch.Generator().manual_seed(seed), torch.device("cpu")))
    at, half, plain = drawn.translations.clone(), drawn.half_tangent.clone(), Crop().view(1)
    at[::3], half[::3] = plain.translations, plain.half_tangent
    cover = torch.zeros(count, 64, 64)
    cover[1::3, 16:44, :26] = 1
    return ViewGeometry(at, half, cover)


def marginal(body, poses, view, image):
    """Whether poses (N, 3, 3) show a mark about as large as what counts as seen, so that definitions part. -> (N,)."""
    shares = torch.stack([seen_share(view, marker, poses, image) for marker in body.markers])
    return ((shares > SEEN_SHARE / 3) & (shares < 3 * SEEN_SHARE)).any(0)


@pytest.mark.parametrize("name", ["tetX", "cylO", "sphereX"])
def test_agrees_with_the_analytic_truth_of_marked_solids(name):
    count = IMAGES // 3
    truth = so3.uniform(count, generator=torch.Generator().manual_seed(3))
    body, view = solid(name), views(count, 3)
    ours, known = ViewPoses(body, truth, view), body.true_poses(truth, view)
    differ, edge, plain = [], 0, 0
    for image in range(count):
        one, other = ours.listed(image), known.listed(image)
        none = one is None or other is None
        if none:
            plain += one is other
        else:
            plain += bool((known.distance(one, image) < NEAR).all() and (ours.distance(other, image) < NEAR).all())
        if bool(marginal(body, truth[image : image + 1], view, image)):
            edge += 1
            continue
        if none:
            same = one is other
        else:
            more = (known.distance(one, image) < NEAR) | marginal(body, one, view, image)
            less = (ours.distance(other, image) < NEAR) | marginal(body, other, view, image)
            same = bool(more.all() & less.all())
        if not same:
            differ.append(image)
    print(
        f"{name}: {len(differ)} of {count - edge} differ {differ}, {edge} of {count} show a mark of marginal size, "
        f"{plain} of {count} agree in all"
    )
    assert len(differ) <= max(1, 0.01 * (count - edge))
    assert edge < 0.25 * count


@pytest.fixture(scope="module")
def mug():
    return view_parts.mug(sections=96)


def box(faces=(), sides=(1.0, 1.0, 1.0)):
    """A box of which some faces, by their outward normals, are coloured."""
    mesh = trimesh.creation.box(sides)
    colours = np.full((len(mesh.faces), 3, 3), 0.8, np.float32)
    for normal, colour in faces:
        colours[mesh.face_normals @ np.array(normal, float) > 0.5] = colour
    turns = [so3.about_axis(torch.eye(3).double()[k], torch.tensor([math.pi / 2]).double())[0].numpy() for k in (0, 2)]
    return MeshObject("box", surface_of(mesh, colours), shape_symmetry=Symmetry.generated(turns))


def leaning(about_deg):
    """The z axis up in the image, seen a little from above, after a turn about it."""
    return so3.exp(torch.tensor([[1.9, 0.0, 0.0]])) @ so3.about_axis(Z, torch.tensor([math.radians(about_deg)]))


def test_a_mug_with_its_handle_in_sight_has_one_pose(mug):
    poses = mug.true_poses(leaning(20), Crop().view(1))
    assert len(poses.listed(0)) == 1
    assert poses.axis(0) is None


def test_a_mug_with_its_handle_hidden_has_an_arc_symmetric_about_the_handle_behind(mug):
    poses = mug.true_poses(leaning(90), Crop().view(1))
    (arc,) = poses.found(0).arcs
    middle = math.degrees(arc.start + arc.length / 2) % 360
    assert min(middle, 360 - middle) < 1.5
    assert 40 < math.degrees(arc.length) < 120
    torch.testing.assert_close(poses.axis(0), Z)
    off = poses.distance(leaning(90 + math.degrees(arc.length) / 2 + 30), 0)
    assert math.degrees(float(off)) == pytest.approx(30, abs=1.5)
    assert "turns of" in poses.describe(0)["text"]


def test_what_an_occluder_hides_does_not_count(mug):
    plain, cover = Crop().view(1), torch.zeros(1, 64, 64)
    shown = mug.true_poses(leaning(0), plain)
    assert len(shown.listed(0)) == 1
    cover[:] = 1
    hidden = mug.true_poses(leaning(0), ViewGeometry(plain.translations, plain.half_tangent, cover))
    (arc,) = hidden.found(0).arcs
    assert arc.whole


def test_faces_that_are_seen_settle_a_box():
    """Straight onto one face: its turns, and every other face of its colour."""
    truth, view = torch.eye(3)[None], Crop().view(1)
    assert len(box().true_poses(truth, view).listed(0)) == 24
    red = (0.8, 0.1, 0.1)
    assert len(box([((0, 0, -1), red)]).true_poses(truth, view).listed(0)) == 4
    assert len(box([((0, 0, 1), red)]).true_poses(truth, view).listed(0)) == 20


def test_a_bracket_seen_onto_one_plate_may_be_the_other_way_round():
    """The half turn about the plate's middle, which is not the object's: the position moves along."""
    plate = trimesh.creation.box((0.08, 0.06, 0.006))
    upright = trimesh.creation.box((0.006, 0.06, 0.05)).apply_translation((0.037, 0, 0.022))
    whole = trimesh.boolean.union([plate, upright], engine="manifold").apply_translation((0.01, 0, -0.02))
    half_turn = PartialSymmetry(np.eye(3)[2], np.array([0.01, 0, 0]), math.pi, 0.5)
    bracket = MeshObject("bracket", surface_of(whole), partial=(half_turn,))
    onto, view = torch.eye(3)[None], Crop().view(1)
    listed = bracket.true_poses(onto, view).listed(0)
    assert len(listed) == 2
    assert math.degrees(float(so3.angle(listed[0], listed[1]))) == pytest.approx(180, abs=0.1)
    assert len(bracket.true_poses(so3.exp(torch.tensor([[2.5, 0.0, 0.0]])), view).listed(0)) == 1
    assert len(MeshObject("bracket", surface_of(whole)).true_poses(onto, view).listed(0)) == 1


def test_distances_to_arcs_are_exact():
    generator = torch.Generator().manual_seed(1)
    arc = Arc(so3.uniform(1, generator=generator)[0], Z, 2.0, 1.5)
    samples = so3.uniform(200, generator=generator)
    dense = so3.pairwise_angle(samples, arc.listed(math.radians(0.1))).amin(1)
    torch.testing.assert_close(arc.distance(samples), dense, atol=2e-3, rtol=0)


def test_batches_are_padded_with_the_truth_first(mug):
    truth, plain = torch.cat([leaning(20), leaning(90)]), Crop().view(2)
    poses, filled = mug.true_poses(truth, plain).padded(5.0, 8)
    assert poses.shape == (2, 8, 3, 3)
    assert filled.sum(1).tolist() == [1, 8]
    assert float(so3.angle(poses[:, 0], truth).max()) < 1e-3
    with pytest.raises(ValueError, match="limit is 0"):
        mug.true_poses(truth, plain).padded(5.0, 0)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="step_deg is 40"):
        LookOptions(step_deg=40)
