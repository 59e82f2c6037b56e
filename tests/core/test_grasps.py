"""Grasps under an ambiguous pose: what succeeds, what is chosen, and that the stated probability comes true."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from lie_picard import so3
from lie_picard.data.seeds import test_generator
from lie_picard.data.testset import cases
from lie_picard.estimation.poses import ObjectPoses
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.grasps import (
    Grasp,
    Posterior,
    best_grasp,
    best_pose_grasp,
    rigid,
    success,
    success_probability,
    symmetric,
)
from lie_picard.objects.symsol.solids import solid
from lie_picard.posterior.hypotheses import Mode, summarise

Z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
RADIUS_M = 0.05  # one unit of the solids
POSITION = torch.tensor([0.0, 0.0, 0.6], dtype=torch.float64)
SPREAD = torch.diag(torch.tensor([0.001, 0.001, 0.002, 0.03, 0.03, 0.03], dtype=torch.float64)).square()
REACH = math.radians(75)
TIGHT = {"tilt": math.radians(15), "turn": math.radians(15), "distance": 0.01}


def pose(rotation, position=(0.0, 0.0, 0.0)):
    return rigid(torch.as_tensor(rotation, dtype=torch.float64), torch.as_tensor(position, dtype=torch.float64))


def pointing(direction, closing, position=(0.0, 0.0, 0.0)):
    """A gripper that approaches along a direction and closes along another."""
    z, x = (torch.nn.functional.normalize(torch.as_tensor(v, dtype=torch.float64), dim=0) for v in (direction, closing))
    return pose(torch.stack([x, torch.linalg.cross(z, x), z], 1), position)


def posterior(rotations, weights=None, position=POSITION, spread=SPREAD):
    count = len(rotations)
    weights = torch.full((count,), 1 / count) if weights is None else torch.as_tensor(weights)
    return Posterior(weights.double(), rigid(rotations.double(), position.expand(count, 3)), spread.expand(count, 6, 6))


def placed(hypotheses, sigma):
    """An object that its region shows at `POSITION`."""
    bare = dataclasses.replace(hypotheses, positions=None)
    return ObjectPoses("part", bare, POSITION.numpy(), sigma**2 * np.eye(3), Symmetry.none())


# A mug stands on the table and is seen from above at 45 degrees; its rim can be held anywhere, its handle (at +x) once.
RIM = Grasp("rim", pointing((0, 0, -1), (1, 0, 0), (0.04, 0, 0.05)), **TIGHT, quality=0.8).around(Z, 36)
HANDLE = Grasp("handle", pointing((-0.7, 0, -0.7), (0, 1, 0), (0.06, 0, 0)), **TIGHT, quality=0.98)
MUG = [HANDLE, *RIM]
STANDING = so3.exp(torch.tensor([[-math.radians(135), 0.0, 0.0]], dtype=torch.float64))

# A bolt's head has six equal angles; its slot goes only one way.
BOLT = [
    Grasp("slot", pointing((0, 0, -1), (1, 0, 0), (0, 0, 0.01)), 0.2, 0.15, 0.006, quality=0.95, jaws=1),
    *Grasp("head", pointing((0, 0, -1), (1, 0, 0)), 0.2, 0.15, 0.006, quality=0.85).around(Z, 6),
]

# The embedded solids with their markers. The back of the dot is best for suction, but needs the angle; jaws hold the
# sides at any.
CYLINDER = [
    Grasp("back", pointing((1, 0, 0), (0, 1, 0), (-0.6 * RADIUS_M, 0, 0)), 0.3, math.pi, 0.01, quality=0.95),
    *Grasp("side", pointing((-1, 0, 0), (0, 1, 0)), 0.3, 0.3, 0.008, quality=0.8).around(Z, 36),
]


def tetrahedron():
    """One of the three grey faces is smooth, best for suction; jaws hold any of the tips."""
    shape = solid("tetX")
    planes, red = shape.planes.double(), shape.markers[0].centre.double()
    normal, height = planes[(planes[:, :3] @ red).argmin(), :3], planes[0, 3]
    tip = -planes[0, :3]
    across = torch.linalg.cross(tip, normal if abs(float(tip @ normal)) < 0.9 else planes[1, :3])
    return [
        Grasp("smooth", pointing(-normal, across, RADIUS_M * height * normal), 0.25, math.pi, 0.008, quality=0.95),
        *Grasp("tip", pointing(-tip, across, 0.6 * RADIUS_M * tip), 0.25, 0.25, 0.008, quality=0.75).turned(
            torch.from_numpy(shape.bare.rotations)
        ),
    ]


# --- what succeeds


@pytest.mark.parametrize(
    ("offset", "holds"),
    [
        (pose(torch.eye(3)), True),
        (pose(torch.eye(3), (0.006, 0.006, 0.0)), True),
        (pose(torch.eye(3), (0.008, 0.008, 0.0)), False),
        (pose(so3.exp(torch.tensor([0.25, 0.0, 0.0]))), True),
        (pose(so3.exp(torch.tensor([0.2, 0.2, 0.0]))), False),
        (pose(so3.exp(torch.tensor([0.0, 0.0, 0.25]))), True),
        (pose(so3.exp(torch.tensor([0.0, 0.0, 0.3]))), False),
        (pose(so3.exp(torch.tensor([0.0, 0.0, math.pi - 0.25]))), True),  # parallel jaws turned over
        (pose(so3.exp(torch.tensor([math.pi, 0.0, 0.0]))), False),
    ],
)
def test_a_grasp_holds_up_to_its_tolerances_in_the_grippers_frame(offset, holds, generator):
    grasp = Grasp("one", pose(so3.uniform(1, generator=generator)[0], (0.1, 0.2, 0.3)), **TIGHT, quality=0.7)
    objects = pose(so3.uniform(1, generator=generator)[0], (0.0, 0.1, 0.8))[None]
    gripper = objects @ grasp.object_from_gripper @ offset
    assert float(success(gripper, objects, [grasp])) == pytest.approx(0.7 * holds)


@examples(20)
@given(st.integers(0, 2**31))
def test_turning_the_camera_changes_no_probability(seed):
    generator = torch.Generator().manual_seed(seed)
    turn = so3.uniform(1, generator=generator, dtype=torch.float64)[0]
    poses = rigid(so3.uniform(4, generator=generator, dtype=torch.float64), torch.rand(4, 3, generator=generator))
    grippers = (poses[:, None] @ torch.stack([g.object_from_gripper for g in BOLT])).flatten(0, 1)
    there = pose(turn)
    torch.testing.assert_close(success(there @ grippers, there @ poses, BOLT), success(grippers, poses, BOLT))


def test_the_probability_is_the_gaussians_mass_within_the_tolerance():
    """A suction cup that may be off by one sigma along one axis, and by anything else."""
    spread = torch.zeros(6, 6, dtype=torch.float64)
    spread[0, 0] = 0.004**2
    grasp = Grasp("cup", pose(torch.eye(3)), 0.3, math.pi, 0.004)
    one = posterior(torch.eye(3)[None], spread=spread)
    p = success_probability(one, one.camera_from_object, [grasp], 4096)
    assert float(p) == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.005)
    turned = spread.roll((3, 3), (0, 1)) * (0.1 / 0.004) ** 2  # rotation about X by 0.1 rad
    p = success_probability(posterior(torch.eye(3)[None], spread=turned), one.camera_from_object, [grasp], 4096)
    assert float(p) == pytest.approx(math.erf(3 / math.sqrt(2)), abs=0.005)


def test_the_modes_of_the_estimator_become_a_posterior(generator):
    rotation, spread = so3.uniform(1, generator=generator)[0], torch.diag(torch.tensor([0.01, 0.02, 0.03])).square()
    known = summarise(rotation.expand(8, 3, 3))
    known = dataclasses.replace(
        known, modes=(Mode(rotation, 0.6, spread, 5), Mode(rotation.T, 0.4, spread * math.nan, 1))
    )
    made = Posterior.of(placed(known, 1e-3), unknown_sigma=0.2)
    draws = made.draws(8192, 0)
    tangents = so3.log(rotation.double().T @ draws[0, :, :3, :3])
    torch.testing.assert_close(tangents.T.cov(), spread.double(), atol=2e-5, rtol=0.02)
    assert float(so3.log(rotation.double() @ draws[1, :, :3, :3]).std()) == pytest.approx(0.2, rel=0.02)
    torch.testing.assert_close(draws[..., :3, 3].mean((0, 1)), POSITION, atol=1e-4, rtol=0)


def test_samples_of_whole_poses_are_a_posterior(generator):
    """The probability is the share of the samples at which the grasp holds."""
    rotations = torch.eye(3).expand(10, 3, 3)
    positions = POSITION + torch.tensor([[0.002 * k, 0.0, 0.0] for k in range(10)], dtype=torch.float64)
    made = Posterior.of_samples(rotations, positions)
    cup = Grasp("cup", pose(torch.eye(3)), 0.3, math.pi, 0.0041)
    p = success_probability(made, pose(torch.eye(3), POSITION)[None], [cup], 64)
    assert float(p) == pytest.approx(0.3)


# --- what is chosen


def test_six_equal_angles_beat_the_one_true_angle():
    angles = torch.arange(6, dtype=torch.float64) * math.pi / 3
    down = so3.exp(torch.tensor([math.pi, 0.0, 0.0], dtype=torch.float64))
    ambiguous = posterior(down @ so3.about_axis(Z, angles))
    choice, naive = best_grasp(ambiguous, BOLT), best_pose_grasp(ambiguous.best, ambiguous, BOLT)
    assert choice.grasp.grasp_id == "head" and choice.probability > 0.75
    assert naive.grasp.grasp_id == "slot" and naive.probability < 0.2
    certain = best_grasp(posterior(ambiguous.best[None, :3, :3]), BOLT)
    assert certain.grasp.grasp_id == "slot" and certain.probability > 0.85


def test_a_grasp_from_behind_is_not_reachable():
    facing = posterior(torch.eye(3)[None])
    front, back = (Grasp(name, pointing((0, 0, z), (1, 0, 0)), **TIGHT) for name, z in (("front", 1), ("back", -1)))
    assert best_grasp(facing, [back, front], REACH).grasp.grasp_id == "front"
    assert best_grasp(facing, [back], REACH) is None and best_pose_grasp(facing.best, facing, [back], REACH) is None


@examples(8)
@given(st.integers(0, 2**31))
def test_no_candidate_is_better_than_the_choice(seed):
    generator = torch.Generator().manual_seed(seed)
    turns = STANDING @ so3.about_axis(Z, 6.28 * torch.rand(5, generator=generator, dtype=torch.float64))
    shown = posterior(turns, torch.rand(5, generator=generator).softmax(0))
    choice = best_grasp(shown, MUG, REACH)
    candidates = (shown.camera_from_object[:, None] @ torch.stack([g.object_from_gripper for g in MUG])).flatten(0, 1)
    candidates = candidates[candidates[:, 2, 2] >= math.cos(REACH)]
    assert choice.probability >= float(success_probability(shown, candidates, MUG, 4096, seed=1).max()) - 0.02
    assert choice.probability >= best_pose_grasp(shown.best, shown, MUG, REACH).probability - 0.02


# --- what comes true


class Trials:
    """Grasps executed on the true pose; a grasp within tolerance holds as often as its quality says."""

    def __init__(self, grasps, seed):
        self.grasps, self.generator = grasps, test_generator(seed)
        self.stated, self.planned, self.best_pose = [], [], []

    def run(self, shown, truth):
        choice = best_grasp(shown, self.grasps, REACH)
        naive = best_pose_grasp(shown.best, shown, self.grasps, REACH)
        luck = float(torch.rand(1, generator=self.generator))
        self.stated.append(choice.probability if choice else 0.0)
        for results, picked in ((self.planned, choice), (self.best_pose, naive)):
            held = float(success(picked.camera_from_gripper[None], truth[None], self.grasps)) if picked else 0.0
            results.append(luck < held)

    def report(self):
        """Success rates of the planner and of the best pose alone, and the mean stated probability."""
        return tuple(sum(values) / len(values) for values in (self.planned, self.best_pose, self.stated))

    def surprise(self, low=0.0, high=1.0):
        """Standard errors by which the successes among those stated in [low, high] differ from what was stated."""
        pairs = [(p, s) for p, s in zip(self.stated, self.planned, strict=True) if low <= p <= high]
        variance = sum(p * (1 - p) for p, _ in pairs)
        return abs(sum(s - p for p, s in pairs)) / math.sqrt(variance + 1e-9)


def mug(generator):
    """Half of the time the handle is in view, else clutter hides it: anywhere in an arc of 200 degrees."""
    view = STANDING @ so3.about_axis(Z, 6.28 * torch.rand(1, generator=generator, dtype=torch.float64))
    if float(torch.rand(1, generator=generator)) < 0.5:
        return view, torch.ones(1)
    arc = torch.deg2rad(torch.linspace(-100, 100, 11, dtype=torch.float64))
    return view @ so3.about_axis(Z, arc), torch.full((11,), 1 / 11)


def bolt(generator):
    """Seen from near the axis; sometimes the slot shows."""
    tilt = torch.tensor([math.pi, 0.0, 0.0]) + 0.4 * torch.randn(3, generator=generator)
    weights = (2 * torch.randn(6, generator=generator)).softmax(0)
    return so3.exp(tilt.double()) @ so3.about_axis(Z, torch.arange(6.0).double() * math.pi / 3), weights


@pytest.mark.parametrize(("scene", "grasps", "gain"), [(mug, MUG, 0.1), (bolt, BOLT, 0.1)])
def test_all_hypotheses_beat_the_best_pose_and_the_probability_comes_true(scene, grasps, gain, generator):
    trials = Trials(grasps, seed=3)
    for _ in range(200):
        rotations, weights = scene(generator)
        shown = posterior(rotations, weights)
        true = int(torch.multinomial(weights, 1, generator=generator))
        shift = SPREAD.diagonal().sqrt() * torch.randn(6, generator=generator)
        mean = shown.camera_from_object[true]
        trials.run(shown, pose(so3.exp(shift[3:]) @ mean[:3, :3], mean[:3, 3] + shift[:3]))
    planned, best_pose, stated = trials.report()
    print(f"{scene.__name__}: planner {planned:.2f}, best pose alone {best_pose:.2f}, stated {stated:.2f}")
    assert planned > best_pose + gain
    assert trials.surprise() < 3
    assert all(trials.surprise(low, low + 0.2) < 3 for low in (0.0, 0.2, 0.4, 0.6, 0.8))


@pytest.mark.parametrize(("name", "grasps", "gain"), [("cylO", CYLINDER, 0.2), ("tetX", tetrahedron(), 0.05)])
def test_on_images_with_a_hidden_marker_the_planner_beats_the_best_pose(name, grasps, gain, estimator):
    """From pixels: the estimator's modes, judged at the pose that was rendered."""
    chosen, trials = test_generator(21), Trials(grasps, seed=5)
    for case in cases(estimator.config, solid(name), 90, chosen):
        hidden = [k for k in range(len(case.images)) if case.hidden(k)]
        found = estimator.estimate_batch(
            [case.images[k].numpy() for k in hidden], 64, seed=2, names=[name] * len(hidden)
        )
        for k, hypotheses in zip(hidden, found, strict=True):
            shown = Posterior.of(placed(hypotheses, 1e-3))
            shift = 0.001 * torch.randn(3, generator=trials.generator)
            trials.run(shown, pose(case.poses.truth[k].double(), POSITION + shift))
    planned, best_pose, stated = trials.report()
    print(f"{name}: planner {planned:.2f}, best pose alone {best_pose:.2f}, stated {stated:.2f}")
    assert len(trials.stated) >= 20
    assert planned > best_pose + gain
    assert trials.surprise() < 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tilt": 2.0}, "tilt must be above 0 and at most"),
        ({"turn": 0.0}, "turn must be above 0"),
        ({"distance": math.nan}, "distance must be above 0"),
        ({"quality": 1.5}, "quality must be above 0 and at most 1"),
        ({"jaws": 0}, "jaws must be at least 1"),
        ({"object_from_gripper": 2 * torch.eye(4)}, "rigid transform"),
    ],
)
def test_a_grasp_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(HANDLE, **change)


@pytest.mark.parametrize(
    ("weights", "rotation", "spread", "message"),
    [
        ([math.nan, 0.5], torch.eye(3), SPREAD, "not finite"),
        ([0.9, 0.9], torch.eye(3), SPREAD, "weights must"),
        ([1.5, -0.5], torch.eye(3), SPREAD, "weights must"),
        ([0.5, 0.5], 2 * torch.eye(3), SPREAD, "not a rotation"),
        ([0.5, 0.5], torch.eye(3), -SPREAD, "negative eigenvalues"),
    ],
)
def test_a_posterior_that_makes_no_sense_is_refused(weights, rotation, spread, message):
    with pytest.raises(ValueError, match=message):
        posterior(rotation.expand(2, 3, 3), weights, spread=spread)


def test_turns_about_an_axis_beside_the_origin_keep_a_grasp_at_its_distance_from_it():
    offset = torch.tensor([0.02, -0.01, 0.0], dtype=torch.float64)
    turned = Grasp("rim", pointing((0, 0, -1), (1, 0, 0), (0.06, 0, 0.05)), 0.1, 0.1, 0.01).around(Z, 12, offset)
    places = torch.stack([grasp.object_from_gripper[:3, 3] for grasp in turned])
    reach = (places - offset)[:, :2].norm(dim=1)
    torch.testing.assert_close(reach, reach[:1].expand(12), atol=1e-12, rtol=0)
    assert len({tuple(place.round(decimals=6).tolist()) for place in places}) == 12


def test_a_grasp_that_is_turned_by_the_symmetry_succeeds_at_every_pose_that_looks_the_same(generator):
    """Of a part whose axis is beside its origin, as in a frame of CAD: one grasp is told, whichever pose is true."""
    turns = so3.about_axis(Z, torch.arange(6).double() * math.pi / 3)
    centre = torch.tensor([0.02, -0.01, 0.03], dtype=torch.float64)
    shifts = centre - turns @ centre
    nut = Symmetry.generated(turns[1:].numpy(), translations=shifts[1:].numpy())
    grasp = Grasp("flat", pointing((-1, 0, 0), (0, 0, 1), (0.05, -0.01, 0.03)), 0.1, 0.1, 0.002)
    place = pose(so3.uniform(1, generator=generator, dtype=torch.float64)[0], (0.1, 0.0, 0.7))
    alike = place @ rigid(turns, shifts)
    gripper = (place @ grasp.object_from_gripper)[None]
    assert success(gripper, alike, [grasp])[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert success(gripper, alike, symmetric([grasp], nut))[0].tolist() == [1] * 6
    axial = Symmetry.generated([], axes=[(0, 0, 1)], offsets=[centre.numpy()])
    assert len(symmetric([grasp], axial)) == 36 and bool(success(gripper, alike, symmetric([grasp], axial)).all())
