"""One set of options for all samplers, and the dispatch between them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lie_picard.noise import NoiseSchedule, power_law
from lie_picard.sampling.ode import sample_ode
from lie_picard.sampling.picard import sample_picard
from lie_picard.sampling.solution import Score, Solution
from lie_picard.sampling.walk import sample_walk

METHODS = ("picard", "ode", "walk")
# From here one step goes straight to the denoised rotation: steps at levels below the model's own error are spent
# better above it, where basins are chosen.
LAST_SIGMA = 0.03


@dataclass(frozen=True)
class SamplerOptions:
    """How to sample.

    Attributes:
        method: "picard" (parallel in the steps), "ode" (the same solution, step by step) or "walk" (random walk).
        steps: denoising steps T.
        window: steps in flight of the Picard sampler.
        tolerance: of the Picard sampler, relative to the noise level of each step.
    """

    method: str = "picard"
    steps: int = 100
    window: int = 16
    tolerance: float = 0.03

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown method '{self.method}': choose from {', '.join(METHODS)}")
        if self.steps < 1 or self.window < 1:
            raise ValueError(f"steps and window must be at least 1, got {self.steps} and {self.window}")
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance must be at least 0, got {self.tolerance}")

    def schedule(self, sigma_max: float, sigma_min: float) -> NoiseSchedule:
        """The noise levels of a run over a model's range, rad."""
        return power_law(self.steps, sigma_max, max(sigma_min, LAST_SIGMA))


def sample(
    score: Score,
    start: Tensor,
    noise: NoiseSchedule,
    options: SamplerOptions,
    *,
    condition: Tensor | None = None,
    draws: Tensor | None = None,
) -> Solution:
    """Sample with the method that the options name; arguments as for `sample_ode` and, `draws`, `sample_walk`."""
    if options.method == "ode":
        return sample_ode(score, start, noise, condition=condition)
    if options.method == "walk":
        return sample_walk(score, start, noise, condition=condition, draws=draws)
    return sample_picard(score, start, noise, condition=condition, window=options.window, tolerance=options.tolerance)
