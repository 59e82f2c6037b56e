"""Test images with all their true poses: rendered clean or randomised, or read from a data set."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.data import symsol_files
from lie_picard.data.seeds import stream_generator
from lie_picard.data.stream import bodies, cast_randomly
from lie_picard.geometry.camera import fit
from lie_picard.model.config import ModelConfig
from lie_picard.objects import Object, TruePoses
from lie_picard.objects.view_poses import ViewPoses
from lie_picard.rendering.buffers import ViewGeometry
from lie_picard.rendering.clean import Crop, quantised, render
from lie_picard.rendering.randomisation import Randomisation, Rng, World, photograph, photograph_crops

CHUNK = 50
GROUPS = "all markers seen", "a marker hidden", "nothing more left open", "more poses left open"  # by the view
_CPU = torch.device("cpu")
_STORED_GRID_FROM = 100


class StoredPoses(NamedTuple):
    """True poses as a data set lists them, (B, n, 3, 3) (`objects.TruePoses`)."""

    rotations: Tensor

    def distance(self, rotations: Tensor, image: int) -> Tensor:
        """(N, 3, 3) samples of an image -> (N,) rad to the nearest listed pose."""
        return so3.pairwise_angle(rotations, self.rotations[image]).amin(1)

    @property
    def truth(self) -> Tensor:
        """(B, 3, 3) of the rendering: the first of the list."""
        return self.rotations[:, 0]

    def listed(self, image: int, step_deg: float = 10.0) -> Tensor:
        """(n, 3, 3); of a circle in steps of 1 degree, some."""
        poses = self.rotations[image]
        return poses[:: max(1, round(step_deg))] if len(poses) > _STORED_GRID_FROM else poses

    def seen(self, image: int) -> tuple[bool, ...]:
        """Nothing is known about markers."""
        return ()

    def axis(self, image: int) -> Tensor | None:
        """SYMSOL's long lists are turns about z."""
        return torch.tensor([0.0, 0.0, 1.0]) if self.rotations.shape[1] > _STORED_GRID_FROM else None


@dataclass(frozen=True)
class TestBatch:
    """Images (B, S, S[, 3]) of one object, their true poses, and how they were taken (None: unknown)."""

    images: Tensor
    poses: TruePoses
    view: ViewGeometry | None = None
    __test__ = False  # pytest: no test

    def hidden(self, image: int) -> bool | None:
        """Whether an image hides a marker; None where the object has none."""
        seen = self.poses.seen(image)
        return not all(seen) if seen else None

    def group(self, image: int) -> str | None:
        """Of `GROUPS`, what an image shows of what tells its equal poses apart; None: all images show the same."""
        if (hidden := self.hidden(image)) is not None:
            return GROUPS[int(hidden)]
        if not isinstance(self.poses, ViewPoses):
            return None
        found = self.poses.found(image)
        several = found.open or bool(found.arcs) or len(found.single) > len(self.poses.body.symmetry.rotations)
        return GROUPS[2 + int(several)]


def cases(
    config: ModelConfig,
    shape: Object,
    images: int,
    generator: torch.Generator,
    randomisation: Randomisation | None = None,
) -> Iterator[TestBatch]:
    """Test images of one object, some at a time.

    Args:
        randomisation: how far they vary; None: clean.

    Raises:
        PhotographsError: backgrounds are not installed.
    """
    for start in range(0, images, CHUNK):
        truth = so3.uniform(min(CHUNK, images - start), generator=generator)
        if randomisation is None:
            yield _clean(config, shape, truth)
        else:
            yield _randomised(config, shape, truth, randomisation, generator)


def _clean(config: ModelConfig, shape: Object, truth: Tensor) -> TestBatch:
    crop = Crop(config.distance, config.fill)
    images = render(shape, truth, config.image_size, crop, config.channels)
    view = crop.view(len(truth))
    return TestBatch(images, shape.true_poses(truth, view), view)


def _randomised(
    config: ModelConfig, shape: Object, truth: Tensor, options: Randomisation, generator: torch.Generator
) -> TestBatch:
    world, rng = test_world(options, config.image_size), Rng(generator, _CPU)
    buffers, view = cast_randomly([(shape, truth)], world, rng)
    images, cover = photograph(buffers, world, rng, bodies(world, rng))
    view = replace(view, cover=cover)
    return TestBatch(quantised(images, config.channels), shape.true_poses(truth, view), view)


@functools.lru_cache(maxsize=4)
def test_world(options: Randomisation, size: int) -> World:
    """What randomised test images are made of: photographs, prints and wear that training never shows."""
    crops = photograph_crops("test", size, stream_generator("photographs", 0))
    return World.of(options, crops, stream_generator("photographs", 0, 1))


test_world.__test__ = False  # type: ignore[attr-defined]  # pytest: a helper, not a test


def stored_cases(config: ModelConfig, data: Path, shape: str, images: int) -> Iterator[TestBatch]:
    """The same from the test split of a data set in SYMSOL's format.

    Raises:
        DatasetError: the data set is missing or damaged.
    """
    stored = symsol_files.read(data, "test", [shape])[0]
    for start in range(0, min(images, len(stored.images)), CHUNK):
        chosen = range(start, min(start + CHUNK, images, len(stored.images)))
        pictures = [torch.from_numpy(fit(stored.image(k), config.image_size, config.channels)) for k in chosen]
        yield TestBatch(torch.stack(pictures), StoredPoses(stored.rotations[chosen.start : chosen.stop]))
