"""What surfaces carry and how they reflect: prints, labels and wear that turn with the object; metal and clear coats.

Only points that are seen, of images that have the feature, are looked at: (M,) of them, flat.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard import so3
from lie_picard.rendering.buffers import Buffers, Placement
from lie_picard.rendering.randomisation.lighting import Lighting
from lie_picard.rendering.randomisation.options import Randomisation, Rng
from lie_picard.rendering.randomisation.pictures import Pictures

FAINT = 0.25  # largest modulation by prints and wear on objects whose own colours tell poses apart
_UNMARKED = 0.9  # reflectance, in all colours, of what such objects have no mark on
_FACES = 6  # of the box that prints are mapped from
_CLOSE = 0.08  # rad: prints seldom stand quite straight; and no face lies between two of the box's


class PlacementError(ValueError):
    """Buffers do not say how the objects lay that prints or reflections shall be drawn on."""


@dataclass(frozen=True)
class Points:
    """M points that are seen.

    Attributes:
        image: (M,) index among the B images. chosen: (M,) index among those that were chosen. pixel: (M,) of P rays.
    """

    image: Tensor
    chosen: Tensor
    pixel: Tensor

    @classmethod
    def of(cls, hit: Tensor, chosen: Tensor) -> Points:
        """Those of the chosen images (k,); on a GPU all their rays, as it would have to say how many hit."""
        pixels = hit.shape[1]
        mask = hit[chosen].flatten()
        where = mask.nonzero()[:, 0] if hit.device.type == "cpu" else torch.arange(len(mask), device=hit.device)
        among = torch.div(where, pixels, rounding_mode="floor")
        return cls(chosen[among], among, where - among * pixels)

    def taken(self, field: Tensor) -> Tensor:
        """(B, C, P) -> (M, C)."""
        return field[self.image, :, self.pixel]


def placement_of(buffers: Buffers) -> Placement:
    """How the objects lay.

    Raises:
        PlacementError: the buffers do not say.
    """
    if buffers.placement is None:
        raise PlacementError(
            "prints, wear, metal and coats need buffers with `placement`, as `cast_randomly` gives them"
        )
    return buffers.placement


def dress(
    buffers: Buffers, lighting: Lighting, pictures: Pictures | None, options: Randomisation, rng: Rng
) -> tuple[Buffers, Lighting]:
    """Buffers whose albedo has the material's tint, prints and wear in it; and lighting without a tint."""
    tint = lighting.tint
    if options.vivid:
        tint = _vivid(tint, placement_of(buffers).coloured, options, rng)
    albedo = buffers.albedo * tint[..., None]
    if options.prints:
        albedo = _print(albedo, buffers, pictures, rng.some(options.prints, len(tint)), rng)
    if options.wear:
        albedo = _wear(albedo, buffers, pictures, rng.some(options.wear, len(tint)), rng)
    return dataclasses.replace(buffers, albedo=albedo), dataclasses.replace(lighting, tint=torch.ones_like(tint))


def _vivid(tint: Tensor, coloured: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """Saturated and very dark materials; objects with colours of their own keep theirs."""
    count = len(tint)
    colour = _saturated(rng, count)
    dark = torch.where(rng.happens(0.2, count)[:, None], rng.uniform(count, 1, between=(0.04, 0.2)), colour)
    return torch.where((rng.happens(options.vivid, count) & ~coloured)[:, None], dark, tint)


def _saturated(rng: Rng, *shape: int) -> Tensor:
    """Paint: at least one of the primaries is dark. -> (*shape, 3)."""
    colour = rng.uniform(*shape, 3)
    low, high = colour.amin(-1, keepdim=True), colour.amax(-1, keepdim=True)
    full = (colour - low) / (high - low).clamp_min(1e-3)
    return torch.lerp(torch.ones_like(full), full, rng.uniform(*shape, 1, between=(0.5, 1.0))) * rng.uniform(
        *shape, 1, between=(0.35, 1.0)
    )


def in_object(buffers: Buffers, points: Points, chosen: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Places and normals in the frames of the objects, turned.

    Args:
        chosen: (k,) images. turn: (k, 3, 3) picture_from_object.

    Returns:
        (M, 3) in radii, and (M, 3) unit.
    """
    placement = placement_of(buffers)
    matrices = (turn @ placement.rotations[chosen].mT)[points.chosen]
    place = rays_of(placement, points) * buffers.depth[points.image, points.pixel][:, None]
    place = place - placement.translations[points.image]
    normal = points.taken(buffers.normal)
    return (matrices * place[:, None]).sum(-1), (matrices * normal[:, None]).sum(-1)


def rays_of(placement: Placement, points: Points) -> Tensor:
    """(M, 3) directions from the camera, z = 1."""
    return placement.rays[points.pixel] * F.pad(placement.zoom, (0, 1), value=1.0)[points.image]


@dataclass(frozen=True)
class _Mapping:
    """How pictures lie on the six sides of a box around each of k objects, or around its third axis.

    Attributes:
        turn: (k, 3, 3) box_from_object. wrapped: (k,) whether the sides form a cylinder.
        sides: (k * 6, 6) of each: matrix from places to the picture (4), and offset (2); a picture is [0, 1] x [0, 1].
    """

    turn: Tensor
    wrapped: Tensor
    sides: Tensor

    def look_up(self, buffers: Buffers, points: Points, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(M,) index of the side, and (M,) both coordinates in its picture."""
        place, normal = in_object(buffers, points, chosen, self.turn)
        x, y, z = place.unbind(1)
        away = normal.abs()
        round_ = self.wrapped[points.chosen] & (away[:, 2] < 0.9)
        axis = torch.where(round_, 0, away.argmax(1))
        behind = torch.where(round_, False, normal.gather(1, axis[:, None])[:, 0] < 0)
        right = torch.where(axis == 0, y, torch.where(axis == 1, z, x))
        up = torch.where(axis == 0, z, torch.where(axis == 1, x, y))
        right = torch.where(round_, 0.7 * torch.atan2(y, x), right)  # a typical radius
        side = points.chosen * _FACES + 2 * axis + behind
        a, b, c, d, e, f = self.sides[side].unbind(1)
        return side, a * right + b * up + e, c * right + d * up + f


def _mapping(rng: Rng, size: Tensor, angle: Tensor, centre: Tensor) -> _Mapping:
    """Random boxes; of each side the picture's (k, 6, 2) size in radii, (k, 6) angle, (k, 6, 2) centre in radii."""
    count = len(size)
    free = so3.uniform(count, generator=rng.generator, device=rng.device)
    straight = so3.exp(_CLOSE * rng.normal(count, 3))
    turn = torch.where(rng.happens(0.65, count)[:, None, None], straight, free)
    cosine, sine = angle.cos()[..., None], angle.sin()[..., None]
    matrix = torch.stack([torch.cat([cosine, sine], -1), torch.cat([-sine, cosine], -1)], -2) / size[..., None]
    offset = 0.5 - (matrix @ centre[..., None])[..., 0]
    sides = torch.cat([matrix.flatten(-2), offset], -1).flatten(0, 1)
    return _Mapping(turn, rng.happens(0.25, count), sides)


def _texels(pictures: Tensor, index: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Nearest pixels of repeated pictures (N, T, T, ...): index, u, v (M,) -> (M, ...) in [0, 1]."""
    side = pictures.shape[1]
    column, row = ((w - w.floor()).mul(side).long().clamp_max(side - 1) for w in (u, v))
    return pictures.flatten(0, 2)[(index * side + row) * side + column].float() / 255


def _print(albedo: Tensor, buffers: Buffers, pictures: Pictures | None, chosen: Tensor, rng: Rng) -> Tensor:
    """One picture all over, one for each side, stickers, or sides of different colours."""
    count = len(chosen)
    if not count or pictures is None:
        return albedo
    style = rng.uniform(count, 1)
    all_over, each, sticker = style < 0.25, (style >= 0.25) & (style < 0.6), (style >= 0.6) & (style < 0.85)
    index = rng.integers(len(pictures.prints), count, _FACES)
    index = torch.where(all_over, index[:, :1], index)
    large, medium, small = (
        rng.uniform(count, _FACES, between=between) for between in ((0.5, 2.5), (0.9, 1.5), (0.35, 1.0))
    )
    large, medium = large[:, :1], medium[:, :1]
    size = torch.where(all_over, large, torch.where(each, medium, small))
    stretch = 2 ** rng.uniform(count, _FACES, between=(-0.5, 0.5))
    stretch = torch.where(sticker, stretch, stretch[:, :1].sqrt())
    angle = rng.uniform(count, _FACES, between=(0, 2 * math.pi))
    square = torch.where(rng.happens(0.5, count, 1), angle[:, :1], 0.0)  # as the box, or all alike
    angle = torch.where(sticker, angle, square + (angle / (math.pi / 2)).floor() * (math.pi / 2))
    wander = torch.where(sticker, 0.45, torch.where(each, 0.1, 1.0))[..., None]
    centre = wander * rng.uniform(count, _FACES, 2, between=(-1, 1))
    mapping = _mapping(rng, torch.stack([size * stretch, size / stretch], -1), angle, centre)
    shown = torch.where(sticker, rng.happens(0.5, count, _FACES), all_over | (each & rng.happens(0.9, count, _FACES)))
    opacity = shown * rng.uniform(count, 1, between=(0.7, 1.0))
    tiled = all_over | (each & rng.happens(0.5, count, 1))
    painted = torch.where(all_over, 0.0, torch.where(sticker, rng.happens(0.2, count, 1).float(), 1.0))
    painted = torch.where(each, rng.happens(0.6, count, 1).float(), painted)
    paint = torch.cat([_saturated(rng, count, _FACES), painted.expand(-1, _FACES)[..., None]], -1).flatten(0, 1)
    inked = rng.happens(0.3, count)  # on the material's colour, which shines through
    points = Points.of(buffers.hit, chosen)
    side, u, v = mapping.look_up(buffers, points, chosen)
    inside = tiled.expand(-1, _FACES).flatten()[side] | ((u >= 0) & (u < 1) & (v >= 0) & (v < 1))
    colour = _texels(pictures.prints, index.flatten()[side], u, v)
    before = points.taken(albedo)
    ground = torch.lerp(before, paint[side, :3], paint[side, 3:])
    colour = torch.where(inked[points.chosen, None], colour * ground, colour)
    printed = torch.lerp(ground, colour, (inside * opacity.flatten()[side])[:, None])
    return _laid(albedo, buffers, points, before, printed)


def _wear(albedo: Tensor, buffers: Buffers, pictures: Pictures | None, chosen: Tensor, rng: Rng) -> Tensor:
    """Scratches, chips and dirt, twice: coarse and fine."""
    count = len(chosen)
    if not count or pictures is None:
        return albedo
    index = rng.integers(len(pictures.worn), count, _FACES)
    size = rng.uniform(count, 1, 1, between=(0.6, 2.0)).expand(-1, _FACES, 2)
    angle, centre = rng.uniform(count, _FACES, between=(0, 2 * math.pi)), rng.uniform(count, _FACES, 2)
    mapping = _mapping(rng, size, angle, centre)
    strength = rng.uniform(count, 1, between=(0.3, 1.0))
    points = Points.of(buffers.hit, chosen)
    side, u, v = mapping.look_up(buffers, points, chosen)
    shade = _texels(pictures.worn, index.flatten()[side], u, v)[:, None] * (255 / 128) - 1  # -1 to 1
    shade = shade * strength[points.chosen]
    before = points.taken(albedo)
    after = before * (1 + shade.clamp_max(0)) + (1 - before) * 0.8 * shade.clamp_min(0)
    return _laid(albedo, buffers, points, before, after)


def _laid(albedo: Tensor, buffers: Buffers, points: Points, before: Tensor, after: Tensor) -> Tensor:
    """The albedo with what lies on it; on objects with colours of their own it is faint, and not on their marks."""
    coloured = placement_of(buffers).coloured[points.image, None]
    unmarked = points.taken(buffers.albedo).amin(1, keepdim=True) >= _UNMARKED
    faint = torch.where(unmarked, before * (1 - FAINT * (1 - after)), before)
    after = torch.where(coloured, faint, after)
    laid = albedo.mT.contiguous()
    laid[points.image, points.pixel] = after
    return laid.mT


def reflect(
    colour: Tensor, buffers: Buffers, lighting: Lighting, pictures: Pictures | None, options: Randomisation, rng: Rng
) -> Tensor:
    """Metals, which reflect the surroundings in their colour, and clear coats, in white, over lit surfaces.

    -> (B, 3, P), not clamped.
    """
    count = len(colour)
    kind = rng.uniform(count)
    some = rng.some(min(1.0, options.metal + options.coat), count)
    if not len(some) or pictures is None:
        return colour
    placement = placement_of(buffers)
    # Metals are for what has no colours of its own: it would mirror them away.
    metal = (kind < options.metal / (options.metal + options.coat)) & ~placement.coloured
    rough = rng.uniform(count)
    power = 2 ** (9 - 5 * rough)
    mirror = rng.uniform(count, between=(0.03, 0.15)) * torch.where(placement.coloured, 0.5, 1.0)
    matt = rng.uniform(count, 1, between=(0.1, 0.5))
    environment = rng.integers(len(pictures.environments), count)
    points = Points.of(buffers.hit, some)
    image = points.image
    normal, ray = points.taken(buffers.normal), F.normalize(rays_of(placement, points), dim=1)
    facing = -(ray * normal).sum(1, keepdim=True)
    mirrored = ray + 2 * facing * normal
    # As a mirroring ball shows its surroundings, seen along z.
    wide = 2 * (mirrored[:, :2].square().sum(1) + (1 - mirrored[:, 2]).square()).clamp_min(1e-6).sqrt()
    u, v = (mirrored[:, k] / wide + 0.5 for k in range(2))
    seen = _texels(pictures.environments, environment[image], u.clamp(0, 0.999), v.clamp(0, 0.999))
    lamps = (lighting.directions[image] * mirrored[:, None]).sum(-1).clamp_min(1e-4) ** power[image, None]
    seen = seen + (lamps[..., None] * lighting.colours[image]).sum(1) * (2 - 1.5 * rough[image, None])
    edge = (1 - facing.clamp(0, 1)) ** 5
    own = points.taken(buffers.albedo)
    of_metal = metal[image, None]
    strength = torch.where(of_metal, own + (1 - own) * edge, mirror[image, None] + (0.6 - mirror[image, None]) * edge)
    lit = points.taken(colour)
    lit = torch.where(of_metal, lit * matt[image], lit * (1 - strength))
    laid = colour.mT.contiguous()
    laid[image, points.pixel] = torch.where(points_hit(buffers, points), lit + strength * seen, points.taken(colour))
    return laid.mT


def points_hit(buffers: Buffers, points: Points) -> Tensor:
    """(M, 1) whether a point is one: on a GPU all rays are looked at."""
    return buffers.hit[points.image, points.pixel][:, None]
