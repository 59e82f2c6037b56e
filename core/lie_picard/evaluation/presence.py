"""Does the presence score tell images of known objects from others? Foreign bodies and bare backgrounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.data.seeds import stream_generator
from lie_picard.data.stream import bodies, cast_randomly
from lie_picard.data.testset import CHUNK, cases, test_world
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import metrics
from lie_picard.objects import unseen_shapes
from lie_picard.rendering.buffers import Castable
from lie_picard.rendering.clean import Crop, quantised, render
from lie_picard.rendering.randomisation import TEXTURED, Randomisation, Rng, photograph


def evaluate_presence(
    estimator: PoseEstimator, shapes: Sequence[str], images: int, randomisation: Randomisation, seed: int = 0
) -> list[dict[str, Any]]:
    """One row a kind of absence and of images (clean, randomised, `TEXTURED`).

    It says how well the score separates `images` images of a foreign body from as many of each known object.

    Foreign bodies are of kinds that training never shows (`objects.unseen_shapes`), backgrounds of other photographs.
    """
    rows: list[dict[str, Any]] = []
    groups: tuple[dict[str, Randomisation | None], ...] = (
        {"clean": None, "randomised": randomisation},
        {"textured": TEXTURED},
    )
    for part, kinds in enumerate(groups):  # parts of the stream, so that a new kind moves no figures of another
        rows += _rows(estimator, shapes, images, kinds, stream_generator("presence", seed, part))
    return rows


def _rows(
    estimator: PoseEstimator,
    shapes: Sequence[str],
    images: int,
    kinds: Mapping[str, Randomisation | None],
    generator: torch.Generator,
) -> list[dict[str, Any]]:
    known = {
        kind: torch.cat([_scores(estimator, case.images) for shape in shapes
                         for case in cases(estimator.config, estimator.catalogue[shape], images, generator, options)])
        for kind, options in kinds.items()
    }  # fmt: skip
    rows = []
    for name, body in unseen_shapes().items():
        for kind, options in kinds.items():
            pictures = _foreign(estimator, body, images, generator, options)
            rows.append(_row(name, kind, known[kind], torch.cat([_scores(estimator, one) for one in pictures])))
    kind, options = list(kinds.items())[-1]
    backgrounds = _foreign(estimator, None, images * len(shapes), generator, options)
    nothing = torch.cat([_scores(estimator, one) for one in backgrounds])
    return [*rows, _row("background only", kind, known[kind], nothing)]


def _row(name: str, kind: str, known: Tensor, absent: Tensor) -> dict[str, Any]:
    return {
        "absent": name,
        "images": kind,
        "auroc": metrics.area_under_roc(known, absent),
        "known_above_half": float((known > 0.5).float().mean()),
        "absent_above_half": float((absent > 0.5).float().mean()),
    }


def _scores(estimator: PoseEstimator, images: Tensor) -> Tensor:
    """Presence (B,) of images (B, S, S[, 3])."""
    presence = estimator.encode(images).presence
    if presence is None:
        raise ValueError("this model has no presence score: train it with model.named = true")
    return presence.cpu()


def _foreign(
    estimator: PoseEstimator,
    body: Castable | None,
    images: int,
    generator: torch.Generator,
    randomisation: Randomisation | None,
) -> Iterator[Tensor]:
    """Images (B, S, S[, 3]) of a foreign body, or of none."""
    config = estimator.config
    shape: Castable = body or next(iter(unseen_shapes().values()))
    for start in range(0, images, CHUNK):
        rotations = so3.uniform(min(CHUNK, images - start), generator=generator)
        if randomisation is None:
            yield render(shape, rotations, config.image_size, Crop(config.distance, config.fill), config.channels)
            continue
        world, rng = test_world(randomisation, config.image_size), Rng(generator, torch.device("cpu"))
        buffers, _ = cast_randomly([(shape, rotations)], world, rng)
        if body is None:
            buffers.hit[:] = False
        yield quantised(photograph(buffers, world, rng, bodies(world, rng))[0], config.channels)
