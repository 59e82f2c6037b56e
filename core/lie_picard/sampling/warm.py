"""Warm starts in a video: the last image's solution, turned on by the object's motion, as first guess for the next."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.sampling.solution import UNSETTLED, Solution

# Samples whose turns since the last image differ by less have made the same one; others changed their mode.
_SAME_TURN = math.radians(5)


class WarmStart:
    """What one image leaves to the next; begin a video with an empty one.

    If an object turns by Q, so does its field of scores: Q R_0, Q R_1, ... then solves the ODE from Q R_0. So both
    the starts and the first guess turn with the object, at the rate of the last two images. Turned uniform starts are
    uniform, and samples stay with their mode. Those that ended between two poses get a new uniform start: else
    one bad start would spoil every image. After a scene cut the guess is worth nothing, but the samplers converge from
    any.
    """

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)
        self._key: tuple[object, ...] | None = None
        self._trajectory: Tensor | None = None
        self._last: Tensor | None = None
        self._turns: Tensor | None = None

    def guess(self, key: tuple[object, ...]) -> Tensor | None:
        """(N, n + 1, 3, 3) points for the next image; None if nothing was kept from a call with this key."""
        if key != self._key:
            self._key, self._trajectory, self._last, self._turns = key, None, None, None
        if self._trajectory is None or self._turns is None:
            return self._trajectory
        return self._turns[:, None] @ self._trajectory

    def keep(self, solution: Solution, images: int) -> None:
        """Remember the solution of a batch of this many images, samples of one image in a row."""
        if not solution.converged:
            self._trajectory = self._last = self._turns = None
            return
        assert solution.trajectory is not None and solution.score_slope is not None
        self._trajectory = solution.trajectory.clone()  # the solution shares its memory with the result
        lost = solution.score_slope > UNSETTLED
        if self._last is not None:
            turns = (solution.rotations @ self._last.mT).unflatten(0, (images, -1))
            each = torch.stack([common_turn(turn) for turn in turns])
            self._turns = each.repeat_interleave(turns.shape[1], 0)
        self._last = solution.rotations
        fresh = so3.uniform(int(lost.sum()), generator=self._generator, device=lost.device).to(solution.rotations)
        self._trajectory[lost] = fresh[:, None].expand(-1, self._trajectory.shape[1], -1, -1)


def common_turn(turns: Tensor) -> Tensor:
    """The turn that most of several (N, 3, 3) share; the identity where fewer than half agree. -> (3, 3)."""
    near = so3.pairwise_angle(turns, turns) < _SAME_TURN
    votes = near.sum(1)
    chosen = near[votes.argmax()]
    if 2 * int(chosen.sum()) <= len(turns):
        return torch.eye(3).to(turns)
    return so3.mean(turns[chosen])
