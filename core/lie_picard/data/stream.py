"""Endless labelled images of objects for training, rendered where the model is: no disk, no two alike."""

from __future__ import annotations

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
from lie_picard.data.seeds import train_generator
from lie_picard.geometry.camera import fit
from lie_picard.model.config import ModelConfig
from lie_picard.objects import Object, polyhedra
from lie_picard.rendering.buffers import Buffers, Castable, ViewGeometry
from lie_picard.rendering.clean import Crop, quantised, render, shade
from lie_picard.rendering.constants import uploaded
from lie_picard.rendering.randomisation import Randomisation, Rng, World, draw_views, photograph, photograph_crops

_BODIES_A_BATCH = 8  # of clutter and occluders
# Boxes that are off by up to a fifth of their side, and in size.
OFF_CENTRE = Randomisation(distance=(4.0, 20.0), fill=(0.6, 1.05), shift=0.4)

Part = tuple[Castable, Tensor, int]  # a shape, its rotations (n, 3, 3), its label


class Batch(NamedTuple):
    """Images with what they show.

    Attributes:
        images: (B, S, S[, 3]) uint8. rotations: (B, 3, 3) camera_from_object; of no meaning where nothing is known.
        labels: (B,) index of the object, len(objects) where there is none of them.
        view: how they were taken; None: unknown.
    """

    images: Tensor
    rotations: Tensor
    labels: Tensor
    view: ViewGeometry | None = None

    def part(self, images: Tensor | slice) -> Batch:
        """Some of the images."""
        view = None if self.view is None else self.view[images]
        return Batch(self.images[images], self.rotations[images], self.labels[images], view)


@dataclass(frozen=True)
class Stream:
    """What a stream shows.

    Attributes:
        objects: as many images of each.
        size, channels: of the images. crop: the virtual camera of clean images.
        randomised: share of images that are randomised; the rest is clean.
        off: share of clean images whose crop is off in place and size, seen from other distances.
        absent: share of images that show no known object: half of them foreign bodies, half background.
        randomisation: how far. batch: images at a time.
        together: batches that are rendered as one and shuffled: rendering a few images costs a GPU as much as many.
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


def batches(stream: Stream, seed: int, start: int, device: torch.device, stride: int = 1) -> Iterator[Batch]:
    """Endless batches start, start + stride, ...; batch k depends on the stream, the seed and k alone.

    Of batches that are rendered together it depends on the stride as well.

    Raises:
        PhotographsError: randomised images were asked for and their backgrounds are not installed.
    """
    world = None
    if stream.randomised:
        crops = photograph_crops("train", stream.size, train_generator("photographs", seed))
        world = World(stream.randomisation, crops.to(device))
    step, rendered, whole = start, -1, None
    while True:
        if stream.together == 1:
            yield _batch(stream, world, train_generator("images", seed, step), step, device)
        else:
            number, rank = divmod(step, stride)
            chunk, place = divmod(number, stream.together)
            if whole is None or chunk != rendered:
                whole, rendered = _shuffled(stream, world, seed, chunk * stride + rank, device), chunk
            yield whole.part(slice(place * stream.batch, (place + 1) * stream.batch))
        step += stride


def _shuffled(stream: Stream, world: World | None, seed: int, number: int, device: torch.device) -> Batch:
    """Several batches in one, so mixed that each is like any other."""
    generator, size = train_generator("images", seed, number), stream.batch * stream.together
    whole = _batch(replace(stream, batch=size), world, generator, number, device)
    order = uploaded(torch.randperm(size, generator=generator), device)
    return whole.part(order)


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


def _batch(stream: Stream, world: World | None, generator: torch.Generator, step: int, device: torch.device) -> Batch:
    absent = round(stream.absent * stream.batch)
    known = stream.batch - absent
    kinds = len(stream.objects)
    clean: list[Part] = []
    off: list[Part] = []
    wild: list[Part] = []
    # What decides about shapes is drawn on the CPU: to read it back from a GPU would wait for all that is queued there.
    rng, decide = Rng(generator, device), Rng(generator, torch.device("cpu"))
    for index, one in enumerate(stream.objects):
        share = known // kinds + ((index + step) % kinds < known % kinds)
        rotations = so3.uniform(share, generator=generator)
        few = int(decide.happens(stream.randomised, share).sum())
        aside = int(decide.happens(stream.off, share - few).sum()) if stream.off else 0
        wild.append((one, rotations[:few], index))
        off.append((one, rotations[few : few + aside], index))
        clean.append((one, rotations[few + aside :], index))
    if absent:
        few = int(decide.happens(stream.randomised, absent).sum())
        for group, count in ((wild, few), (clean, absent - few)):
            group.append((polyhedra(count, rng), so3.uniform(count, generator=generator), kinds))
    clean, off, wild = (_on_device(group, device) for group in (clean, off, wild))
    images = [render(shape, turns, stream.size, stream.crop, stream.channels) for shape, turns, _ in clean]
    views = [stream.crop.view(sum(len(turns) for _, turns, _ in clean)).to(device)]
    if off:
        drawn, view = off_centre_images(off, stream.size, stream.channels, rng)
        images.append(drawn)
        views.append(view)
    if world is not None and wild:
        blank = 0.5 if wild[-1][2] == kinds else 0.0  # the last part may be a known object's
        drawn, view = randomised_images(wild, world, rng, stream.channels, blank)
        images.append(drawn)
        views.append(view)
    order = [(rotations, index) for _, rotations, index in (*clean, *off, *wild)]
    labels = torch.cat([torch.full((len(rotations),), index) for rotations, index in order])
    rotations = torch.cat([rotations for rotations, _ in order])
    return Batch(torch.cat(images), rotations, uploaded(labels, device), ViewGeometry.joined(views))


def _on_device(parts: list[Part], device: torch.device) -> list[Part]:
    """Those that show something, with all rotations on a device, in one copy."""
    parts = [part for part in parts if len(part[1])]
    if not parts:
        return []
    together = uploaded(torch.cat([rotations for _, rotations, _ in parts]), device)
    split = together.split([len(rotations) for _, rotations, _ in parts])
    return [(shape, rotations, index) for (shape, _, index), rotations in zip(parts, split, strict=True)]


def off_centre_images(parts: Sequence[Part], size: int, channels: int, rng: Rng) -> tuple[Tensor, ViewGeometry]:
    """Clean images whose crops are off, and how they were taken."""
    views = draw_views(sum(len(rotations) for _, rotations, _ in parts), OFF_CENTRE, rng)
    buffers = cast([(shape, rotations) for shape, rotations, _ in parts], views, 2 * size)
    colour = shade(buffers).unflatten(2, (2 * size, 2 * size))
    return quantised(F.avg_pool2d(colour, 2), channels), views


def randomised_images(
    parts: Sequence[Part], world: World, rng: Rng, channels: int, blank: float = 0.0
) -> tuple[Tensor, ViewGeometry]:
    """Randomised images of shapes, in the order of `parts`, and how they were taken.

    Args:
        blank: share of the last part's images that show no body at all.
    """
    buffers, views = cast_randomly([(shape, rotations) for shape, rotations, _ in parts], world, rng)
    last = len(parts[-1][1])
    if blank:
        buffers.hit[-last:] &= ~rng.happens(blank, last, 1)
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
    return Buffers(*(torch.cat([getattr(b, name) for b in found]) for name in ("hit", "depth", "normal", "albedo")))
