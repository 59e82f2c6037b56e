"""A measured range and the image's own, weighed by their covariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from test_position import CAMERA, DISTANCE, DISTORTED, FISHEYE, NAMES, PLACES, RADIUS, Scene
from test_position_told import equal_poses, model_telling

from lie_picard import so3
from lie_picard.data.seeds import test_generator
from lie_picard.estimation.fusion import APART, fused
from lie_picard.estimation.poses import ObjectPoses, Target, estimate_poses
from lie_picard.estimation.position import range_from_depth, region_of
from lie_picard.geometry.camera import sphere_region
from lie_picard.posterior.hypotheses import posed, summarise

RAY = np.array([0.1, -0.2, 1.0]) / np.linalg.norm([0.1, -0.2, 1.0])
AWAY = 0.8


def poses_of(covariance, count=400, seed=0):
    """One mode at `AWAY` on the ray, and samples that spread as it says."""
    generator = test_generator(seed)
    rotation = so3.uniform(1, generator=generator, dtype=torch.float64)[0]
    draws = np.random.default_rng(seed).multivariate_normal(np.zeros(6), covariance, count)
    samples = so3.exp(torch.from_numpy(draws[:, 3:])) @ rotation
    found = summarise(samples.float())
    assert len(found.modes) == 1
    there = torch.from_numpy(AWAY * RAY + draws[:, :3])
    place, matrix = torch.from_numpy(AWAY * RAY)[None], torch.from_numpy(covariance)[None]
    return posed(found, samples, there, rotation[None], place, matrix)


def covariances(seed):
    factor = np.random.default_rng(seed).normal(size=(6, 6)) * np.array([2e-3, 2e-3, 1e-2, 0.02, 0.02, 0.02])[:, None]
    return factor @ factor.T


def along(covariance):
    return float(RAY @ covariance[:3, :3] @ RAY)


@given(seed=st.integers(0, 200), sigma=st.floats(1e-4, 0.05), off=st.floats(-2, 2))
@examples(40)
def test_the_two_add_their_information_along_the_ray(seed, sigma, off):
    before = covariances(seed)
    measured = AWAY + off * math.hypot(sigma, math.sqrt(along(before)))
    found, apart = fused(poses_of(before, 20), measured, sigma, np.zeros(3))
    after = found.best.pose_covariance.numpy()
    assert 1 / along(after) == pytest.approx(1 / along(before) + 1 / sigma**2, rel=1e-6)
    assert along(after) <= min(along(before), sigma**2) and apart == pytest.approx(abs(off), rel=1e-6)
    assert np.linalg.eigvalsh(before - after).min() > -1e-9 * np.trace(before)  # smaller in no direction is larger
    assert np.linalg.eigvalsh(after).min() > 0
    share = along(before) / (along(before) + sigma**2)
    moved = float(RAY @ (found.best.position.numpy() - AWAY * RAY))
    assert moved == pytest.approx(share * (measured - AWAY), abs=1e-9)


def test_samples_go_where_the_modes_go_and_spread_as_much():
    before = covariances(3)
    sigma = 0.5 * math.sqrt(along(before))
    found, _ = fused(poses_of(before, 2500), AWAY + sigma, sigma, np.zeros(3))
    best = found.best
    away = (found.positions - best.position).numpy()
    assert (np.abs(away.mean(0)) < 4 * np.sqrt(best.pose_covariance.diagonal()[:3].numpy() / 2500)).all()
    turns = so3.log(found.rotations.double() @ best.rotation.double().mT).numpy()
    wanted = best.pose_covariance.numpy()
    scale = np.sqrt(wanted.diagonal())
    np.testing.assert_allclose(np.cov(np.concatenate([away, turns], 1).T) / scale / scale[:, None],
                               wanted / scale / scale[:, None], atol=0.12)  # fmt: skip


def test_a_range_that_contradicts_the_image_counts_alone():
    before = covariances(3)
    sigma, far = 0.002, AWAY + 20 * math.sqrt(along(before))
    found, apart = fused(poses_of(before), far, sigma, np.zeros(3))
    assert apart > APART
    assert float(RAY @ found.best.position.numpy()) == pytest.approx(far, abs=1.1 * sigma)
    assert along(found.best.pose_covariance.numpy()) == pytest.approx(sigma**2, rel=0.05)


def test_equal_poses_stay_equal():
    """The heaviest mode's origin is what is measured; the others' lie elsewhere by what their turns make of it."""
    found, symmetry, point, _ = equal_poses()
    ray = found.best.position.numpy() / np.linalg.norm(found.best.position.numpy())
    away = float(np.linalg.norm(found.best.position.numpy()))
    moved, _ = fused(found, away + 0.01, 1e-5, symmetry.centre)
    rotations, positions, _ = ObjectPoses.told("part", moved, symmetry).modes()
    shown = positions + rotations @ symmetry.centre
    np.testing.assert_allclose(shown, np.broadcast_to(shown[0], shown.shape), atol=2e-4)
    # What errs with the range moves along, as the covariance of the origin says.
    assert float((shown[0] - point) @ ray) == pytest.approx(0.01, abs=3e-3)


@pytest.mark.parametrize("place", PLACES)
def test_the_region_of_a_sphere_is_its_outlines_box(place):
    scene = Scene("cube", 0, place)
    exact, found = sphere_region(CAMERA, scene.position, RADIUS), region_of(CAMERA, scene.position, RADIUS)
    np.testing.assert_allclose([found.x, found.y, found.width, found.height],
                               [exact.x, exact.y, exact.width, exact.height], atol=0.3)  # fmt: skip
    for camera in (DISTORTED, FISHEYE):
        seen, box = Scene("cube", 0, place, camera), region_of(camera, scene.position, RADIUS)
        assert box.x == pytest.approx(seen.region.x, abs=0.6) and box.width == pytest.approx(seen.region.width, abs=1)
    assert region_of(CAMERA, np.array([0.0, 0.0, 0.5 * RADIUS]), RADIUS) is None
    assert region_of(CAMERA, np.array([0.0, 0.3, -1.0]), RADIUS) is None


@pytest.mark.parametrize("name", NAMES)
def test_depth_is_looked_for_where_the_image_shows_the_object(name):
    """The region is a quarter too large; the model sees the object's true size, and the surface is found there."""
    scene = Scene(name, 3, PLACES[1]).with_noise().with_region(1.25)
    region = region_of(CAMERA, scene.position, RADIUS)
    distance, sigma = range_from_depth(scene.depth, CAMERA, region, 1.02 * scene.position, RADIUS, scene.rotation,
                                       scene.shape)  # fmt: skip
    assert abs(distance - DISTANCE) < max(0.002 * DISTANCE, 3 * sigma)


def estimated(scene, size, deviation, depth):
    """By a model that tells a size, relative to the true one, of a region that is exact."""
    told = model_telling((0.0, 0.0, math.log(0.9 * size)), (-5.0, -5.0, math.log(deviation)))
    depth = scene.depth if depth else None
    target = Target("cube", 2 * RADIUS, scene.region)
    (found,) = estimate_poses(told, scene.image, CAMERA, [target], 8, 0, depth=depth)
    return found


def test_with_depth_the_range_is_better_than_without():
    scene = Scene("cube", 4, (0.1, 0.1)).with_noise()
    by_size, both = (estimated(scene, 1.03, 0.03, depth) for depth in (False, True))
    error = lambda found: abs(float(np.linalg.norm(found.position)) - DISTANCE)  # noqa: E731
    assert error(by_size) == pytest.approx(0.03 * DISTANCE, rel=0.1)
    assert error(both) < 0.2 * error(by_size) and not both.complaints
    ray = scene.position / DISTANCE
    variances = [ray @ found.position_covariance @ ray for found in (by_size, both)]
    assert variances[1] < 0.1 * variances[0]


def test_where_the_two_contradict_each_other_one_line_says_which_counts():
    found = estimated(Scene("cube", 4, (0.1, 0.1)).with_noise(), 1.15, 0.008, True)
    (complaint,) = found.complaints
    assert "the depth image counts" in complaint and "'cube'" in complaint and "\n" not in complaint
    assert abs(float(np.linalg.norm(found.position)) - DISTANCE) < 0.01 * DISTANCE


def test_without_usable_depth_the_models_own_range_counts():
    scene = Scene("cube", 4, (0.1, 0.1))
    scene.depth[:] = np.nan
    found = estimated(scene, 1.03, 0.03, True)
    (complaint,) = found.complaints
    assert "'cube' has its range from its size" in complaint
    assert float(np.linalg.norm(found.position)) == pytest.approx(DISTANCE / 1.03, rel=0.01)
