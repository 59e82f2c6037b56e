"""Score the estimates of one object of a BOP data set against its true poses: errors, and the posterior."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard import so3
from lie_picard.data.bop import Image, Instance, Model, agrees
from lie_picard.data.bop.render import depth_of
from lie_picard.estimation.poses import ObjectPoses
from lie_picard.evaluation import bop_errors, metrics
from lie_picard.evaluation.bop_regions import sphere_of
from lie_picard.evaluation.bop_scores import TAUS, WIDTH
from lie_picard.evaluation.positions import parted
from lie_picard.geometry.camera import Camera, View, look_at
from lie_picard.model.config import ModelConfig
from lie_picard.objects import Object, SymmetricPoses, TruePoses
from lie_picard.rendering.buffers import ViewGeometry

Array = NDArray[np.float64]

_MILLI = 1e3


class Scorer:
    """What depends on one object alone, made once."""

    def __init__(self, model: Model, known: Object | None) -> None:
        from scipy.spatial import cKDTree

        self.model = model
        self.equal = bop_errors.symmetry_transforms(model.listed)
        self.tree = cKDTree(model.vertices)
        # A name does not make a shape: the catalogue's object may be another one that is called the same.
        self.known = known if known is not None and agrees(model, known) else None
        self.shape: Object | None = self.known or model.shape

    def best(self, poses: ObjectPoses) -> Array:
        """camera_from_model (4, 4) of the heaviest mode, metres."""
        rotations, positions, _ = poses.modes()
        return self._pose(rotations[0], positions[0])

    def _pose(self, rotation: Array, position: Array) -> Array:
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, position
        return self.model.model_pose(pose)

    def distribution(self, poses: ObjectPoses) -> dict[str, Any]:
        """The weighted hypotheses, in BOP's frame and units."""
        modes, units = [], np.diag([_MILLI] * 3 + [1.0] * 3)
        for mode, rotation, position, whole in zip(poses.hypotheses.modes, *poses.modes(), strict=True):
            pose = self._pose(rotation, position)
            known = not mode.covariance.isnan().any()
            modes.append({
                "weight": mode.weight,
                "R": pose[:3, :3].reshape(-1).tolist(),
                "t": (_MILLI * pose[:3, 3]).tolist(),
                "rotation_covariance": mode.covariance.double().reshape(-1).tolist() if known else None,
                "centre_pose_covariance": (units @ whole @ units).reshape(-1).tolist() if known else None,
            })  # fmt: skip
        presence = poses.hypotheses.presence
        return {
            "presence": presence if math.isfinite(presence) else None,
            "ambiguity": poses.hypotheses.ambiguity.value,
            "centre": (_MILLI * self.model.centre).tolist(),
            "centre_covariance": (_MILLI**2 * poses.position_covariance).reshape(-1).tolist(),
            "modes": modes,
        }

    def errors(
        self, pose: Array, truths: Sequence[Instance], camera: Camera, depth: NDArray[np.float32] | None, delta: float
    ) -> dict[str, dict[int, Any]]:
        """Of an estimate against each true pose (`bop_scores.Estimate.errors`); VSD only where it can be told."""
        model = self.model
        found: dict[str, dict[int, Any]] = {"mssd": {}, "mspd": {}}
        here = None
        if depth is not None and self.shape is not None:
            here = depth_of(self.shape, model.radius, model.object_pose(pose), camera)
            found["vsd"] = {}
        for one in truths:
            apart = bop_errors.mssd(model.vertices, pose, one.pose, self.equal)
            found["mssd"][one.index] = apart / model.diameter
            pixels = bop_errors.mspd(model.vertices, pose, one.pose, self.equal, camera.matrix)
            found["mspd"][one.index] = pixels * WIDTH / camera.width
            if here is not None and depth is not None and self.shape is not None:
                there = depth_of(self.shape, model.radius, model.object_pose(one.pose), camera)
                found["vsd"][one.index] = bop_errors.vsd(here, there, depth, camera.matrix, model.diameter, TAUS, delta)
        return found

    def record(
        self, poses: ObjectPoses, pose: Array, truth: Instance, errors: Mapping[str, Mapping[int, Any]]
    ) -> dict[str, Any]:
        """Of the best hypothesis against the true pose that its region is of."""
        model = self.model
        return {
            "mssd_mm": _MILLI * errors["mssd"][truth.index] * model.diameter,
            "mspd_px": errors["mspd"][truth.index],
            "vsd": float(np.mean(errors["vsd"][truth.index])) if "vsd" in errors else None,
            "add_mm": _MILLI * bop_errors.add(model.vertices, pose, truth.pose),
            "adds_mm": _MILLI * bop_errors.add_s(model.vertices, self.tree, pose, truth.pose),
            "diameter_mm": _MILLI * model.diameter,
            "symmetric": len(self.equal) > 1,
        } | self._translation(pose, truth)

    def _translation(self, pose: Array, truth: Instance) -> dict[str, Any]:
        """Of the centre of the object's ball."""
        here, there = self.model.object_pose(pose)[:3, 3], self.model.object_pose(truth.pose)[:3, 3]
        sideways, along = parted(here, there)
        return {
            "translation_mm": _MILLI * float(np.linalg.norm(here - there)),
            "sideways_mm": _MILLI * sideways,
            "range_mm": _MILLI * abs(along),
        }

    def posterior(
        self, poses: ObjectPoses, truth: Instance, image: Image, camera: Camera, config: ModelConfig
    ) -> dict[str, Any]:
        """Precision and recall of the samples against the true poses of this view."""
        samples = poses.hypotheses.rotations.double()
        true, turn = self._true_poses(truth, image, camera, config)
        samples = turn.mT @ samples
        record: dict[str, Any] = metrics.precision(so3.degrees(true.distance(samples, 0)))
        listed = true.listed(0)
        return record if listed is None else record | metrics.recall(listed, samples)

    def _true_poses(
        self, truth: Instance, image: Image, camera: Camera, config: ModelConfig
    ) -> tuple[TruePoses, torch.Tensor]:
        """Of this view, where all is known of the object; else of its symmetry. And camera_from_view (3, 3)."""
        rotation = torch.from_numpy(truth.pose[:3, :3])[None]
        region = sphere_of(truth, camera, self.model)
        if self.shape is None or (self.known is None and self.model.textured) or region is None:
            return SymmetricPoses(self.model.symmetry, rotation), torch.eye(3, dtype=torch.float64)
        look = look_at(camera, region, config.image_size, config.fill)
        turn = torch.from_numpy(look.camera_from_view)
        distance = 1 / math.sin(look.angular_radius)
        half = math.tan(look.angular_radius) / config.fill
        translations, tangents = torch.tensor([[0.0, 0.0, distance]]), torch.full((1, 2), half)
        geometry = ViewGeometry(translations, tangents, _cover(truth, image, look))
        return self.shape.true_poses(turn.mT @ rotation, geometry), turn


def _cover(truth: Instance, image: Image, look: View) -> torch.Tensor | None:
    """(1, S, S) share of each pixel where something hides the object; None where the masks do not tell."""
    every, seen = image.mask(truth.index, visible=False), image.mask(truth.index)
    if every is None or seen is None or every.shape != seen.shape:
        return None
    hidden = look.cut((every & ~seen).astype(np.uint8) * 255)
    return torch.from_numpy(hidden)[None].double() / 255 if hidden.any() else None
