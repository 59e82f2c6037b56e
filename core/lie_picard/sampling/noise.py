"""Variance-exploding noise schedules: the decreasing levels that a sampler steps through."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Of a flow map's steps: the best of some on validation images (docs/performance.md).
_FOUR = 0.9, 0.4, 0.12
_LAST_OF_TWO = 0.25


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Noise levels of T denoising steps and the coefficients that follow from them.

    Attributes:
        sigmas: (T,) levels at which the score is evaluated, in radians, strictly decreasing. The last
            step goes from ``sigmas[-1]`` straight to the denoised rotation (level 0).
    """

    sigmas: Tensor

    def __post_init__(self) -> None:
        sigmas = self.sigmas
        if sigmas.ndim != 1 or len(sigmas) < 1:
            raise ValueError(f"noise levels must be a non-empty vector, got shape {tuple(sigmas.shape)}")
        if not bool((sigmas > 0).all()) or not bool((sigmas[1:] < sigmas[:-1]).all()):
            raise ValueError("noise levels must be positive and strictly decreasing")

    @property
    def steps(self) -> int:
        """Number T of denoising steps."""
        return len(self.sigmas)

    @property
    def drift(self) -> Tensor:
        """(T,) factors of the score in the probability-flow step, radians.

        ``(sigma_i^2 - sigma_{i+1}^2) / (2 sigma_i)`` (the paper's Eq. 12), and ``sigma`` itself in the last
        step, which is the posterior mean in the tangent space (Tweedie's formula).
        """
        here, there = self.sigmas[:-1], self.sigmas[1:]
        return torch.cat([(here.square() - there.square()) / (2 * here), self.sigmas[-1:]])

    @property
    def walk_drift(self) -> Tensor:
        """(T,) factors of the score in the geodesic random walk: twice `drift`, but no overshoot at the end."""
        return torch.cat([2 * self.drift[:-1], self.sigmas[-1:]])

    @property
    def walk_spread(self) -> Tensor:
        """(T,) standard deviations of the fresh noise in the geodesic random walk, radians; 0 in the last step."""
        here, there = self.sigmas[:-1], self.sigmas[1:]
        return torch.cat([(here.square() - there.square()).sqrt() * there / here, self.sigmas.new_zeros(1)])

    def to(self, device: torch.device | str) -> NoiseSchedule:
        """The same schedule on another device."""
        return NoiseSchedule(self.sigmas.to(device))


def power_law(steps: int, sigma_max: float = 2.0, sigma_min: float = 0.01, rho: float = 5.0) -> NoiseSchedule:
    """Levels evenly spaced in ``sigma^(1/rho)``: sigma_i = (a + i / (T - 1) (b - a))^rho.

    The spacing of Karras et al. (2022); At ``sigma_max`` = 2 rad a single pose
    is within 6% of uniform on SO(3), in total variation.
    """
    _check(steps, sigma_max, sigma_min)
    if rho <= 0:
        raise ValueError(f"rho must be positive, got {rho}")
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return NoiseSchedule(torch.linspace(high, low, steps, dtype=torch.float64).pow(rho).float())


def geometric(steps: int, sigma_max: float = 2.0, sigma_min: float = 0.01, skip: int = 0) -> NoiseSchedule:
    """Levels of constant ratio from sigma_max to sigma_min, without the first `skip` of them."""
    _check(steps - skip, sigma_max, sigma_min)
    high, low = math.log(sigma_max), math.log(sigma_min)
    return NoiseSchedule(torch.linspace(high, low, steps, dtype=torch.float64)[skip:].exp().float())


def few(steps: int, sigma_max: float = 2.0, sigma_min: float = 0.01) -> NoiseSchedule:
    """Levels for the T steps of a flow map.

    The last step goes to the denoised rotation. Its error grows with the level that it begins at, so more steps begin
    it lower. Before it, four steps stay higher than at a constant ratio: poses are chosen there.
    """
    _check(steps, sigma_max, sigma_min)
    if steps == 1:
        return NoiseSchedule(torch.tensor([sigma_max]))
    if steps == 4 and sigma_max > _FOUR[0] and sigma_min < _FOUR[-1]:
        return NoiseSchedule(torch.tensor([sigma_max, *_FOUR]))
    last = min(max(sigma_min, _LAST_OF_TWO * 2 / steps), sigma_max / 2)
    return geometric(steps, sigma_max, last)


def _check(steps: int, sigma_max: float, sigma_min: float) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"need 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
