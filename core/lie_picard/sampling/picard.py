"""Parallel sampling by Picard iteration on the group, in a sliding window (the paper's Algorithm 1)."""

from __future__ import annotations

from torch import Tensor

from lie_picard import so3
from lie_picard.sampling.noise import NoiseSchedule
from lie_picard.sampling.scheme import Scheme, euler
from lie_picard.sampling.solution import Score, Solution
from lie_picard.sampling.walk import walk_jitter, walk_scheme
from lie_picard.sampling.window import solve_in_windows


def sample_picard(
    score: Score,
    start: Tensor,
    noise: NoiseSchedule,
    *,
    scheme: Scheme | None = None,
    window: int | None = None,
    tolerance: float = 0.03,
    max_rounds: int | None = None,
    walk_noise: Tensor | None = None,
    condition: Tensor | None = None,
    guess: Tensor | None = None,
    keep_trajectory: bool = False,
) -> Solution:
    """Solve all steps of a window at once and iterate to the sequential solution (Eq. 12).

    With a the last accepted point and delta_j the tangent of step j, one round computes
    ``R_j <- R_a Exp(delta_a(R_a)) ... Exp(delta_{j-1}(R_{j-1}))`` for j = a+1 ... a+p from a single batch of
    scores, the product being a scan. `window.solve_in_windows` says which points are then accepted.

    Args:
        score, start, scheme, condition: as for `sample_ode`.
        window: number p of evaluations in flight; all where not given.
        tolerance: relative to the noise level of each step; 0 gives the sequential solution.
        max_rounds: stop early, with status MAX_ROUNDS.
        walk_noise: (T, N, 3) from `walk.draw_walk_noise`: solve the geodesic random walk instead of the ODE.
        guess: (N, n + 1, 3, 3) first values of all points, an earlier solution's trajectory for example.

    Raises:
        ValueError: a shape, the window or the tolerance is out of range.
    """
    jitter = None
    if walk_noise is not None:
        scheme, jitter = walk_scheme(noise), walk_jitter(noise, walk_noise, start)

    def update(points: Tensor, increments: Tensor, following: Tensor, at: Tensor) -> Tensor:
        return points[:, :1] @ so3.scan(increments)

    return solve_in_windows(
        score, start, noise, (scheme or euler(noise)).to(start), update, window=window, tolerance=tolerance,
        max_rounds=max_rounds, jitter=jitter, condition=condition, guess=guess, keep_trajectory=keep_trajectory,
    )  # fmt: skip
