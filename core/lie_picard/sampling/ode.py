"""The probability-flow ODE, solved by Euler steps on the group, one after another."""

from __future__ import annotations

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.noise import NoiseSchedule
from lie_picard.sampling.solution import Score, Solution, checked_start, evaluate, status_of


def sample_ode(
    score: Score,
    start: Tensor,
    noise: NoiseSchedule,
    *,
    condition: Tensor | None = None,
    keep_trajectory: bool = False,
) -> Solution:
    """R_{i+1} = R_i Exp(delta_i), delta_i = (sigma_i^2 - sigma_{i+1}^2) / (2 sigma_i) * s(R_i, i).

    Args:
        score: see `solution.Score`.
        start: (N, 3, 3) rotations at the first noise level.
        condition: (N,) handed to the score with each sample (the index of its image, say).

    Returns:
        The solution after T = `noise.steps` rounds and as many evaluations a sample.
    """
    rotations = checked_start(start, condition)
    drift = noise.drift.to(start)
    path = [rotations]
    for i in range(noise.steps):
        step = torch.full((len(rotations),), i, device=start.device)
        rotations = rotations @ so3.exp(drift[i] * evaluate(score, rotations, step, condition))
        if keep_trajectory:
            path.append(rotations)
    trajectory = torch.stack(path, 1) if keep_trajectory else None
    return Solution(rotations, noise.steps, noise.steps, float(noise.steps), status_of(rotations), trajectory)
