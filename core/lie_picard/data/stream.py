"""Endless labelled images of objects for training, rendered where the model is: no disk, no two alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lie_picard import so3
from lie_picard.data import symsol_files
from lie_picard.data.random_parts import PartBank
from lie_picard.data.random_parts.signature import CHANNELS, DEGREE
from lie_picard.data.seeds import train_generator
from lie_picard.geometry.camera import fit
from lie_picard.model.config import ModelConfig
from lie_picard.objects import Object, polyhedra
from lie_picard.rendering.buffers import Buffers, Castable, Placement, ViewGeometry
from lie_picard.rendering.clean import Crop, quantised, render, shade
from lie_picard.rendering.constants import uploaded
from lie_picard.rendering.randomisation import (
    OFF_CENTRE,
    TEXTURED,
    Randomisation,
    Rng,
    World,
    draw_views,
    photograph,
    photograph_crops,
)

_BODIES_A_BATCH = 8  # of clutter and occluders
_IMAGES_A_PART = 3
_MOST_PARTS = 128  # rendered as one

Worlds = tuple[World, World]  # of randomised images, and of those among them that are textured


class Shown(NamedTuple):
    """A shape in n images.

    Attributes:
        shape: of which `rotations` (n, 3, 3) are camera_from_object. label: as in `Batch`.
        signature: (49, 4) of a shape that has no name; None: without.
        blank: share of its randomised images that show no body at all.
    """

    shape: Castable
    rotations: Tensor
    label: int
    signature: Tensor | None = None
    blank: float = 0.0


class Batch(NamedTuple):
    """Images with what they show.

    Attributes:
        images: (B, S, S[, 3]) uint8. rotations: (B, 3, 3) camera_from_object; of no meaning where nothing is known.
        labels: (B,) index of the object, len(objects) where there is none of them.
        view: how they were taken; None: unknown.
        signatures: (B, 49, 4) of the shapes that have no name (`random_parts.signature`), NaN of others; None: of none.
    """

    images: Tensor
    rotations: Tensor
    labels: Tensor
    view: ViewGeometry | None = None
    signatures: Tensor | None = None

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """All images of several that have the same fields."""
        first = batches[0]
        view = signatures = None
        if first.view is not None:
            view = ViewGeometry.joined([one.view for one in batches if one.view is not None])
        if first.signatures is not None:
            signatures = torch.cat([one.signatures for one in batches if one.signatures is not None])
        images, rotations, labels = (torch.cat(parts) for parts in zip(*(one[:3] for one in batches), strict=True))
        return cls(images, rotations, labels, view, signatures)

    def part(self, images: Tensor | slice) -> Batch:
        """Some of the images."""
        view = None if self.view is None else self.view[images]
        signatures = None if self.signatures is None else self.signatures[images]
        return Batch(self.images[images], self.rotations[images], self.labels[images], view, signatures)


@dataclass(frozen=True)
class Stream:
    """What a stream shows.

    Attributes:
        objects: as many images of each.
        size, channels: of the images. crop: the virtual camera of clean images.
        randomised: share of images that are randomised; the rest is clean.
        textured: share of the randomised images that are `TEXTURED`. prints: share of these that carry prints.
        parts: share of images that show random parts (`random_parts`), which are no known object either.
        off: share of clean images whose crop is off in place and size, seen from other distances.
        absent: share of images that show no known object: half of them foreign bodies, half background.
        randomisation: how far. batch: images at a time.
        together: batches that are rendered as one and shuffled: rendering a few images costs a GPU as much as many.
        repeats: how often each image is shown among them, each time with another noise; `together` is a multiple of it.
    """

    objects: tuple[Object, ...]
    size: int
    channels: int
    crop: Crop
    batch: int
    randomised: float = 0.0
    absent: float = 0.0
    randomisation: Randomisation = field(default_factory=Randomisation)
    together: int = 1
    off: float = 0.0
    parts: float = 0.0
    textured: float = 0.0
    repeats: int = 1
    prints: float = TEXTURED.prints


def batches(stream: Stream, seed: int, start: int, device: torch.device, stride: int = 1) -> Iterator[Batch]:
    """Endless batches start, start + stride, ...; batch k depends on the stream, the seed and k alone.

    Of batches that are rendered together or repeated it depends on the stride as well.

    Raises:
        PhotographsError: randomised images were asked for and their backgrounds are not installed.
    """
    worlds, bank = _worlds(stream, seed, device), PartBank(seed) if stream.parts else None

    def rendered(number: int, size: int) -> Batch:
        sized = stream if size == stream.batch else replace(stream, batch=size)
        return _batch(sized, worlds, bank, train_generator("images", seed, number), number, device)

    several = stream.together // stream.repeats
    step, last, kept, whole = start, -1, dict[int, Batch](), None
    while True:
        number, rank = divmod(step, stride)
        chunk, place = divmod(number, stream.together)
        if chunk != last:
            last, kept, whole = chunk, {}, None
        if stream.together == 1:
            yield rendered(step, stream.batch)
        elif stream.repeats == 1:
            if whole is None:
                first = chunk * stride + rank
                whole = rendered(first, stream.batch * several).part(_shuffled(stream, seed, first, device))
            yield whole.part(slice(place * stream.batch, (place + 1) * stream.batch))
        else:  # on a CPU, for which the images of a batch are enough at a time; each is shown when it is rendered
            first = (chunk * several) * stride + rank
            wanted = [place] if place < several else [k for k in range(several) if k not in kept]
            kept |= {k: rendered(first + k * stride, stream.batch) for k in wanted if k not in kept}
            if place < several:
                yield kept[place]
            else:
                if whole is None:
                    joined = Batch.joined([kept[k] for k in range(several)])
                    whole = joined.part(_shuffled(stream, seed, first, device))
                begin = (place - several) * stream.batch
                yield whole.part(slice(begin, begin + stream.batch))
        step += stride


def _shuffled(stream: Stream, seed: int, number: int, device: torch.device) -> Tensor:
    """Orders of the images of a row, one after another: of their only showing, or of all but the first."""
    generator = train_generator("images", seed, number)
    size = stream.batch * stream.together // stream.repeats
    orders = [torch.randperm(size, generator=generator) for _ in range(max(1, stream.repeats - 1))]
    return uploaded(torch.cat(orders), device)


def _worlds(stream: Stream, seed: int, device: torch.device) -> Worlds | None:
    """What randomised images are made of; None where there are none."""
    if not stream.randomised:
        return None
    crops = photograph_crops("train", stream.size, train_generator("photographs", seed)).to(device)
    options = (stream.randomisation, replace(TEXTURED, prints=stream.prints) if stream.textured else Randomisation())
    plain, textured = (World.of(how, crops, train_generator("photographs", seed, 1)) for how in options)
    return plain, textured


def stored_batches(
    root: Path, config: ModelConfig, batch: int, seed: int, start: int, stride: int, device: torch.device
) -> Iterator[Batch]:
    """As `batches`, drawn from the training split of a data set in SYMSOL's format.

    Raises:
        DatasetError: the data set is missing or damaged.
    """
    shapes = symsol_files.read(root, "train", config.objects)
    step = start
    while True:
        rng = Rng(train_generator("images", seed, step), torch.device("cpu"))
        labels = rng.integers(len(shapes), batch)
        chosen = [(shapes[k], int(rng.integers(len(shapes[k].images), 1))) for k in labels]
        images = [fit(shape.image(index), config.image_size, config.channels) for shape, index in chosen]
        rotations = torch.stack([shape.rotations[index, 0] for shape, index in chosen])
        yield Batch(torch.from_numpy(np.stack(images)).to(device), rotations.to(device), labels.to(device))
        step += stride


def _batch(
    stream: Stream,
    worlds: Worlds | None,
    bank: PartBank | None,
    generator: torch.Generator,
    step: int,
    device: torch.device,
) -> Batch:
    absent = round(stream.absent * stream.batch)
    others = round(stream.parts * stream.batch)
    known = stream.batch - absent - others
    kinds = len(stream.objects)
    clean: list[Shown] = []
    off: list[Shown] = []
    wild: list[Shown] = []
    textured: list[Shown] = []
    # What decides about shapes is drawn on the CPU: to read it back from a GPU would wait for all that is queued there.
    rng, decide = Rng(generator, device), Rng(generator, torch.device("cpu"))
    for index, one in enumerate(stream.objects):
        share = known // kinds + ((index + step) % kinds < known % kinds)
        rotations = so3.uniform(share, generator=generator)
        few = int(decide.happens(stream.randomised, share).sum())
        aside = int(decide.happens(stream.off, share - few).sum()) if stream.off else 0
        plain = few - len(decide.some(stream.textured, few))
        wild.append(Shown(one, rotations[:plain], index))
        textured.append(Shown(one, rotations[plain:few], index))
        off.append(Shown(one, rotations[few : few + aside], index))
        clean.append(Shown(one, rotations[few + aside :], index))
    if others and bank is not None:
        # All images of a part are of one kind: each cast has its price, on a GPU most of all.
        most = max(_IMAGES_A_PART, others // _MOST_PARTS)
        shares = [min(most, others - begin) for begin in range(0, others, most)]
        randomised = decide.happens(stream.randomised, len(shares)).tolist()
        printed = set(decide.some(stream.textured, len(shares)).tolist())
        for place, (part, signature) in enumerate(bank.drawn(generator, step, len(shares))):
            group = off if not randomised[place] else textured if place in printed else wild
            group.append(Shown(part, so3.uniform(shares[place], generator=generator), kinds, signature))
    if absent:
        few = int(decide.happens(stream.randomised, absent).sum())
        many = len(decide.some(stream.textured, few))
        for group, count, blank in ((wild, few - many, 0.5), (clean, absent - few, 0.0), (textured, many, 0.5)):
            if count:
                foreign = polyhedra(count, rng)
                rotations = so3.uniform(count, generator=generator)
                group.append(Shown(foreign, rotations, kinds, blank=blank))
    clean, off, wild, textured = (_on_device(group, device) for group in (clean, off, wild, textured))
    images = [render(one.shape, one.rotations, stream.size, stream.crop, stream.channels) for one in clean]
    views = [stream.crop.view(sum(len(one.rotations) for one in clean)).to(device)]
    if off:
        drawn, view = off_centre_images(off, stream.size, stream.channels, rng)
        images.append(drawn)
        views.append(view)
    for world, group in zip(worlds or (), (wild, textured), strict=False):
        if group:
            drawn, view = randomised_images(group, world, rng, stream.channels)
            images.append(drawn)
            views.append(view)
    shown = [*clean, *off, *wild, *textured]
    labels = torch.cat([torch.full((len(one.rotations),), one.label) for one in shown])
    signatures = None
    if bank is not None:
        none = torch.full(((DEGREE + 1) ** 2, len(CHANNELS)), math.nan)
        rows = [none if one.signature is None else one.signature for one in shown]
        each = [row.expand(len(one.rotations), -1, -1) for row, one in zip(rows, shown, strict=True)]
        signatures = uploaded(torch.cat(each), device)
    rotations = torch.cat([one.rotations for one in shown])
    return Batch(torch.cat(images), rotations, uploaded(labels, device), ViewGeometry.joined(views), signatures)


def _on_device(shown: list[Shown], device: torch.device) -> list[Shown]:
    """Those that are in some image, with all rotations on a device, in one copy."""
    shown = [one for one in shown if len(one.rotations)]
    if not shown:
        return []
    together = uploaded(torch.cat([one.rotations for one in shown]), device)
    split = together.split([len(one.rotations) for one in shown])
    return [one._replace(rotations=rotations) for one, rotations in zip(shown, split, strict=True)]


def off_centre_images(shown: Sequence[Shown], size: int, channels: int, rng: Rng) -> tuple[Tensor, ViewGeometry]:
    """Clean images whose crops are off, and how they were taken."""
    views = draw_views(sum(len(one.rotations) for one in shown), OFF_CENTRE, rng)
    buffers = cast([(one.shape, one.rotations) for one in shown], views, 2 * size)
    colour = shade(buffers).unflatten(2, (2 * size, 2 * size))
    return quantised(F.avg_pool2d(colour, 2), channels), views


def randomised_images(shown: Sequence[Shown], world: World, rng: Rng, channels: int) -> tuple[Tensor, ViewGeometry]:
    """Randomised images of shapes, in their order, and how they were taken."""
    buffers, views = cast_randomly([(one.shape, one.rotations) for one in shown], world, rng)
    begin = 0
    for one in shown:
        end = begin + len(one.rotations)
        if one.blank:
            buffers.hit[begin:end] &= ~rng.happens(one.blank, end - begin, 1)
        begin = end
    images, cover = photograph(buffers, world, rng, bodies(world, rng))
    return quantised(images, channels), replace(views, cover=cover)


def bodies(world: World, rng: Rng, count: int = _BODIES_A_BATCH) -> Buffers:
    """Buffers of foreign bodies for clutter and occluders."""
    rotations = so3.uniform(count, generator=rng.generator, device=rng.device)
    return cast_randomly([(polyhedra(count, rng), rotations)], world, rng)[0]


def cast_randomly(parts: Sequence[tuple[Castable, Tensor]], world: World, rng: Rng) -> tuple[Buffers, ViewGeometry]:
    """Buffers of shapes at rotations (n, 3, 3) each, seen by random cameras; and these cameras."""
    views = draw_views(sum(len(rotations) for _, rotations in parts), world.options, rng)
    return cast(parts, views, world.size * world.supersample), views


def cast(parts: Sequence[tuple[Castable, Tensor]], views: ViewGeometry, side: int) -> Buffers:
    """Buffers of shapes at rotations (n, 3, 3) each, seen as the views say through side x side rays."""
    offsets = ((torch.arange(side, device=views.translations.device) + 0.5) / side * 2) - 1
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1)
    found, begin = [], 0
    for shape, rotations in parts:
        chosen = slice(begin, begin + len(rotations))
        found.append(shape.cast(rotations, views.translations[chosen], rays, views.half_tangent[chosen]))
        begin += len(rotations)
    hit, depth, normal, albedo = (
        torch.cat([getattr(one, name) for one in found]) for name in ("hit", "depth", "normal", "albedo")
    )
    turned = torch.cat([rotations for _, rotations in parts])
    coloured = torch.tensor([getattr(shape, "is_coloured", False) for shape, rotations in parts for _ in rotations])
    placement = Placement(turned, views.translations, rays, views.half_tangent, coloured)
    return Buffers(hit, depth, normal, albedo, placement)
