"""From samples to weighted hypotheses: modes on SO(3), their covariance, and the kind of ambiguity."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard import so3
from lie_picard.posterior.covariance import Calibration, Scatter, to_body

MODE_RADIUS = math.radians(15.0)
_NEAR, _WIDE = math.radians(8.0), math.radians(24.0)
_MIN_SAMPLES = 4  # fewer samples tell nothing about ambiguity
_DOMINANT = 0.9  # weight from which one mode is the answer and the rest are strays


class Ambiguity(enum.Enum):
    """What a set of samples says about how well the rotation is known."""

    ONE_POSE = "one pose"
    DISCRETE = "discrete set"
    AXIAL = "continuous about an axis"
    UNRESOLVED = "unresolved"  # spread, but not about one axis: unknown object, no object, or too few samples


@dataclass(frozen=True)
class Mode:
    """One hypothesis.

    Attributes:
        rotation: (3, 3) Riemannian mean of the samples of this mode.
        weight: share of the samples in (0, 1]; the weights of all modes sum to 1.
        covariance: (3, 3) of the true pose's body-frame tangent ``Log(rotation^T R)``, rad^2 (`posterior.covariance`);
            NaN where no mode has two samples and no calibration tells.
        count: number of samples.
    """

    rotation: Tensor
    weight: float
    covariance: Tensor
    count: int


@dataclass(frozen=True)
class Hypotheses:
    """The posterior over rotations as samples and as weighted modes, heaviest first.

    Attributes:
        rotations: (N, 3, 3) samples, camera_from_object.
        modes: weighted modes, by decreasing weight. Where the ambiguity is continuous they tile its circle.
        ambiguity: what kind of set the modes form.
        axis: (3,) unit symmetry axis in the object's frame where the ambiguity is AXIAL.
        mode_of: (N,) index into `modes` of each sample.
        presence: probability that the image shows a known object at all; NaN where the model does not tell.
        method: with which the steps were solved.
        rounds, evaluations, inefficiency: of the sampler (see `sampling.Solution`).
        converged: whether the sampler solved its equations, and nearly all samples ended in a pose, not between two. If
            not, it needs more steps or restarts.
    """

    rotations: Tensor
    modes: tuple[Mode, ...]
    ambiguity: Ambiguity
    axis: Tensor | None
    mode_of: Tensor
    presence: float = math.nan
    method: str = ""
    rounds: int = 0
    evaluations: float = 0.0
    inefficiency: float = 0.0
    converged: bool = True

    @property
    def best(self) -> Mode:
        """The heaviest mode."""
        return self.modes[0]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as a few arrays: torch takes its time over each of the many small tensors."""
        modes = self.modes
        rest = (self.ambiguity, self.presence, self.method, self.rounds, self.evaluations, self.inefficiency,
                self.converged)  # fmt: skip
        arrays = (
            self.rotations.cpu().numpy(),
            torch.stack([mode.rotation for mode in modes]).cpu().numpy(),
            torch.stack([mode.covariance for mode in modes]).cpu().numpy(),
            [(mode.weight, mode.count) for mode in modes],
            None if self.axis is None else self.axis.cpu().numpy(),
            self.mode_of.cpu().numpy(),
        )
        return _unpickled, (*arrays, *rest)


def _unpickled(
    rotations: Any, centres: Any, covariances: Any, shares: Any, axis: Any, mode_of: Any, ambiguity: Any, *rest: Any
) -> Hypotheses:
    """The inverse of `Hypotheses.__reduce__`."""
    parts = zip(torch.from_numpy(centres), torch.from_numpy(covariances), shares, strict=True)
    modes = tuple(Mode(centre, weight, covariance, count) for centre, covariance, (weight, count) in parts)
    axis = None if axis is None else torch.from_numpy(axis)
    return Hypotheses(torch.from_numpy(rotations), modes, ambiguity, axis, torch.from_numpy(mode_of), *rest)


def find_modes(
    rotations: Tensor, radius: float = MODE_RADIUS, calibration: Calibration | None = None
) -> tuple[tuple[Mode, ...], Tensor]:
    """Cluster samples by density: (N, 3, 3) -> modes by decreasing weight, and (N,) the mode of each sample.

    Seeds first: again and again the sample with most unassigned neighbours within `radius` [rad]. Then every sample
    goes to the nearest seed, and once more to the nearest mean. Deterministic: ties go to the earlier sample.

    Raises:
        ValueError: no samples, or another shape.
    """
    if rotations.ndim != 3 or rotations.shape[1:] != (3, 3) or not len(rotations):
        raise ValueError(f"samples must have shape (N, 3, 3) with N >= 1, got {tuple(rotations.shape)}")
    distances = so3.pairwise_angle(rotations, rotations)
    seeds = _seeds((distances <= radius).cpu().numpy())
    centres = so3.means(rotations, distances[:, seeds].argmin(1), len(seeds))
    mode_of = so3.pairwise_angle(rotations, centres).argmin(1)
    # Heaviest first, modes that lost all their samples last; ties keep the order of the seeds.
    counts = torch.bincount(mode_of, minlength=len(centres))
    order = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    mode_of = torch.empty_like(counts).scatter_(0, order, torch.arange(len(order), device=order.device))[mode_of]
    centres = so3.means(rotations, mode_of, len(order))
    spreads = Scatter.of(centres, rotations, mode_of).covariance(calibration or Calibration())
    covariances = to_body(centres, spreads)
    modes = zip(centres, covariances, counts[order].tolist(), strict=True)
    return tuple(Mode(centre, n / len(rotations), spread, n) for centre, spread, n in modes), mode_of


def _seeds(near: NDArray[np.bool_]) -> list[int]:
    """Greedy cover of samples by neighbourhoods, most populous first. (N, N) -> indices of the seeds."""
    free, seeds = np.ones(len(near), bool), []
    while free.any():
        seed = int((near[:, free].sum(1) * free).argmax())
        seeds.append(seed)
        free &= ~near[seed]
        free[seed] = False
    return seeds


def classify(rotations: Tensor, modes: tuple[Mode, ...]) -> tuple[Ambiguity, Tensor | None]:
    """The kind of ambiguity of samples (N, 3, 3) and, if axial, the (3,) axis in the object's frame.

    Discrete modes are points: a wide neighbourhood (24 degrees) holds hardly more samples than a narrow one (8).
    On a circle it holds three times as many, and the turns between neighbours share one axis.
    """
    if len(rotations) < _MIN_SAMPLES:
        return Ambiguity.UNRESOLVED, None
    if modes[0].weight >= _DOMINANT:
        return Ambiguity.ONE_POSE, None
    distances = so3.pairwise_angle(rotations, rotations)
    close = torch.triu(distances <= _WIDE, diagonal=1)
    first, second = torch.nonzero(close, as_tuple=True)
    narrow = int((close & (distances <= _NEAR)).sum())
    if len(first) <= 1.7 * narrow:
        # Two samples that agree to a few degrees by chance are rare: it takes a set of poses to make them agree.
        return (Ambiguity.DISCRETE if narrow else Ambiguity.UNRESOLVED), None
    axis, share = _dominant_axis(so3.log(rotations[first].mT @ rotations[second]))
    enough = len(first) >= len(rotations) // 4
    return (Ambiguity.AXIAL, axis) if enough and share > 0.9 else (Ambiguity.UNRESOLVED, None)


def summarise(rotations: Tensor, radius: float = MODE_RADIUS, calibration: Calibration | None = None) -> Hypotheses:
    """Modes and ambiguity of samples (N, 3, 3)."""
    modes, mode_of = find_modes(rotations, radius, calibration)
    ambiguity, axis = classify(rotations, modes)
    return Hypotheses(rotations, modes, ambiguity, axis, mode_of)


def _dominant_axis(turns: Tensor) -> tuple[Tensor, float]:
    """Leading direction of (P, 3) rotation vectors, up to sign, and its share of their energy."""
    values, vectors = torch.linalg.eigh(turns.T @ turns)
    axis = vectors[:, -1]
    axis = axis * torch.where(axis[axis.abs().argmax()] < 0, -1.0, 1.0)
    return axis, float(values[-1] / values.sum().clamp_min(1e-12))
