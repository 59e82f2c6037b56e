"""Poses of several objects in a camera image: regions in, hypotheses in the camera frame out.

Both the ROS node and the offline tools call `estimate_poses`, so their results are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard.estimation.estimator import ImageError
from lie_picard.estimation.fusion import APART, fused
from lie_picard.estimation.position import (
    REGION_SIGMA_PX,
    position_covariance,
    position_from_depth,
    range_from_depth,
    region_of,
    unused_depth,
)
from lie_picard.estimation.several import AnyEstimator
from lie_picard.geometry.camera import Camera, CameraError, Region, View, look_at
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects import Object
from lie_picard.posterior.covariance import at_point, pose_covariance, to_camera
from lie_picard.posterior.hypotheses import Hypotheses, poses_of_modes, turned
from lie_picard.posterior.tracking import Tracked
from lie_picard.rendering.buffers import ViewGeometry
from lie_picard.sampling import SamplerOptions, WarmStart

# How far off a region is taken as it is, of half its side. The model is trained on more, but rotations are best where
# the object is in the middle: with regions off by 15% two to three times as far off (docs/results.md).
_CLOSE = 0.05
_LESS = 0.5  # of the first look's presence: the second one was misled
_LEAST_PX = 8.0  # side of a region that is worth a second look


@dataclass(frozen=True)
class Target:
    """An object to look for.

    Attributes:
        object_id: its name in messages and TF; where the model knows an object of this name, it looks for that one
            (`sought`).
        diameter: of its circumscribed sphere, metres.
        region: bounding box of that sphere in the image; None: the largest centred square of the image.
        model_object: what the model knows it by, where that is another name, as of one of several instances.
    """

    object_id: str
    diameter: float
    region: Region | None = None
    model_object: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.diameter) and self.diameter > 0):
            raise ValueError(f"object '{self.object_id}': diameter must be positive metres, got {self.diameter}")

    @property
    def sought(self) -> str:
        """The name by which catalogue and model know it."""
        return self.model_object or self.object_id


@dataclass(frozen=True)
class ObjectPoses:
    """What one image says about one object.

    Attributes:
        object_id: of the target.
        hypotheses: rotations are camera_from_object. With positions of their own (metres) where the model tells them.
        position: (3,) the point that the object's symmetries leave in place, camera frame, metres. Where hypotheses
            have positions: at the heaviest mode. Else where the object's region says that its sphere is, which is about
            this point, or the depth image; it is then one point for all hypotheses.
        position_covariance: (3, 3) m^2 of it: of that mode, or from a region known to `REGION_SIGMA_PX` pixels, or of
            the depth image.
        symmetry: of the object: what turns of it look the same.
        complaints: what of the input was not used for it, and why.
        region: where its sphere is in the image; as it was given, where the model does not tell positions.
        state: how that was come by (`following`). score: the locator's; NaN: it was not asked.
    """

    object_id: str
    hypotheses: Hypotheses
    position: NDArray[np.float64]
    position_covariance: NDArray[np.float64]
    symmetry: Symmetry
    complaints: tuple[str, ...] = ()
    region: Region | None = None
    state: str = "given"
    score: float = math.nan

    @classmethod
    def told(
        cls, object_id: str, hypotheses: Hypotheses, symmetry: Symmetry, complaints: tuple[str, ...] = ()
    ) -> ObjectPoses:
        """Of hypotheses that have positions of their own."""
        rotations, positions, covariances = (one[0].cpu().numpy() for one in poses_of_modes(hypotheses))
        lever = rotations @ symmetry.centre
        covariance = at_point(covariances, lever)[:3, :3]
        return cls(object_id, hypotheses, positions + lever, covariance, symmetry, complaints)

    @property
    def sample_positions(self) -> NDArray[np.float64]:
        """Of the object's frame at each sample, metres. -> (N, 3)."""
        if self.hypotheses.positions is not None:
            return self.hypotheses.positions.cpu().numpy()
        return self.symmetry.origin_at(self.position, self.hypotheses.rotations.double().cpu().numpy())

    def modes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Rotations (M, 3, 3), positions (M, 3) of the object's frame [m], covariances as `Mode.pose_covariance`."""
        if self.hypotheses.positions is not None:
            rotations, positions, covariances = poses_of_modes(self.hypotheses)
            return rotations.cpu().numpy(), positions.cpu().numpy(), covariances.cpu().numpy()
        modes = self.hypotheses.modes
        rotation = torch.stack([mode.rotation for mode in modes]).double().cpu().numpy()
        spread = torch.stack([mode.covariance for mode in modes]).double().cpu().numpy()
        return rotation, self.symmetry.origin_at(self.position, rotation), self._covariances(rotation, spread)

    def followed(self, tracked: Tracked) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position (3,) and covariance (6, 6) of the pose that is followed, as `modes` has them."""
        if tracked.best_position is not None and tracked.best_pose_covariance is not None:
            return tracked.best_position, tracked.best_pose_covariance
        place = self.symmetry.origin_at(self.position, tracked.best)
        return place, self._covariances(tracked.best, tracked.best_covariance)

    def _covariances(self, rotation: NDArray[np.float64], tangents: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of poses that place the symmetries' centre at `position`: its rotation errs about this. -> (..., 6, 6)."""
        about = pose_covariance(self.position_covariance, to_camera(rotation, tangents))
        return at_point(about, -rotation @ self.symmetry.centre)


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
    estimator: AnyEstimator,
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
        depth: (H, W) metres, NaN where unknown, of the same camera. The range is taken from it where it can be,
            and fused with the model's own where that tells positions.
        symmetries: of objects by name; others have those of the model's own objects, or none.

    Raises:
        ImageError, CameraError: the image does not match the calibration, or a region is outside.
    """
    views = views or ViewCache()
    size, fill = estimator.config.image_size, estimator.config.fill
    looks = [views.view(camera, target.region or whole(camera), size, fill) for target in targets]
    return estimate_views(estimator, image, camera, targets, looks, samples, seed, options, warm, depth, symmetries)


def estimate_views(
    estimator: AnyEstimator,
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

    Where the model tells positions, and finds the object off its region's middle, or of another size than the region,
    it looks once more, at where it found it. The second look counts unless the presence is less than half there.

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
    known = [target.sought if target.sought in estimator.config.objects else None for target in targets]
    looks, regions = list(views), [target.region or whole(camera) for target in targets]

    def estimated(chosen: Sequence[int], warm: WarmStart | None) -> list[Hypotheses]:
        openings = [_half_tangent(looks[k], estimator) for k in chosen]
        half_tangent = torch.tensor(openings, dtype=torch.float64)[:, None].expand(-1, 2)
        cuts = [looks[k].cut(image) for k in chosen]
        return estimator.estimate_batch(cuts, samples, seed, options, warm, [known[k] for k in chosen], half_tangent)

    first = estimated(range(len(targets)), warm)
    better = {k: _better_place(one, looks[k], estimator, camera, targets[k]) for k, one in enumerate(first)}
    off = {k: there for k, there in better.items() if there is not None}
    if off:
        before = {k: (looks[k], regions[k]) for k in off}
        for k, there in off.items():
            regions[k], looks[k] = there
        for k, second in zip(off, estimated(list(off), None), strict=True):
            if second.presence < _LESS * first[k].presence:  # it was misled; not so where neither is known (NaN)
                looks[k], regions[k] = before[k]
            else:
                first[k] = second
    results = []
    for target, look, region, name, hypotheses in zip(targets, looks, regions, known, first, strict=True):
        symmetry = (symmetries or {}).get(target.object_id) or estimator.catalogue.symmetry(name)
        shape, seen = estimator.catalogue.find(name), _Depth(depth, camera, region, stored)
        here = turned(hypotheses, torch.from_numpy(look.camera_from_view), target.diameter / 2)
        place = _by_region if here.positions is None else _by_image
        told = here.best.position
        exact = None if told is None else region_of(camera, told.double().cpu().numpy(), target.diameter / 2)
        results.append(replace(place(here, target, look, symmetry, shape, seen), region=exact or region))
    return results


def _half_tangent(look: View, estimator: AnyEstimator) -> float:
    """Of half the field of view that the model gets."""
    return math.tan(look.angular_radius) / estimator.config.fill


def _better_place(
    found: Hypotheses, look: View, estimator: AnyEstimator, camera: Camera, target: Target
) -> tuple[Region, View] | None:
    """Where to look once more: the object is off the region's middle, or of another size.

    None: it is near enough, nothing tells where it is, or it is not in the image.
    """
    place = found.best.position
    if place is None:
        return None
    if not (place[2] > 0 and place.norm() > 1):
        return None
    opening = place.new_full((1, 2), _half_tangent(look, estimator))
    x, y, size = ViewGeometry(place[None], opening).places()[0].tolist()
    if max(abs(x), abs(y)) <= _CLOSE and abs(math.exp(size) / estimator.config.fill - 1) <= _CLOSE:
        return None
    centre = look.camera_from_view @ place.numpy() * (target.diameter / 2)
    region = region_of(camera, centre, target.diameter / 2)
    if region is None or min(region.width, region.height) < _LEAST_PX:
        return None
    try:
        return region, look_at(camera, region, estimator.config.image_size, estimator.config.fill)
    except CameraError:
        return None


@dataclass(frozen=True)
class _Depth:
    """A depth image, or none, with the region in which the object is sought: as `estimate_views` has them."""

    image: NDArray[np.float32] | None
    camera: Camera
    region: Region
    stored: Any


def _by_region(
    hypotheses: Hypotheses, target: Target, look: View, symmetry: Symmetry, shape: Object | None, depth: _Depth
) -> ObjectPoses:
    """The object is where its region says, or the depth image within it."""
    measured, complaints, camera = None, tuple[str, ...](), depth.camera
    if depth.image is not None:
        best = hypotheses.best.rotation.double().numpy()
        measured = position_from_depth(depth.image, camera, look, depth.region, target.diameter, best, shape)
        if measured is None:
            expected = float(np.linalg.norm(look.position(target.diameter)))
            complaints = (_range_from_size(target, depth, depth.region, expected),)
    position, covariance = measured or (look.position(target.diameter), _position_covariance(look, target, camera))
    return ObjectPoses(target.object_id, hypotheses, position, covariance, symmetry, complaints)


def _by_image(
    hypotheses: Hypotheses, target: Target, look: View, symmetry: Symmetry, shape: Object | None, depth: _Depth
) -> ObjectPoses:
    """The object is where the model sees it in the region; the range that a depth image gives is weighed with that."""
    complaints = tuple[str, ...]()
    best, radius = hypotheses.best, target.diameter / 2
    if depth.image is not None and best.position is not None:
        expected = best.position.numpy()
        region = region_of(depth.camera, expected, radius) or depth.region
        rotation = best.rotation.double().numpy()
        measured = range_from_depth(depth.image, depth.camera, region, expected, radius, rotation, shape)
        away = float(np.linalg.norm(expected))
        if measured is None:
            complaints = (_range_from_size(target, depth, region, away),)
        else:
            hypotheses, apart = fused(hypotheses, *measured, symmetry.centre)
            if apart > APART:
                complaints = (
                    f"'{target.object_id}' is {away:.4g} m away by its size in the image, {measured[0]:.4g} m by the "
                    f"depth image, which differ by {apart:.1f} standard deviations: the depth image counts, as it was "
                    "measured; check the object's diameter, the camera's calibration and the depth's registration",
                )
    return ObjectPoses.told(target.object_id, hypotheses, symmetry, complaints)


def _range_from_size(target: Target, depth: _Depth, region: Region, expected: float) -> str:
    """The complaint about a depth image that does not tell."""
    assert depth.image is not None
    why = unused_depth(depth.image, depth.camera, region, expected, depth.stored)
    return f"'{target.object_id}' has its range from its size: {why}"


def whole(camera: Camera) -> Region:
    """The largest centred square of the image."""
    side = min(camera.width, camera.height)
    return Region((camera.width - side) / 2, (camera.height - side) / 2, side, side)


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
