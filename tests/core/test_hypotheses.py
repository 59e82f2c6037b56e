"""From samples to modes: weights, means, covariances, and the kind of ambiguity."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from lie_picard import so3
from lie_picard.objects.symsol.solids import solid
from lie_picard.posterior.covariance import Calibration
from lie_picard.posterior.hypotheses import Ambiguity, find_modes, summarise

NOISE = math.radians(0.5)


def cloud(centres, weights, count, seed, noise=NOISE):
    """(count, 3, 3) samples around centres with these weights."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.multinomial(torch.tensor(weights), count, replacement=True, generator=generator)
    return centres[index] @ so3.exp(noise * torch.randn(count, 3, generator=generator)), index


@examples(20)
@given(st.integers(0, 2**31))
def test_separate_modes_are_found_with_their_weights_and_means(seed):
    generator = torch.Generator().manual_seed(seed)
    base = so3.uniform(1, generator=generator)
    centres = base @ torch.from_numpy(solid("cube").bare.rotations).float()[:4]
    samples, index = cloud(centres, [0.5, 0.3, 0.15, 0.05], 200, seed)
    modes, mode_of = find_modes(samples)
    present = index.unique()
    assert len(modes) == len(present)
    assert sum(mode.weight for mode in modes) == pytest.approx(1)
    for k, mode in enumerate(modes):
        assert mode.count == int((mode_of == k).sum())
        true = index[mode_of == k].unique()
        assert len(true) == 1
        assert so3.angle(mode.rotation, centres[true[0]]) < 5 * NOISE / math.sqrt(mode.count)
    assert [mode.count for mode in modes] == sorted((mode.count for mode in modes), reverse=True)


@examples(10)
@given(st.integers(0, 2**31))
def test_turning_the_camera_turns_the_modes_and_nothing_else(seed):
    generator = torch.Generator().manual_seed(seed)
    centres, turn = so3.uniform(3, generator=generator), so3.uniform(1, generator=generator)[0]
    samples, _ = cloud(centres, [0.6, 0.3, 0.1], 60, seed)
    here, there = summarise(samples), summarise(turn @ samples)
    assert [m.count for m in here.modes] == [m.count for m in there.modes]
    assert here.ambiguity == there.ambiguity
    for a, b in zip(here.modes, there.modes, strict=True):
        assert so3.angle(turn @ a.rotation, b.rotation) < 1e-4
        torch.testing.assert_close(a.covariance, b.covariance, atol=1e-5, rtol=0, equal_nan=True)


def test_the_covariance_is_the_samples_in_the_body_frame(generator):
    spread = torch.tensor([0.02, 0.05, 0.08])
    centre = so3.uniform(1, generator=generator)[0]
    samples = centre @ so3.exp(spread * torch.randn(5000, 3, generator=generator))
    modes, _ = find_modes(samples, radius=1.0)
    torch.testing.assert_close(modes[0].covariance, spread.square().diag(), atol=4e-4, rtol=0)


def test_one_sample_has_no_spread(generator):
    (mode,), _ = find_modes(so3.uniform(1, generator=generator))
    assert mode.covariance.isnan().all() and mode.weight == 1


def test_calibration_widens_what_is_reported(generator):
    samples = so3.exp(0.01 * torch.randn(50, 3, generator=generator))
    plain, honest = summarise(samples).best, summarise(samples, calibration=Calibration(2.0, 0.005)).best
    expected = 4 * plain.covariance + 0.005**2 * torch.eye(3)
    torch.testing.assert_close(honest.covariance, expected)
    assert torch.equal(honest.rotation, plain.rotation)


@pytest.mark.parametrize("count", [32, 100, 200])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["tet", "cube", "icosa"])
def test_polyhedra_are_discrete(name, seed, count):
    group = torch.from_numpy(solid(name).bare.rotations).float()
    samples, _ = cloud(group, [1.0] * len(group), count, seed)
    found = summarise(samples)
    assert found.ambiguity is Ambiguity.DISCRETE and found.axis is None
    assert len(found.modes) <= len(group)


@pytest.mark.parametrize("count", [32, 100, 200])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["cone", "cyl"])
def test_round_solids_are_axial_about_their_axis(name, seed, count):
    generator = torch.Generator().manual_seed(seed)
    base = so3.uniform(1, generator=generator)[0]
    circle = solid(name).bare.equivalents(base, 1.0)
    samples, _ = cloud(circle, [1.0] * len(circle), count, seed)
    found = summarise(samples)
    assert found.ambiguity is Ambiguity.AXIAL
    assert found.axis[2].abs() > math.cos(math.radians(3))


@pytest.mark.parametrize("seed", range(5))
def test_a_bolt_is_six_poses_and_not_an_axis(seed):
    turns = so3.about_axis(torch.tensor([0.0, 0, 1]), torch.arange(6) * (math.pi / 3))
    samples, _ = cloud(turns, [1.0] * 6, 48, seed)
    found = summarise(samples)
    assert found.ambiguity is Ambiguity.DISCRETE and len(found.modes) == 6


def test_one_pose_stays_one_with_a_stray_sample(generator):
    samples, _ = cloud(so3.uniform(1, generator=generator), [1.0], 63, 0)
    assert summarise(samples).ambiguity is Ambiguity.ONE_POSE
    stray = torch.cat([samples, so3.uniform(1, generator=generator)])
    assert summarise(stray).ambiguity is Ambiguity.ONE_POSE


def test_samples_that_are_equal_to_the_bit_count_as_neighbours():
    turn = so3.exp(torch.tensor([0.0, 0.0, 2.0]))
    twice = torch.cat([torch.eye(3).expand(16, 3, 3), turn.expand(16, 3, 3)])
    assert summarise(twice).ambiguity is Ambiguity.DISCRETE


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_samples_say_nothing_about_ambiguity(count):
    assert summarise(torch.eye(3).expand(count, 3, 3)).ambiguity is Ambiguity.UNRESOLVED


@pytest.mark.parametrize("count", [32, 200])
def test_samples_from_everywhere_are_unresolved(count, generator):
    assert summarise(so3.uniform(count, generator=generator)).ambiguity is Ambiguity.UNRESOLVED


@pytest.mark.parametrize("bad", [torch.zeros(0, 3, 3), torch.eye(3)])
def test_samples_of_another_shape_are_refused(bad):
    with pytest.raises(ValueError, match="samples"):
        find_modes(bad)
