"""How good the samples are: precision and recall per solid, on images that training has never seen.

Precision is D, each sample's angle to the nearest true pose; recall the angle from each true pose to the nearest
sample. D is exact for axial solids; a grid of 1 degree, as in the literature, would add up to 0.5 degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.data.seeds import stream_generator
from lie_picard.data.testset import GROUPS, TestBatch, cases, stored_cases
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import metrics
from lie_picard.evaluation.positions import Errors
from lie_picard.rendering.randomisation import Randomisation
from lie_picard.sampling import SamplerOptions, Solution

FAR_DEG = 0.5
_FEW = (10, 50)  # smaller numbers of samples whose share of modes is given too


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate on.

    Attributes:
        images: per solid. samples: per image, for precision.
        recall_images: per solid. recall_samples: per image, for recall, modes reached and uniformity.
        compare: also solve the same steps one after another from the same starts, and give the angle between the two.
        randomisation: how far the images vary; None: clean ones.
        named: whether the model is asked for the object by name, as a robot asks; the paper's is not.
    """

    images: int = 200
    samples: int = 16
    recall_images: int = 20
    recall_samples: int = 200
    seed: int = 0
    compare: bool = False
    randomisation: Randomisation | None = None
    named: bool = True

    def __post_init__(self) -> None:
        for name in ("images", "samples", "recall_images", "recall_samples", "seed"):
            low = 0 if name in ("seed", "recall_images") else 1
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")


@dataclass(frozen=True)
class _Many:
    """An image: true poses (n, 3, 3), many samples; whether those are points, not a grid on curves; its group."""

    poses: Tensor
    samples: Tensor
    points: bool
    group: str | None


@dataclass
class _Tally:
    """What has been measured of one solid."""

    errors: list[Tensor] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)  # of each image
    sequential: list[Tensor] = field(default_factory=list)
    angles: list[Tensor] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    recall: list[_Many] = field(default_factory=list)
    positions: list[Errors] = field(default_factory=list)


def evaluate(
    estimator: PoseEstimator,
    shapes: Sequence[str],
    sampler: SamplerOptions,
    options: EvaluationOptions,
    data: Path | None = None,
    on_images: Callable[[int], None] | None = None,
    stream: str = "evaluate",
) -> list[dict[str, Any]]:
    """One row an object, more where views of it differ in what they leave open (`testset.GROUPS`), and "all".

    Keys have their units in their names.

    Args:
        data: root of a data set in SYMSOL's format (its test split); None: images rendered afresh.
        on_images: called with the number of images done since the last call.
        stream: of random numbers (`data.seeds.TEST_STREAMS`).

    Raises:
        UnknownObjectError: the estimator's catalogue has no such object, and no data set was given.
        DatasetError: the data set is missing or damaged. PhotographsError: backgrounds are not installed.
    """
    rows, pooled = [], _Tally()
    for number, shape in enumerate(shapes):
        tally = _Tally()
        # Streams of their own, so that every method and every choice of recall sees the same images and starts.
        pictures, precision, recall = (stream_generator(stream, options.seed, 3 * number + k) for k in range(3))
        name = shape if options.named and shape in estimator.config.objects else None
        if data is None:
            given = cases(estimator.config, estimator.catalogue[shape], options.images, pictures, options.randomisation)
        else:
            given = stored_cases(estimator.config, data, shape, options.images)
        done = 0
        for case in given:
            _precision(tally, case, estimator, name, sampler, options, precision)
            for k in range(min(len(case.images), options.recall_images - done)):
                poses = case.poses.listed(k)
                one = case.images[k : k + 1]
                opening = None if case.view is None else case.view.half_tangent[k : k + 1]
                many = estimator.draw(one, [name], options.recall_samples, recall, sampler, opening).rotations.cpu()
                if poses is not None:
                    tally.recall.append(_Many(poses, many, case.poses.axis(k) is None, case.group(k)))
            done += len(case.images)
            if on_images:
                on_images(len(case.images))
        rows += _rows(shape, tally, sampler, options)
        pooled.errors += tally.errors
        pooled.sequential += tally.sequential
        pooled.angles += tally.angles
        pooled.positions += tally.positions
    every = {"solid": "all"} | metrics.precision(torch.cat(pooled.errors).flatten())
    return [*rows, every | _against_sequential(pooled) | _positions(pooled)]


def _precision(
    tally: _Tally,
    case: TestBatch,
    estimator: PoseEstimator,
    name: str | None,
    sampler: SamplerOptions,
    options: EvaluationOptions,
    generator: torch.Generator,
) -> None:
    before, names = generator.get_state(), [name] * len(case.images)
    opening = None if case.view is None else case.view.half_tangent
    solution = estimator.draw(case.images, names, options.samples, generator, sampler, opening)
    if case.view is not None and (errors := Errors.of(solution, case.view, estimator.model.calibration)) is not None:
        tally.positions.append(errors)
    tally.errors.append(_errors(case, solution))
    tally.groups += [case.group(k) for k in range(len(case.images))]
    each = solution.rounds_of
    tally.rounds.append(float(solution.rounds if each is None else each.double().mean()))
    tally.evaluations.append(solution.evaluations)
    if options.compare:
        again = torch.Generator()
        again.set_state(before)
        ode = replace(sampler, method="ode")
        one_by_one = estimator.draw(case.images, names, options.samples, again, ode, opening)
        tally.sequential.append(_errors(case, one_by_one))
        tally.angles.append(so3.degrees(so3.angle(one_by_one.rotations, solution.rotations)).cpu())


def _errors(case: TestBatch, solution: Solution) -> Tensor:
    """(B, samples) degrees to the nearest true pose."""
    samples = solution.rotations.cpu().unflatten(0, (len(case.images), -1))
    return so3.degrees(torch.stack([case.poses.distance(one, k) for k, one in enumerate(samples)]))


def _rows(shape: str, tally: _Tally, sampler: SamplerOptions, options: EvaluationOptions) -> list[dict[str, Any]]:
    errors = torch.cat(tally.errors)
    evaluations = sum(tally.evaluations) / len(tally.evaluations)
    row = {"solid": shape} | metrics.precision(errors.flatten()) | _against_sequential(tally)
    row |= {
        "rounds": sum(tally.rounds) / len(tally.rounds),  # of a sample, in the mean
        "evaluations": evaluations,
        "inefficiency": evaluations / sampler.steps,
    }
    rows = [row | _recall(tally.recall, options) | _positions(tally)]
    there = [name for name in GROUPS if name in tally.groups]
    for name in there if len(there) > 1 else ():
        chosen = torch.tensor([group == name for group in tally.groups])
        part = {"solid": f"{shape}: {name}", "images": int(chosen.sum())}
        many = [one for one in tally.recall if one.group == name]
        rows.append(part | metrics.precision(errors[chosen].flatten()) | _recall(many, options))
    return rows


def _recall(images: Sequence[_Many], options: EvaluationOptions) -> dict[str, Any]:
    if not images:
        return {}
    many = options.recall_samples
    result: dict[str, Any] = {
        "recall_deg": float(torch.cat([metrics.nearest_samples(one.poses, one.samples) for one in images]).mean()),
        "modes": sum(len(one.poses) for one in images) / len(images),
    }
    for count in (*(n for n in _FEW if n < many), many):
        end = "" if count == many else f"_of_{count}_samples"
        reached = [metrics.modes_reached(one.poses, one.samples[:count]) for one in images]
        ideal = [metrics.modes_reached_if_uniform(len(one.poses), count) for one in images]
        result[f"modes_reached{end}"] = sum(reached) / len(reached)
        result[f"modes_reached_if_uniform{end}"] = sum(ideal) / len(ideal)
    discrete = [one for one in images if one.points and len(one.poses) > 1]
    if discrete:
        chi2, p = zip(*(metrics.uniformity(one.poses, one.samples) for one in discrete), strict=True)
        result["chi2_per_freedom"] = sum(chi2) / len(chi2)
        result["not_uniform_at_5_percent"] = sum(one < 0.05 for one in p) / len(p)
    return result


def _positions(tally: _Tally) -> dict[str, Any]:
    return Errors.joined(tally.positions).row() if tally.positions else {}


def _against_sequential(tally: _Tally) -> dict[str, Any]:
    if not tally.angles:
        return {}
    angle = torch.cat(tally.angles)
    return {
        "sequential_mean_deg": float(torch.cat(tally.sequential).mean()),
        "angle_to_sequential_median_deg": float(angle.median()),
        "angle_to_sequential_above_half_deg": float((angle > FAR_DEG).float().mean()),
    }


__all__ = ["FAR_DEG", "EvaluationOptions", "evaluate"]
