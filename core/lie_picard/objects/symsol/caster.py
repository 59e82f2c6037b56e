"""A batched ray-caster for convex solids: mask, depth, normals and colour, on CPU or GPU.

Camera frame as in ROS optical frames: x right, y down, z forward. Lengths are in units of the solid's
circumscribed radius.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.rendering.buffers import Buffers
from lie_picard.rendering.constants import constant, moved

if TYPE_CHECKING:
    from lie_picard.objects.symsol.solids import Solid

_FAR = 1e6


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
