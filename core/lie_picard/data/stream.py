"""Endless labelled images of objects for training, rendered where the model is: no disk, no two alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.data import symsol_files
from lie_picard.data.seeds import train_generator
from lie_picard.geometry.camera import fit
from lie_picard.model.config import ModelConfig
from lie_picard.objects import Object, polyhedra
from lie_picard.rendering.buffers import Buffers, Castable, Placement, ViewGeometry
from lie_picard.rendering.clean import Crop, quantised, render
from lie_picard.rendering.constants import uploaded
from lie_picard.rendering.randomisation import (
    TEXTURED,
    Randomisation,
    Rng,
    World,
    draw_views,
    photograph,
    photograph_crops,
)

_BODIES_A_BATCH = 8  # of clutter and occluders

Worlds = tuple[World, World]  # of randomised images, and of those among them that are textured


class Batch(NamedTuple):
    """Images with what they show.

    Attributes:
        images: (B, S, S[, 3]) uint8. rotations: (B, 3, 3) camera_from_object; of no meaning where nothing is known.
        labels: (B,) index of the object, len(objects) where there is none of them.
    """

    images: Tensor
    rotations: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Stream:
    """What a stream shows.

    Attributes:
        objects: as many images of each.
        size, channels: of the images. crop: the virtual camera of clean images.
        randomised: share of images that are randomised; the rest is clean.
        absent: share of images that show no known object: half of them foreign bodies, half background.
        randomisation: how far. batch: images at a time.
        together: batches that are rendered as one and shuffled: rendering a few images costs a GPU as much as many.
        textured: share of the randomised images that vary as `TEXTURED` says, whatever `randomisation` does.
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
    textured: float = 0.0


def batches(stream: Stream, seed: int, start: int, device: torch.device, stride: int = 1) -> Iterator[Batch]:
    """Endless batches start, start + stride, ...; batch k depends on the stream, the seed and k alone.

    Of batches that are rendered together it depends on the stride as well.

    Raises:
        PhotographsError: randomised images were asked for and their backgrounds are not installed.
    """
    worlds = _worlds(stream, seed, device)
    step, rendered, whole = start, -1, None
    while True:
        if stream.together == 1:
            yield _batch(stream, worlds, train_generator("images", seed, step), step, device)
        else:
            number, rank = divmod(step, stride)
            chunk, place = divmod(number, stream.together)
            if whole is None or chunk != rendered:
                whole, rendered = _shuffled(stream, worlds, seed, chunk * stride + rank, device), chunk
            yield Batch(*(part[place * stream.batch : (place + 1) * stream.batch] for part in whole))
        step += stride


def _worlds(stream: Stream, seed: int, device: torch.device) -> Worlds | None:
    """What randomised images are made of; None where there are none."""
    if not stream.randomised:
        return None
    crops = photograph_crops("train", stream.size, train_generator("photographs", seed)).to(device)
    options = (stream.randomisation, TEXTURED if stream.textured else Randomisation())
    plain, textured = (World.of(how, crops, train_generator("photographs", seed, 1)) for how in options)
    return plain, textured


def _shuffled(stream: Stream, worlds: Worlds | None, seed: int, number: int, device: torch.device) -> Batch:
    """Several batches in one, so mixed that each is like any other."""
    generator, size = train_generator("images", seed, number), stream.batch * stream.together
    whole = _batch(replace(stream, batch=size), worlds, generator, number, device)
    order = uploaded(torch.randperm(size, generator=generator), device)
    return Batch(*(part[order] for part in whole))


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


def _batch(stream: Stream, worlds: Worlds | None, generator: torch.Generator, step: int, device: torch.device) -> Batch:
    absent = round(stream.absent * stream.batch)
    known = stream.batch - absent
    kinds = len(stream.objects)
    clean: list[tuple[Castable, Tensor, int]] = []
    wild: list[tuple[Castable, Tensor, int]] = []
    textured: list[tuple[Castable, Tensor, int]] = []
    # What decides about shapes is drawn on the CPU: to read it back from a GPU would wait for all that is queued there.
    rng, decide = Rng(generator, device), Rng(generator, torch.device("cpu"))
    for index, one in enumerate(stream.objects):
        share = known // kinds + ((index + step) % kinds < known % kinds)
        rotations = so3.uniform(share, generator=generator)
        few = int(decide.happens(stream.randomised, share).sum())
        plain = few - len(decide.some(stream.textured, few))
        wild.append((one, rotations[:plain], index))
        textured.append((one, rotations[plain:few], index))
        clean.append((one, rotations[few:], index))
    if absent:
        few = int(decide.happens(stream.randomised, absent).sum())
        many = len(decide.some(stream.textured, few))
        groups = [(wild, few - many), (clean, absent - few)] + ([(textured, many)] if many else [])
        for group, count in groups:
            group.append((polyhedra(count, rng), so3.uniform(count, generator=generator), kinds))
    clean, wild, textured = (_on_device(group, device) for group in (clean, wild, textured))
    parts = [
        (render(shape, rotations, stream.size, stream.crop, stream.channels), rotations, index)
        for shape, rotations, index in clean
        if len(rotations)
    ]
    images = [images for images, _, _ in parts]
    order = [(rotations, index) for _, rotations, index in parts]
    for world, group in zip(worlds or (), (wild, textured), strict=False):
        some = [part for part in group if len(part[1])]
        if some:
            blank = 0.5 if some[-1][2] == kinds else 0.0  # the last part may be a known object's
            images.append(randomised_images(some, world, rng, stream.channels, blank))
            order += [(rotations, index) for _, rotations, index in some]
    labels = torch.cat([torch.full((len(rotations),), index) for rotations, index in order])
    return Batch(torch.cat(images), torch.cat([rotations for rotations, _ in order]), uploaded(labels, device))


def _on_device(parts: list[tuple[Castable, Tensor, int]], device: torch.device) -> list[tuple[Castable, Tensor, int]]:
    """The same with all rotations on a device, in one copy."""
    together = uploaded(torch.cat([rotations for _, rotations, _ in parts]), device)
    split = together.split([len(rotations) for _, rotations, _ in parts])
    return [(shape, rotations, index) for (shape, _, index), rotations in zip(parts, split, strict=True)]


def randomised_images(
    parts: Sequence[tuple[Castable, Tensor, int]], world: World, rng: Rng, channels: int, blank: float = 0.0
) -> Tensor:
    """Randomised images of shapes, in the order of `parts` (shape, rotations (n, 3, 3), label).

    Args:
        blank: share of the last part's images that show no body at all.
    """
    buffers, _ = cast_randomly([(shape, rotations) for shape, rotations, _ in parts], world, rng)
    last = len(parts[-1][1])
    if blank:
        buffers.hit[-last:] &= ~rng.happens(blank, last, 1)
    images, _ = photograph(buffers, world, rng, bodies(world, rng))
    return quantised(images, channels)


def bodies(world: World, rng: Rng, count: int = _BODIES_A_BATCH) -> Buffers:
    """Buffers of foreign bodies for clutter and occluders."""
    rotations = so3.uniform(count, generator=rng.generator, device=rng.device)
    return cast_randomly([(polyhedra(count, rng), rotations)], world, rng)[0]


def cast_randomly(parts: Sequence[tuple[Castable, Tensor]], world: World, rng: Rng) -> tuple[Buffers, ViewGeometry]:
    """Buffers of shapes at rotations (n, 3, 3) each, seen by random cameras; and these cameras."""
    views = draw_views(sum(len(rotations) for _, rotations in parts), world.options, rng)
    offsets = ((torch.arange(side := world.size * world.supersample, device=rng.device) + 0.5) / side * 2) - 1
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
    return Buffers(hit, depth, normal, albedo, placement), views
