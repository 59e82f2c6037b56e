"""What surfaces carry and how they reflect: prints, labels and wear that turn with the object; metal and coats."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.rendering.buffers import Buffers
from lie_picard.rendering.randomisation.lighting import Lighting
from lie_picard.rendering.randomisation.options import Randomisation, Rng
from lie_picard.rendering.randomisation.pictures import Pictures
from lie_picard.rendering.randomisation.points import Points, coloured_of, in_object, placement_of, rays_of

FAINT = 0.25  # largest modulation by prints and wear on objects whose own colours tell poses apart
_UNMARKED = 0.9  # reflectance, in all colours, of what such objects have no mark on
_FACES = 6  # of the box that prints are mapped from
_ON_COLOURED = 0.4  # as often as on others
_LAMPS = 2  # that coats and metals mirror: the strongest, and one more
_CLOSE = 0.08  # rad: prints seldom stand quite straight; and no face lies between two of the box's


@dataclass(frozen=True)
class Chosen:
    """Images that get a print or wear: (k,) indices, of which the first `plain` show objects without colours."""

    images: Tensor
    plain: int


def _chosen(share: float, buffers: Buffers, rng: Rng) -> Chosen:
    """Images with a feature of this share, which is seldom where it is faint: it costs as much there."""
    coloured = placement_of(buffers).coloured
    plain, others = (
        rng.some(torch.where(which, part * share, 0.0), len(coloured))
        for which, part in ((~coloured, 1.0), (coloured, _ON_COLOURED))
    )
    return Chosen(torch.cat([plain, others]), len(plain))


def _vivid(tint: Tensor, coloured: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """Saturated and very dark materials; objects with colours of their own keep theirs."""
    count = len(tint)
    colour = _saturated(rng, count)
    dark = torch.where(rng.happens(0.12, count)[:, None], rng.uniform(count, 1, between=(0.06, 0.2)), colour)
    return torch.where((rng.happens(options.vivid, count) & ~coloured)[:, None], dark, tint)


def _saturated(rng: Rng, *shape: int) -> Tensor:
    """Paint: at least one of the primaries is dark. -> (*shape, 3)."""
    colour = rng.uniform(*shape, 3)
    low, high = colour.amin(-1, keepdim=True), colour.amax(-1, keepdim=True)
    full = (colour - low) / (high - low).clamp_min(1e-3)
    return torch.lerp(torch.ones_like(full), full, rng.uniform(*shape, 1, between=(0.5, 1.0))) * rng.uniform(
        *shape, 1, between=(0.35, 1.0)
    )


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
        x, y, z, nx, ny, nz = in_object(buffers, points, chosen, self.turn)
        ax, ay, az = nx.abs(), ny.abs(), nz.abs()
        round_ = self.wrapped[points.chosen] & (az < 0.9)
        third, second = (az > ax) & (az >= ay), (ay > ax) & (ay > az)
        behind = torch.where(third, nz, torch.where(second, ny, nx)) < 0
        right = torch.where(third, x, torch.where(second, z, y))
        up = torch.where(third, y, torch.where(second, x, z))
        right = torch.where(round_, torch.atan2(y, x).mul_(0.7), right)  # a typical radius
        up = torch.where(round_, z, up)
        face = torch.where(round_, 0, 4 * third + 2 * second + behind)
        side = points.chosen * _FACES + face
        a, b, c, d, e, f = self.sides.T[:, side]
        return side, e.addcmul_(a, right).addcmul_(b, up), f.addcmul_(c, right).addcmul_(d, up)


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
    # Beside an object, where on a GPU rays are looked at as well, coordinates may be no numbers.
    column, row = ((w - w.floor()).mul(side).nan_to_num(0.0).long().clamp(0, side - 1) for w in (u, v))
    return pictures.flatten(0, 2)[(index * side + row) * side + column].float().mul_(1 / 255)


def _lay(
    albedo: Tensor, buffers: Buffers, tint: Tensor, points: Points, chosen: Chosen, before: Tensor, after: Tensor
) -> None:
    """Put (M, 3) on an albedo; on objects with colours of their own it is faint, and not on their marks.

    Args:
        tint: (B, 3) of what has no mark, which nothing that lies on it darkens by more than `FAINT`.
    """
    plain, own = points.split(chosen.plain)
    points.some(plain).put(albedo, after[plain])
    there = points.some(own)
    faint = torch.maximum((after[own] * FAINT).add_(1 - FAINT).mul_(before[own]), (1 - FAINT) * tint[there.image])
    there.put(albedo, faint, (there.least(buffers.albedo) >= _UNMARKED)[:, None])


@dataclass(frozen=True)
class Dresser:
    """What draws looks: pictures, ranges, random numbers.

    Attributes:
        supersample: rays a pixel and side.
    """

    pictures: Pictures
    options: Randomisation
    rng: Rng
    supersample: int

    def dress(self, buffers: Buffers, lighting: Lighting) -> tuple[Buffers, Lighting]:
        """Buffers whose albedo has the material's tint, prints and wear in it; and lighting without a tint."""
        options, rng, tint = self.options, self.rng, lighting.tint
        if options.vivid:
            tint = _vivid(tint, coloured_of(buffers), options, rng)
        albedo = buffers.albedo * tint[..., None]
        for share, draw in ((options.prints, self._print), (options.wear, self._wear)):
            if share and len((which := _chosen(share, buffers, rng)).images):
                draw(albedo, buffers, tint, which)
        return dataclasses.replace(buffers, albedo=albedo), dataclasses.replace(lighting, tint=torch.ones_like(tint))

    def _print(self, albedo: Tensor, buffers: Buffers, tint: Tensor, which: Chosen) -> None:
        """One picture all over, one for each side, stickers, or sides of different colours."""
        chosen, rng, pictures = which.images, self.rng, self.pictures
        count = len(chosen)
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
        shown = torch.where(
            sticker, rng.happens(0.5, count, _FACES), all_over | (each & rng.happens(0.9, count, _FACES))
        )
        opacity = shown * rng.uniform(count, 1, between=(0.7, 1.0))
        tiled = all_over | (each & rng.happens(0.5, count, 1))
        painted = torch.where(all_over, 0.0, torch.where(sticker, rng.happens(0.2, count, 1).float(), 1.0))
        painted = torch.where(each, rng.happens(0.6, count, 1).float(), painted)
        paint = _saturated(rng, count, _FACES).flatten(0, 1)
        inked = rng.happens(0.3, count, 1).float()  # on the material's colour, which shines through
        points = Points.of(buffers.hit, chosen, self.supersample)
        side, u, v = mapping.look_up(buffers, points, chosen)
        # Beside a picture that is not repeated there is none.
        inside = tiled.expand(-1, _FACES).flatten()[side] | (torch.maximum((u - 0.5).abs(), (v - 0.5).abs()) < 0.5)
        colour = _texels(pictures.prints, index.flatten()[side], u, v)
        before = torch.stack(points.taken(albedo), 1)
        ground = torch.lerp(before, paint[side], painted.expand(-1, _FACES).flatten()[side, None])
        # Ink takes its part of the light that the ground reflects, paint all.
        ink = inked.expand(-1, _FACES).flatten()[side, None]
        colour.mul_(torch.lerp(torch.ones_like(ground), ground, ink))
        printed = ground.lerp_(colour, (inside * opacity.flatten()[side])[:, None])
        _lay(albedo, buffers, tint, points, which, before, printed)

    def _wear(self, albedo: Tensor, buffers: Buffers, tint: Tensor, which: Chosen) -> None:
        """Scratches, chips and dirt."""
        chosen, rng, pictures = which.images, self.rng, self.pictures
        count = len(chosen)
        index = rng.integers(len(pictures.worn), count, _FACES)
        size = rng.uniform(count, 1, 1, between=(0.6, 2.0)).expand(-1, _FACES, 2)
        angle, centre = rng.uniform(count, _FACES, between=(0, 2 * math.pi)), rng.uniform(count, _FACES, 2)
        mapping = _mapping(rng, size, angle, centre)
        strength = rng.uniform(count, 1, between=(0.3, 1.0))
        points = Points.of(buffers.hit, chosen, self.supersample)
        side, u, v = mapping.look_up(buffers, points, chosen)
        shade = _texels(pictures.worn, index.flatten()[side], u, v)[:, None] * (255 / 128) - 1  # -1 to 1
        shade = shade * strength[points.chosen]
        before = torch.stack(points.taken(albedo), 1)
        after = before * (1 + shade.clamp_max(0)) + (1 - before) * 0.8 * shade.clamp_min(0)
        # Edges lose their paint here and there: what comes to light is brighter or darker.
        bare = rng.uniform(count, 1) * rng.happens(0.6, count, 1)
        patchy = _texels(pictures.prints, rng.integers(len(pictures.prints), count)[points.chosen], 2 * u, 2 * v)[:, :1]
        chipped = points.on_edge(buffers)[:, None] * (patchy > bare[points.chosen])
        after = torch.lerp(after, rng.uniform(count, 1)[points.chosen].expand(-1, 3), 0.8 * chipped)
        _lay(albedo, buffers, tint, points, which, before, after)

    def reflect(self, colour: Tensor, buffers: Buffers, lighting: Lighting) -> None:
        """Metals, which reflect the surroundings in their colour, and clear coats, in white, over lit surfaces.

        Args:
            colour: (B, 3, P), is changed, and not clamped.
        """
        options, rng, pictures, count = self.options, self.rng, self.pictures, len(colour)
        some = rng.some(min(1.0, options.metal + options.coat), count)
        if not len(some):
            return
        placement, coloured = placement_of(buffers), coloured_of(buffers)
        # Metals are for what has no colours of its own: it would mirror them away.
        metal = rng.happens(options.metal / (options.metal + options.coat), count) & ~coloured
        rough = rng.uniform(count)
        mirror = rng.uniform(count, between=(0.03, 0.15)) * torch.where(coloured, 0.5, 1.0)
        matt = torch.where(metal, rng.uniform(count, between=(0.1, 0.5)), 1.0)
        environment = rng.integers(len(pictures.environments), count)
        points = Points.of(buffers.hit, some, self.supersample)
        image = points.image
        x, y = rays_of(placement, points)
        short = (x * x + y * y + 1).rsqrt()
        nx, ny, nz = points.taken(buffers.normal)
        facing = -short * (x * nx + y * ny + nz)
        twice = 2 * facing
        mx, my, mz = (short * x).addcmul_(twice, nx), (short * y).addcmul_(twice, ny), short.addcmul(twice, nz)
        # As a mirroring ball shows its surroundings, seen along z.
        wide = 0.4999 * (mx * mx + my * my + (1 - mz).square()).clamp_min(1e-6).rsqrt()
        seen = _texels(pictures.environments, environment[image], mx * wide + 0.5, my * wide + 0.5)
        power = 2 ** (9 - 5 * rough)
        sharp = 2 - 1.5 * rough
        for k in range(_LAMPS):
            dx, dy, dz = lighting.directions[:, k].T[:, image]
            lamp = (dx * mx).addcmul_(dy, my).addcmul_(dz, mz).clamp_min_(1e-4).pow_(power[image])
            seen.addcmul_(lamp[:, None], (lighting.colours[:, k] * sharp[:, None])[image])
        edge = (1 - facing.clamp(0, 1)) ** 5
        own = torch.where(metal[image, None], torch.stack(points.taken(buffers.albedo), 1), mirror[image, None])
        most = torch.where(metal, 1.0, 0.6)[image]
        strength = own + (most[:, None] - own) * edge[:, None]
        lit = torch.stack(points.taken(colour), 1) * matt[image, None]
        shown = lit * (1 - torch.where(metal[image, None], 0.0, strength)) + strength * seen
        points.put(colour, shown, buffers.hit.reshape(-1, points.wide)[points.cells(1)])
