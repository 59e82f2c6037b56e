"""What every sampler takes and returns."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# score(rotations (M, 3, 3), step (M,)[, condition (M,)]) -> (M, 3): the mean of the noise, turned, in the body frame
# (docs/method.md); sigma * grad log p where the noise is small.
Score = Callable[..., Tensor]

# A sample whose score still changes by this much per e-fold of noise at the end was caught between two poses.
UNSETTLED = 0.7
# From which a flow map's samples start again. Its steps are long: what ends beside a pose shows it less.
UNSETTLED_BY_MAP = 0.35


class Status(enum.Enum):
    """How a sampler ended; the value is a message that names the remedy."""

    CONVERGED = "converged"
    MAX_ROUNDS = "stopped at the limit of rounds before convergence: raise max_rounds, or the tolerance"
    NOT_FINITE = "the score was not finite: check the checkpoint and the image"


@dataclass(frozen=True)
class Solution:
    """Samples with what they cost.

    Attributes:
        rotations: (N, 3, 3) denoised samples.
        steps: number T of noise levels.
        rounds: sequential calls of the score (each a batch); what costs on a GPU.
        evaluations: rotations scored, per sample on average; what costs on a CPU.
        status: how it ended; samples of a run that is not CONVERGED must not be trusted.
        trajectory: (N, n + 1, 3, 3) from the start to the result by way of all n points at which the score is
            evaluated, where it was asked for.
        score_slope: (N,) how much the score still changes per e-fold of noise at the end; nearly 0 where a sample has
            found its pose, above 1 where it is still between two.
        rounds_of: (N,) rounds after which each sample had left the batch, where they differ.
    """

    rotations: Tensor
    steps: int
    rounds: int
    evaluations: float
    status: Status
    trajectory: Tensor | None = None
    score_slope: Tensor | None = None
    rounds_of: Tensor | None = None

    @property
    def inefficiency(self) -> float:
        """Evaluations relative to the sequential sampler's (ParaDiGMS, section 3)."""
        return self.evaluations / self.steps

    def settled(self, images: int) -> list[float]:
        """Share of each image's samples that ended in a pose, not between two.

        1 for a walk, which does not tell; 0 for a single evaluation of a flow map, which cannot show it.
        """
        if self.score_slope is None:
            return [1.0] * images
        if self.steps < 2:
            return [0.0] * images
        return (self.score_slope <= UNSETTLED).double().unflatten(0, (images, -1)).mean(1).tolist()

    @property
    def converged(self) -> bool:
        """Whether the samples solve the discretised equation to the tolerance."""
        return self.status is Status.CONVERGED


def joined(parts: Sequence[Solution]) -> Solution:
    """The solution of all samples from those of some; rounds add up, for the parts come one after another."""
    if len(parts) == 1:
        return parts[0]
    sizes = [len(part.rotations) for part in parts]

    def together(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)

    return Solution(
        torch.cat([part.rotations for part in parts]),
        parts[0].steps,
        sum(part.rounds for part in parts),
        sum(part.evaluations * size for part, size in zip(parts, sizes, strict=True)) / sum(sizes),
        next((part.status for part in parts if not part.converged), Status.CONVERGED),
        *(together(name) for name in ("trajectory", "score_slope", "rounds_of")),
    )


def checked_start(start: Tensor, condition: Tensor | None) -> Tensor:
    """`start` if its shape is (N, 3, 3) and `condition` fits.

    Raises:
        ValueError: naming the shape that is wrong.
    """
    if start.ndim != 3 or start.shape[1:] != (3, 3) or not len(start):
        raise ValueError(f"start must have shape (N, 3, 3) with N >= 1, got {tuple(start.shape)}")
    if condition is not None and condition.shape != start.shape[:1]:
        raise ValueError(f"condition must have shape ({len(start)},), got {tuple(condition.shape)}")
    return start


def evaluate(score: Score, rotations: Tensor, step: Tensor, condition: Tensor | None) -> Tensor:
    """Call the score, with the condition where there is one."""
    return score(rotations, step) if condition is None else score(rotations, step, condition)


def status_of(rotations: Tensor) -> Status:
    """NOT_FINITE if any sample is, else CONVERGED."""
    return Status.CONVERGED if bool(torch.isfinite(rotations).all()) else Status.NOT_FINITE
