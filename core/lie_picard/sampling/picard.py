"""Parallel sampling by Picard iteration on the group, in a sliding window (the paper's Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.noise import NoiseSchedule
from lie_picard.sampling.solution import Score, Solution, Status, checked_start, evaluate, status_of


def sample_picard(
    score: Score,
    start: Tensor,
    noise: NoiseSchedule,
    *,
    window: int | None = None,
    tolerance: float = 0.03,
    max_rounds: int | None = None,
    draws: Tensor | None = None,
    condition: Tensor | None = None,
    keep_trajectory: bool = False,
) -> Solution:
    """Solve all steps of a window at once and iterate to the sequential solution (Eq. 12).

    With a the last accepted step, one round computes
    ``R_j <- R_a Exp(delta_a(R_a)) ... Exp(delta_{j-1}(R_{j-1}))`` for j = a+1 ... a+p from a single batch of
    scores, the product being a scan. A point that moved by no more than ``tolerance * sigma_j`` counts as
    settled; the window moves past the settled points and the one behind them, whose inputs all were. The first
    point of a window is always exact, so every round advances and T rounds suffice. Each sample has a window of
    its own and leaves the batch when it is done.

    Args:
        score, start, condition: as for `sample_ode`.
        window: number p of steps in flight; all T where not given.
        tolerance: relative to the noise level of each step; 0 gives the sequential solution.
        max_rounds: stop early, with status MAX_ROUNDS.
        draws: (T, N, 3) from `walk.draw_walk`: solve the geodesic random walk instead of the ODE.

    Raises:
        ValueError: a shape, the window or the tolerance is out of range.
    """
    checked_start(start, condition)
    steps, count, device = noise.steps, len(start), start.device
    window = steps if window is None else min(window, steps)
    if window < 1 or tolerance < 0:
        raise ValueError(f"need window >= 1 and tolerance >= 0, got {window} and {tolerance}")
    drift = (noise.drift if draws is None else noise.walk_drift).to(start)
    jitter = None if draws is None else (noise.walk_spread[:, None, None] * draws).to(start).transpose(0, 1)
    # Point j ends step j - 1; the last one is compared at the last noise level.
    settled_within = tolerance * torch.cat([noise.sigmas[1:], noise.sigmas[-1:]]).to(start)

    path = start[:, None].repeat(1, steps + 1, 1, 1)
    begin = torch.zeros(count, dtype=torch.long, device=device)  # last accepted step of each sample
    active = torch.arange(count, device=device)
    offsets = torch.arange(window, device=device)
    rounds, scored = 0, 0
    while len(active) and rounds < (max_rounds or steps):
        at = begin[active, None] + offsets  # (A, p) step of each point in the window
        inside = at < steps
        at = at.clamp(max=steps - 1)
        sample = active[:, None].expand_as(at)
        points = path[sample, at]
        chosen = None if condition is None else condition[sample[inside]]
        tangent = torch.zeros_like(points[..., 0])
        tangent[inside] = drift[at[inside], None] * evaluate(score, points[inside], at[inside], chosen)
        if jitter is not None:
            tangent = tangent + torch.where(inside[..., None], jitter[sample, at], 0.0)
        updated = points[:, :1] @ so3.scan(so3.exp(tangent))  # points at + 1
        moved = so3.angle(path[sample, at + 1], updated)
        settled = (moved <= settled_within[at]) | ~inside
        leading = settled.cumprod(1).sum(1)
        length = inside.sum(1)
        stride = torch.minimum(leading + 1, length)

        path[sample[inside], at[inside] + 1] = updated[inside]
        # Steps that enter the window start from its last point (at the end this rewrites the last point itself).
        end = begin[active] + length
        last = updated[torch.arange(len(active), device=device), length - 1]
        path[active[:, None], (end[:, None] + 1 + offsets).clamp(max=steps)] = last[:, None]
        begin[active] += stride
        rounds += 1
        scored += int(inside.sum())
        active = active[begin[active] < steps]
    status = status_of(path[:, -1])
    if len(active) and status is Status.CONVERGED:
        status = Status.MAX_ROUNDS
    return Solution(path[:, -1], steps, rounds, scored / count, status, path if keep_trajectory else None)
