"""One image's hypotheses of one object against its true pose: a flat record, from which everything else is made.

Angles are in degrees, lengths in millimetres. True poses are all that look like the recorded one, by the object's
symmetry; about an axis of continuous symmetry on a grid for recall, exactly for precision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lie_picard import so3
from lie_picard.estimation.poses import ObjectPoses
from lie_picard.evaluation import bop_errors, metrics
from lie_picard.evaluation.positions import parted
from lie_picard.geometry.mesh import Mesh
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.posterior.covariance import at_point
from lie_picard.posterior.hypotheses import MODE_RADIUS
from lie_picard.posterior.tracking import Tracked

Array = NDArray[np.float64]
_RECALL_STEP_DEG = 10.0  # as `evaluate`: a sample reaches one pose of the grid, not its neighbours
_MSSD_STEP_DEG = 5.0
_POINTS, _SURFACE = 1000, 50_000  # of the true pose, and of the estimated one among which the nearest is sought


class Scorer:
    """Scores the images of one recording in order."""

    def __init__(self, meshes: Mapping[str, Mesh]) -> None:
        self._meshes = meshes
        self._points = {name: mesh.points(_POINTS, seed=0) for name, mesh in meshes.items()}
        self._surfaces = {name: cKDTree(mesh.points(_SURFACE, seed=1)) for name, mesh in meshes.items()}
        self._last: dict[str, tuple[Array, Array]] = {}  # the followed and the true rotation of the image before

    def __call__(self, poses: ObjectPoses, tracked: Tracked, truth: Array) -> dict[str, Any]:
        """A record of an object that was found.

        Args:
            tracked: what is followed of it. truth: (4, 4) camera_from_object, metres.
        """
        symmetry, name = poses.symmetry, poses.object_id
        best = tracked.best
        record = {
            "presence": presence if math.isfinite(presence := poses.hypotheses.presence) else None,
            "ambiguity": poses.hypotheses.ambiguity.value,
            "best_deg": math.degrees(float(symmetry.distance(torch.from_numpy(best), torch.from_numpy(truth[:3, :3])))),
            "jump_deg": self._jump(name, best, truth[:3, :3]),
        }
        record |= _precision(poses, truth[:3, :3]) | _recall(poses, truth[:3, :3])
        estimate = np.eye(4)
        estimate[:3, :3], estimate[:3, 3] = best, poses.followed(tracked)[0]
        record |= _calibration(poses, truth) | _translation(estimate, truth, symmetry)
        if name in self._meshes:
            record["adds_mm"] = 1e3 * bop_errors.add_s(self._points[name], self._surfaces[name], estimate, truth)
            record["mssd_mm"] = 1e3 * mssd(self._meshes[name].vertices, estimate, truth, symmetry)
        return record

    def lose(self, name: str) -> None:
        """An image in which the object is lost, or its truth unknown: the next one is compared with none."""
        self._last.pop(name, None)

    def _jump(self, name: str, best: Array, truth: Array) -> float | None:
        """By how much more the followed pose turned since the image before than the object did."""
        before, self._last[name] = self._last.get(name), (best, truth)
        if before is None:
            return None
        return _angle(before[0], best) - _angle(before[1], truth)


def _precision(poses: ObjectPoses, truth: Array) -> dict[str, Any]:
    errors = poses.symmetry.distance(torch.from_numpy(truth), poses.hypotheses.rotations.double())
    return metrics.precision(so3.degrees(errors))


def _recall(poses: ObjectPoses, truth: Array) -> dict[str, Any]:
    if poses.symmetry.is_ball:
        return {}
    equal = poses.symmetry.equivalents(torch.from_numpy(truth), _RECALL_STEP_DEG)
    return metrics.recall(equal, poses.hypotheses.rotations.double())


def _calibration(poses: ObjectPoses, truth: Array) -> dict[str, Any]:
    """Smallest confidences whose regions hold the truth, and which mode is the recorded pose's."""
    modes, symmetry = poses.hypotheses.modes, poses.symmetry
    best, covariance = modes[0], poses.position_covariance
    gap = poses.position - symmetry.centre_of(truth)
    record: dict[str, Any] = {"position_confidence": _confidence(gap, covariance, np.zeros(3))}
    if symmetry.is_ball:
        return record
    if not best.covariance.isnan().any():
        rotation = best.rotation.double()
        nearest = symmetry.nearest(torch.from_numpy(truth[:3, :3]), rotation)
        axis = symmetry.axes[0] if symmetry.axes else np.zeros(3)
        residual = so3.log(rotation.mT @ nearest).numpy()
        record["rotation_confidence"] = _confidence(residual, best.covariance.double().numpy(), axis)
        # About the point that turns of a symmetry leave in place, fixed axes: along its axis there is nothing to miss.
        turn = rotation.numpy()
        whole = at_point(poses.modes()[2][0], turn @ symmetry.centre)
        missed = np.concatenate([-gap, turn @ residual])
        record["pose_confidence"] = _confidence(missed, whole, np.concatenate([np.zeros(3), turn @ axis]))
    if not symmetry.axes:
        means = torch.stack([mode.rotation for mode in modes]).double()
        angles = so3.angle(means, torch.from_numpy(truth[:3, :3]))
        record["weights"] = [round(mode.weight, 4) for mode in modes]
        record["true_mode"] = int(angles.argmin()) if float(angles.min()) <= MODE_RADIUS else None
    return record


def _confidence(residual: Array, covariance: Array, axis: Array) -> float:
    """`metrics.confidence` of one residual."""
    parts = (torch.from_numpy(np.ascontiguousarray(one))[None] for one in (residual, covariance, axis))
    return float(metrics.confidence(*parts)[0])


def _translation(estimate: Array, truth: Array, symmetry: Symmetry) -> dict[str, Any]:
    """Of a pose (4, 4): from the position of the equal pose of the truth that is nearest in angle."""
    equal = symmetry.nearest(torch.from_numpy(truth[:3, :3]), torch.from_numpy(estimate[:3, :3])).numpy()
    there = symmetry.origin_at(symmetry.centre_of(truth), equal)
    error, distance = np.linalg.norm(estimate[:3, 3] - there), np.linalg.norm(truth[:3, 3])
    sideways, along = parted(estimate[:3, 3], there)
    return {
        "translation_mm": 1e3 * float(error),
        "translation_percent": 100 * float(error / distance),
        "sideways_mm": 1e3 * sideways,
        "range_mm": 1e3 * abs(along),
        "range_percent": 100 * abs(along) / float(distance),
    }


def mssd(vertices: Array, estimate: Array, truth: Array, symmetry: Symmetry) -> float:
    """BOP's MSSD of vertices (V, 3), over the equal poses of a symmetry; about an axis on a grid, of a ball exactly."""
    if symmetry.is_ball:
        return float(np.linalg.norm(symmetry.centre_of(estimate) - symmetry.centre_of(truth)))
    turns = symmetry.equivalents(torch.eye(3, dtype=torch.float64), _MSSD_STEP_DEG).numpy()
    equal = np.tile(np.eye(4), (len(turns), 1, 1))
    equal[:, :3, :3], equal[:, :3, 3] = turns, symmetry.origin_at(symmetry.centre, turns)
    return bop_errors.mssd(vertices, estimate, truth, equal)


def _angle(first: Array, second: Array) -> float:
    return math.degrees(float(so3.angle(torch.from_numpy(first), torch.from_numpy(second))))
