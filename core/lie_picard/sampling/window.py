"""The sliding window in which `picard` and `newton` solve all evaluations of a scheme at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.sampling.noise import NoiseSchedule
from lie_picard.sampling.scheme import Scheme
from lie_picard.sampling.solution import Score, Solution, Status, checked_start, evaluate, status_of

# update(points (A, p, 3, 3), increments (A, p, 3, 3), following (A, p, 3, 3), at (A, p)) -> (A, p, 3, 3):
# better values of the points that follow `points`, from the increments taken there and the present values.
Update = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

# Above this noise level, in radians, samples still choose between poses and small errors grow large.
DECIDED, STRICTER = 0.2, 0.1


def solve_in_windows(
    score: Score,
    start: Tensor,
    noise: NoiseSchedule,
    scheme: Scheme,
    update: Update,
    *,
    window: int | None,
    tolerance: float,
    max_rounds: int | None,
    jitter: Tensor | None,
    condition: Tensor | None,
    guess: Tensor | None,
    keep_trajectory: bool,
) -> Solution:
    """Repeat `update` on the next p points of each sample until all have settled.

    A point that moved by no more than ``tolerance * sigma`` counts as settled; above `DECIDED` a tenth of that, unless
    a guess has decided already. The window moves past the settled points and the one behind them, whose inputs all
    were. The first point of a window is always exact, so every round advances and n rounds suffice. Each sample has a
    window of its own and leaves the batch when it is done.

    Args:
        scheme: on the device of `start`. jitter: (N, n, 3) tangents added to each step's advance.
        guess: (N, n + 1, 3, 3) first values of all points; None: each window starts from its first point.

    Raises:
        ValueError: a shape, the window or the tolerance is out of range.
    """
    checked_start(start, condition)
    steps, count, device = scheme.evaluations, len(start), start.device
    window = steps if window is None else min(window, steps)
    if window < 1 or tolerance < 0:
        raise ValueError(f"need window >= 1 and tolerance >= 0, got {window} and {tolerance}")
    if guess is not None and guess.shape != (count, steps + 1, 3, 3):
        raise ValueError(f"guess must have shape ({count}, {steps + 1}, 3, 3), got {tuple(guess.shape)}")
    # Point k + 1 ends step k; the last one is compared at the last noise level.
    sigmas = torch.cat([scheme.sigmas[1:], scheme.sigmas[-1:]])
    stricter = torch.where(sigmas > DECIDED, STRICTER, 1.0) if guess is None else 1.0
    settled_within = tolerance * sigmas * stricter
    ages = torch.arange(scheme.history - 1, -1, -1, device=device)

    path = start[:, None].repeat(1, steps + 1, 1, 1) if guess is None else guess.to(start).clone()
    path[:, 0] = start
    scores = start.new_zeros(count, steps, 3)
    begin = torch.zeros(count, dtype=torch.long, device=device)  # last accepted point of each sample
    active = torch.arange(count, device=device)
    offsets = torch.arange(window, device=device)
    rounds_of = torch.zeros(count, dtype=torch.long, device=device)
    rounds, scored = 0, 0
    while len(active) and rounds < (max_rounds or steps):
        at = begin[active, None] + offsets  # (A, p) point of each place in the window
        inside = at < steps
        at = at.clamp(max=steps - 1)
        sample = active[:, None].expand_as(at)
        points = path[sample, at]
        # As indices: a mask would be looked through, and the device waited for, at each of its uses.
        held = inside.nonzero(as_tuple=True)
        owner, place = sample[held], at[held]
        chosen = None if condition is None else condition[owner]
        scores[owner, place] = evaluate(score, points[held], scheme.level[place], chosen)
        recent = scores[sample[..., None], (at[..., None] - ages).clamp(min=0)]  # (A, p, h, 3)
        extra = None if jitter is None else jitter[sample, at]
        increments = scheme.increments(scheme.weights[at], recent, extra)
        following = path[sample, at + 1]
        updated = update(points, increments, following, at)
        settled = (so3.angle(following, updated) <= settled_within[at]) | ~inside
        leading = settled.cumprod(1).sum(1)
        length = inside.sum(1)
        stride = torch.minimum(leading + 1, length)

        path[owner, place + 1] = updated[held]
        if guess is None:
            # Points that enter the window start from its last one (at the end this rewrites the last point itself).
            end = begin[active] + length
            last = updated[torch.arange(len(active), device=device), length - 1]
            path[active[:, None], (end[:, None] + 1 + offsets).clamp(max=steps)] = last[:, None]
        begin[active] += stride
        rounds_of[active] += 1
        rounds += 1
        scored += len(owner)
        active = active[begin[active] < steps]
    rotations = path[:, -1]
    status = status_of(rotations)
    if len(active) and status is Status.CONVERGED:
        status = Status.MAX_ROUNDS
    score_slope = (scheme.score_slope @ scores[:, -scheme.history :]).norm(dim=-1)
    trajectory = path if keep_trajectory else None
    return Solution(rotations, noise.steps, rounds, scored / count, status, trajectory, score_slope, rounds_of)
