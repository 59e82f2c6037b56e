"""Photographs of randomised worlds: the steps in their order, from views over buffers to 8-bit images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard.rendering.buffers import Buffers, ViewGeometry
from lie_picard.rendering.randomisation import hands, phones, sensor, shadows, surfaces, surroundings
from lie_picard.rendering.randomisation.lighting import draw_lighting, light
from lie_picard.rendering.randomisation.options import Randomisation, Rng
from lie_picard.rendering.randomisation.pictures import Pictures, draw_pictures


@dataclass(frozen=True)
class World:
    """What randomised images are made of.

    Attributes:
        options: ranges. crops: (N, 3, S, S) uint8 backgrounds (`photograph_crops`), on the device that renders.
        supersample: rays a pixel and side. pictures: what surfaces show, where the options ask for that.
    """

    options: Randomisation
    crops: Tensor
    supersample: int = 2
    pictures: Pictures | None = None

    def __post_init__(self) -> None:
        if self.options.needs_pictures and self.pictures is None:
            raise ValueError("a randomisation with prints, wear, metal, coats or tables needs pictures: use World.of")

    @classmethod
    def of(cls, options: Randomisation, crops: Tensor, generator: torch.Generator) -> World:
        """With pictures where the options ask for them: photographs of the crops, and what the generator draws."""
        pictures = draw_pictures(crops, generator).to(crops.device) if options.needs_pictures else None
        return cls(options, crops, pictures=pictures)

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.crops.shape[-1])


def draw_views(count: int, options: Randomisation, rng: Rng) -> ViewGeometry:
    """Random distances, scales, aspect ratios and centres."""
    near, far = options.distance
    distance = near * (far / near) ** rng.uniform(count)
    tangent = torch.tan(torch.asin(1 / distance)) / rng.uniform(count, between=options.fill)
    aspect = 1 + rng.uniform(count, between=(-options.aspect / 2, options.aspect / 2))
    half_tangent = torch.stack([tangent * aspect, tangent / aspect], 1)
    shift = rng.uniform(count, 2, between=(-options.shift, options.shift))
    if options.centred:
        shift, tangent = _centred(shift, tangent, distance, options, rng)
        half_tangent = torch.stack([tangent * aspect, tangent / aspect], 1)
    sideways = shift * half_tangent * distance[:, None]
    return ViewGeometry(torch.cat([sideways, distance[:, None]], 1), half_tangent)


def _centred(
    shift: Tensor, tangent: Tensor, distance: Tensor, options: Randomisation, rng: Rng
) -> tuple[Tensor, Tensor]:
    """Some images with shifts as the defaults', others with sizes as the defaults'."""
    count, usual = len(shift), Randomisation()
    near = rng.happens(options.centred, count)[:, None]
    shift = torch.where(near, shift * (min(usual.shift, options.shift) / max(options.shift, 1e-9)), shift)
    low, high = (min(max(end, options.fill[0]), options.fill[1]) for end in usual.fill)
    full = torch.tan(torch.asin(1 / distance)) / rng.uniform(count, between=(low, high))
    return shift, torch.where(rng.happens(options.centred, count), full, tangent)


def photograph(buffers: Buffers, world: World, rng: Rng, others: Buffers | None = None) -> tuple[Tensor, Tensor]:
    """Images of objects in random light, among `others`, taken by random cameras.

    Args:
        buffers: of B objects, rays row by row of a square grid of side ``size * supersample``.
        others: K bodies, seen likewise, of which each image may get some beside and some before its object.

    Returns:
        (B, 3, S, S) in [0, 1], and (B, S, S) which share of each pixel an occluder hides.
    """
    options, count = world.options, len(buffers.depth)
    scene = surroundings.backdrop(count, world.crops, options, rng)
    if options.tables and world.pictures is not None:
        scene = surroundings.lay_tables(scene, world.pictures.prints, rng.some(options.tables, count), rng)
    cover = scene.new_zeros(count, world.size, world.size)
    target = lit(buffers, world, rng)
    occluder = None
    if others is not None:
        clutter, occluder = surroundings.scatter(lit(others, world, rng), count, options, rng)
        hidden = (occluder[:, 3] * target[:, 3]).sum((1, 2)) / target[:, 3].sum((1, 2)).clamp_min(1)
        occluder = occluder * (hidden <= options.hidden)[:, None, None, None]
        cover = occluder[:, 3]
        scene = surroundings.over(clutter, scene)
    held = None
    if options.hands:
        held, scene, cover = _hold(scene, target, cover, options, rng)
    if options.shadows:
        scene = shadows.cast_behind(scene, target, rng.some(options.shadows, count), rng)
        target = shadows.darkened(target, rng.some(options.shadows, count), rng)
    scene = surroundings.over(target, scene)
    for front in (occluder, held):
        if front is not None:
            scene = surroundings.over(front, scene)
    return develop(scene, options, rng), cover


def _hold(
    scene: Tensor, target: Tensor, cover: Tensor, options: Randomisation, rng: Rng
) -> tuple[Tensor, Tensor, Tensor]:
    """Hands in front (B, 4, S, S), or behind where they would hide too much; scene and cover with them."""
    chosen = rng.some(options.hands, len(scene))
    layer = torch.zeros_like(target)
    if len(chosen):
        layer = layer.index_copy(0, chosen, hands.draw_hands(len(chosen), scene.shape[-1], rng))
    both = 1 - (1 - cover) * (1 - layer[:, 3])
    hidden = (both * target[:, 3]).sum((1, 2)) / target[:, 3].sum((1, 2)).clamp_min(1)
    fits = (hidden <= options.hidden)[:, None, None, None]
    scene = surroundings.over(layer * ~fits, scene)
    return layer * fits, scene, torch.where(fits[:, 0], both, cover)


def develop(scene: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """What random cameras make of light: blur, exposure, noise, compression. (B, 3, S, S) in [0, 1]."""
    scene = sensor.blur(scene, options, rng)
    for share, change in ((options.metered, phones.meter), (options.balance, phones.unbalance)):
        scene = change(scene, options, rng) if share else scene
    scene = sensor.add_noise(sensor.expose(scene, options, rng), options, rng)
    for share, change in ((options.small_sensor, phones.add_patterned_noise), (options.sharpened, phones.sharpen)):
        scene = change(scene, options, rng) if share else scene
    return sensor.compress(scene, options, rng)


def lit(buffers: Buffers, world: World, rng: Rng) -> Tensor:
    """Lit objects as premultiplied RGBA. -> (B, 4, S, S)."""
    options, lighting = world.options, draw_lighting(len(buffers.depth), world.options, rng)
    dresser = None
    if world.pictures is not None:
        dresser = surfaces.Dresser(world.pictures, options, rng, world.supersample)
        buffers, lighting = dresser.dress(buffers, lighting)
    colour = light(buffers, lighting)
    if dresser is not None and options.metal + options.coat:
        dresser.reflect(colour, buffers, lighting)
    colour = colour.clamp(0, 1)
    side = math.isqrt(colour.shape[-1])
    fine = torch.cat([colour, buffers.hit[:, None]], 1).unflatten(2, (side, side))
    return F.avg_pool2d(fine, world.supersample)
