"""The integrators' tables: order of accuracy, exactness where the score is constant, equality with the plain method."""

import math

import pytest
import torch
from test_sampling import MODES, mixture_score, setting

from lie_picard import so3
from lie_picard.sampling import INTEGRATORS, SamplerOptions, euler, heun, multistep, sample_ode
from lie_picard.sampling.noise import NoiseSchedule, geometric


def levels(steps):
    return geometric(steps, 1.5, 0.3)


def ends(integrator, steps):
    """Where the flow from 1.5 to 0.3 rad takes some rotations; the last jump to 0 is left out."""
    noise = levels(steps)
    scheme = INTEGRATORS[integrator](noise)
    start = so3.uniform(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    score = mixture_score(noise.sigmas.double(), width=0.3)
    path = sample_ode(score, start, noise, scheme=scheme, keep_trajectory=True).trajectory
    # The last point but one is where the last score is taken; a corrector would still move it.
    last = path[:, -2]
    if scheme.revises:
        recent = torch.zeros(len(start), scheme.history, 3, dtype=torch.float64)
        for k in range(scheme.evaluations):
            recent = torch.cat([recent[:, 1:], score(path[:, k], scheme.level[k].expand(len(start)))[:, None]], 1)
        last = last @ so3.exp((scheme.weights[-1, :1] @ recent)[:, 0])
    return last


@pytest.mark.parametrize(("integrator", "order"), [("euler", 1), ("heun", 2), ("multistep", 2)])
def test_halving_the_steps_divides_the_error_by_two_to_the_order(integrator, order):
    exact = ends("heun", 1025)
    errors = [float(so3.angle(ends(integrator, n + 1), exact).median()) for n in (32, 64)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("integrator", ["heun", "multistep"])
@pytest.mark.parametrize("steps", [2, 5])
def test_a_single_pose_is_met_exactly_with_any_number_of_steps(integrator, steps):
    noise = NoiseSchedule(torch.linspace(1.0, 0.05, steps, dtype=torch.float64))
    start = MODES[1] @ so3.exp(torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 2)
    score = mixture_score(noise.sigmas, MODES[1:2], width=0.0)
    found = sample_ode(score, start, noise, scheme=INTEGRATORS[integrator](noise))
    assert so3.angle(found.rotations, MODES[1]).max() < 1e-6
    assert found.score_slope.max() < 1e-6


def test_eulers_table_is_the_papers_equation():
    noise = levels(10)
    table = euler(noise)
    assert torch.equal(table.level, torch.arange(10)) and not table.revises
    torch.testing.assert_close(table.weights[:, 1, -1], noise.drift.double())
    assert not table.weights[:, 1, :-1].any()


def test_heuns_stages_are_at_the_next_level():
    table = heun(levels(4))
    assert table.level.tolist() == [0, 1, 1, 2, 2, 3, 3] and table.history == 3


def test_multistep_is_the_plain_predictor_and_corrector():
    """The table unrolls this loop, which remembers score and slope instead."""
    options = SamplerOptions("ode", 8)
    _, start, _ = setting(count=50)
    plan = options.plan(2.0, 0.02, start)
    sigmas, score = plan.noise.sigmas.double(), mixture_score(plan.noise.sigmas.double())
    point, found, slope, above = start, torch.zeros(50, 3).double(), torch.zeros(50, 3).double(), 2.0
    for k, here in enumerate(sigmas.tolist()):
        h = math.log(above / here)
        straight, bend = (above - here) * found, here * (math.exp(h) - 1 - h)
        predicted = straight + bend * slope
        there = point @ so3.exp(predicted)
        taken = score(there, torch.full((50,), k))
        correction = straight + bend * (taken - found) / h - predicted
        new = taken - correction / here
        point, slope, found, above = there @ so3.exp(correction), (new - found) / h, new, here
    expected = point @ so3.exp(above * found)
    got = sample_ode(score, start, plan.noise, scheme=multistep(plan.noise, prior=2.0))
    torch.testing.assert_close(got.rotations, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(got.score_slope, slope.norm(dim=-1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("steps", [2, 3, 8])
def test_a_plan_fits_its_noise_levels(integrator, steps):
    options = SamplerOptions("ode", steps, integrator=integrator)
    plan = options.plan(2.0, 0.01, torch.zeros(0))
    assert plan.noise.steps == steps
    assert plan.scheme.level.max() == plan.again.level.max() == steps - 1
    assert plan.again.sigmas[0] <= 2.0 and plan.scheme.weights.dtype == torch.float32
    assert options.plan(2.0, 0.01, torch.zeros(0)) is plan  # built once
