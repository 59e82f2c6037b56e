"""The samplers, without a network: exactness of rounds, equality with the sequential solution, right statistics."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from lie_picard import so3
from lie_picard.sampling import (
    INTEGRATORS,
    SamplerOptions,
    Status,
    draw_walk_noise,
    sample,
    sample_newton,
    sample_ode,
    sample_picard,
    sample_walk,
)
from lie_picard.sampling.noise import power_law

MODES = so3.exp(torch.tensor([[0.0, 0, 0], [0, 0, 2.0], [1.5, 0, 0]], dtype=torch.float64))


def mixture_score(sigmas, modes=MODES, width=0.05):
    """sigma * score of a mixture of concentrated Gaussians of this width, noised: a field with several basins."""

    def score(rotations, step):
        sigma = sigmas[step].to(rotations)
        variance = (sigma**2 + width**2)[:, None, None]
        tangent = so3.log(rotations[:, None].mT @ modes.to(rotations))  # towards each mode, body frame
        weight = torch.softmax(-0.5 * tangent.square().sum(-1, keepdim=True) / variance, 1)
        return sigma[:, None] * (weight * tangent / variance).sum(1)

    return score


def setting(steps=20, count=8, seed=0):
    noise = power_law(steps, 2.0, 0.02)
    start = so3.uniform(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return mixture_score(noise.sigmas), start, noise


PARALLEL = pytest.mark.parametrize("method", [sample_picard, sample_newton])


@PARALLEL
@pytest.mark.parametrize("integrator", INTEGRATORS)
@examples(8)
@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 1000))
def test_after_k_rounds_the_first_k_evaluations_are_exact(method, integrator, rounds, window, seed):
    score, start, noise = setting(seed=seed)
    scheme = INTEGRATORS[integrator](noise)
    exact = sample_ode(score, start, noise, scheme=scheme, keep_trajectory=True).trajectory
    found = method(
        score, start, noise, scheme=scheme, window=window, tolerance=0.0, max_rounds=rounds, keep_trajectory=True
    ).trajectory
    torch.testing.assert_close(found[:, : rounds + 1], exact[:, : rounds + 1], atol=1e-9, rtol=0)


@PARALLEL
@pytest.mark.parametrize("integrator", INTEGRATORS)
@examples(8)
@given(st.integers(1, 40), st.integers(1, 45), st.integers(0, 1000))
def test_at_zero_tolerance_the_result_is_the_sequential_one(method, integrator, steps, window, seed):
    score, start, noise = setting(max(2, steps), seed=seed)
    scheme = INTEGRATORS[integrator](noise)
    exact = sample_ode(score, start, noise, scheme=scheme)
    found = method(score, start, noise, scheme=scheme, window=window, tolerance=0.0)
    torch.testing.assert_close(found.rotations, exact.rotations, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.score_slope, exact.score_slope, atol=1e-6, rtol=1e-6)
    assert found.converged and found.rounds <= scheme.evaluations


@examples(10)
@given(st.integers(0, 1000))
def test_with_drawn_noise_it_is_the_sequential_random_walk(seed):
    score, start, noise = setting(seed=seed)
    walk_noise = draw_walk_noise(noise, len(start), torch.Generator().manual_seed(seed)).double()
    exact = sample_walk(score, start, noise, walk_noise=walk_noise)
    found = sample_picard(score, start, noise, window=7, tolerance=0.0, walk_noise=walk_noise)
    torch.testing.assert_close(found.rotations, exact.rotations, atol=1e-9, rtol=0)


@PARALLEL
def test_a_tolerance_saves_rounds_and_stays_near_the_sequential_solution(method):
    score, start, noise = setting(steps=100, count=200)
    exact = sample_ode(score, start, noise)
    found = method(score, start, noise, window=32, tolerance=0.03)
    assert found.converged
    assert found.rounds < noise.steps / 2
    assert so3.angle(found.rotations, exact.rotations).median() < math.radians(0.1)
    loose = method(score, start, noise, window=32, tolerance=0.3)
    assert loose.rounds <= found.rounds


def test_newton_needs_fewer_rounds_than_picard():
    score, start, noise = setting(steps=100, count=200)
    picard, newton = sample_picard(score, start, noise), sample_newton(score, start, noise)
    assert newton.rounds_of.double().mean() < 0.7 * picard.rounds_of.double().mean()


@PARALLEL
def test_a_sample_does_not_depend_on_its_neighbours(method):
    score, start, noise = setting(steps=50, count=12)
    together = method(score, start, noise, window=16)
    alone = [method(score, one[None], noise, window=16) for one in start]
    torch.testing.assert_close(together.rotations, torch.cat([one.rotations for one in alone]), atol=1e-12, rtol=0)
    assert together.rounds_of.tolist() == [one.rounds for one in alone]
    assert together.rounds == max(one.rounds for one in alone)


@PARALLEL
def test_window_of_one_is_the_sequential_sampler_at_its_cost(method):
    score, start, noise = setting()
    found = method(score, start, noise, window=1)
    assert (found.rounds, found.evaluations, found.inefficiency) == (noise.steps, noise.steps, 1.0)


def test_statistics_count_what_was_called():
    base, start, noise = setting(steps=40, count=5)
    calls = []

    def counted(rotations, step):
        assert rotations.shape == (*step.shape, 3, 3)
        calls.append(len(step))
        return base(rotations, step)

    found = sample_picard(counted, start, noise, window=10)
    assert found.rounds == len(calls)
    assert found.evaluations == pytest.approx(sum(calls) / 5)
    assert found.inefficiency == pytest.approx(sum(calls) / 5 / 40)
    calls.clear()
    sequential = sample_ode(counted, start, noise)
    assert sequential.rounds == sequential.evaluations == len(calls) == 40


def test_the_condition_goes_to_the_score_with_its_sample():
    _, start, noise = setting(count=6)
    condition = torch.tensor([5, 3, 1, 4, 2, 0])
    seen = []

    def score(rotations, step, index):
        seen.append(index)
        return 0.1 * index[:, None] * torch.ones(len(step), 3, dtype=rotations.dtype)

    exact = sample_ode(score, start, noise, condition=condition)
    found = sample_picard(score, start, noise, condition=condition, window=4, tolerance=0.0)
    torch.testing.assert_close(found.rotations, exact.rotations, atol=1e-9, rtol=0)
    assert set(torch.cat(seen).tolist()) == set(range(6))


@pytest.mark.parametrize("method", [sample_ode, sample_walk, sample_picard, sample_newton])
def test_every_mode_is_found_and_nothing_else(method):
    score, start, noise = setting(steps=100, count=600)
    generator = torch.Generator().manual_seed(3)
    extra = {"walk_noise": draw_walk_noise(noise, len(start), generator)} if method is sample_walk else {}
    found = method(score, start, noise, **extra).rotations
    distance = so3.pairwise_angle(found, MODES)
    share = torch.bincount(distance.argmin(1), minlength=3) / 600
    assert distance.amin(1).quantile(0.98) < 0.25
    assert (share > 0.2).all()


def test_the_spread_of_a_gaussian_is_reproduced():
    noise = power_law(200, 0.6, 0.005)
    score = mixture_score(noise.sigmas, MODES[:1], width=0.1)
    drawn = torch.randn(4000, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    start = so3.exp(math.hypot(0.6, 0.1) * drawn)
    walk_noise = draw_walk_noise(noise, len(start), torch.Generator().manual_seed(6))
    for found in (
        sample_ode(score, start, noise),
        sample_walk(score, start, noise, walk_noise=walk_noise),
    ):
        spread = so3.log(found.rotations).std(0)
        torch.testing.assert_close(spread, torch.full((3,), 0.1, dtype=torch.float64), atol=0.006, rtol=0)


def test_a_limit_on_rounds_is_reported_with_its_remedy():
    score, start, noise = setting()
    stopped = sample_picard(score, start, noise, window=4, tolerance=0.0, max_rounds=3)
    assert stopped.status is Status.MAX_ROUNDS and not stopped.converged
    assert "max_rounds" in stopped.status.value


@pytest.mark.parametrize("method", [sample_ode, sample_walk, sample_picard])
def test_a_score_that_is_not_finite_is_reported(method):
    _, start, noise = setting()
    extra = {"walk_noise": draw_walk_noise(noise, len(start))} if method is sample_walk else {}
    broken = method(lambda rotations, step: torch.full((len(step), 3), math.nan).to(rotations), start, noise, **extra)
    assert broken.status is Status.NOT_FINITE


@pytest.mark.parametrize("bad", [torch.eye(3), torch.zeros(0, 3, 3), torch.zeros(4, 3)])
@pytest.mark.parametrize("method", [sample_ode, sample_walk, sample_picard])
def test_a_start_of_another_shape_is_refused(method, bad):
    score, _, noise = setting()
    extra = {"walk_noise": draw_walk_noise(noise, len(bad))} if method is sample_walk else {}
    with pytest.raises(ValueError, match="start"):
        method(score, bad, noise, **extra)


def test_window_and_tolerance_are_checked():
    score, start, noise = setting()
    with pytest.raises(ValueError, match="window"):
        sample_picard(score, start, noise, window=0)
    with pytest.raises(ValueError, match="tolerance"):
        sample_picard(score, start, noise, tolerance=-1.0)


@PARALLEL
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_from_the_solution_itself_one_round_a_window_confirms_it(method, integrator):
    score, start, noise = setting(steps=30)
    scheme = INTEGRATORS[integrator](noise)
    exact = sample_ode(score, start, noise, scheme=scheme, keep_trajectory=True)
    found = method(score, start, noise, scheme=scheme, guess=exact.trajectory)
    assert found.rounds == 1
    torch.testing.assert_close(found.rotations, exact.rotations, atol=1e-9, rtol=0)


@PARALLEL
def test_from_a_wrong_guess_the_result_is_the_same(method):
    score, start, noise = setting(steps=30)
    other = so3.uniform(len(start), noise.steps + 1, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    found = method(score, start, noise, guess=other, tolerance=0.0)
    torch.testing.assert_close(found.rotations, sample_ode(score, start, noise).rotations, atol=1e-9, rtol=0)
    with pytest.raises(ValueError, match="guess must have shape"):
        method(score, start, noise, guess=other[:, 1:])


@pytest.mark.parametrize("method", ["ode", "picard", "newton"])
def test_a_sample_between_two_poses_starts_again(method):
    """A network, unlike the true score, never answers with more than it was trained on: what lags stays behind."""
    _, start, _ = setting(count=300)
    options = SamplerOptions(method, 4, tolerance=1e-4, restarts=0)
    plan = options.plan(2.0, 0.02, start)
    true = mixture_score(plan.noise.sigmas, width=0.01)

    def score(rotations, step):
        found = true(rotations, step)
        return found * (3 / found.norm(dim=-1, keepdim=True)).clamp(max=1)

    def astray(solution):
        return int((so3.pairwise_angle(solution.rotations, MODES).amin(1) > 0.1).sum())

    without = sample(score, start, plan, options)
    again = sample(score, start, plan, SamplerOptions(method, 4, tolerance=1e-4, restarts=3))
    assert astray(without) > 5 * astray(again)
    assert without.evaluations < again.evaluations
    assert without.rounds < again.rounds
    # Those that were well are left alone.
    well = without.score_slope <= 0.7
    torch.testing.assert_close(again.rotations[well], without.rotations[well])


def test_auto_must_be_resolved_before_sampling():
    score, start, _ = setting()
    options = SamplerOptions("auto")
    with pytest.raises(ValueError, match="autotune"):
        sample(score, start, options.plan(2.0, 0.02, start), options)
