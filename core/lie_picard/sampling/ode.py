"""The probability-flow ODE, solved one evaluation after another."""

from __future__ import annotations

import torch
from torch import Tensor

from lie_picard.sampling.noise import NoiseSchedule
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
    table = (scheme or euler(noise)).to(checked_start(start, condition))
    path: list[Tensor] | None = [start] if keep_trajectory else None
    whole = getattr(score, "integrate", None)  # a score may have a faster way for all evaluations together
    if whole is not None and path is None:
        rotations, score_slope = whole(start, table, condition)
    else:
        rotations, score_slope = integrate(score, start, table, condition, path)
    return Solution(
        rotations,
        noise.steps,
        table.evaluations,
        float(table.evaluations),
        status_of(rotations),
        torch.stack(path, 1) if path else None,
        score_slope,
    )


def integrate(
    score: Score,
    start: Tensor,
    scheme: Scheme,
    condition: Tensor | None = None,
    path: list[Tensor] | None = None,
    jitter: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rotations (N, 3, 3) at the end of a scheme and their score_slope (N,).

    Nothing here waits for the device or depends on values, so that it can be recorded.

    Args:
        path: collects the points on the way. jitter: (N, n, 3) tangents added to each step's advance.
    """
    rotations = start
    recent = start.new_zeros(len(start), scheme.history, 3)
    for k, level in enumerate(scheme.level[:, None].expand(-1, len(start))):
        found = evaluate(score, rotations, level, condition)
        recent = torch.cat([recent[:, 1:], found[:, None]], 1)
        rotations = rotations @ scheme.increments(scheme.weights[k], recent, None if jitter is None else jitter[:, k])
        if path is not None:
            path.append(rotations)
    return rotations, (scheme.score_slope @ recent).norm(dim=-1)
