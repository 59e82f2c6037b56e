"""From what a model tells of an object's place to poses in its virtual camera, with their joint covariance.

A place is (x, y, log size) as `model.position` counts it. A model that tells places has rotations A as seen along the
ray to the object's centre, for its image shows these. In the camera's frame the pose is

    p = centre(place),    R = turn_z_to(p) A,

so an error of the place is one of the rotation as well. A sample's rotation is turned by the place that was drawn with
it: samples are then draws of whole poses. The mean and covariance of a mode come from the head's own distribution at
its mean rotation, to first order; they are as good with two samples as with a hundred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.model.config import ModelConfig
from lie_picard.model.score_model import Places
from lie_picard.posterior.covariance import Calibration, to_camera
from lie_picard.posterior.hypotheses import Hypotheses, posed

_STEP = math.radians(1.0)  # of the central difference that tells how a place changes with the rotation


def training_half_tangent(config: ModelConfig) -> float:
    """Tangent of half the field of view of the model's clean training images, which show an exact region."""
    return math.tan(math.asin(1 / config.distance)) / config.fill


def centres(places: Tensor, half_tangent: Tensor) -> Tensor:
    """The object's centre in the virtual camera's frame, in radii of its circumscribed sphere.

    Places (..., 3), tangents of half the field of view along x and y (..., 2) -> (..., 3). The inverse is
    `rendering.buffers.ViewGeometry.places`.
    """
    return directions(places, half_tangent) * _ranges(places, half_tangent)[..., None]


def directions(places: Tensor, half_tangent: Tensor) -> Tensor:
    """Unit vectors to the centres. (..., 3), (..., 2) -> (..., 3)."""
    tangents = places[..., :2] * half_tangent
    return torch.nn.functional.normalize(torch.cat([tangents, torch.ones_like(tangents[..., :1])], -1), dim=-1)


def _ranges(places: Tensor, half_tangent: Tensor) -> Tensor:
    """1 / sin(asin(radius / range)) from its tangent. -> (...)."""
    return (1 + _sizes(places, half_tangent).square().reciprocal()).sqrt()


def _sizes(places: Tensor, half_tangent: Tensor) -> Tensor:
    return places[..., 2].exp() * half_tangent.prod(-1).sqrt()


def in_camera(rotations: Tensor, centre: Tensor) -> Tensor:
    """Rotations as seen along the ray to a centre, in the camera's frame: (..., 3, 3), (..., 3) -> (..., 3, 3).

    The inverse is `rendering.buffers.ViewGeometry.along_ray`.
    """
    return so3.turn_z_to(centre) @ rotations


def jacobian(places: Tensor, half_tangent: Tensor) -> Tensor:
    """Of the pose (p, R), about the camera's fixed axes, by (place, rotation vector of A). -> (..., 6, 6).

    The turn that takes z to d the shortest way moves by w with w x d = dd and, by the half-angle rule of such turns,
    w . (z + d) = 0. Places (..., 3), half tangents (..., 2); p in radii, as `centres`.
    """
    direction, distance = directions(places, half_tangent), _ranges(places, half_tangent)
    tangents = places[..., :2] * half_tangent
    length = (1 + tangents.square().sum(-1)).sqrt()[..., None, None]
    across = torch.eye(3).to(places) - direction[..., :, None] * direction[..., None, :]
    swing = across[..., :2] * half_tangent[..., None, :] / length  # of the direction, by x and y
    found = places.new_zeros(*places.shape[:-1], 6, 6)
    found[..., :3, :2] = distance[..., None, None] * swing
    size = _sizes(places, half_tangent)
    found[..., :3, 2] = -direction * (distance / (1 + size.square()))[..., None]
    turn = so3.hat(direction)
    turn = turn - direction[..., :, None] * (turn[..., 2:, :] / (1 + direction[..., 2, None, None]))
    found[..., 3:, :2] = turn @ swing
    found[..., 3:, 3:] = so3.turn_z_to(direction)
    return found


class PlacesOfModes(NamedTuple):
    """p(place | image, A) about the mean rotation of M modes, float64 on the CPU.

    Attributes:
        mean: (M, 3). covariance: (M, 3, 3) at that rotation. slope: (M, 3, 3) change of the mean with the rotation, by
            its rotation vector about fixed axes.
    """

    mean: Tensor
    covariance: Tensor
    slope: Tensor

    def joint(self, tangents: Tensor, calibration: Calibration) -> Tensor:
        """Of (place, rotation vector of A), from the latter's calibrated covariances (M, 3, 3), rad^2. -> (M, 6, 6).

        NaN in the rows and columns of rotations of which nothing tells.
        """
        known = tangents.isfinite().all(-1).all(-1)[:, None, None]
        moved = self.slope @ torch.where(known, tangents, 0.0)
        place = torch.from_numpy(calibration.places(self.covariance.numpy())) + moved @ self.slope.mT
        cross = torch.where(known, moved, math.nan)
        top, bottom = torch.cat([place, cross], -1), torch.cat([cross.mT, tangents], -1)
        return torch.cat([top, bottom], -2)


def places_of_modes(told: Places, rotations: Tensor, image: Tensor | None = None) -> PlacesOfModes:
    """What a model tells about the means of modes (M, 3, 3) of some of its images, (M,)."""
    steps = _STEP * torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)]).to(rotations)
    turned = (so3.exp(steps) @ rotations[:, None]).flatten(0, 1)
    of_image = None if image is None else image.repeat_interleave(len(steps))
    mean, factor = (one.double().cpu().unflatten(0, (-1, len(steps))) for one in told(turned, of_image))
    slope = (mean[:, 1:4] - mean[:, 4:]).mT / (2 * _STEP)
    return PlacesOfModes(mean[:, 0], factor[:, 0] @ factor[:, 0].mT, slope)


def drawn(told: Places, rotations: Tensor, normal: Tensor, image: Tensor | None = None) -> Tensor:
    """A place for each rotation (N, 3, 3) of images (N,), from normal numbers (N, 3). -> (N, 3)."""
    mean, factor = told(rotations, image)
    return mean + (factor @ normal.to(mean)[..., None])[..., 0]


def placed(
    found: Sequence[Hypotheses], told: Places, normal: Tensor, half_tangent: Tensor, calibration: Calibration
) -> list[Hypotheses]:
    """Hypotheses with rotations as the model has them, of B images -> whole poses in their virtual cameras.

    Args:
        normal: (N, 3) normal numbers, the same for every image. half_tangent: (B, 2).
    """
    device = told.image.device
    rotations = torch.stack([one.rotations for one in found])  # (B, N, 3, 3)
    index = torch.arange(len(found), device=device)
    every = drawn(told, rotations.flatten(0, 1).to(device), normal.repeat(len(found), 1),
                  index.repeat_interleave(rotations.shape[1]))  # fmt: skip
    there = centres(every.double().cpu().unflatten(0, (len(found), -1)), half_tangent[:, None].double())
    turned = in_camera(rotations.double(), there)
    # The modes of all images at once: a call of the head costs more than its rows.
    counts = torch.tensor([len(one.modes) for one in found])
    of_image = torch.arange(len(found)).repeat_interleave(counts)
    means = torch.stack([mode.rotation for one in found for mode in one.modes])
    spreads = torch.stack([mode.covariance for one in found for mode in one.modes]).double()
    about = places_of_modes(told, means.to(device), of_image.to(device))
    means = means.double()
    joint = about.joint(to_camera(means, spreads), calibration)
    opening = half_tangent[of_image].double()
    change = jacobian(about.mean, opening)
    middle = centres(about.mean, opening)
    covariance = propagated(change, joint)
    parts = zip(found, turned, there, in_camera(means, middle).split(counts.tolist()), middle.split(counts.tolist()),
                covariance.split(counts.tolist()), strict=True)  # fmt: skip
    return [posed(*one) for one in parts]


def propagated(change: Tensor, covariance: Tensor) -> Tensor:
    """J C J^T of (..., 6, 6) covariances whose rotations may be unknown (NaN): what is known of positions stays so.

    J maps (place, rotation) to (position, rotation) and its upper right block is 0.
    """
    known = covariance.isfinite()
    found = change @ torch.where(known, covariance, 0.0) @ change.mT
    return torch.where(known, found, math.nan)
