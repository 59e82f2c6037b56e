"""A batched ray-caster for convex solids: mask, depth, normals and colour, on CPU or GPU.

Camera frame as in ROS optical frames: x right, y down, z forward. Lengths are in units of the solid's
circumscribed radius. In clean images light and camera are fixed to one another, so indistinguishable poses give
equal images; `lie_picard.randomisation` makes the other kind from the same buffers.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.buffers import LUMINANCE, Buffers
from lie_picard.constants import constant, moved
from lie_picard.symsol.solids import Solid

# Two lights from different sides: no two visible normals that a silhouette confuses have the same shade.
LIGHTS = ((-0.48, -0.64, -0.60), (0.80, 0.10, -0.59))
STRENGTHS = (0.55, 0.25)
AMBIENT = 0.18
BACKGROUND = 0.04
_FAR = 1e6


@dataclass(frozen=True)
class Crop:
    """The square virtual camera that looks straight at the object; what the model is trained on.

    Attributes:
        distance: from the camera to the object's centre, in object radii.
        fill: share of the half image that the circumscribed sphere covers.
    """

    distance: float = 10.0
    fill: float = 0.9

    @property
    def half_angle_tangent(self) -> float:
        """Tangent of half the field of view."""
        return math.tan(math.asin(1 / self.distance)) / self.fill

    def rays(self, size: int) -> Tensor:
        """Viewing directions (z = 1) through the pixel centres, row by row. -> (size * size, 3)."""
        offsets = ((torch.arange(size) + 0.5) / size * 2 - 1) * self.half_angle_tangent
        y, x = torch.meshgrid(offsets, offsets, indexing="ij")
        return torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1)


def cast(solid: Solid, rotations: Tensor, translations: Tensor, rays: Tensor, zoom: Tensor | None = None) -> Buffers:
    """Intersect rays from the camera's origin with a solid at several poses.

    A ray meets a plane at depth offset / (n . ray), whose inverse is linear in the ray. Seen from outside, a
    convex solid is entered through the last of the planes that face the camera (offset < 0) and left through
    the first of the others; the ray misses where it leaves before it has entered.

    Args:
        rotations: (B, 3, 3) camera_from_object. translations: (B, 3) of the object's centre, in radii.
        rays: (P, 3) directions in the camera frame, z = 1.
        zoom: (B, 2) factors of the rays' x and y, for cameras that differ within a batch.
    """
    # The rays' stretching is put into the rotation, so that one set of rays serves all images.
    turn = rotations.mT if zoom is None else rotations.mT * F.pad(zoom, (0, 1), value=1.0)[:, None]
    origin = rotations.mT @ -translations[..., None]  # (B, 3, 1), object frame
    planes = moved(solid.planes, rays).expand(len(rotations), -1, -1)
    normals = planes[..., :3]
    offset = planes[..., 3] - (normals @ origin).squeeze(-1)  # inside: n . x <= offset
    inverse_depth = normals @ turn / torch.where(offset.abs() < 1e-6, 1e-6, offset)[..., None]
    facing = offset < 0
    shape = len(rotations), len(rays)
    entry, exit_ = rays.new_full(shape, _FAR), rays.new_full(shape, -_FAR)
    face = torch.zeros(shape, dtype=torch.int64, device=rays.device)
    for k in range(planes.shape[1]):  # a running minimum: twice as fast as argmin over a (B, F, P) tensor
        depth = inverse_depth[:, k] @ rays.T
        candidate = torch.where(facing[:, k, None], depth, _FAR)
        face = torch.where(candidate < entry, k, face)
        entry = torch.minimum(entry, candidate)
        exit_ = torch.maximum(exit_, torch.where(facing[:, k, None], -_FAR, depth))
    enter, leave = 1 / entry.clamp_min(1 / _FAR), 1 / exit_.clamp_min(1 / _FAR)
    enter = torch.where(entry > _FAR / 2, -_FAR, enter)  # no plane faces the camera
    normal = rays.new_zeros(shape[0], 3, shape[1])
    if planes.shape[1]:
        normal = torch.gather((normals @ rotations.mT).mT, 2, face[:, None].expand(-1, 3, -1))
    round_ = _cast_ball if solid.ball else _cast_wall if solid.radius is not None else None
    directions = turn @ rays.T if round_ or solid.markers else rays  # (B, 3, P), object frame
    if round_ is not None:
        wall_enter, wall_leave, wall_normal = round_(solid, origin, directions)
        normal = torch.where((wall_enter > enter)[:, None], rotations @ wall_normal, normal)
        enter, leave = torch.maximum(enter, wall_enter), torch.minimum(leave, wall_leave)
    albedo = rays.new_ones(1, 3, 1).expand_as(normal)
    if solid.markers:
        points = origin + enter[:, None] * directions
        for marker in solid.markers:
            colour = constant(marker.colour, rays)[:, None]
            albedo = torch.where(marker.covers(points)[:, None], colour, albedo)
    return Buffers((enter < leave) & (enter > 0), enter, normal, albedo)


def _cast_ball(solid: Solid, origin: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Entry, exit (B, P) and outward normal (B, 3, P) of the unit sphere; origin (B, 3, 1), directions (B, 3, P)."""
    a, b = directions.square().sum(1), (origin * directions).sum(1)
    root = (b * b - a * (origin.square().sum(1) - 1)).clamp_min(0).sqrt()
    enter = (-b - root) / a
    leave = torch.where(root > 0, (-b + root) / a, -_FAR)
    return enter, leave, origin + enter[:, None] * directions


def _cast_wall(solid: Solid, origin: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Entry, exit and normal, as `_cast_ball`, of hypot(x, y) <= radius - slope z; all in the object's frame."""
    assert solid.radius is not None
    ox, oy, oz = origin.unbind(1)
    dx, dy, dz = directions.unbind(1)
    reach = solid.radius - solid.slope * oz
    narrowing = -solid.slope * dz
    a = dx * dx + dy * dy - narrowing * narrowing
    b = ox * dx + oy * dy - reach * narrowing
    c = ox * ox + oy * oy - reach * reach
    discriminant = b * b - a * c
    root = discriminant.clamp_min(0).sqrt()
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    near, far = (-b - root) / a, (-b + root) / a
    first, last = torch.minimum(near, far), torch.maximum(near, far)
    # The line may cross the mirror image of a cone beyond its apex: there reach + t * narrowing < 0.
    first_real = reach + first * narrowing >= 0
    last_real = reach + last * narrowing >= 0
    # a > 0: inside between the roots. a < 0 (steeper than the cone): inside before the first or after the last.
    closed = a > 0
    enter = torch.where(closed, first, torch.where(last_real, last, -_FAR))
    leave = torch.where(closed, last, torch.where(last_real, _FAR, first))
    miss = (discriminant < 0) | (closed & ~(first_real & last_real))
    leave = torch.where(miss, -_FAR, leave)
    x, y, z = ox + enter * dx, oy + enter * dy, oz + enter * dz
    radius = solid.radius - solid.slope * z  # hypot(x, y) on the wall
    radius = torch.where(radius == 0, 1e-9, radius)  # the very apex points along the axis
    outward = torch.stack([x, y, solid.slope * radius], 1)
    # By its own length: at the apex the radius is rounding error. (Twice as fast as normalize along this dimension.)
    return enter, leave, outward * outward.square().sum(1, keepdim=True).clamp_min(1e-24).rsqrt()


def shade(buffers: Buffers, turn: Tensor | None = None) -> Tensor:
    """Lambertian RGB in [0, 1] under the fixed lights; the background is nearly black. -> (B, 3, P).

    Args:
        turn: (3, 3) rotation of the lights.
    """
    like = torch.empty(0, device=buffers.depth.device)
    lights = F.normalize(constant(LIGHTS, like), dim=1)
    lights = lights if turn is None else lights @ turn.to(lights).T
    strengths = constant(STRENGTHS, like)
    brightness = AMBIENT + strengths @ (lights @ buffers.normal).clamp_min(0)
    return torch.where(buffers.hit[:, None], brightness[:, None] * buffers.albedo, BACKGROUND)


def render(
    solid: Solid,
    rotations: Tensor,
    size: int = 64,
    crop: Crop | None = None,
    channels: int = 1,
    supersample: int = 2,
) -> Tensor:
    """Images of a solid at several rotations, seen by the model's virtual camera.

    Args:
        rotations: (B, 3, 3) camera_from_object; the result is on their device.
        size: side of the square images in pixels. channels: 1 (grey) or 3 (RGB).
        supersample: rays per pixel and side (anti-aliasing).

    Returns:
        (B, size, size) or (B, size, size, 3) uint8 images.
    """
    crop = crop or Crop()
    fine = size * supersample
    translations = constant((0.0, 0.0, crop.distance), rotations).expand(len(rotations), 3)
    rays, inside = _rays_inside(crop, fine, rotations.device, rotations.dtype)
    colour = rotations.new_full((len(rotations), 3, fine * fine), BACKGROUND)
    colour[:, :, inside] = shade(cast(solid, rotations, translations, rays))
    return quantised(F.avg_pool2d(colour.unflatten(2, (fine, fine)), supersample), channels)


@functools.lru_cache(maxsize=32)
def _rays_inside(crop: Crop, size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rays that meet the circumscribed sphere, and so can hit: about two thirds of the image.

    -> (P, 3) directions, (P,) their index among the rays of the whole image.
    """
    with torch.inference_mode(False):
        rays = crop.rays(size).to(dtype)
        inside = (rays[:, :2].norm(dim=1) < crop.half_angle_tangent * crop.fill).nonzero()[:, 0]
        return rays[inside].to(device), inside.to(device)


def quantised(colour: Tensor, channels: int = 3) -> Tensor:
    """RGB in [0, 1] as 8-bit images: (B, 3, S, S) -> (B, S, S, 3), or (B, S, S) luminance for one channel."""
    if channels == 1:
        colour = torch.einsum("c,bc...->b...", constant(LUMINANCE, colour), colour)[:, None]
    images = (colour * 255).round().clamp(0, 255).to(torch.uint8)
    return images[:, 0] if channels == 1 else images.movedim(1, -1).contiguous()
