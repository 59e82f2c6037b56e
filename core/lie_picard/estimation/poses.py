"""Poses of several objects in a camera image: regions in, hypotheses in the camera frame out.

Both the ROS node and the offline tools call `estimate_poses`, so their results are the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard.estimation.estimator import ImageError, PoseEstimator
from lie_picard.estimation.position import REGION_SIGMA_PX, position_covariance, position_from_depth, unused_depth
from lie_picard.geometry.camera import Camera, CameraError, Region, View, look_at
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.posterior.hypotheses import Hypotheses
from lie_picard.sampling import SamplerOptions, WarmStart


@dataclass(frozen=True)
class Target:
    """An object to look for.

    Attributes:
        object_id: its name in messages and TF; where the model knows an object of this name, it looks for that one.
        diameter: of its circumscribed sphere, metres.
        region: bounding box of that sphere in the image; None: the largest centred square of the image.
    """

    object_id: str
    diameter: float
    region: Region | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.diameter) and self.diameter > 0):
            raise ValueError(f"object '{self.object_id}': diameter must be positive metres, got {self.diameter}")


@dataclass(frozen=True)
class ObjectPoses:
    """What one image says about one object.

    Attributes:
        object_id: of the target.
        hypotheses: rotations are camera_from_object.
        position: (3,) object's centre in the camera frame, metres: where its region says that its sphere is, which is
            about the point that its symmetries leave in place. It is one point for all hypotheses.
        position_covariance: (3, 3) m^2, from a region known to `REGION_SIGMA_PX` pixels, or of the depth image.
        symmetry: of the object: what turns of it look the same.
        complaints: what of the input was not used for it, and why.
    """

    object_id: str
    hypotheses: Hypotheses
    position: NDArray[np.float64]
    position_covariance: NDArray[np.float64]
    symmetry: Symmetry
    complaints: tuple[str, ...] = ()

    def origins(self, rotations: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions of the object's frame at hypotheses (..., 3, 3), metres. -> (..., 3)."""
        return self.symmetry.origin_at(self.position, rotations)


class ViewCache:
    """The virtual cameras of the last image; rebuilt only when camera or regions change."""

    def __init__(self) -> None:
        self._views: dict[tuple[object, ...], View] = {}

    def view(self, camera: Camera, region: Region, size: int, fill: float) -> View:
        """`camera.look_at`, remembered."""
        lens = camera.matrix.tobytes(), camera.distortion.tobytes(), camera.fisheye, camera.width, camera.height
        key = (*lens, region, size, fill)
        if key not in self._views:
            if len(self._views) >= 64:
                self._views.clear()
            self._views[key] = look_at(camera, region, size, fill)
        return self._views[key]


def estimate_poses(
    estimator: PoseEstimator,
    image: NDArray[np.uint8],
    camera: Camera,
    targets: Sequence[Target],
    samples: int = 32,
    seed: int | None = None,
    options: SamplerOptions | None = None,
    views: ViewCache | None = None,
    warm: WarmStart | None = None,
    depth: NDArray[np.float32] | None = None,
    symmetries: Mapping[str, Symmetry] | None = None,
) -> list[ObjectPoses]:
    """Hypotheses for every target in an image, in one batched pass.

    Args:
        image: (H, W, 3) RGB or (H, W) grey uint8, as the camera gives it (distorted if `camera` is).
        seed: as for `PoseEstimator.estimate`. warm: as for `PoseEstimator.estimate_batch`.
        depth: (H, W) metres, NaN where unknown, of the same camera; the range is taken from it where it can be.
        symmetries: of objects by name; others have those of the model's own objects, or none.

    Raises:
        ImageError, CameraError: the image does not match the calibration, or a region is outside.
    """
    views = views or ViewCache()
    size, fill = estimator.config.image_size, estimator.config.fill
    looks = [views.view(camera, target.region or whole(camera), size, fill) for target in targets]
    return estimate_views(estimator, image, camera, targets, looks, samples, seed, options, warm, depth, symmetries)


def estimate_views(
    estimator: PoseEstimator,
    image: NDArray[np.uint8],
    camera: Camera,
    targets: Sequence[Target],
    views: Sequence[View],
    samples: int = 32,
    seed: int | None = None,
    options: SamplerOptions | None = None,
    warm: WarmStart | None = None,
    depth: NDArray[np.float32] | None = None,
    symmetries: Mapping[str, Symmetry] | None = None,
    stored: Any = np.float32,
) -> list[ObjectPoses]:
    """`estimate_poses` where the virtual camera of each target is known already. Other arguments are the same.

    Args:
        stored: type of the values that the depth image came in; it tells the likely unit where none fits.

    Raises:
        ImageError: the image does not match the calibration, or the depth image.
    """
    if image.shape[:2] != (camera.height, camera.width):
        raise ImageError(
            f"the image is {image.shape[1]} x {image.shape[0]} pixels but camera_info says "
            f"{camera.width} x {camera.height}: publish a camera_info that belongs to the image"
        )
    if depth is not None and depth.shape != image.shape[:2]:
        raise ImageError(
            f"the depth image is {depth.shape[1]} x {depth.shape[0]} pixels, the image {image.shape[1]} x "
            f"{image.shape[0]}: publish one that is registered to the image"
        )
    known = [target.object_id if target.object_id in estimator.config.objects else None for target in targets]
    found = estimator.estimate_batch([view.cut(image) for view in views], samples, seed, options, warm, known)
    results = []
    for target, look, name, hypotheses in zip(targets, views, known, found, strict=True):
        turned = _turned(hypotheses, look.camera_from_view)
        measured, complaints = None, tuple[str, ...]()
        if depth is not None:
            region = target.region or whole(camera)
            best = turned.best.rotation.double().numpy()
            measured = position_from_depth(
                depth, camera, look, region, target.diameter, best, estimator.catalogue.find(name)
            )
            if measured is None:
                why = unused_depth(depth, camera, look, region, target.diameter, stored)
                complaints = (f"'{target.object_id}' has its range from its size: {why}",)
        position, covariance = measured or (look.position(target.diameter), _position_covariance(look, target, camera))
        symmetry = (symmetries or {}).get(target.object_id) or estimator.catalogue.symmetry(name)
        results.append(ObjectPoses(target.object_id, turned, position, covariance, symmetry, complaints))
    return results


def whole(camera: Camera) -> Region:
    """The largest centred square of the image."""
    side = min(camera.width, camera.height)
    return Region((camera.width - side) / 2, (camera.height - side) / 2, side, side)


def _turned(hypotheses: Hypotheses, camera_from_view: NDArray[np.float64]) -> Hypotheses:
    """Hypotheses of the virtual camera in the real camera's frame; body-frame covariances do not change."""
    turn = torch.from_numpy(camera_from_view).to(hypotheses.rotations)
    return dataclasses.replace(
        hypotheses,
        rotations=turn @ hypotheses.rotations,
        modes=tuple(dataclasses.replace(mode, rotation=turn @ mode.rotation) for mode in hypotheses.modes),
    )


def _position_covariance(look: View, target: Target, camera: Camera) -> NDArray[np.float64]:
    """First order: an angular error of a region's edge moves the centre sideways and changes its range."""
    distance = float(np.linalg.norm(look.position(target.diameter)))
    edge = REGION_SIGMA_PX / float(camera.matrix[0, 0])
    along = distance * edge / math.sqrt(2) / math.tan(look.angular_radius)
    return position_covariance(look, camera, distance, along)


__all__ = [
    "Camera",
    "CameraError",
    "ObjectPoses",
    "Region",
    "Target",
    "ViewCache",
    "estimate_poses",
    "estimate_views",
    "whole",
]
