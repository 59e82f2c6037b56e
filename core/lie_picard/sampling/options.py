"""One set of options for all samplers, the plan that follows from them, and the dispatch between methods."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lie_picard.sampling.newton import sample_newton
from lie_picard.sampling.noise import NoiseSchedule, few, geometric, power_law
from lie_picard.sampling.ode import sample_ode
from lie_picard.sampling.picard import sample_picard
from lie_picard.sampling.scheme import INTEGRATORS, Scheme, flow_map, multistep
from lie_picard.sampling.solution import UNSETTLED, UNSETTLED_BY_MAP, Score, Solution, Status
from lie_picard.sampling.walk import sample_walk

METHODS = ("auto", "ode", "picard", "newton", "walk", "map")
# From here one step goes straight to the denoised rotation: steps at levels below the model's own error are spent
# better above it, where basins are chosen.
LAST_SIGMA = 0.03
STEPS, FEW = 8, 4  # of the multistep integrator, and of a flow map: as good as 100 of Euler's
# Restless samples start again from where they are, at the first level not above this: high enough to tell poses apart.
RESTART_SIGMA = 0.9


@dataclass(frozen=True)
class SamplerOptions:
    """How to sample.

    Attributes:
        method: how the integrator's steps are solved: "ode" one after another, "picard" or "newton" in parallel, "auto"
            whichever is fastest here (`sampling.autotune`); "walk", the random walk; or "map", by the model's flow map
            (`flow_map.FlowMap`), whose score is then the averaged one.
        steps: noise levels T; of "map" the evaluations: 1, 2, 4 or any other number. 0: 8, of "map" 4.
        window: evaluations in flight of "picard" and "newton"; None: 16 and all.
        tolerance: of "picard" and "newton", relative to the noise level of each step.
        integrator: "multistep" (one evaluation a step, second order), "heun" (two) or "euler" (the paper's; also what
            a walk takes).
        restarts: how often a sample that ends between two poses starts again; the published methods have none.
    """

    method: str = "auto"
    steps: int = 0
    window: int | None = None
    tolerance: float = 0.03
    integrator: str = "multistep"
    restarts: int = 3

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown method '{self.method}': choose from {', '.join(METHODS)}")
        if self.integrator not in INTEGRATORS:
            raise ValueError(f"unknown integrator '{self.integrator}': choose from {', '.join(INTEGRATORS)}")
        if self.steps == 0:
            object.__setattr__(self, "steps", FEW if self.method == "map" else STEPS)
        if self.steps < (1 if self.method == "map" else 2) or (self.window is not None and self.window < 1):
            raise ValueError(
                f"need steps >= 2 (1 for method 'map') and window >= 1, got {self.steps} and {self.window}"
            )
        if not self.tolerance >= 0 or self.restarts < 0:
            raise ValueError(f"tolerance and restarts must be at least 0, got {self.tolerance} and {self.restarts}")

    @classmethod
    def published(cls, method: str, steps: int = 100, **changes: Any) -> SamplerOptions:
        """The paper's algorithms: Euler steps, no restarts."""
        return replace(cls(method, steps, integrator="euler", restarts=0), **changes)

    @property
    def steps_of(self) -> str:
        """The integrator whose steps are taken: a walk has Euler's, a map its own."""
        return {"walk": "euler", "map": "map"}.get(self.method, self.integrator)

    def check(self, has_flow_map: bool) -> None:
        """Whether a model with or without a flow map can be sampled so.

        Raises:
            ValueError: it cannot.
        """
        if self.method == "map" and not has_flow_map:
            raise ValueError("method 'map' needs a checkpoint with a flow map: make one with `lie-picard distil`, or "
                             "take another method")  # fmt: skip

    def plan(self, sigma_max: float, sigma_min: float, like: Tensor) -> Plan:
        """The tables of a run over a model's noise range [rad], on the device of a tensor and in its type."""
        method, steps_of = ("map", "multistep") if self.method == "map" else ("ode", self.steps_of)
        key = replace(self, method=method, window=None, tolerance=0.0, restarts=0, integrator=steps_of)
        return _plan(key, sigma_max, sigma_min, like.device, like.dtype)


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run needs besides the score and a start.

    Attributes:
        noise: the levels; scores are asked for by their index.
        scheme: the integrator's table on them. again: the same from `RESTART_SIGMA` on.
    """

    noise: NoiseSchedule
    scheme: Scheme
    again: Scheme


@functools.lru_cache(maxsize=64)
def _plan(
    options: SamplerOptions, sigma_max: float, sigma_min: float, device: torch.device, dtype: torch.dtype
) -> Plan:
    last, like = max(sigma_min, LAST_SIGMA), torch.zeros(0, device=device, dtype=dtype)
    scheme_of = flow_map if options.method == "map" else INTEGRATORS[options.integrator]
    if options.method == "map":
        noise = few(options.steps, sigma_max, last)
        scheme = flow_map(noise)
    elif options.integrator == "multistep":
        # Where sampling starts the score is zero: no evaluation there.
        noise = geometric(options.steps + 1, sigma_max, last, skip=1)
        scheme = multistep(noise, prior=sigma_max)
    else:
        noise = power_law(options.steps, sigma_max, last)
        scheme = scheme_of(noise)
    first = max(0, min(int((noise.sigmas > RESTART_SIGMA).sum()), noise.steps - 2))
    again = scheme_of(NoiseSchedule(noise.sigmas[first:]))
    again = replace(again, level=again.level + first)
    return Plan(noise, scheme.to(like), again.to(like))


@torch.inference_mode()
def sample(
    score: Score,
    start: Tensor,
    plan: Plan,
    options: SamplerOptions,
    *,
    condition: Tensor | None = None,
    walk_noise: Tensor | None = None,
    guess: Tensor | None = None,
    keep_trajectory: bool = False,
) -> Solution:
    """Sample as the options say; `plan` is theirs, the other arguments are as for `sample_picard`.

    Raises:
        ValueError: the method is "auto", which only `autotune` can resolve, or an argument is out of range.
    """
    if options.method == "walk":
        if walk_noise is None:
            raise ValueError("a walk needs its noise: see walk.draw_walk_noise")
        return sample_walk(
            score, start, plan.noise, walk_noise=walk_noise, condition=condition, keep_trajectory=keep_trajectory
        )
    found = _solve(score, start, plan.noise, plan.scheme, options, condition, guess, keep_trajectory)
    settled = UNSETTLED_BY_MAP if options.method == "map" else UNSETTLED
    for _ in range(options.restarts):
        assert found.score_slope is not None
        restless = (found.score_slope > settled).nonzero()[:, 0]
        if not len(restless) or found.status is Status.NOT_FINITE:
            break
        chosen = None if condition is None else condition[restless]
        again = _solve(score, found.rotations[restless], plan.noise, plan.again, options, chosen)
        found = _merged(found, again, restless)
    return found


def _solve(
    score: Score,
    start: Tensor,
    noise: NoiseSchedule,
    scheme: Scheme,
    options: SamplerOptions,
    condition: Tensor | None,
    guess: Tensor | None = None,
    keep_trajectory: bool = False,
) -> Solution:
    if options.method in ("ode", "map"):  # it goes from the start to the end in one pass: a guess has no use
        return sample_ode(score, start, noise, scheme=scheme, condition=condition, keep_trajectory=keep_trajectory)
    if options.method not in ("picard", "newton"):
        raise ValueError(f"method '{options.method}' must be resolved first: see sampling.autotune")
    solver, window = (sample_picard, options.window or 16) if options.method == "picard" else (
        sample_newton, options.window,
    )  # fmt: skip
    return solver(
        score, start, noise, scheme=scheme, window=window, tolerance=options.tolerance, condition=condition,
        guess=guess, keep_trajectory=keep_trajectory,
    )  # fmt: skip


def _merged(found: Solution, again: Solution, index: Tensor) -> Solution:
    """`found` with the samples of `again` in their places, and the cost of both."""
    assert found.score_slope is not None and again.score_slope is not None
    status = again.status if found.status is Status.CONVERGED else found.status
    return replace(
        found,
        rotations=found.rotations.index_copy(0, index, again.rotations),
        score_slope=found.score_slope.index_copy(0, index, again.score_slope),
        rounds=found.rounds + again.rounds,
        evaluations=found.evaluations + again.evaluations * len(index) / len(found.rotations),
        status=status,
    )
