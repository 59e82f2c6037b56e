"""BOP's errors and scores, against cases that are worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from strategies import tangents

from lie_picard import so3
from lie_picard.evaluation.bop_errors import add, add_s, mspd, mssd, symmetry_transforms, vsd
from lie_picard.evaluation.bop_scores import Case, Estimate, average_recall, matches, recall
from lie_picard.geometry.models_info import Listed

CUBE = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])  # edges of 2
NONE = np.eye(4)[None]
FAR = np.diag([1.0, 1, 1, 1])
FAR[2, 3] = 10
K = np.array([[100.0, 0, 50], [0, 100.0, 40], [0, 0, 1]])


def turned(degrees, axis=2):
    pose = np.eye(4)
    i, j = [k for k in range(3) if k != axis]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    pose[i, i], pose[i, j], pose[j, i], pose[j, j] = cosine, -sine, sine, cosine
    return pose


def shifted(x, y, z):
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def listed(*turns, axes=(), offsets=()):
    rotations = np.array([one[:3, :3] for one in turns]).reshape(-1, 3, 3)
    axes, offsets = (np.array(one, float).reshape(-1, 3) for one in (axes, offsets))
    return Listed(rotations, axes, np.zeros((len(turns), 3)), offsets, 1e-3)


def near(value):
    return pytest.approx(value, abs=1e-6)


def test_a_shift_is_its_length():
    # Every vertex moves by (0.3, 0.4, 0), which is 0.5 long.
    moved = FAR @ shifted(0.3, 0.4, 0)
    assert mssd(CUBE, moved, FAR, NONE) == near(0.5)
    assert add(CUBE, moved, FAR) == near(0.5)
    # The vertices are 2 apart: the nearest to each is its own.
    assert add_s(CUBE, cKDTree(CUBE), moved, FAR) == near(0.5)


def test_a_quarter_turn_moves_a_cubes_vertices_by_its_edge_unless_it_is_a_symmetry():
    # (1, 1, z) goes to (-1, 1, z), 2 away; so do all.
    moved = FAR @ turned(90)
    assert mssd(CUBE, moved, FAR, NONE) == near(2)
    assert add(CUBE, moved, FAR) == near(2)
    assert add_s(CUBE, cKDTree(CUBE), moved, FAR) == near(0)
    assert mssd(CUBE, moved, FAR, symmetry_transforms(listed(turned(90)))) == near(0)


def test_an_eighth_of_a_turn_is_a_chord_with_symmetries_and_without():
    # Vertices are sqrt 2 off the axis; 45 degrees are a chord of 2 sqrt 2 sin 22.5 deg = sqrt(4 - 2 sqrt 2). The next
    # of the four equal poses is 45 degrees off on the other side.
    moved, chord = FAR @ turned(45), math.sqrt(4 - 2 * math.sqrt(2))
    equal = symmetry_transforms(listed(turned(90), turned(180), turned(270)))
    assert len(equal) == 4
    assert mssd(CUBE, moved, FAR, NONE) == mssd(CUBE, moved, FAR, equal) == near(chord)
    # (sqrt 2, 0) is sqrt((sqrt 2 - 1)^2 + 1) from (1, 1): the same chord.
    assert add_s(CUBE, cKDTree(CUBE), moved, FAR) == near(chord)
    # Beyond it, the symmetry is nearer: 60 degrees are 30 from the quarter turn.
    assert mssd(CUBE, FAR @ turned(60), FAR, equal) == near(2 * math.sqrt(2) * math.sin(math.radians(15)))


def test_pixels_are_most_where_the_object_is_nearest():
    # Vertices at 9 and 11 before the camera, focal length 100: half a unit aside is 50 / 9 pixels at most.
    assert mspd(CUBE, FAR @ shifted(0.5, 0, 0), FAR, NONE, K) == near(50 / 9)
    # One unit farther: 100 / 9 becomes 100 / 10 along both axes, 100 / 11 becomes 100 / 12.
    assert mspd(CUBE, FAR @ shifted(0, 0, 1), FAR, NONE, K) == near(math.sqrt(2) * (100 / 9 - 100 / 10))
    assert mspd(CUBE, FAR @ turned(180), FAR, symmetry_transforms(listed(turned(180))), K) == near(0)


def test_a_continuous_symmetry_is_a_circle_of_315_turns_about_its_own_line():
    # ceil(pi / 0.01) = 315 turns about the line x = 1 along z. A vertex one beside it moves on a circle of radius 1:
    # half a step off, pi / 315, is a chord of 2 sin(pi / 630).
    about = listed(axes=[[0, 0, 2]], offsets=[[1, 0, 0]])
    equal, vertex = symmetry_transforms(about), np.array([[2.0, 0, 0]])
    assert len(equal) == 315 and np.allclose(equal[0], np.eye(4))
    assert np.allclose(equal[:, :3, :3] @ (1, 0, 0) + equal[:, :3, 3], (1, 0, 0))
    spin = shifted(1, 0, 0) @ turned(180 / 315) @ shifted(-1, 0, 0)
    assert mssd(vertex, FAR @ spin, FAR, equal) == near(2 * math.sin(math.pi / 630))
    assert mssd(vertex, FAR @ spin @ spin, FAR, equal) == near(0)
    # Each turn after each discrete symmetry and after none: twice as many with a flip.
    assert len(symmetry_transforms(listed(turned(180, 0), axes=[[0, 0, 1]], offsets=[[0, 0, 0]]))) == 630


@given(first=tangents(), second=tangents(), pick=st.integers(0, 3))
def test_no_symmetry_changes_an_error(first, second, pick):
    truth, estimate = (FAR @ _pose(one) for one in (first, second))
    equal = symmetry_transforms(listed(turned(90), turned(180), turned(270)))
    expected = mssd(CUBE, estimate, truth, equal)
    assert mssd(CUBE, estimate, truth @ equal[pick], equal) == near(expected)
    assert mssd(CUBE, estimate @ equal[pick], truth, equal) == near(expected)
    assert expected <= mssd(CUBE, estimate, truth, NONE) + 1e-9


def _pose(tangent):
    pose = np.eye(4)
    pose[:3, :3] = so3.exp(tangent)[0].numpy()
    return pose


STRAIGHT = np.array([[1e9, 0, 0], [0, 1e9, 0], [0, 0, 1.0]])  # of so long a focal length that distance is depth


def test_the_visible_surface_counts_where_it_does_not_agree():
    # Visible at the true pose are the two upper pixels, at the estimated one these and the lower left: three in all,
    # two in both. Of these, one agrees and one is 0.1 off. So 1 of 3 at a tolerance of 0.2, and 2 of 3 at 0.05.
    true, estimated = np.array([[1.0, 1.0], [0, 0]]), np.array([[1.0, 0.9], [1.0, 0]])
    seen = np.array([[1.0, 1.0], [1.0, 0]])
    assert vsd(estimated, true, seen, STRAIGHT, 1.0, [0.05, 0.2]) == near([2 / 3, 1 / 3])
    # Of a diameter of 4, the 0.1 are 0.025.
    assert vsd(estimated, true, seen, STRAIGHT, 4.0, [0.02, 0.05]) == near([2 / 3, 1 / 3])


def test_what_is_hidden_does_not_count_but_an_estimate_behind_the_visible_part_does():
    # The left pixel is hidden at either pose by something 0.5 before it; the right one is visible at the true pose, and
    # so at the estimated one, although that is 0.1 behind what was measured: one pixel, which is 0.1 off.
    true, estimated, seen = np.array([[1.0, 1.0]]), np.array([[1.0, 1.1]]), np.array([[0.5, 1.0]])
    assert vsd(estimated, true, seen, STRAIGHT, 1.0, [0.05, 0.2]) == near([1, 0])
    # Nothing was measured: all is visible. The left pixel agrees.
    assert vsd(estimated, true, np.zeros((1, 2)), STRAIGHT, 1.0, [0.05]) == near([0.5])
    assert vsd(estimated, true, np.full((1, 2), np.nan), STRAIGHT, 1.0, [0.05]) == near([0.5])
    # All is hidden: nothing agrees.
    assert vsd(estimated, true, np.full((1, 2), 0.1), STRAIGHT, 1.0, [0.05]) == [1.0]
    # 15 mm behind the measured surface is visible still, 16 mm is not.
    assert vsd(np.zeros((1, 1)), np.full((1, 1), 1.0), np.full((1, 1), 0.986), STRAIGHT, 1.0, [0.05]) == [1.0]
    assert vsd(np.full((1, 1), 1.0), np.full((1, 1), 1.0), np.full((1, 1), 0.986), STRAIGHT, 1.0, [0.05]) == [0.0]


def test_surfaces_are_compared_along_rays():
    # At 45 degrees off the axis, depths that are 0.1 apart are 0.1 sqrt 2 = 0.1414 apart along the ray.
    matrix = np.array([[1.0, 0, -1], [0, 1.0, 0], [0, 0, 1]])  # the only pixel, (0, 0), is at a tangent of 1
    true, estimated = np.full((1, 1), 1.0), np.full((1, 1), 1.1)
    assert vsd(estimated, true, true, matrix, 1.0, [0.14, 0.15]) == [1.0, 0.0]


def case(*estimates, count=2, visible=None):
    found = [Estimate(score, {"mssd": errors, "mspd": errors}) for score, errors in estimates]
    return Case(1, count, visible or {0: 1.0, 1: 1.0}, found)


def test_the_surest_estimate_chooses_first():
    # The first takes pose 0, although the second fits it better; the second is left with pose 1.
    one = case((0.8, {0: 0.01, 1: 0.07}), (0.9, {0: 0.04, 1: 0.06}))
    errors = [estimate.errors["mssd"] for estimate in one.estimates]
    assert matches(one, errors, 0.05) == {0: 1}
    assert matches(one, errors, 0.1) == {0: 1, 1: 0}
    assert recall([one], "mssd", 0.05) == 0.5 and recall([one], "mssd", 0.1) == 1


def test_only_as_many_as_asked_for_are_taken_and_the_most_visible_count():
    one = case((0.9, {0: 0.01, 1: 0.5}), (0.8, {0: 0.5, 1: 0.01}), count=1, visible={0: 0.3, 1: 0.6})
    assert one.targets == (1,)
    assert recall([one], "mssd", 0.1) == 0  # the surer one is of the other


def test_average_recall_is_the_mean_over_ten_thresholds_each():
    # MSSD 0.12 is below 0.15 ... 0.5: eight of ten. MSPD 12 is below 15 ... 50: eight. VSD: from a tolerance of 0.2 on
    # (seven of ten), 0.32 is below 0.35 ... 0.5: four of ten; else 1. So 0.28, and (0.8 + 0.8 + 0.28) / 3 in all.
    errors = {"mssd": {0: 0.12}, "mspd": {0: 12.0}, "vsd": {0: [1.0] * 3 + [0.32] * 7}}
    found = average_recall([Case(1, 1, {0: 1.0}, (Estimate(1.0, errors),))])
    assert found["ar_mssd"] == near(0.8) and found["ar_mspd"] == near(0.8) and found["ar_vsd"] == near(0.28)
    assert found["ar"] == near((0.8 + 0.8 + 0.28) / 3) and found["ar_mssd_mspd"] == near(0.8)


def test_recall_is_over_all_targets_and_what_cannot_be_told_is_not_there():
    # One target of two is found; the image without an estimate counts, as does the one without VSD for VSD.
    found = average_recall([case((1.0, {0: 0.0}), count=1, visible={0: 1.0}), case(count=1, visible={0: 1.0})])
    assert found["ar_mssd"] == near(0.5)
    assert found["ar_vsd"] is None and found["ar"] is None
    assert average_recall([])["ar_mssd"] is None
