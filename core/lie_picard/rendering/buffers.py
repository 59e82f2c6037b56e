"""What a renderer hands on: shape and paint per ray, before any light. Renderers of other kinds can fill the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lie_picard import so3

LUMINANCE = (0.299, 0.587, 0.114)  # of RGB, ITU-R BT.601


@dataclass(frozen=True)
class Placement:
    """Where rays met B objects: what carries points of the camera frame back to the objects.

    Attributes:
        rotations: (B, 3, 3) camera_from_object. translations: (B, 3) of the object's centre, in radii, camera frame.
        rays: (P, 3) directions, z = 1. zoom: (B, 2) factors of the rays' x and y.
        coloured: (B,) bool, of objects whose own colours tell poses apart: nothing may hide or imitate these. On the
            CPU, wherever the rest is.
    """

    rotations: Tensor
    translations: Tensor
    rays: Tensor
    zoom: Tensor
    coloured: Tensor


@dataclass(frozen=True)
class Buffers:
    """What a camera sees of B objects through P rays each, in the camera frame (x right, y down, z forward).

    Attributes:
        hit: (B, P) bool, the mask. depth: (B, P) multiples of the ray up to the surface.
        normal: (B, 3, P) outward, unit. albedo: (B, 3, P) RGB reflectance in [0, 1].
        placement: of the objects; None where the one who cast them did not say. Prints and reflections need it.
    """

    hit: Tensor
    depth: Tensor
    normal: Tensor
    albedo: Tensor
    placement: Placement | None = None


class Castable(Protocol):
    """A coloured shape whose circumscribed sphere has radius 1 around the origin."""

    def cast(self, rotations: Tensor, translations: Tensor, rays: Tensor, zoom: Tensor | None = None) -> Buffers:
        """What rays from the camera's origin meet of the shape at several poses.

        Args:
            rotations: (B, 3, 3) camera_from_object. translations: (B, 3) of the object's centre, in radii.
            rays: (P, 3) directions in the camera frame, z = 1.
            zoom: (B, 2) factors of the rays' x and y, for cameras that differ within a batch.
        """
        ...


@dataclass(frozen=True)
class ViewGeometry:
    """How B images were taken, by virtual cameras that look nearly at the object.

    Attributes:
        translations: (B, 3) of the object's centre, in its radii, camera frame.
        half_tangent: (B, 2) tangent of half the field of view along x and y.
        cover: (B, S, S) share of each pixel that something in front hides; None: nothing in front.
    """

    translations: Tensor
    half_tangent: Tensor
    cover: Tensor | None = None

    def __len__(self) -> int:
        return len(self.translations)

    def __getitem__(self, images: Tensor | slice) -> ViewGeometry:
        """Of some of the images."""
        cover = None if self.cover is None else self.cover[images]
        return ViewGeometry(self.translations[images], self.half_tangent[images], cover)

    @classmethod
    def joined(cls, views: Sequence[ViewGeometry]) -> ViewGeometry:
        """Of all images of several; where some have nothing in front and others do, the former have an empty cover."""
        covers = [view.cover for view in views if view.cover is not None]
        cover = None
        if covers:
            like = covers[0]
            cover = torch.cat(
                [like.new_zeros(len(view), *like.shape[1:]) if view.cover is None else view.cover for view in views]
            )
        return cls(
            torch.cat([view.translations for view in views]), torch.cat([view.half_tangent for view in views]), cover
        )

    def to(self, device: torch.device) -> ViewGeometry:
        """The same on a device."""
        cover = None if self.cover is None else self.cover.to(device)
        return ViewGeometry(self.translations.to(device), self.half_tangent.to(device), cover)

    def places(self) -> Tensor:
        """Where the objects' centres are, as `model.position` counts: (x, y, log size). -> (B, 3)."""
        x_y = self.translations[:, :2] / self.translations[:, 2:] / self.half_tangent
        size = torch.tan(torch.asin(1 / self.translations.norm(dim=1))) / self.half_tangent.prod(1).sqrt()
        return torch.cat([x_y, size.log()[:, None]], 1)

    def along_ray(self, rotations: Tensor) -> Tensor:
        """Rotations camera_from_object as seen along the ray to the object's centre. (B, 3, 3) -> (B, 3, 3)."""
        return so3.turn_z_to(self.translations).mT @ rotations
