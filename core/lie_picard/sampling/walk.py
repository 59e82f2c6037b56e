"""The reverse SDE as a geodesic random walk (De Bortoli et al., 2022; LiePoseDiffusion's sampler)."""

from __future__ import annotations

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.noise import NoiseSchedule
from lie_picard.sampling.scheme import Scheme, euler
from lie_picard.sampling.solution import Score, Solution, checked_start, evaluate, status_of


def draw_walk(noise: NoiseSchedule, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """All the randomness of a walk, drawn ahead: standard normal (T, N, 3)."""
    return torch.randn(noise.steps, samples, 3, generator=generator)


def walk_scheme(noise: NoiseSchedule) -> Scheme:
    """The walk's drift as a table: Euler's, with twice the advance."""
    table = euler(noise)
    table.weights[:, 1, -1] = noise.walk_drift.double()
    return table


def sample_walk(
    score: Score,
    start: Tensor,
    noise: NoiseSchedule,
    *,
    draws: Tensor | None = None,
    generator: torch.Generator | None = None,
    condition: Tensor | None = None,
    keep_trajectory: bool = False,
) -> Solution:
    """R_{i+1} = R_i Exp(2 delta_i + sqrt(sigma_i^2 - sigma_{i+1}^2) sigma_{i+1} / sigma_i * z_i).

    Args:
        score, start, condition: as for `sample_ode`.
        draws: (T, N, 3) the z_i; drawn from `generator` where not given.
    """
    rotations = checked_start(start, condition)
    drift, spread = noise.walk_drift.to(start), noise.walk_spread.to(start)
    z = (draw_walk(noise, len(start), generator) if draws is None else draws).to(start)
    path = [rotations]
    for i in range(noise.steps):
        step = torch.full((len(rotations),), i, device=start.device)
        tangent = drift[i] * evaluate(score, rotations, step, condition) + spread[i] * z[i]
        rotations = rotations @ so3.exp(tangent)
        if keep_trajectory:
            path.append(rotations)
    trajectory = torch.stack(path, 1) if keep_trajectory else None
    return Solution(rotations, noise.steps, noise.steps, float(noise.steps), status_of(rotations), trajectory)
