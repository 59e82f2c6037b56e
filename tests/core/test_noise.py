"""Noise schedules: their ends, their order, and what follows from them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lie_picard.sampling.noise import NoiseSchedule, power_law


@given(st.integers(2, 300), st.floats(0.5, 7))
def test_power_law_runs_from_end_to_end_evenly_in_the_root(steps, rho):
    sigmas = power_law(steps, 2.0, 0.01, rho).sigmas.double()
    assert sigmas[0] == pytest.approx(2.0) and sigmas[-1] == pytest.approx(0.01)
    gaps = sigmas.pow(1 / rho).diff()
    torch.testing.assert_close(gaps, gaps.mean().expand_as(gaps), atol=1e-5, rtol=1e-2)


def test_drift_is_equation_12_and_the_last_step_denoises():
    noise = NoiseSchedule(torch.tensor([2.0, 1.0, 0.5]))
    torch.testing.assert_close(noise.drift, torch.tensor([(4 - 1) / 4, (1 - 0.25) / 2, 0.5]))
    torch.testing.assert_close(noise.walk_drift, torch.tensor([1.5, 0.75, 0.5]))
    assert noise.walk_spread[-1] == 0
    assert noise.walk_spread[0] == pytest.approx(3**0.5 * 0.5)


@pytest.mark.parametrize("sigmas", [[], [1.0, 1.0], [0.5, 1.0], [1.0, 0.0], [-1.0]])
def test_bad_levels_are_refused(sigmas):
    with pytest.raises(ValueError, match="noise levels"):
        NoiseSchedule(torch.tensor(sigmas))


@pytest.mark.parametrize("arguments", [(0,), (10, 1.0, 2.0), (10, 1.0, 0.0), (10, 1.0, 0.1, 0.0)])
def test_bad_power_laws_are_refused(arguments):
    with pytest.raises(ValueError):
        power_law(*arguments)
