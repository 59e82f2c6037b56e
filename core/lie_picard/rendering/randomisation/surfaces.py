"""What surfaces carry and how they reflect: prints, labels and wear that turn with the object; metal and clear coats.

Only points that are seen, of images that have the feature, are looked at: (M,) of them, flat.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.rendering.buffers import Buffers, Placement
from lie_picard.rendering.constants import uploaded
from lie_picard.rendering.randomisation.lighting import Lighting
from lie_picard.rendering.randomisation.options import Randomisation, Rng
from lie_picard.rendering.randomisation.pictures import Pictures

FAINT = 0.25  # largest modulation by prints and wear on objects whose own colours tell poses apart
_UNMARKED = 0.9  # reflectance, in all colours, of what such objects have no mark on
_FACES = 6  # of the box that prints are mapped from
_ON_COLOURED = 0.4  # as often as on others
_LAMPS = 2  # that coats and metals mirror: the strongest, and one more
_SHARP = math.cos(math.radians(25))  # between normals at an edge that wears
_CLOSE = 0.08  # rad: prints seldom stand quite straight; and no face lies between two of the box's


class PlacementError(ValueError):
    """Buffers do not say how the objects lay that prints or reflections shall be drawn on."""


@dataclass(frozen=True)
class Points:
    """M points that are seen, and what of the buffers' rays each stands for.

    Attributes:
        image: (M,) index among the B images. chosen: (M,) index among those that were chosen. ray: (M,) of P.
        wide: neighbours in a row that a point stands for, 1 or 2. size: (B, P).
    """

    image: Tensor
    chosen: Tensor
    ray: Tensor
    wide: int
    size: tuple[int, int]

    @classmethod
    def of(cls, hit: Tensor, chosen: Tensor, supersample: int) -> Points:
        """Those of the chosen images (k,); on a GPU all their rays, as it would have to say how many hit.

        Of two rays side by side within a pixel one is enough: the left one in even rows, the right one in odd ones, so
        that nothing moves to a side.
        """
        rays = hit.shape[1]
        wide = 2 if supersample % 2 == 0 else 1
        mask = hit[chosen].view(-1, wide)
        seen = mask[:, 0] | mask[:, -1]
        where = seen.nonzero()[:, 0] if hit.device.type == "cpu" else torch.arange(len(mask), device=hit.device)
        among = torch.div(where, rays // wide, rounding_mode="floor")
        ray = (where - among * (rays // wide)) * wide
        if wide == 2:
            odd = torch.div(ray, math.isqrt(rays), rounding_mode="floor") % 2 == 1
            ray = ray + torch.where(odd, mask[where, 1], ~mask[where, 0])
        return cls(chosen[among], among, ray, wide, (len(hit), rays))

    def taken(self, field: Tensor) -> tuple[Tensor, ...]:
        """(B, C, P) -> C times (M,)."""
        channels = field.shape[1]
        first = self.image * (channels * self.size[1]) + self.ray
        flat = field.reshape(-1)
        return tuple(flat[first + k * self.size[1]] for k in range(channels))

    def cells(self, channels: int) -> Tensor:
        """(M,) where a point's rays are in the first of so many channels, in units of `wide` rays."""
        rays = self.image * (channels * self.size[1]) + self.ray
        return torch.div(rays, self.wide, rounding_mode="floor")

    def least(self, field: Tensor) -> Tensor:
        """(B, C, P) -> (M,) the least of all channels and of all rays that a point stands for."""
        first, flat = self.cells(field.shape[1]), field.reshape(-1, self.wide)
        step = self.size[1] // self.wide
        return torch.stack([flat[first + k * step].amin(1) for k in range(field.shape[1])]).amin(0)

    def on_edge(self, buffers: Buffers) -> Tensor:
        """(M,) whether the surface bends sharply within about a pixel."""
        side = math.isqrt(self.size[1])
        normal = torch.stack(self.taken(buffers.normal))
        hit = buffers.hit.reshape(-1)
        bends = torch.zeros_like(self.image, dtype=torch.bool)
        for step in (2, -2 * side):
            ray = (self.ray + step).clamp(0, self.size[1] - 1)
            beside = dataclasses.replace(self, ray=ray)
            near = (normal * torch.stack(beside.taken(buffers.normal))).sum(0) < _SHARP
            bends |= near & hit[self.image * self.size[1] + ray]
        return bends

    def put(self, field: Tensor, values: Tensor, allowed: Tensor) -> None:
        """Write (M, C) into a contiguous (B, C, P), where it is allowed: (M, 1), or (M, wide) for each ray."""
        first, flat = self.cells(field.shape[1]), field.view(-1, self.wide)
        for k in range(field.shape[1]):
            place = first + k * (self.size[1] // self.wide)
            flat[place] = torch.where(allowed, values[:, k : k + 1], flat[place])


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


def coloured_of(buffers: Buffers) -> Tensor:
    """(B,) bool, of objects with colours of their own, on the buffers' device."""
    return uploaded(placement_of(buffers).coloured, buffers.hit.device)


def _share(share: float, buffers: Buffers) -> Tensor:
    """(B,) on the CPU: of images with a feature that costs as much on coloured objects, where it is faint."""
    return torch.where(placement_of(buffers).coloured, _ON_COLOURED * share, share)


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


def in_object(buffers: Buffers, points: Points, chosen: Tensor, turn: Tensor) -> tuple[Tensor, ...]:
    """Places and normals in the frames of the objects, turned.

    Args:
        chosen: (k,) images. turn: (k, 3, 3) picture_from_object.

    Returns:
        Six times (M,): x, y, z of the place in radii, and of the normal.
    """
    placement = placement_of(buffers)
    matrices = turn @ placement.rotations[chosen].mT
    origin = matrices @ placement.translations[chosen][..., None]
    a = matrices.flatten(1).T[:, points.chosen]
    ox, oy, oz = origin[..., 0].T[:, points.chosen]
    x, y = rays_of(placement, points)
    depth = buffers.depth.reshape(-1)[points.image * points.size[1] + points.ray]
    place = [(a[3 * k] * x + a[3 * k + 1] * y + a[3 * k + 2]) * depth - o for k, o in enumerate((ox, oy, oz))]
    nx, ny, nz = points.taken(buffers.normal)
    normal = [a[3 * k] * nx + a[3 * k + 1] * ny + a[3 * k + 2] * nz for k in range(3)]
    return (*place, *normal)


def rays_of(placement: Placement, points: Points) -> tuple[Tensor, Tensor]:
    """x and y (M,) of directions from the camera whose z is 1."""
    x, y = placement.rays[:, :2].T[:, points.ray] * placement.zoom.T[:, points.image]
    return x, y


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
        right = torch.where(round_, 0.7 * torch.atan2(y, x), right)  # a typical radius
        up = torch.where(round_, z, up)
        face = torch.where(round_, 0, 4 * third + 2 * second + behind)
        side = points.chosen * _FACES + face
        a, b, c, d, e, f = self.sides.T[:, side]
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
    # Beside an object, where on a GPU rays are looked at as well, coordinates may be no numbers.
    column, row = ((w - w.floor()).mul(side).nan_to_num(0.0).long().clamp(0, side - 1) for w in (u, v))
    return pictures.flatten(0, 2)[(index * side + row) * side + column].float() / 255


def _lay(albedo: Tensor, buffers: Buffers, tint: Tensor, points: Points, before: Tensor, after: Tensor) -> None:
    """Put (M, 3) on an albedo; on objects with colours of their own it is faint, and not on their marks.

    Args:
        tint: (B, 3) of what has no mark, which nothing that lies on it darkens by more than `FAINT`.
    """
    coloured = coloured_of(buffers)[points.image, None]
    unmarked = (points.least(buffers.albedo) >= _UNMARKED)[:, None]
    faint = torch.maximum(before * (1 - FAINT * (1 - after)), (1 - FAINT) * tint[points.image])
    points.put(albedo, torch.where(coloured, faint, after), unmarked | ~coloured)


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
            chosen = rng.some(_share(share, buffers), len(tint)) if share else ()
            if len(chosen):
                draw(albedo, buffers, tint, chosen)
        return dataclasses.replace(buffers, albedo=albedo), dataclasses.replace(lighting, tint=torch.ones_like(tint))

    def _print(self, albedo: Tensor, buffers: Buffers, tint: Tensor, chosen: Tensor) -> None:
        """One picture all over, one for each side, stickers, or sides of different colours."""
        count, rng, pictures = len(chosen), self.rng, self.pictures
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
        paint = torch.cat([_saturated(rng, count, _FACES), painted.expand(-1, _FACES)[..., None]], -1).flatten(0, 1)
        inked = rng.happens(0.3, count)  # on the material's colour, which shines through
        points = Points.of(buffers.hit, chosen, self.supersample)
        side, u, v = mapping.look_up(buffers, points, chosen)
        inside = tiled.expand(-1, _FACES).flatten()[side] | ((u >= 0) & (u < 1) & (v >= 0) & (v < 1))
        colour = _texels(pictures.prints, index.flatten()[side], u, v)
        before = torch.stack(points.taken(albedo), 1)
        ground = torch.lerp(before, paint[side, :3], paint[side, 3:])
        colour = torch.where(inked[points.chosen, None], colour * ground, colour)
        printed = torch.lerp(ground, colour, (inside * opacity.flatten()[side])[:, None])
        _lay(albedo, buffers, tint, points, before, printed)

    def _wear(self, albedo: Tensor, buffers: Buffers, tint: Tensor, chosen: Tensor) -> None:
        """Scratches, chips and dirt."""
        count, rng, pictures = len(chosen), self.rng, self.pictures
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
        _lay(albedo, buffers, tint, points, before, after)

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
        mx, my, mz = short * x + 2 * facing * nx, short * y + 2 * facing * ny, short + 2 * facing * nz
        # As a mirroring ball shows its surroundings, seen along z.
        wide = 0.4999 * (mx * mx + my * my + (1 - mz).square()).clamp_min(1e-6).rsqrt()
        seen = _texels(pictures.environments, environment[image], mx * wide + 0.5, my * wide + 0.5)
        power = 2 ** (9 - 5 * rough)
        sharp = 2 - 1.5 * rough
        for k in range(_LAMPS):
            dx, dy, dz = lighting.directions[:, k].T[:, image]
            lamp = (dx * mx + dy * my + dz * mz).clamp_min(1e-4) ** power[image]
            seen = seen + lamp[:, None] * (lighting.colours[:, k] * sharp[:, None])[image]
        edge = (1 - facing.clamp(0, 1)) ** 5
        own = torch.where(metal[image, None], torch.stack(points.taken(buffers.albedo), 1), mirror[image, None])
        most = torch.where(metal, 1.0, 0.6)[image]
        strength = own + (most[:, None] - own) * edge[:, None]
        lit = torch.stack(points.taken(colour), 1) * matt[image, None]
        shown = lit * (1 - torch.where(metal[image, None], 0.0, strength)) + strength * seen
        points.put(colour, shown, buffers.hit.reshape(-1, points.wide)[points.cells(1)])
