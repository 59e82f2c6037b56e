"""Whole poses where the model tells places: samples, modes and their covariance, from the view to metres."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, tangents

from lie_picard import PoseEstimator, so3
from lie_picard.data.seeds import test_generator
from lie_picard.estimation import places
from lie_picard.estimation.poses import ObjectPoses, Target, estimate_poses
from lie_picard.geometry.camera import Camera, look_at, sphere_region
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.grasps import Posterior
from lie_picard.model import checkpoint
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.posterior.covariance import Calibration, at_point
from lie_picard.posterior.hypotheses import posed, summarise
from lie_picard.posterior.tracking import ModeTracker
from lie_picard.rendering.buffers import ViewGeometry

CAMERA = Camera(np.array([[600.0, 0, 319.5], [0, 610.0, 239.5], [0, 0, 1]]), np.zeros(0), 640, 480)
OPENINGS = st.tuples(st.floats(0.03, 0.5), st.floats(0.03, 0.5)).map(lambda one: torch.tensor(one, dtype=torch.float64))
PLACES = st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(-0.7, 0.1)).map(
    lambda one: torch.tensor(one, dtype=torch.float64)
)
LOG_FILL = math.log(0.9)


class Told:
    """A model's places that are linear in the rotation vector from a centre: mean and factor for every image."""

    def __init__(self, mean, factor, slope=None, centre=None):
        self.mean, self.factor = torch.as_tensor(mean), torch.as_tensor(factor)
        self.slope = torch.zeros(3, 3) if slope is None else slope
        self.centre = torch.eye(3) if centre is None else centre
        self.image = torch.zeros(1)

    def __call__(self, rotations, image=None):
        away = so3.log(rotations.double() @ self.centre.double().mT)
        mean = self.mean.double() + away @ self.slope.double().mT
        return mean, self.factor.double().expand(len(rotations), 3, 3)


def model_telling(place, log_deviations=(-4.0, -4.0, -4.0), **changes):
    """The embedded model with a head that tells one place for every image and rotation."""
    embedded = checkpoint.load("default")
    config = dataclasses.replace(embedded.config, position=True)
    model = ScoreModel(config)
    checkpoint.initialise(model, "default")
    model.catalogue = embedded.catalogue
    plain = {"sideways_scale": 1.0, "sideways_floor": 0.0, "range_scale": 1.0, "range_floor": 0.0}
    model.calibration = dataclasses.replace(embedded.calibration, **(plain | changes))
    with torch.no_grad():
        model.position.leave.weight.zero_()
        model.position.leave.bias.copy_(torch.tensor([*place, *log_deviations, 0.0, 0.0, 0.0]))
    return PoseEstimator(model)


@pytest.fixture(scope="module")
def telling():
    return model_telling((0.04, -0.03, math.log(0.88)))  # near enough for one look


@pytest.fixture(scope="module")
def pictures():
    return list(np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8))


# --- the geometry


@given(place=PLACES, opening=OPENINGS)
def test_a_place_becomes_a_centre_and_back(place, opening):
    centre = places.centres(place, opening)
    again = ViewGeometry(centre[None], opening[None]).places()[0]
    torch.testing.assert_close(again, place, atol=1e-9, rtol=0)
    assert float(centre.norm()) > 1


@given(place=PLACES, opening=OPENINGS, tangent=tangents())
def test_a_rotation_goes_into_the_camera_and_back_along_the_ray(place, opening, tangent):
    rotation, centre = so3.exp(tangent), places.centres(place, opening)
    there = places.in_camera(rotation, centre)
    torch.testing.assert_close(ViewGeometry(centre[None], opening[None]).along_ray(there), rotation)


@given(place=PLACES, opening=OPENINGS, tangent=tangents(), change=st.integers(0, 5))
def test_the_jacobian_is_how_the_pose_changes(place, opening, tangent, change):
    rotation, step = so3.exp(tangent)[0], 1e-6

    def pose(by):
        shift = torch.zeros(6, dtype=torch.float64)
        shift[change] = by
        centre = places.centres(place + shift[:3], opening)
        return centre, places.in_camera(so3.exp(shift[3:]) @ rotation, centre)

    (low, before), (high, after) = pose(-step), pose(step)
    found = torch.cat([high - low, so3.log(after @ before.mT)]) / (2 * step)
    torch.testing.assert_close(places.jacobian(place, opening)[:, change], found, atol=2e-5, rtol=1e-5)


def test_an_exact_place_is_where_the_region_says():
    """In the middle and as large as the crop makes it: the position of a model that tells none."""
    centre = np.array([0.12, -0.08, 0.9])
    view = look_at(CAMERA, sphere_region(CAMERA, centre, 0.05), 64, 0.9)
    opening = torch.full((2,), math.tan(view.angular_radius) / 0.9, dtype=torch.float64)
    found = places.centres(torch.tensor([0.0, 0.0, LOG_FILL], dtype=torch.float64), opening)
    np.testing.assert_allclose(view.camera_from_view @ found.numpy() * 0.05, view.position(0.1), atol=1e-12)
    np.testing.assert_allclose(view.position(0.1), centre, atol=1e-6)


# --- samples and modes


def spread(shape, generator):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_a_modes_covariance_is_that_of_drawn_poses(slope):
    """Monte Carlo of the whole way: rotations, a place for each, and the pose that they make."""
    generator, count = test_generator(3), 40_000
    middle = so3.uniform(1, generator=generator, dtype=torch.float64)[0]
    opening = torch.tensor([[0.2, 0.15]], dtype=torch.float64)
    factor = 0.02 * torch.tensor([[1.0, 0, 0], [0.5, 1, 0], [-0.4, 0.3, 2]])
    told = Told((0.3, -0.2, -0.3), factor, slope * spread((3, 3), generator), middle)
    tangents_of = 0.03 * spread((count, 3), generator) @ torch.diag(torch.tensor([1.0, 0.5, 2.0]).double())
    samples = so3.exp(tangents_of) @ middle
    found = summarise(samples[:8].float())
    sigma = torch.diag(torch.tensor([0.03, 0.015, 0.06]).double().square())
    body = (middle.mT @ sigma @ middle).float()
    modes = (dataclasses.replace(found.modes[0], rotation=middle.float(), covariance=body),)
    found = dataclasses.replace(found, modes=modes, mode_of=torch.zeros(8, dtype=torch.int64))
    (whole,) = places.placed([found], told, spread((8, 3), generator), opening, Calibration())
    drawn = places.drawn(told, samples, spread((count, 3), generator))
    there = places.centres(drawn, opening)
    turned = places.in_camera(samples, there)
    best = whole.best
    errors = torch.cat([there - best.position, so3.log(turned @ best.rotation.double().mT)], 1)
    wanted = errors.T @ errors / count
    scale = wanted.diagonal().sqrt()
    off = (best.pose_covariance - wanted) / scale / scale[:, None]
    assert float(off.abs().max()) < 0.06  # first order, and a Monte Carlo of 40,000
    assert float(torch.linalg.eigvalsh(best.pose_covariance).min()) > 0
    back = best.rotation.double() @ best.covariance.double() @ best.rotation.double().mT
    torch.testing.assert_close(best.pose_covariance[3:, 3:], back, rtol=1e-4, atol=1e-9)


def test_a_samples_rotation_is_turned_by_the_place_that_is_drawn_with_it():
    generator = test_generator(5)
    told, opening = Told((0.2, 0.1, -0.2), 0.1 * torch.eye(3)), torch.tensor([[0.3, 0.3]])
    found = summarise(so3.uniform(16, generator=generator))
    (whole,) = places.placed([found], told, torch.randn(16, 3, generator=generator), opening, Calibration())
    back = so3.turn_z_to(whole.positions).mT @ whole.rotations.double()
    torch.testing.assert_close(back.float(), found.rotations, atol=1e-5, rtol=0)
    assert float(whole.positions.std(0).min()) > 0.01


def test_a_rotation_that_nothing_tells_leaves_the_position_known():
    told, opening = Told((0.2, 0.1, -0.2), 0.1 * torch.eye(3)), torch.tensor([[0.3, 0.3]])
    found = summarise(so3.uniform(2, generator=test_generator(1)))
    (whole,) = places.placed([found], told, torch.zeros(2, 3), opening, Calibration())
    for mode in whole.modes:
        assert mode.pose_covariance[:3, :3].isfinite().all() and mode.pose_covariance[3:].isnan().all()
        assert mode.covariance.isnan().all()


def test_the_same_seed_gives_the_same_poses_alone_or_in_a_batch(telling, pictures):
    together = telling.estimate_batch(pictures, 8, seed=3)
    for picture, one in zip(pictures, together, strict=True):
        alone = telling.estimate(picture, 8, seed=3)
        torch.testing.assert_close(alone.positions, one.positions, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(alone.best.pose_covariance, one.best.pose_covariance, atol=1e-6, rtol=1e-4)
    other = telling.estimate(pictures[0], 8, seed=4)
    assert float((other.positions - together[0].positions).abs().max()) > 1e-4


def test_a_model_that_tells_no_places_has_no_positions(pictures):
    model = ScoreModel(dataclasses.replace(checkpoint.load("default").config, position=False))
    checkpoint.initialise(model, "default")
    found = PoseEstimator(model, known=catalogue(BUILT_IN)).estimate(pictures[0], 8, seed=3)
    assert found.positions is None and all(mode.pose_covariance is None for mode in found.modes)


def test_positions_of_a_camera_image_are_metres_on_the_ray_that_the_model_tells(telling):
    centre, diameter = np.array([0.1, -0.05, 0.8]), 0.1
    region = sphere_region(CAMERA, centre, diameter / 2)
    image = np.random.default_rng(1).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    (poses,) = estimate_poses(telling, image, CAMERA, [Target("cube", diameter, region)], 16, 0)
    view = look_at(CAMERA, region, 64, telling.config.fill)
    opening = math.tan(view.angular_radius) / telling.config.fill
    ray = view.camera_from_view @ np.array([0.04 * opening, -0.03 * opening, 1.0])
    distance = diameter / 2 / math.sin(math.atan(0.88 * opening))
    wanted = ray / np.linalg.norm(ray) * distance
    _, positions, covariances = poses.modes()
    np.testing.assert_allclose(positions, np.broadcast_to(wanted, positions.shape), atol=1e-6)
    np.testing.assert_allclose(poses.position, wanted, atol=1e-6)
    assert len(poses.sample_positions) == 16
    away = poses.sample_positions - wanted
    assert 0 < np.abs(away).max() < 0.2 * distance
    assert all(np.linalg.eigvalsh(one).min() > 0 for one in covariances)
    np.testing.assert_allclose(covariances, np.swapaxes(covariances, -1, -2), atol=1e-12)
    # Along the ray: the deviation of the log size, to first order that of the range.
    along = math.sqrt(wanted @ covariances[0][:3, :3] @ wanted) / distance
    assert along == pytest.approx(distance * math.exp(-4), rel=0.05)


def test_calibration_widens_places(pictures):
    narrow, wide = (
        model_telling((0.0, 0.0, LOG_FILL), **changes).estimate(pictures[0], 8, seed=0).best.pose_covariance
        for changes in ({}, {"sideways_scale": 2.0, "range_scale": 3.0})
    )
    ratio = wide.diagonal()[:3] / narrow.diagonal()[:3]
    torch.testing.assert_close(ratio, torch.tensor([4.0, 4.0, 9.0], dtype=torch.float64), rtol=0.01, atol=0)


def test_checkpoints_of_before_have_the_calibration_that_they_had(tmp_path, telling):
    assert Calibration(scale=2.0, floor=0.1, spread=None) == Calibration(2.0, 0.1)
    telling.model.calibration = Calibration(1.5, 0.01, 0.02, 1.2, 0.003, 1.4, 0.004)
    checkpoint.save(telling.model, tmp_path / "one.safetensors")
    assert checkpoint.load(tmp_path / "one.safetensors").calibration == telling.model.calibration
    with pytest.raises(ValueError, match="range_scale must be a finite number of at least 0"):
        Calibration(range_scale=math.nan)


# --- what is made of them


def equal_poses(count=24):
    """Poses of an object that turns about a point beside its origin: each has a position of its own."""
    quarters = so3.exp(torch.tensor([[0, 0, math.pi / 2], [math.pi / 2, 0, 0]], dtype=torch.float64))
    symmetry = Symmetry.generated(quarters.numpy())
    symmetry = dataclasses.replace(symmetry, centre=np.array([0.01, -0.02, 0.005]))
    generator = test_generator(9)
    truth = so3.uniform(1, generator=generator, dtype=torch.float64)[0]
    rotations = symmetry.equivalents(truth, 5.0)[:count]
    point = np.array([0.05, 0.02, 0.7])
    positions = symmetry.origin_at(point, rotations.numpy())
    samples, there = rotations.repeat(3, 1, 1), np.tile(positions, (3, 1))
    found = summarise(samples.float())
    centres = torch.stack([mode.rotation for mode in found.modes]).double()
    own = symmetry.origin_at(point, centres.numpy())
    about = np.diag([1e-6, 2e-6, 9e-6, 1e-4, 3e-4, 2e-4])
    covariances = at_point(np.broadcast_to(about, (len(own), 6, 6)), -centres.numpy() @ symmetry.centre)
    arrays = (torch.from_numpy(np.ascontiguousarray(one)) for one in (there, centres.numpy(), own, covariances))
    return posed(found, samples, *arrays), symmetry, point, about


def test_each_mode_keeps_its_own_position_and_all_show_the_object_at_one_place():
    found, symmetry, point, about = equal_poses()
    poses = ObjectPoses.told("part", found, symmetry)
    rotations, positions, _ = poses.modes()
    assert len(positions) == 24 and np.ptp(positions, axis=0).max() > 0.02
    np.testing.assert_allclose(positions + rotations @ symmetry.centre, np.broadcast_to(point, (24, 3)), atol=1e-6)
    np.testing.assert_allclose(poses.position, point, atol=1e-6)
    np.testing.assert_allclose(poses.position_covariance, about[:3, :3], atol=1e-12)
    shown = Posterior.of(poses)
    np.testing.assert_allclose(shown.camera_from_object[:, :3, 3].numpy(), positions)


def test_the_followed_pose_has_the_position_and_covariance_of_the_modes_that_look_like_it():
    found, symmetry, point, about = equal_poses()
    tracked = ModeTracker().update(found, 0.0, symmetry)
    np.testing.assert_allclose(tracked.best_position + tracked.best @ symmetry.centre, point, atol=1e-6)
    again = at_point(tracked.best_pose_covariance, tracked.best @ symmetry.centre)
    np.testing.assert_allclose(again, about, atol=1e-9)
    np.testing.assert_allclose(
        tracked.best_pose_covariance[3:, 3:], tracked.best @ tracked.best_covariance @ tracked.best.T, atol=1e-8
    )


@given(lever=st.tuples(*[st.floats(-0.1, 0.1)] * 3), seed=st.integers(0, 99))
@examples(30)
def test_a_pose_of_another_point_of_the_body_has_the_covariance_of_moved_draws(lever, seed):
    generator, lever = np.random.default_rng(seed), np.array(lever)
    factor = 1e-3 * generator.normal(size=(6, 6))
    draws = generator.normal(size=(2000, 6)) @ factor.T
    exact = draws.copy()
    exact[:, :3] += np.cross(draws[:, 3:], lever)
    np.testing.assert_allclose(at_point(np.cov(draws.T), lever), np.cov(exact.T), atol=1e-12)
    np.testing.assert_allclose(at_point(at_point(np.cov(draws.T), lever), -lever), np.cov(draws.T), atol=1e-12)


def test_a_mode_that_looks_the_same_errs_as_the_pose_about_its_own_origin():
    """An object 2 cm beside its symmetries' centre: a turn that is off moves its origin."""
    found, symmetry, _, about = equal_poses()
    rotations, _, covariances = ObjectPoses.told("part", found, symmetry).modes()
    for rotation, covariance in zip(rotations, covariances, strict=True):
        lever = -rotation @ symmetry.centre
        wanted = about[:3, :3] + np.cross(np.eye(3), lever).T @ about[3:, 3:] @ np.cross(np.eye(3), lever)
        np.testing.assert_allclose(covariance[:3, :3], wanted, atol=1e-9)
