"""Warm starts: a turning object costs fewer rounds than a new one, a scene cut no more than a few."""

import math

import torch
from test_sampling import MODES, mixture_score

from lie_picard import so3
from lie_picard.sampling import WarmStart, sample_newton
from lie_picard.sampling.noise import power_law
from lie_picard.sampling.solution import UNSETTLED
from lie_picard.sampling.warm import common_turn

NOISE = power_law(60, 2.0, 0.02)
START = so3.uniform(30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def solve(turn, start=START, guess=None):
    """The posterior of modes turned by `turn`, from a start and a guess."""
    score = mixture_score(NOISE.sigmas, turn @ MODES, width=0.02)
    return sample_newton(score, start, NOISE, guess=guess, keep_trajectory=True)


def video(turns):
    """Solutions of successive images, warm."""
    warm, found = WarmStart(), []
    for turn in turns:
        guess = warm.guess(("video",))
        found.append(solve(turn, START if guess is None else guess[:, 0], guess))
        warm.keep(found[-1], 1)
    return found


def turning(frames, degrees=2.0):
    axis = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64), dim=0)
    return so3.about_axis(axis, torch.arange(frames, dtype=torch.float64) * math.radians(degrees))


def test_a_turning_object_takes_less_than_half_the_rounds():
    turns = turning(8)
    warm = [float(s.rounds_of.double().mean()) for s in video(turns)[3:]]
    cold = [float(solve(turn).rounds_of.double().mean()) for turn in turns[3:]]
    assert sum(warm) < sum(cold) / 2


def test_settled_samples_stay_with_their_mode_and_all_modes_stay_found():
    turns = turning(8)
    found = video(turns)
    distances = [so3.pairwise_angle(s.rotations, t @ MODES) for s, t in zip(found, turns, strict=True)]
    for before, after, solution in zip(distances[2:-1], distances[3:], found[2:-1], strict=True):
        settled = solution.score_slope <= UNSETTLED  # the others start anew, wherever that leads
        assert (after.argmin(1) == before.argmin(1))[settled].double().mean() > 0.9
    assert distances[-1].amin(1).quantile(0.95) < 0.1
    assert torch.bincount(distances[-1].argmin(1), minlength=3).min() > 3


def test_after_a_scene_cut_samplers_converge_all_the_same():
    turns = turning(5)
    cut = so3.exp(torch.tensor([0.3, 2.0, -1.0], dtype=torch.float64))
    after = video([*turns, cut])[-1]
    assert after.converged
    assert so3.pairwise_angle(after.rotations, cut @ MODES).amin(1).quantile(0.95) < 0.1
    assert after.rounds_of.double().mean() < 2 * solve(cut).rounds_of.double().mean()


def test_other_options_or_a_failed_solution_start_afresh():
    warm = WarmStart()
    assert warm.guess((1,)) is None
    warm.keep(solve(turning(1)[0]), 1)
    assert warm.guess((1,)) is not None
    assert warm.guess((2,)) is None
    stopped = sample_newton(mixture_score(NOISE.sigmas), START, NOISE, max_rounds=1, keep_trajectory=True)
    warm.keep(stopped, 1)
    assert warm.guess((2,)) is None


def test_the_common_turn_outvotes_those_that_changed_their_mode(generator):
    turn = so3.uniform(1, generator=generator, dtype=torch.float64)[0]
    near = turn @ so3.exp(0.01 * torch.randn(12, 3, generator=generator, dtype=torch.float64))
    others = so3.uniform(8, generator=generator, dtype=torch.float64)
    assert so3.angle(common_turn(torch.cat([others, near])), turn) < 0.02
    assert torch.equal(common_turn(so3.uniform(9, generator=generator)), torch.eye(3))
