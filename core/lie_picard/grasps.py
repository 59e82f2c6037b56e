"""Which grasp to execute where an object's pose is known as several weighted hypotheses.

A grasp is executed at one gripper pose in the camera frame, chosen before anyone knows which hypothesis is true. It
succeeds where the object, as it really lies, has any of its grasps there, up to that grasp's tolerances. So one that
works at all six angles of a bolt beats one that is a little better but needs the one true angle.

Poses are (..., 4, 4) float64, `a_from_b`, metres. The gripper's z axis is its approach direction, x the line along
which its jaws close, the origin the point between the fingertips. The camera frame is optical: z forward.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.estimation.poses import ObjectPoses
from lie_picard.geometry.symmetry import Symmetry

UNKNOWN_SIGMA = math.radians(5.0)
_COARSE, _FINE, _FINAL = 32, 256, 2048  # draws of the posterior, altogether
_LEADING = 32  # candidates that a coarse look leaves
_STEP_DEG = 10.0  # of turns about an axis of symmetry
_PAIRS = 500_000  # gripper poses compared with grasps at a time, which bounds the memory


@dataclass(frozen=True, eq=False)
class Grasp:
    """A gripper pose at the object, and how far the gripper may be off for the grasp to hold.

    Attributes:
        grasp_id: its name; several poses may share one.
        object_from_gripper: (4, 4).
        tilt: largest angle between intended and actual approach direction, radians, at most pi / 2.
        turn: largest turn about the approach direction, radians; pi: any, as for a suction cup.
        distance: largest displacement of the gripper's origin, metres.
        quality: probability that the grasp holds within these tolerances, in (0, 1].
        jaws: number of turns about its approach direction that leave the gripper as it is: 2 for parallel jaws.
    """

    grasp_id: str
    object_from_gripper: Tensor
    tilt: float
    turn: float
    distance: float
    quality: float = 1.0
    jaws: int = 2

    def __post_init__(self) -> None:
        rotation = self.object_from_gripper[..., :3, :3]
        if self.object_from_gripper.shape != (4, 4) or not _are_rotations(rotation):
            raise ValueError(f"grasp '{self.grasp_id}': object_from_gripper must be a (4, 4) rigid transform")
        limits = {"tilt": math.pi / 2, "turn": math.pi, "distance": math.inf, "quality": 1.0}
        for name, limit in limits.items():
            if not (math.isfinite(value := getattr(self, name)) and 0 < value <= limit + 1e-6):
                below = f" and at most {limit:.4g}" if math.isfinite(limit) else ""
                raise ValueError(f"grasp '{self.grasp_id}': {name} must be above 0{below}, got {value}")
        if self.jaws < 1:
            raise ValueError(f"grasp '{self.grasp_id}': jaws must be at least 1, got {self.jaws}")

    def turned(self, rotations: Tensor, centre: Tensor | None = None) -> list[Grasp]:
        """The same grasp after turns (S, 3, 3) of the object's frame that leave the object graspable as before.

        Args:
            centre: (3,) that they leave in place, metres; None: the origin.
        """
        place = torch.zeros(3, dtype=torch.float64) if centre is None else centre.double()
        turns = rigid(rotations.double(), place - rotations.double() @ place)
        return [dataclasses.replace(self, object_from_gripper=turn @ self.object_from_gripper) for turn in turns]

    def around(self, axis: Tensor, count: int, offset: Tensor | None = None) -> list[Grasp]:
        """The same grasp at `count` equal turns about a (3,) axis of the object; 36 stand for any turn.

        Args:
            offset: (3,) a point of the axis, metres; None: it passes through the origin.
        """
        angles = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
        return self.turned(so3.about_axis(torch.nn.functional.normalize(axis.double(), dim=0), angles), offset)


def symmetric(grasps: Sequence[Grasp], symmetry: Symmetry) -> list[Grasp]:
    """Grasps that work after every turn which leaves the object as it looks; about an axis, at 36 equal turns."""
    turns = symmetry.equivalents(torch.eye(3, dtype=torch.float64), _STEP_DEG)
    centre = torch.from_numpy(symmetry.centre)
    return [turned for grasp in grasps for turned in grasp.turned(turns, centre)]


@dataclass(frozen=True, eq=False)
class Posterior:
    """Weighted hypotheses of an object's pose.

    Attributes:
        weights: (H,), at least 0; what their sum lacks to 1 counts as failure.
        camera_from_object: (H, 4, 4) means.
        covariances: (H, 6, 6) of (x, y, z, rotation about X, Y, Z), m^2 and rad^2, about the camera frame's fixed axes.
    """

    weights: Tensor
    camera_from_object: Tensor
    covariances: Tensor

    def __post_init__(self) -> None:
        count = len(self.weights)
        if not count:
            raise ValueError("there are no hypotheses")
        if self.camera_from_object.shape != (count, 4, 4) or self.covariances.shape != (count, 6, 6):
            raise ValueError(f"{count} weights need as many poses and covariances")
        if not all(bool(part.isfinite().all()) for part in (self.weights, self.camera_from_object, self.covariances)):
            raise ValueError("a hypothesis holds numbers that are not finite")
        if bool((self.weights < 0).any()) or not 0 < float(self.weights.sum()) < 1.01:
            raise ValueError(f"weights must be at least 0 and sum to 1, got a sum of {float(self.weights.sum()):.4g}")
        if not _are_rotations(self.camera_from_object[:, :3, :3]):
            raise ValueError("an orientation is not a rotation")
        values = torch.linalg.eigvalsh(self.covariances)
        if bool((values[:, 0] < -1e-6 * values[:, -1].clamp_min(1e-6)).any()):
            raise ValueError("a covariance has negative eigenvalues")

    @classmethod
    def of(
        cls,
        poses: ObjectPoses,
        unknown_sigma: float = UNKNOWN_SIGMA,
    ) -> Posterior:
        """From what one image says about an object: each mode at its own position, with the covariance of both.

        Args:
            unknown_sigma: standard deviation [rad] for modes whose spread is unknown.
        """
        rotations, positions, covariances = map(torch.from_numpy, poses.modes())
        weights = torch.tensor([mode.weight for mode in poses.hypotheses.modes], dtype=torch.float64)
        known = covariances.isfinite()
        guess = unknown_sigma**2 * torch.eye(6, dtype=torch.float64)
        return cls(weights, rigid(so3.project(rotations), positions), torch.where(known, covariances, guess))

    @classmethod
    def of_samples(cls, rotations: Tensor, positions: Tensor) -> Posterior:
        """Of draws of whole poses, (N, 3, 3) and (N, 3) metres, each as good as another (`ObjectPoses`)."""
        count = len(rotations)
        weights = torch.full((count,), 1 / max(1, count), dtype=torch.float64)
        poses = rigid(so3.project(rotations.double().cpu()), positions.double().cpu())
        return cls(weights, poses, torch.zeros(count, 6, 6, dtype=torch.float64))

    @property
    def best(self) -> Tensor:
        """(4, 4) mean of the heaviest hypothesis."""
        return self.camera_from_object[int(self.weights.argmax())]

    def draws(self, count: int, seed: int) -> Tensor:
        """About `count` poses, equally many of each hypothesis. -> (H, D, 4, 4).

        Quasi-random (scrambled Sobol): the same for the same seed, and nearer to the integral than independent draws.
        """
        hypotheses = len(self.weights)
        each = 2 ** max(0, math.ceil(math.log2(count / hypotheses)))
        unit = torch.quasirandom.SobolEngine(6, scramble=True, seed=seed).draw(hypotheses * each, dtype=torch.float64)
        normal = torch.special.ndtri(unit.clamp(1e-9, 1 - 1e-9)).unflatten(0, (hypotheses, each))
        values, vectors = torch.linalg.eigh(self.covariances)
        shift = normal @ (vectors * values.clamp_min(0).sqrt()[:, None]).mT
        mean = self.camera_from_object[:, None]
        return rigid(so3.exp(shift[..., 3:]) @ mean[..., :3, :3], mean[..., :3, 3] + shift[..., :3])


@dataclass(frozen=True, eq=False)
class Choice:
    """A grasp to execute.

    Attributes:
        grasp: of the list. hypothesis: index of the one at whose mean it is placed.
        camera_from_gripper: (4, 4). probability: of success over all hypotheses.
    """

    grasp: Grasp
    hypothesis: int
    camera_from_gripper: Tensor
    probability: float


def best_grasp(posterior: Posterior, grasps: Sequence[Grasp], max_approach: float = math.pi) -> Choice | None:
    """The grasp whose success over all weighted hypotheses is best; None where none is reachable.

    Candidates are all grasps at the means of all hypotheses, thinned out with few draws and compared with many.

    Args:
        max_approach: largest angle [rad] between the approach direction and the camera's optical axis.
    """
    table = _Table.of(grasps)
    candidates = (posterior.camera_from_object[:, None] @ table.poses).flatten(0, 1)
    left = (candidates[:, 2, 2] >= math.cos(max_approach) - 1e-9).nonzero()[:, 0]
    if not len(left):
        return None
    for count in (_COARSE, _FINE):
        found = success_probability(posterior, candidates[left], grasps, count)
        left = left[found.argsort(descending=True, stable=True)[:_LEADING]]
    hypothesis, index = divmod(int(left[0]), len(grasps))
    chosen = candidates[left[:1]]
    # The best of many estimates flatters itself: other draws tell its probability.
    probability = float(success_probability(posterior, chosen, grasps, _FINAL, seed=1))
    return Choice(grasps[index], hypothesis, chosen[0], probability)


def best_pose_grasp(
    camera_from_object: Tensor, posterior: Posterior, grasps: Sequence[Grasp], max_approach: float = math.pi
) -> Choice | None:
    """What one picks who takes a single pose (4, 4) for certain, with its probability under the whole posterior."""
    certain = Posterior(torch.ones(1).double(), camera_from_object[None], torch.zeros(1, 6, 6).double())
    choice = best_grasp(certain, grasps, max_approach)
    if choice is None:
        return None
    probability = float(success_probability(posterior, choice.camera_from_gripper[None], grasps, _FINAL, seed=1))
    return dataclasses.replace(choice, probability=probability)


def success_probability(
    posterior: Posterior, camera_from_gripper: Tensor, grasps: Sequence[Grasp], draws: int, seed: int = 0
) -> Tensor:
    """Of gripper poses (C, 4, 4): sum over hypotheses of weight times mean success over its covariance. -> (C,)."""
    poses = posterior.draws(draws, seed)
    succeeded = success(camera_from_gripper, poses.flatten(0, 1), grasps).unflatten(1, poses.shape[:2])
    return succeeded.mean(2) @ posterior.weights


def success(camera_from_gripper: Tensor, camera_from_object: Tensor, grasps: Sequence[Grasp]) -> Tensor:
    """Quality of the best grasp that a gripper is at, within tolerance; 0 where it is at none.

    (C, 4, 4) gripper poses, (J, 4, 4) object poses -> (C, J).
    """
    table = _Table.of(grasps)
    rows = max(1, _PAIRS // (len(camera_from_object) * len(grasps)))
    return torch.cat([_success(part, camera_from_object, table) for part in camera_from_gripper.split(rows)])


class _Table(NamedTuple):
    """Grasps as columns (K, ...)."""

    poses: Tensor
    cosine: Tensor
    turn: Tensor
    distance: Tensor
    quality: Tensor
    period: Tensor

    @classmethod
    def of(cls, grasps: Sequence[Grasp]) -> _Table:
        if not grasps:
            raise ValueError("there are no grasps")
        rows = [(math.cos(g.tilt), g.turn, g.distance, g.quality, 2 * math.pi / g.jaws) for g in grasps]
        columns = torch.tensor(rows, dtype=torch.float64).unbind(1)
        return cls(torch.stack([g.object_from_gripper for g in grasps]).double(), *columns)


def _success(grippers: Tensor, objects: Tensor, table: _Table) -> Tensor:
    """(C, 4, 4), (J, 4, 4) in the camera frame -> (C, J)."""
    object_from_camera = objects[:, :3, :3].mT
    rotation = object_from_camera @ grippers[:, None, :3, :3]  # (C, J, 3, 3), of the gripper at the object
    position = object_from_camera @ (grippers[:, None, :3, 3:] - objects[:, :3, 3:])
    apart = torch.cdist(position[..., 0], table.poses[:, :3, 3], compute_mode="donot_use_mm_for_euclid_dist")
    near = (apart <= table.distance) & (rotation[..., 2] @ table.poses[:, :3, 2].T >= table.cosine)  # (C, J, K)
    c, j, k = near.nonzero(as_tuple=True)
    # The turn about the approach axis (swing-twist) costs most: only for what is near.
    relative = table.poses[k, :3, :3].mT @ rotation[c, j]
    twist = torch.atan2(relative[:, 1, 0] - relative[:, 0, 1], relative[:, 0, 0] + relative[:, 1, 1])
    period = table.period[k]
    hit = (twist - period * (twist / period).round()).abs() <= table.turn[k]
    result = torch.zeros(near.shape[:2], dtype=torch.float64)
    result.view(-1).scatter_reduce_(0, c * len(objects) + j, table.quality[k] * hit, "amax")
    return result


def rigid(rotation: Tensor, position: Tensor) -> Tensor:
    """(..., 3, 3), (..., 3) -> (..., 4, 4) float64."""
    pose = torch.zeros(*position.shape[:-1], 4, 4, dtype=torch.float64)
    pose[..., :3, :3], pose[..., :3, 3], pose[..., 3, 3] = rotation, position, 1.0
    return pose


def _are_rotations(matrices: Tensor) -> bool:
    matrices = matrices.double()
    off = (
        (matrices @ matrices.mT - torch.eye(3, dtype=torch.float64)).abs().amax() if matrices.numel() else torch.ones(1)
    )
    return bool(off < 1e-4) and bool((torch.linalg.det(matrices) > 0).all())
