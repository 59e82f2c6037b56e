"""Symmetries of objects: groups, the nearest equal pose, and BOP's files."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BARE, tangents

from lie_picard import so3
from lie_picard.geometry.symmetry import Symmetry, SymmetryError
from lie_picard.objects.symsol.solids import SOLIDS, solid

Z = np.array([0.0, 0.0, 1.0])
BALL = Symmetry.generated([], np.eye(3))


def turn(axis, degrees):
    """(3, 3) rotation about an axis."""
    axis = torch.tensor(axis, dtype=torch.float64)
    return so3.exp(axis / axis.norm() * math.radians(degrees)).numpy()


def angle(first, second):
    """Radians between rotations."""
    return so3.angle(torch.as_tensor(first), torch.as_tensor(second)).numpy()


def equals(symmetry, rotation, step_deg=0.5):
    """(n, 3, 3) poses that look like `rotation`, continuous ones on a grid."""
    poses = rotation @ symmetry.rotations
    if symmetry.axes:
        turns = so3.about_axis(
            torch.from_numpy(symmetry.axes[0]), torch.deg2rad(torch.arange(0, 360, step_deg)).double()
        )
        poses = (poses[:, None] @ turns.numpy()).reshape(-1, 3, 3)
    return poses


def info(tmp_path, entry):
    """A models_info.json with one object, 3."""
    path = tmp_path / "models_info.json"
    path.write_text(json.dumps({"3": entry}))
    return path


def listed(*matrices):
    """Rotations as BOP lists transforms."""
    return [
        np.block([[m, np.ones((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]).round(4).ravel().tolist()
        for m in matrices
    ]


@given(tangents(2), st.sampled_from(SOLIDS))
def test_the_nearest_pose_looks_the_same_and_none_is_nearer(vectors, name):
    symmetry = solid(name).symmetry
    rotation, reference = so3.exp(vectors)
    found = symmetry.nearest(rotation, reference)
    poses = equals(symmetry, rotation.numpy())
    assert angle(found, poses).min() < math.radians(0.5)
    least = angle(found, reference)
    assert least <= angle(poses, reference).min() + 1e-6
    assert float(symmetry.distance(rotation, reference)) == pytest.approx(float(least), abs=1e-6)
    if symmetry.axes:
        assert symmetry.distance(found, rotation) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(tangents(2), st.sampled_from([*BARE, "ball"]))
def test_the_distance_is_the_angle_to_the_nearest_pose_in_the_precision_of_the_poses(dtype, vectors, name):
    rotation, reference = so3.exp(vectors).to(dtype)
    symmetry = BALL if name == "ball" else solid(name).symmetry
    found, nearest = symmetry.distance(rotation, reference), symmetry.nearest(rotation, reference)
    assert found.dtype == nearest.dtype == dtype
    torch.testing.assert_close(
        found, so3.angle(nearest, reference), atol=1e-6 if dtype is torch.float32 else 1e-9, rtol=0
    )
    if name != "ball":
        grid = so3.angle(symmetry.equivalents(rotation.double(), 0.5), reference.double()).min()
        assert float(grid) - math.radians(0.5) <= float(found) <= float(grid) + 1e-3


@given(tangents(2), st.sampled_from(BARE))
def test_the_distance_looks_the_same_from_both_poses(vectors, name):
    rotation, truth = so3.exp(vectors)
    symmetry = solid(name).symmetry
    torch.testing.assert_close(
        symmetry.distance(rotation, truth), symmetry.distance(truth, rotation), atol=1e-6, rtol=0
    )


def test_many_poses_at_once_are_as_one_by_one(generator):
    rotations, references = so3.uniform(2, 5, generator=generator, dtype=torch.float64)
    for symmetry in (Symmetry.none(), solid("cube").symmetry, solid("cyl").symmetry, BALL):
        one_by_one = torch.stack([symmetry.nearest(a, b) for a, b in zip(rotations, references, strict=True)])
        torch.testing.assert_close(symmetry.nearest(rotations, references), one_by_one, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["tet", "cube", "icosa", "cone", "cyl"])
def test_the_nearest_pose_is_the_one_that_a_fine_grid_finds(name, dtype, generator):
    """One of the listed poses where there are finitely many; between two neighbours of the grid on a circle."""
    symmetry, step_deg = solid(name).symmetry, 0.25
    rotations, references = so3.uniform(2, 50, generator=generator, dtype=torch.float64).to(dtype)
    grid = symmetry.equivalents(rotations, step_deg)
    assert grid.dtype == dtype
    assert grid.shape == (50, len(symmetry.rotations) * (round(360 / step_deg) if symmetry.axes else 1), 3, 3)
    away = so3.angle(grid, references[:, None])
    chosen = grid[torch.arange(50), away.argmin(1)]
    apart = so3.angle(symmetry.nearest(rotations, references), chosen)
    rounding = 1e-5 if dtype is torch.float32 else 1e-9
    assert apart.max() <= (math.radians(step_deg) / 2 if symmetry.axes else 0) + rounding
    distance = symmetry.distance(rotations, references)
    assert (distance <= away.amin(1) + rounding).all()
    assert (distance >= away.amin(1) - apart - rounding).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["none", "cube", "cone", "cyl", "ball"])
def test_leading_dimensions_broadcast(name, dtype, generator):
    symmetry = {"none": Symmetry.none(), "ball": BALL}.get(name) or solid(name).symmetry
    rotations = so3.uniform(4, 1, generator=generator, dtype=torch.float64).to(dtype)
    references = so3.uniform(3, generator=generator, dtype=torch.float64).to(dtype)
    nearest, distance = symmetry.nearest(rotations, references), symmetry.distance(rotations, references)
    assert nearest.shape == (4, 3, 3, 3) and distance.shape == (4, 3) and nearest.dtype == distance.dtype == dtype
    for k in range(4):
        for n in range(3):
            one = symmetry.nearest(rotations[k, 0], references[n])
            assert one.shape == (3, 3)
            torch.testing.assert_close(nearest[k, n], one, atol=1e-5 if dtype is torch.float32 else 1e-12, rtol=0)
            assert symmetry.distance(rotations[k, 0], references[n]).shape == ()
    torch.testing.assert_close(distance, so3.angle(nearest, references.expand(4, 3, 3, 3)), atol=1e-6, rtol=0)
    assert symmetry.distance(rotations[0, 0], references).shape == (3,)
    assert symmetry.distance(rotations[:, 0], references[0]).shape == (4,)
    assert symmetry.nearest(rotations[:1], references[:1]).shape == (1, 1, 3, 3)
    assert symmetry.distance(rotations[:1], references[:1]).shape == (1, 1)


@pytest.mark.parametrize(
    ("name", "discrete", "axes"),
    [("tet", 12, 0), ("cube", 24, 0), ("icosa", 60, 0), ("cone", 1, 1), ("cyl", 2, 1), ("tetX", 3, 0), ("cylO", 1, 0),
     ("sphereX", 1, 0)],
)  # fmt: skip
def test_solids_have_the_symmetry_that_their_markers_leave(name, discrete, axes):
    symmetry = solid(name).symmetry
    assert len(symmetry.rotations) == discrete and len(symmetry.axes) == axes
    assert symmetry.is_trivial == (discrete == 1 and not axes)


@pytest.mark.parametrize("name", ["tet", "cube", "icosa", "tetX"])
def test_the_group_is_closed_and_comes_back_from_two_of_its_elements(name):
    group = solid(name).symmetry.rotations
    products = (group[:, None] @ group).reshape(-1, 1, 3, 3)
    assert angle(products, group[None]).min(1).max() < 1e-5
    made = max((Symmetry.generated(group[[1, k]]).rotations for k in range(len(group))), key=len)
    assert len(made) == len(group)
    assert angle(made[:, None], group[None]).min(1).max() < 1e-5


def test_a_ball_looks_the_same_in_all_poses(generator):
    rotation, reference = so3.uniform(2, generator=generator, dtype=torch.float64)
    assert BALL.is_ball and not BALL.is_trivial
    assert torch.equal(BALL.nearest(rotation, reference), reference)
    assert BALL.distance(rotation, reference) == 0


def test_bop_lists_rounded_symmetries_without_the_identity(tmp_path):
    bolt = Symmetry.from_models_info(info(tmp_path, {"symmetries_discrete": listed(turn(Z, 60))}), 3)
    assert len(bolt.rotations) == 6 and not bolt.axes
    np.testing.assert_allclose(bolt.rotations[0], np.eye(3), atol=1e-12)


def test_bop_discrete_and_continuous_symmetries_are_composed(tmp_path):
    entry = {
        "symmetries_discrete": listed(turn([1, 0, 0], 180), turn(Z, 90)),
        "symmetries_continuous": [{"axis": [0, 0, 2], "offset": [0, 0, 5]}],
    }
    symmetry = Symmetry.from_models_info(info(tmp_path, entry), "3")
    cylinder = solid("cyl").symmetry
    assert len(symmetry.rotations) == 2
    rotations = so3.uniform(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = rotations[:10], rotations[10:]
    torch.testing.assert_close(symmetry.distance(first, second), cylinder.distance(first, second), atol=1e-6, rtol=0)


def test_an_object_without_entries_is_trivial(tmp_path):
    assert Symmetry.from_models_info(info(tmp_path, {"diameter": 80.0}), 3).is_trivial


@pytest.mark.parametrize(
    "symmetry", [Symmetry.none(), BALL, *(solid(name).symmetry for name in ("icosa", "cyl", "tetX"))]
)
def test_what_is_written_for_bop_is_read_back(tmp_path, symmetry):
    again = Symmetry.from_models_info(info(tmp_path, symmetry.to_models_info()), 3)
    assert len(again.axes) == len(symmetry.axes)
    assert len(again.rotations) == len(symmetry.rotations)
    assert angle(again.rotations[:, None], symmetry.rotations[None]).min(1).max() < 1e-5


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"symmetries_discrete": [[1, 0, 0]]}, "16 numbers"),
        ({"symmetries_discrete": [["x"] * 16]}, "16 numbers"),
        ({"symmetries_discrete": 5}, "16 numbers"),
        ({"symmetries_continuous": [{"offset": [0, 0, 0]}]}, "axis"),
        ([], "16 numbers"),
        ({"symmetries_discrete": listed(np.diag([1, 1, -1]))}, "proper rotation"),
        ({"symmetries_discrete": listed(2 * np.eye(3))}, "proper rotation"),
        ({"symmetries_discrete": [[math.nan] * 16]}, "finite"),
        ({"symmetries_discrete": listed(turn(Z, 137.508))}, "generate more than"),
        ({"symmetries_continuous": [{"axis": [0, 0, 0], "offset": [0, 0, 0]}]}, "nonzero"),
        (
            {"symmetries_discrete": listed(turn([1, 0, 0], 90)),
             "symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]},
            "onto itself",
        ),
    ],
)  # fmt: skip
def test_damaged_entries_are_refused_in_one_line(tmp_path, entry, message):
    with pytest.raises(SymmetryError, match=message) as caught:
        Symmetry.from_models_info(info(tmp_path, entry), 3)
    assert "\n" not in str(caught.value) and "object '3'" in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(SymmetryError, match="cannot read"):
        Symmetry.from_models_info("/nowhere/models_info.json", 1)
    with pytest.raises(SymmetryError, match="no object '4': it has 3"):
        Symmetry.from_models_info(info(tmp_path, {}), 4)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(SymmetryError, match="no object '4'"):
        Symmetry.from_models_info(tmp_path / "list.json", 4)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SymmetryError, match="not JSON"):
        Symmetry.from_models_info(tmp_path / "broken.json", 4)


# --- symmetries that do not pass through the origin, and BOP's files as they come


def about(centre, rotation):
    """BOP's 16 numbers of a turn about a point, in the point's unit."""
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation, centre - rotation @ centre
    return move.ravel().tolist()


CENTRE_MM = np.array([3.0, -2.0, 4.0])
CUBE_TURNS = (turn(Z, 90), turn([1, 0, 0], 90))


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e-2, 0.0254])
def test_symmetries_turn_about_the_point_that_the_file_says_in_its_unit(tmp_path, unit):
    centre = CENTRE_MM * 1e-3 / unit
    entry = {"diameter": 0.09 / unit, "symmetries_discrete": [about(centre, one) for one in CUBE_TURNS]}
    symmetry = Symmetry.from_models_info(info(tmp_path, entry), 3, 0.1)
    np.testing.assert_allclose(symmetry.centre, CENTRE_MM * 1e-3, atol=1e-9)
    assert len(symmetry.rotations) == 24
    points = np.random.default_rng(0).normal(0, 0.03, (20, 3))
    for rotation, shift in zip(symmetry.rotations, symmetry.translations, strict=True):
        moved = points @ rotation.T + shift  # a turn about the centre
        np.testing.assert_allclose(moved - symmetry.centre, (points - symmetry.centre) @ rotation.T, atol=1e-12)


@given(st.tuples(*[st.floats(-20, 20)] * 3), tangents())
def test_an_axis_keeps_its_offset_wherever_a_point_of_it_is_given(offset, vector):
    axis = so3.exp(vector)[0].numpy()[:, 2]
    symmetry = Symmetry.generated([], [axis], None, [np.array(offset) * 1e-3])
    apart = np.array(offset) * 1e-3 - symmetry.centre
    np.testing.assert_allclose(np.cross(apart, axis), 0, atol=1e-9)
    assert abs(symmetry.centre @ axis) < 1e-9  # of all its points, the one nearest to the origin


def test_what_leaves_no_point_in_place_is_no_symmetry_of_a_solid(tmp_path):
    shift = np.eye(4)
    shift[0, 3] = 30
    screw = np.eye(4)
    screw[:3, :3], screw[2, 3] = turn(Z, 180), 30
    for entry in (
        {"symmetries_discrete": [shift.ravel().tolist()]},
        {"symmetries_discrete": [screw.ravel().tolist()]},
        {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}, {"axis": [0, 0, 1], "offset": [9, 0, 0]}]},
        {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}, {"axis": [0, 1, 0], "offset": [9, 0, 0]}]},
    ):
        with pytest.raises(SymmetryError, match="leave no point in place"):
            Symmetry.from_models_info(info(tmp_path, {"diameter": 90.0} | entry), 3, 0.1)


def test_lengths_in_no_unit_and_points_outside_the_object_are_refused(tmp_path):
    entry = {"diameter": 500.0, "symmetries_discrete": [about(CENTRE_MM, turn(Z, 180))]}
    with pytest.raises(SymmetryError, match=r"diameter, 500, fits the object's, 0.1 m, in no unit"):
        Symmetry.from_models_info(info(tmp_path, entry), 3, 0.1)
    entry = {"symmetries_discrete": [about(100 * CENTRE_MM, turn(Z, 180))]}
    with pytest.raises(SymmetryError, match="off its origin"):
        Symmetry.from_models_info(info(tmp_path, entry), 3, 0.1)


def test_an_offset_symmetry_is_written_and_read_back(tmp_path):
    for symmetry in (
        Symmetry.generated(CUBE_TURNS, (), [(np.eye(3) - one) @ (CENTRE_MM * 1e-3) for one in CUBE_TURNS]),
        Symmetry.generated([], [Z], None, [CENTRE_MM * 1e-3]),
        Symmetry.generated([], np.eye(3), None, [CENTRE_MM * 1e-3] * 3),
    ):
        again = Symmetry.from_models_info(info(tmp_path, symmetry.to_models_info()), 3)
        np.testing.assert_allclose(again.centre, symmetry.centre, atol=1e-9)
        assert again.rotations.shape == symmetry.rotations.shape and len(again.axes) == len(symmetry.axes)


@pytest.mark.parametrize("key", ["5", "000005", "obj_000005"])
@pytest.mark.parametrize("name", ["5", "000005", "obj_000005", "obj_5", "Object 5", 5])
def test_bops_numbers_are_found_however_they_are_written(tmp_path, key, name):
    path = tmp_path / "models_info.json"
    path.write_text(json.dumps({key: {"symmetries_discrete": listed(turn(Z, 180))}, "50": {}, "1": {}}))
    assert len(Symmetry.from_models_info(path, name).rotations) == 2


def test_an_entry_is_found_by_the_name_in_it_where_no_key_is_it(tmp_path):
    path = tmp_path / "models_info.json"
    listing = {"1": {"name": "bolt", "symmetries_discrete": listed(turn(Z, 180))}, "nut": {}, "2": {"name": "nut"}}
    path.write_text(json.dumps(listing))
    assert len(Symmetry.from_models_info(path, "bolt").rotations) == 2
    assert Symmetry.from_models_info(path, "nut").is_trivial
    path.write_text(json.dumps({"1": {"name": "bolt"}, "2": {"name": "bolt"}}))
    with pytest.raises(SymmetryError, match="several keys"):
        Symmetry.from_models_info(path, "bolt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"3": {"symmetries_discret": []}}', "no key 'symmetries_discret': did you mean symmetries_discrete"),
        ('{"3": {"Symmetries_Continuous": []}}', "no key 'Symmetries_Continuous'"),
        ('{"3": {"symmetry": []}}', "no key 'symmetry'"),
        ('{"3": {"simetries_discrete": []}}', "no key 'simetries_discrete'"),
        ('{"3": {"symmetries_continuous": [{"axis": [0, 0, 1], "ofset": [0, 0, 1]}]}}', "no key 'ofset'"),
        ('{"3": {"symmetries_discrete": []}, "3": {}}', "has the key '3' twice"),
        ('{"3": {"symmetries_discrete": [], "symmetries_discrete": []}}', "'symmetries_discrete' twice"),
        ('{"03": {}, "obj_3": {}}', "object '3' is several keys"),
        ('{"cube": {}, "ball": {}}', "no object '3': it has cube, ball"),
        ("{}", "no object '3': it has none"),
        ('{"3": {"diameter": -1}}', "diameter must be a positive number"),
        ('{"3": {"symmetries_discrete": [[1,0,0,0, 0,1,0,0, 0,0,1,0, 5,0,0,1]]}}', "row by row"),
        ('{"3": {"symmetries_discrete": [[1,0,0,1e999, 0,1,0,0, 0,0,1,0, 0,0,0,1]]}}', "finite"),
    ],
)
def test_what_a_file_says_wrongly_is_named_and_never_no_symmetry(tmp_path, text, message):
    path = tmp_path / "models_info.json"
    path.write_text(text)
    with pytest.raises(SymmetryError, match=message) as caught:
        Symmetry.from_models_info(path, 3)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_other_keys_of_an_object_are_passed_over(tmp_path):
    entry = {"diameter": 90, "min_x": -1, "size_x": 2, "name": "bolt", "symmetries_discrete": listed(turn(Z, 180))}
    assert len(Symmetry.from_models_info(info(tmp_path, entry), 3).rotations) == 2
