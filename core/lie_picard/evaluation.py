"""How good the samples are: precision and recall per solid, on images that training has never seen.

Precision is D, each sample's angle to the nearest true pose; recall the angle from each true pose to the nearest
sample. D is exact for axial solids; a grid of 1 degree, as in the literature, would add up to 0.5 degrees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.estimator import PoseEstimator
from lie_picard.sampling import SamplerOptions, draw_walk
from lie_picard.seeds import test_generator
from lie_picard.symsol import dataset
from lie_picard.symsol.renderer import Crop, render
from lie_picard.symsol.solids import Solid, solid

_CHUNK = 50
_AXIAL_STEP_DEG = 10.0
_GRID_FROM = 100
REACHED_DEG = 5.0
FAR_DEG = 0.5


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate on.

    Attributes:
        images: per solid. samples: per image, for precision.
        recall_images: per solid. recall_samples: per image, for recall and modes reached.
        compare: also solve the same steps one after another from the same starts, and give the angle between the two.
    """

    images: int = 200
    samples: int = 16
    recall_images: int = 20
    recall_samples: int = 200
    seed: int = 0
    compare: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            low = 0 if field.name in ("seed", "recall_images", "compare") else 1
            if getattr(self, field.name) < low:
                raise ValueError(f"{field.name} must be at least {low}, got {getattr(self, field.name)}")


@dataclass(frozen=True)
class _Case:
    """A test image (S, S[, 3]) with all its true rotations, exact (truth and solid) or listed (equivalents)."""

    images: Tensor
    truth: Tensor
    solid: Solid | None
    equivalents: Callable[[Tensor], Tensor]

    def distance(self, rotations: Tensor, index: Tensor) -> Tensor:
        """(M, 3, 3) samples of images (M,) -> (M,) rad."""
        if self.solid is not None:
            return self.solid.distance(rotations, self.truth[index])
        return so3.angle(self.equivalents(index), rotations[:, None]).amin(-1)


def evaluate(
    estimator: PoseEstimator,
    shapes: Sequence[str],
    sampler: SamplerOptions,
    options: EvaluationOptions,
    data: Path | None = None,
    on_images: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """One row a solid and one for all ("all"), keys with units in their names.

    Args:
        data: root of a data set in SYMSOL's format (its test split); None: images rendered afresh.
        on_images: called with the number of images done since the last call.

    Raises:
        DatasetError: the data set is missing or damaged.
    """
    rows, pooled = [], []
    every_base: list[Tensor] = []
    every_angle: list[Tensor] = []
    for number, shape in enumerate(shapes):
        # Streams of their own, so that every method and every choice of recall sees the same images and starts.
        base = options.seed * 1_000 + 3 * number
        pictures, precision, recall = (test_generator(base + k) for k in range(3))
        errors, rounds, evaluations, recalls, reached, modes = [], [], [], [], [], 0
        base_errors, angles = [], []
        done = 0
        for case in _cases(estimator, shape, options.images, pictures, data):
            before = precision.get_state()
            solution, index = _draw(estimator, case.images, sampler, options.samples, precision)
            errors.append(so3.degrees(case.distance(solution.rotations.cpu(), index.cpu())))
            if options.compare:
                again = torch.Generator()
                again.set_state(before)
                base, _ = _draw(estimator, case.images, replace(sampler, method="ode"), options.samples, again)
                base_errors.append(so3.degrees(case.distance(base.rotations.cpu(), index.cpu())))
                angles.append(so3.degrees(so3.angle(base.rotations, solution.rotations)).cpu())
            each = solution.rounds_of
            rounds.append(float(solution.rounds if each is None else each.double().mean()))
            evaluations.append(solution.evaluations)
            for k in range(min(len(case.images), options.recall_images - done)):
                many, _ = _draw(estimator, case.images[k : k + 1], sampler, options.recall_samples, recall)
                targets = case.equivalents(torch.tensor([k]))[0]
                if len(targets) > _GRID_FROM:  # a stored 1-degree grid about an axis: modes are 10 degrees apart
                    targets = targets[:: round(_AXIAL_STEP_DEG)]
                nearest = so3.pairwise_angle(targets, many.rotations.cpu()).amin(1)
                recalls.append(so3.degrees(nearest))
                reached.append((recalls[-1] <= REACHED_DEG).float().mean())
                modes = len(targets)
            done += len(case.images)
            if on_images:
                on_images(len(case.images))
        error = torch.cat(errors)
        pooled.append(error)
        row = (
            _precision(shape, error)
            | _against_sequential(base_errors, angles)
            | {
                "rounds": sum(rounds) / len(rounds),  # of a sample, in the mean
                "evaluations": sum(evaluations) / len(evaluations),
                "inefficiency": sum(evaluations) / len(evaluations) / sampler.steps,
            }
        )
        if recalls:
            # A perfect, uniform sampler would miss some modes too: (1 - 1/M)^n of them.
            row |= {
                "recall_deg": float(torch.cat(recalls).mean()),
                "modes": modes,
                "modes_reached": float(torch.stack(reached).mean()),
                "modes_reached_if_uniform": 1 - (1 - 1 / modes) ** options.recall_samples,
            }
        rows.append(row)
        every_base, every_angle = [*every_base, *base_errors], [*every_angle, *angles]
    return [*rows, _precision("all", torch.cat(pooled)) | _against_sequential(every_base, every_angle)]


def _against_sequential(errors: list[Tensor], angles: list[Tensor]) -> dict[str, Any]:
    if not angles:
        return {}
    angle = torch.cat(angles)
    return {
        "sequential_mean_deg": float(torch.cat(errors).mean()),
        "angle_to_sequential_median_deg": float(angle.median()),
        "angle_to_sequential_above_half_deg": float((angle > FAR_DEG).float().mean()),
    }


def _precision(name: str, error: Tensor) -> dict[str, Any]:
    return {
        "solid": name,
        "mean_deg": float(error.mean()),
        "median_deg": float(error.median()),
        "within_2deg": float((error <= 2).float().mean()),
        "within_5deg": float((error <= 5).float().mean()),
        "within_10deg": float((error <= 10).float().mean()),
    }


def _draw(
    estimator: PoseEstimator, images: Tensor, sampler: SamplerOptions, samples: int, generator: torch.Generator
) -> tuple[Any, Tensor]:
    """Samples for a batch of images and the image's index of each; every image has starts of its own."""
    device = estimator.device
    plan = estimator.plan(sampler)
    with torch.inference_mode():
        score = estimator.model.condition(images.to(device), plan.noise)
        index = torch.arange(len(images), device=device).repeat_interleave(samples)
        start = so3.uniform(len(index), generator=generator, device=device)
        draws = draw_walk(plan.noise, len(index), generator) if sampler.method == "walk" else None
        sampler = estimator.resolve(sampler, score, start, index)
        return estimator.sample(score, start, plan, sampler, condition=index, draws=draws), index


def _cases(
    estimator: PoseEstimator, shape: str, images: int, generator: torch.Generator, data: Path | None
) -> Iterator[_Case]:
    config = estimator.config
    if data is not None:
        stored = dataset.read(data, "test", [shape])[0]
        count = min(images, len(stored.images))
        for start in range(0, count, _CHUNK):
            chosen = range(start, min(start + _CHUNK, count))
            rotations = stored.rotations[chosen.start : chosen.stop]
            pictures = estimator.prepare([stored.image(k) for k in chosen])
            yield _Case(pictures, rotations[:, 0], None, lambda index, r=rotations: r[index])  # type: ignore[misc]
        return
    crop = Crop(config.distance, config.fill)
    for start in range(0, images, _CHUNK):
        truth = so3.uniform(min(_CHUNK, images - start), generator=generator)
        pictures = render(solid(shape), truth, config.image_size, crop, config.channels)
        listed = lambda index, t=truth: solid(shape).equivalents(t[index], _AXIAL_STEP_DEG)  # noqa: E731
        yield _Case(pictures, truth, solid(shape), listed)  # type: ignore[arg-type]
