"""Covariances of modes: honest however few the samples, and the same whatever way the camera or the body is turned."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from lie_picard import so3
from lie_picard.evaluation.metrics import confidence
from lie_picard.objects.symsol.solids import solid
from lie_picard.posterior.covariance import Calibration
from lie_picard.posterior.hypotheses import find_modes

SIGMAS = torch.tensor([0.01, 0.02, 0.015], dtype=torch.float64)  # about the camera's axes


def drawn(name, count, generator, sigmas=SIGMAS):
    """The true pose, and samples of an honest model: the image's error, and each sample's, are of the same kind."""
    truth = so3.uniform(1, generator=generator)[0].double()
    seen = so3.exp(sigmas * torch.randn(1, 3, generator=generator).double())[0] @ truth
    equal = solid(name).bare.equivalents(seen, 1.0).double().reshape(-1, 3, 3)
    chosen = equal[torch.randint(len(equal), (count,), generator=generator)]
    return truth, so3.exp(sigmas * torch.randn(count, 3, generator=generator).double()) @ chosen


@pytest.mark.parametrize("count", [8, 40])
@pytest.mark.parametrize("name", ["tet", "icosa", "cyl"])
def test_regions_of_an_honest_model_are_honest_however_few_the_samples(name, count, generator):
    calibration = Calibration(spread=float(SIGMAS.mean()))
    inside, axis = [], torch.tensor([0.0, 0.0, 1.0 if name == "cyl" else 0.0])
    for _ in range(100):
        truth, samples = drawn(name, count, generator)
        best = find_modes(samples, calibration=calibration)[0][0]
        equal = solid(name).bare.equivalents(truth, 0.5).double().reshape(-1, 3, 3)
        nearest = equal[so3.angle(equal, best.rotation).argmin()]
        residual = so3.log(best.rotation.mT @ nearest)
        inside.append(confidence(residual[None], best.covariance[None], axis[None]) <= 0.95)
    # A Gaussian's region, while the variance itself is known to some samples' worth only: Student's would be 95%.
    assert 0.84 <= float(torch.cat(inside).double().mean()) <= 0.99


@examples(30)
@given(seed=st.integers(0, 2**31), name=st.sampled_from(["tet", "cube", "cyl"]))
def test_a_turned_camera_turns_nothing_in_the_body(seed, name):
    generator = torch.Generator().manual_seed(seed)
    _, samples = drawn(name, 40, generator)
    turn = so3.uniform(1, generator=generator)[0].double()
    for a, b in zip(find_modes(samples)[0], find_modes(turn @ samples)[0], strict=True):
        torch.testing.assert_close(a.covariance, b.covariance, atol=1e-8, rtol=1e-4)
        assert (torch.linalg.eigvalsh(a.covariance) > 0).all()


def test_with_many_samples_it_is_their_covariance_in_the_body_frame(generator):
    samples = drawn("tet", 5_000, generator)[1]
    mode = find_modes(samples)[0][0]
    expected = mode.rotation.mT @ SIGMAS.square().diag() @ mode.rotation
    torch.testing.assert_close(mode.covariance, expected, atol=5e-5, rtol=0)


def test_along_an_axis_of_symmetry_modes_are_wide_and_across_it_they_are_not(generator):
    _, samples = drawn("cyl", 100, generator, sigmas=torch.full((3,), 0.005).double())
    for mode in find_modes(samples)[0]:
        along = float(mode.covariance[2, 2]) ** 0.5
        across = float(torch.linalg.eigvalsh(mode.covariance[:2, :2])[-1]) ** 0.5
        assert math.radians(1) < along and across < 0.01


def test_samples_that_tell_nothing_have_the_typical_spread_or_none(generator):
    lonely = so3.uniform(3, generator=generator)
    assert all(mode.covariance.isnan().all() for mode in find_modes(lonely)[0])
    for mode in find_modes(lonely, calibration=Calibration(spread=0.02))[0]:
        # The mean of one sample is as far off as the sample: twice the variance.
        torch.testing.assert_close(mode.covariance, 2 * 0.02**2 * torch.eye(3), rtol=1e-4, atol=1e-8)


def test_modes_of_few_samples_borrow_the_spread_of_all(generator):
    """24 modes of about two samples each: no covariance is unknown, none far from the common one."""
    _, samples = drawn("cube", 60, generator, sigmas=torch.full((3,), 0.03).double())
    modes, _ = find_modes(samples)
    assert min(mode.count for mode in modes) == 1
    sigmas = torch.stack([mode.covariance.trace() / 3 for mode in modes]).sqrt()
    assert (sigmas > 0.015).all() and (sigmas < 0.06).all()
