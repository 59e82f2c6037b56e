"""The reverse SDE as a geodesic random walk (De Bortoli et al., 2022; LiePoseDiffusion's sampler)."""

from __future__ import annotations

import torch
from torch import Tensor

from lie_picard.sampling.noise import NoiseSchedule
from lie_picard.sampling.ode import integrate
from lie_picard.sampling.scheme import Scheme, euler
from lie_picard.sampling.solution import Score, Solution, checked_start, status_of


def draw_walk_noise(noise: NoiseSchedule, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """All the randomness of a walk, drawn ahead: standard normal (T, N, 3)."""
    return torch.randn(noise.steps, samples, 3, generator=generator)


def walk_scheme(noise: NoiseSchedule) -> Scheme:
    """The walk's drift as a table: Euler's, with twice the advance."""
    table = euler(noise)
    table.weights[:, 1, -1] = noise.walk_drift.double()
    return table


def walk_jitter(noise: NoiseSchedule, walk_noise: Tensor, like: Tensor) -> Tensor:
    """The tangents that the noise (T, N, 3) adds to the walk's steps, radians, as `like`. -> (N, T, 3)."""
    return (noise.walk_spread.to(like)[:, None, None] * walk_noise.to(like)).transpose(0, 1)


def sample_walk(
    score: Score,
    start: Tensor,
    noise: NoiseSchedule,
    *,
    walk_noise: Tensor,
    condition: Tensor | None = None,
    keep_trajectory: bool = False,
) -> Solution:
    """R_{i+1} = R_i Exp(2 delta_i + sqrt(sigma_i^2 - sigma_{i+1}^2) sigma_{i+1} / sigma_i * z_i).

    Args:
        score, start, condition: as for `sample_ode`.
        walk_noise: (T, N, 3) the z_i, from `draw_walk_noise`.
    """
    table = walk_scheme(noise).to(checked_start(start, condition))
    jitter = walk_jitter(noise, walk_noise, start)
    path = [start] if keep_trajectory else None
    rotations, _ = integrate(score, start, table, condition, path, jitter)
    trajectory = torch.stack(path, 1) if path else None
    return Solution(rotations, noise.steps, noise.steps, float(noise.steps), status_of(rotations), trajectory)
