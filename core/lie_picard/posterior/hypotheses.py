"""From samples to weighted hypotheses: modes on SO(3), their covariance, and the kind of ambiguity."""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.posterior import arrays
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
        position: (3,) of the object's frame, in the frame of the rotation; None where the model does not tell.
        pose_covariance: (6, 6) of the true pose (x, y, z, rotation about X, Y, Z), ROS's order, about the fixed axes of
            that frame; its rotation is that of `covariance`, NaN where that is. None without a position.
    """

    rotation: Tensor
    weight: float
    covariance: Tensor
    count: int
    position: Tensor | None = None
    pose_covariance: Tensor | None = None


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
        positions: (N, 3) of the object's frame at each sample, one draw of the whole pose with its rotation; None where
            the model does not tell, and then modes have none either. Metres in a camera's frame, as `estimate_poses`
            gives them; of an image without a camera, radii of the object's sphere.
        likeness: how likely the object that was asked for is, beside the likeliest one that the model knows: 1 where it
            is this; NaN where none was asked for, or the model does not tell.
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
    positions: Tensor | None = None
    likeness: float = math.nan

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
        poses = None
        if self.positions is not None:
            placed = [(mode.position, mode.pose_covariance) for mode in modes]
            poses = (
                self.positions.cpu().numpy(),
                [(p.cpu().numpy(), c.cpu().numpy()) for p, c in placed if p is not None and c is not None],
            )
        return _unpickled, (*arrays, *rest, poses)


def _unpickled(
    rotations: Any, centres: Any, covariances: Any, shares: Any, axis: Any, mode_of: Any, ambiguity: Any, *rest: Any
) -> Hypotheses:
    """The inverse of `Hypotheses.__reduce__`."""
    *others, poses = rest
    positions, placed = poses or (None, [(None, None)] * len(shares))
    parts = zip(torch.from_numpy(centres), torch.from_numpy(covariances), shares, placed, strict=True)
    modes = tuple(
        Mode(centre, weight, covariance, count, *(None if one is None else torch.from_numpy(one) for one in place))
        for centre, covariance, (weight, count), place in parts
    )
    axis = None if axis is None else torch.from_numpy(axis)
    positions = None if positions is None else torch.from_numpy(positions)
    found = Hypotheses(torch.from_numpy(rotations), modes, ambiguity, axis, torch.from_numpy(mode_of), *others)
    return dataclasses.replace(found, positions=positions)


def posed(
    hypotheses: Hypotheses,
    rotations: Tensor,
    positions: Tensor,
    centres: Tensor,
    places: Tensor,
    covariances: Tensor,
) -> Hypotheses:
    """The same hypotheses with whole poses.

    Args:
        rotations, positions: of the samples, (N, 3, 3), (N, 3). centres, places, covariances: of the modes, (M, 3, 3),
            (M, 3) and (M, 6, 6) as `Mode.pose_covariance`.
    """
    like = hypotheses.rotations
    bodies = to_body(centres.double(), covariances[:, 3:, 3:].double())
    parts = zip(hypotheses.modes, centres.to(like), places.double(), bodies.to(like), covariances.double(), strict=True)
    modes = tuple(
        dataclasses.replace(mode, rotation=centre, position=place, covariance=body, pose_covariance=covariance)
        for mode, centre, place, body, covariance in parts
    )
    return dataclasses.replace(hypotheses, rotations=rotations.to(like), positions=positions.double(), modes=modes)


def turned(hypotheses: Hypotheses, turn: Tensor, scale: float = 1.0) -> Hypotheses:
    """The same hypotheses in a frame that a (3, 3) rotation takes theirs to; body-frame covariances do not change.

    Args:
        scale: of lengths.
    """
    if hypotheses.positions is None:
        like = turn.to(hypotheses.rotations)
        modes = tuple(dataclasses.replace(mode, rotation=like @ mode.rotation) for mode in hypotheses.modes)
        return dataclasses.replace(hypotheses, rotations=like @ hypotheses.rotations, modes=modes)
    turn = turn.double()
    move = torch.block_diag(scale * turn, turn)
    centres, places, covariances = poses_of_modes(hypotheses)
    return posed(
        hypotheses,
        turn @ hypotheses.rotations.double(),
        scale * hypotheses.positions @ turn.mT,
        turn @ centres,
        scale * places @ turn.mT,
        torch.where(covariances.isfinite(), move @ covariances.nan_to_num(0.0) @ move.mT, math.nan),
    )


def poses_of_modes(hypotheses: Hypotheses) -> tuple[Tensor, Tensor, Tensor]:
    """Rotations (M, 3, 3), positions (M, 3) and covariances (M, 6, 6) of modes that have positions, float64."""
    found = [(mode.rotation, mode.position, mode.pose_covariance) for mode in hypotheses.modes]
    rotations, positions, covariances = zip(*found, strict=True)
    return torch.stack(rotations).double(), torch.stack(positions), torch.stack(covariances)


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
    given = rotations.cpu().numpy()  # in single precision the matrix of all pairs is half as large
    cosines, samples = arrays.cosines(given, given), given.astype(float)
    seeds = _seeds(cosines >= math.cos(radius))
    centres = arrays.means(samples, cosines[:, seeds].argmax(1), len(seeds))
    mode_of = arrays.cosines(samples, centres).argmax(1)
    # Heaviest first, modes that lost all their samples last; ties keep the order of the seeds.
    counts = np.bincount(mode_of, minlength=len(centres))
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    rank = np.empty_like(counts)
    rank[order] = np.arange(len(order))
    mode_of = rank[mode_of]
    centres = arrays.means(samples, mode_of, len(order))
    spreads = Scatter.of(centres, samples, mode_of).covariance(calibration or Calibration())
    with np.errstate(invalid="ignore"):  # what is unknown is NaN
        covariances = to_body(centres, spreads)
    tensors = (torch.from_numpy(found).to(rotations) for found in (centres, covariances))
    modes = zip(*tensors, counts[order].tolist(), strict=True)
    found = tuple(Mode(centre, n / len(rotations), spread, n) for centre, spread, n in modes)
    return found, torch.from_numpy(mode_of).to(rotations.device)


def _seeds(near: NDArray[np.bool_]) -> list[int]:
    """Greedy cover of samples by neighbourhoods, most populous first. (N, N) -> indices of the seeds."""
    free, seeds = np.ones(len(near), bool), []
    counts = near.sum(1)  # of the neighbours that are free
    while free.any():
        seed = int(np.where(free, counts, -1).argmax())
        seeds.append(seed)
        taken = free & near[seed]
        taken[seed] = True
        counts -= near[:, taken].sum(1)
        free &= ~taken
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
    samples = rotations.cpu().numpy()
    cosines = arrays.cosines(samples, samples)
    first, second = np.nonzero(np.triu(cosines >= math.cos(_WIDE), 1))
    narrow = int((cosines[first, second] >= math.cos(_NEAR)).sum())
    if len(first) <= 1.7 * narrow:
        # Two samples that agree to a few degrees by chance are rare: it takes a set of poses to make them agree.
        return (Ambiguity.DISCRETE if narrow else Ambiguity.UNRESOLVED), None
    axis, share = _dominant_axis(arrays.log(samples[first].swapaxes(-1, -2) @ samples[second]))
    enough = len(first) >= len(rotations) // 4
    if enough and share > 0.9:
        return Ambiguity.AXIAL, torch.from_numpy(axis).to(rotations)
    return Ambiguity.UNRESOLVED, None


def summarise(rotations: Tensor, radius: float = MODE_RADIUS, calibration: Calibration | None = None) -> Hypotheses:
    """Modes and ambiguity of samples (N, 3, 3)."""
    modes, mode_of = find_modes(rotations, radius, calibration)
    ambiguity, axis = classify(rotations, modes)
    return Hypotheses(rotations, modes, ambiguity, axis, mode_of)


def _dominant_axis(turns: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Leading direction of (P, 3) rotation vectors, up to sign, and its share of their energy."""
    values, vectors = np.linalg.eigh(turns.T @ turns)
    axis = vectors[:, -1]
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    return axis, float(values[-1] / max(values.sum(), 1e-12))
