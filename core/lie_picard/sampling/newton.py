"""Parallel sampling by a quasi-Newton iteration whose Jacobian is known beforehand."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.sampling.noise import NoiseSchedule
from lie_picard.sampling.scheme import Scheme, euler
from lie_picard.sampling.solution import Score, Solution
from lie_picard.sampling.window import solve_in_windows

# The score's answer to a small turn v is taken to be -v / sigma / (1 + (sigma / SPLIT)^3): at low noise it points to
# one pose, wherever it is asked; at high noise between many, and hardly changes. SPLIT, in radians, was fitted to the
# embedded model. It sets the speed, never the result.
SPLIT = 0.5


def sample_newton(
    score: Score,
    start: Tensor,
    noise: NoiseSchedule,
    *,
    scheme: Scheme | None = None,
    window: int | None = None,
    tolerance: float = 0.03,
    max_rounds: int | None = None,
    condition: Tensor | None = None,
    guess: Tensor | None = None,
    keep_trajectory: bool = False,
) -> Solution:
    """Solve all steps of a window at once, as `sample_picard` does, in fewer rounds.

    A round takes all defects d_{j+1} = Log(R_j G_j R_{j+1}^T), G_j being step j's increment, in the fixed frame,
    where a turn u of R_j alone turns R_{j+1} by u too. As the score also answers to u, Newton's corrections obey

        u_{j+1} = u_j + sum_k (B + C)_jk dscore_k(u_k) + d_{j+1},    R_j <- Exp(u_j) R_j.

    Its exact solution needs the Jacobian of the score at every point: three more evaluations each. Here it is one
    number for each noise level (`SPLIT`), so that u = K d with one constant matrix K. `sample_picard` is the case of no
    answer at all. The first point of a window is exact in both, and the fixed point is the same.

    Args and errors: as for `sample_picard`.
    """
    table = (scheme or euler(noise)).to(start)
    propagator = propagation(table)

    def update(points: Tensor, increments: Tensor, following: Tensor, at: Tensor) -> Tensor:
        defects = so3.log(points @ increments @ following.mT)
        block = propagator[at[:, :, None], at[:, None, :]].tril()
        return so3.exp(block @ defects) @ following

    return solve_in_windows(
        score, start, noise, table, update, window=window, tolerance=tolerance, max_rounds=max_rounds, jitter=None,
        condition=condition, guess=guess, keep_trajectory=keep_trajectory,
    )  # fmt: skip


@functools.lru_cache(maxsize=32)
def propagation(scheme: Scheme) -> Tensor:
    """K (n, n): how a defect at the end of step m turns the end of step j, K_jm, in the mean over samples."""
    n, h = scheme.evaluations, scheme.history
    like = scheme.weights
    answer = -1 / (1 + (scheme.sigmas / SPLIT) ** 3) / scheme.sigmas
    step = torch.arange(n, device=like.device)[:, None].expand(n, h)
    source = step - torch.arange(h - 1, -1, -1, device=like.device)
    moves = source >= 1  # the start does not move
    system = torch.eye(n + 1, dtype=like.dtype, device=like.device)
    system[step[moves] + 1, source[moves]] -= scheme.weights.sum(1)[moves] * answer[source[moves]]
    system.diagonal(-1).sub_(1)
    return torch.linalg.inv(system)[1:, 1:]
