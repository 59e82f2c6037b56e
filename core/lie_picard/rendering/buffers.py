"""What a renderer hands on: shape and paint per ray, before any light. Renderers of other kinds can fill the same."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)  # of RGB, ITU-R BT.601


@dataclass(frozen=True)
class Buffers:
    """What a camera sees of B objects through P rays each, in the camera frame (x right, y down, z forward).

    Attributes:
        hit: (B, P) bool, the mask. depth: (B, P) multiples of the ray up to the surface.
        normal: (B, 3, P) outward, unit. albedo: (B, 3, P) RGB reflectance in [0, 1].
    """

    hit: Tensor
    depth: Tensor
    normal: Tensor
    albedo: Tensor
