"""Scores: nothing is wrong with a pose that looks the same, and what is wrong is told in its units."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from strategies import BARE, tangents

from lie_picard import so3
from lie_picard.estimation.poses import ObjectPoses
from lie_picard.evaluation.bop_errors import add_s
from lie_picard.geometry.mesh import Mesh
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects.symsol.solids import solid
from lie_picard.posterior.hypotheses import summarise
from lie_picard.posterior.tracking import ModeTracker
from lie_picard.recording import drops, summary
from lie_picard.recording.record import Scorer, mssd

DIAMETER = 0.1


def pose(rotation, position=(0.0, 0.0, 1.0)):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, position
    return matrix


def found(name, rotations, position=(0.0, 0.0, 1.0), sigma=0.001):
    """An object's poses from samples, and what is followed of them."""
    samples = torch.from_numpy(np.asarray(rotations)).float()
    hypotheses = summarise(samples)
    poses = ObjectPoses(name, hypotheses, np.array(position), sigma**2 * np.eye(3), solid(name).symmetry)
    tracked = ModeTracker().update(hypotheses, 0.0, poses.symmetry)
    return poses, tracked


@given(name=st.sampled_from(BARE), tangent=tangents(), pick=st.integers(0, 1000))
def test_a_pose_that_looks_the_same_is_no_error(name, tangent, pick):
    symmetry, mesh = solid(name).symmetry, solid(name).mesh(DIAMETER)
    rotation = so3.exp(tangent)[0].numpy()
    equal = symmetry.equivalents(torch.from_numpy(rotation), 5.0).numpy()
    other = pose(equal[pick % len(equal)])
    surface = cKDTree(mesh.points(50_000, seed=1))
    assert mssd(mesh.vertices, other, pose(rotation), symmetry) < 1e-6
    # What is left is the spacing of the surface's points, for round ones their facets, too.
    assert add_s(mesh.points(200, seed=0), surface, other, pose(rotation)) < 0.006 * DIAMETER


@given(shift=st.tuples(*[st.floats(-0.02, 0.02)] * 3))
def test_a_shift_is_told_in_millimetres(shift):
    rotation = np.eye(3)
    away = float(np.linalg.norm(shift))
    poses, tracked = found("tet", [rotation] * 4, np.array([0, 0, 1.0]) + shift)
    record = Scorer({"tet": solid("tet").mesh(DIAMETER)})(poses, tracked, pose(rotation))
    assert record["translation_mm"] == pytest.approx(1e3 * away, abs=1e-6)
    assert record["translation_percent"] == pytest.approx(100 * away, abs=1e-6)
    assert record["mssd_mm"] == pytest.approx(1e3 * away, abs=0.05)
    assert record["adds_mm"] <= 1e3 * away + 0.4


@given(tangent=tangents(), off=st.floats(0.5, 20).filter(lambda off: abs(off - 5) > 1e-6))
def test_a_turn_is_told_in_degrees(tangent, off):
    truth = so3.exp(tangent)[0].numpy()
    turned = truth @ so3.exp(torch.tensor([[0.0, 0.0, math.radians(off)]], dtype=torch.float64))[0].numpy()
    record = Scorer({})(*found("cube", [turned] * 4), pose(truth))
    assert record["best_deg"] == pytest.approx(off, abs=0.01)
    assert record["mean_deg"] == pytest.approx(off, abs=0.01)
    assert record["within_5deg"] == float(off <= 5)
    assert record["recall_deg"] > record["mean_deg"] and record["modes"] == 24


def test_recall_counts_every_pose_that_looks_the_same():
    truth = np.eye(3)
    equal = solid("cube").symmetry.equivalents(torch.from_numpy(truth), 5.0).numpy()
    record = Scorer({})(*found("cube", np.repeat(equal, 3, axis=0)), pose(truth))
    assert record["modes_reached"] == 1 and record["recall_deg"] < 0.1
    half = Scorer({})(*found("cube", np.repeat(equal[:12], 3, axis=0)), pose(truth))
    assert half["modes_reached"] == 0.5


def test_a_jump_is_what_the_followed_pose_turned_more_than_the_object():
    scorer = Scorer({})
    quarter = so3.exp(torch.tensor([[0.0, 0.0, math.pi / 2]], dtype=torch.float64))[0].numpy()
    first = scorer(*found("cube", [np.eye(3)] * 4), pose(np.eye(3)))
    assert first["jump_deg"] is None
    flipped = scorer(*found("cube", [quarter] * 4), pose(np.eye(3)))
    assert flipped["jump_deg"] == pytest.approx(90, abs=0.1) and flipped["best_deg"] < 0.1
    scorer.lose("cube")
    assert scorer(*found("cube", [np.eye(3)] * 4), pose(np.eye(3)))["jump_deg"] is None


def test_honest_regions_hold_the_truth_as_often_as_they_say():
    generator = torch.Generator().manual_seed(0)
    sigma, inside = math.radians(2), []
    for _ in range(300):
        truth = so3.uniform(1, generator=generator, dtype=torch.float64)[0]
        centre = truth @ so3.exp(sigma * torch.randn(1, 3, generator=generator, dtype=torch.float64))[0]
        samples = centre @ so3.exp(sigma * torch.randn(64, 3, generator=generator, dtype=torch.float64))
        shift = 0.001 * torch.randn(3, generator=generator, dtype=torch.float64).numpy()
        poses, tracked = found("tetX", samples.numpy(), np.array([0, 0, 1.0]) + shift)
        inside.append(Scorer({})(poses, tracked, pose(truth.numpy())))
    for key in ("rotation_confidence", "position_confidence"):
        assert np.mean([record[key] <= 0.9 for record in inside]) == pytest.approx(0.9, abs=0.06)


@given(rate=st.floats(5, 60), work=st.floats(0.001, 0.5), count=st.integers(1, 200))
def test_live_images_are_dropped_when_and_only_when_work_takes_longer(rate, work, count):
    arrivals = [k / rate for k in range(count)]
    kept = drops.simulate_drops(arrivals, [work] * count)
    assert kept[0] and kept[-1]  # the newest is never dropped
    if work < 0.999 / rate:
        assert all(kept)
    else:
        most = count / rate / work + 2
        assert sum(kept) <= most + 1e-6


def test_rows_say_how_many_images_of_each_state():
    records = [{"bag": "b", "object": "cube", "stamp_ns": k, "state": state} for k, state in
               enumerate(["lost", "no truth", "unusable", "lost"])]  # fmt: skip
    records.append({"bag": "b", "object": "cube", "stamp_ns": 9, "state": "scored", "mean_deg": 1.0, "best_deg": 2.0})
    row, every = summary.rows(records, {"cube": 0.1})
    assert (row["images"], row["scored"], row["lost"], row["no_truth"], row["unusable"]) == (5, 1, 2, 1, 1)
    assert row["mean_deg"] == 1.0 and row["best_median_deg"] == 2.0 and every["object"] == "all"


OFF = np.array([0.004, -0.003, 0.002])


def moved(name):
    """A solid whose model's origin is not where its symmetries turn: its symmetry and its mesh."""
    symmetry, mesh = solid(name).symmetry, solid(name).mesh(DIAMETER)
    across = OFF - symmetry.axes[0] * (symmetry.axes[0] @ OFF) if len(symmetry.axes) == 1 else OFF
    return Symmetry(symmetry.rotations, symmetry.axes, across), Mesh(mesh.vertices + across, mesh.triangles)


@given(name=st.sampled_from(["cube", "cyl", "cone", "tet"]), tangent=tangents(), pick=st.integers(0, 1000))
def test_an_equal_pose_of_an_object_whose_symmetries_miss_the_origin_is_no_error(name, tangent, pick):
    """Equal poses differ in rotation and position: scores are over whole poses."""
    symmetry, mesh = moved(name)
    truth = pose(so3.exp(tangent)[0].numpy(), (0.05, -0.02, 0.8))
    equal = symmetry.equivalents(torch.from_numpy(truth[:3, :3]), 5.0).numpy()
    rotation = equal[pick % len(equal)]
    hypotheses = summarise(torch.from_numpy(np.repeat(rotation[None], 4, 0)).float())
    centre = truth[:3, :3] @ symmetry.centre + truth[:3, 3]  # where the image shows the solid
    poses = ObjectPoses(name, hypotheses, centre, 1e-6 * np.eye(3), symmetry)
    tracked = ModeTracker().update(hypotheses, 0.0, symmetry)
    record = Scorer({name: mesh})(poses, tracked, truth)
    assert record["best_deg"] < 0.05
    assert record["translation_mm"] < 0.01 and record["position_confidence"] < 0.01
    assert record["mssd_mm"] < 0.3 if name in ("cube", "tet") else record["mssd_mm"] < 5  # a grid about an axis
    assert record["adds_mm"] < 0.006 * DIAMETER * 1e3


def test_a_shift_of_such_an_object_is_told_in_millimetres():
    symmetry, mesh = moved("cube")
    truth = pose(np.eye(3))
    rotation = symmetry.rotations[5]
    hypotheses = summarise(torch.from_numpy(np.repeat(rotation[None], 4, 0)).float())
    poses = ObjectPoses(
        "cube", hypotheses, symmetry.centre_of(truth) + np.array([0, 0.003, 0.004]), 1e-6 * np.eye(3), symmetry
    )
    record = Scorer({"cube": mesh})(poses, ModeTracker().update(hypotheses, 0.0, symmetry), truth)
    assert record["translation_mm"] == pytest.approx(5, abs=1e-3)
    assert record["mssd_mm"] == pytest.approx(5, abs=1e-3)
