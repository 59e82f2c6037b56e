"""The probability-flow ODE, solved one evaluation after another."""

from __future__ import annotations

import torch
from torch import Tensor

from lie_picard.noise import NoiseSchedule
from lie_picard.sampling.scheme import Scheme, euler
from lie_picard.sampling.solution import Score, Solution, checked_start, evaluate, status_of


def sample_ode(
    score: Score,
    start: Tensor,
    noise: NoiseSchedule,
    *,
    scheme: Scheme | None = None,
    condition: Tensor | None = None,
    keep_trajectory: bool = False,
) -> Solution:
    """Follow an integrator's table (`scheme`) from its first evaluation to its last.

    Args:
        score: see `solution.Score`.
        start: (N, 3, 3) rotations at the first noise level.
        scheme: the integrator; Euler's method, the paper's, where not given.
        condition: (N,) handed to the score with each sample (the index of its image, say).

    Returns:
        The solution after as many rounds as the scheme has evaluations.
    """
    rotations = checked_start(start, condition)
    table = (scheme or euler(noise)).to(start)
    recent = start.new_zeros(len(start), table.history, 3)
    path = [rotations]
    for k, level in enumerate(table.level[:, None].expand(-1, len(start))):
        found = evaluate(score, rotations, level, condition)
        recent = torch.cat([recent[:, 1:], found[:, None]], 1)
        rotations = rotations @ table.increments(table.weights[k], recent)
        if keep_trajectory:
            path.append(rotations)
    return Solution(
        rotations,
        noise.steps,
        table.evaluations,
        float(table.evaluations),
        status_of(rotations),
        torch.stack(path, 1) if keep_trajectory else None,
        (table.trend @ recent).norm(dim=-1),
    )
