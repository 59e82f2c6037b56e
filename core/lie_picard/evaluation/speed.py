"""How fast the samplers are: every plan against the sequential one, interleaved, same weights, same start."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.data.seeds import stream_generator
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import metrics
from lie_picard.evaluation.accuracy import FAR_DEG
from lie_picard.machine import timed
from lie_picard.objects import Object, TruePoses
from lie_picard.rendering.clean import Crop, render
from lie_picard.sampling import SamplerOptions, Solution

WARM_UP = 2
PLANS = ("picard", "newton", "walk", "best", "map")


@dataclass(frozen=True)
class Scene:
    """A test image with its true poses, and a start."""

    poses: TruePoses
    image: Tensor
    start: Tensor


def benchmark(
    estimator: PoseEstimator,
    steps: Sequence[int],
    samples: Sequence[int],
    plans: Sequence[str],
    sampler: SamplerOptions,
    repeats: int = 20,
    seed: int = 0,
    on_row: Callable[[list[dict[str, Any]]], None] | None = None,
) -> list[dict[str, Any]]:
    """One row for each number of steps and samples and each plan.

    The sequential sampler of T Euler steps is the baseline, with the score run eagerly and by the fastest runtime; the
    plans use the fastest runtime too. "best" is what `SamplerOptions()` does, "map" goes by the flow map in four
    evaluations, and is left out where the model has none; they have their own number of steps. Each
    repeat is another image; all plans run on it one after the other from the same start. Times are medians with the
    10th and 90th percentile, of the sampler alone; the encoder, which all share, and a single evaluation of the head
    for all samples have columns of their own.

    Args:
        on_row: called with all rows so far when a setting is done, so that a run that is cut leaves something.
    """
    rows = []
    plans = [one for one in plans if one != "map" or estimator.config.flow_map]
    for count in steps:
        for number in samples:
            rows += _rows(estimator, count, number, plans, sampler, repeats, seed)
            if on_row:
                on_row(rows)
    return rows


def windows(
    estimator: PoseEstimator,
    sizes: Sequence[int],
    steps: int,
    sampler: SamplerOptions,
    repeats: int = 20,
    seed: int = 0,
    on_row: Callable[[list[dict[str, Any]]], None] | None = None,
) -> list[dict[str, Any]]:
    """The ablation of the paper's Figure 2: one sample, speed-up and inefficiency over the window."""
    rows = []
    for size in sizes:
        changed = dataclasses.replace(sampler, window=size)
        rows += _rows(estimator, steps, 1, ("picard", "newton"), changed, repeats, seed)
        if on_row:
            on_row(rows)
    return rows


def _rows(
    estimator: PoseEstimator,
    steps: int,
    samples: int,
    plans: Sequence[str],
    sampler: SamplerOptions,
    repeats: int,
    seed: int,
) -> list[dict[str, Any]]:
    base = dataclasses.replace(sampler, method="ode", steps=steps, integrator="euler", restarts=0)
    options = {"eager": base, "sequential": base}
    for plan in plans:
        own = {"best": SamplerOptions(), "map": SamplerOptions("map")}
        options[plan] = own.get(plan) or dataclasses.replace(base, method=plan)
    times: dict[str, list[float]] = {f"{part}{how}": [] for part in ("encoder", "head") for how in ("_eager", "")}
    times |= {name: [] for name in options}
    found: dict[str, list[tuple[Solution, Scene]]] = {name: [] for name in options}
    first = torch.zeros(1, dtype=torch.int64, device=estimator.device)  # all samples at the first noise level
    generator = stream_generator("speed", seed)
    for repeat, scene in enumerate(scenes(estimator, samples, repeats + WARM_UP, generator)):
        for name, chosen in options.items():
            with _runtime(estimator, fast=name != "eager"):
                encoded, encoder_ms = timed(estimator.device, estimator.encode, scene.image, None, chosen)
                options[name] = estimator.resolve(encoded, scene.start)
                noise = estimator.walk_noise(encoded, samples, generator)
                solution, ms = timed(estimator.device, estimator.solve, encoded, scene.start, noise)
                if name in ("eager", "sequential"):
                    _, head_ms = timed(estimator.device, encoded.score, scene.start, first.expand(samples))
            if repeat >= WARM_UP:
                found[name].append((solution, scene))
                times[name].append(ms)
                if name in ("eager", "sequential"):
                    how = "_eager" if name == "eager" else ""
                    times[f"encoder{how}"].append(encoder_ms)
                    times[f"head{how}"].append(head_ms)
    shared = {
        "steps": steps,
        "samples": samples,
        "repeats": repeats,
        "encoder_eager_ms": statistics.median(times["encoder_eager"]),
        "encoder_ms": statistics.median(times["encoder"]),
        "head_eager_ms": statistics.median(times["head_eager"]),
        "head_ms": statistics.median(times["head"]),
        **_spread("eager", times["eager"]),
        **_spread("sequential", times["sequential"]),
        "sequential_mean_deg": _precision(found["sequential"]),
        "sequential_recall_deg": _recall(found["sequential"]),
    }
    return [
        shared | _row(name, options[name], times, found[name], found["sequential"]) for name in options
        if name in plans
    ]  # fmt: skip


def _row(
    plan: str,
    options: SamplerOptions,
    times: dict[str, list[float]],
    found: list[tuple[Solution, Scene]],
    baseline: list[tuple[Solution, Scene]],
) -> dict[str, Any]:
    evaluations = statistics.mean(solution.evaluations for solution, _ in found)
    row = {
        "plan": plan,
        "method": options.method,
        "integrator": options.integrator,
        "plan_steps": options.steps,
        "window": options.window,
        "plan_ms": statistics.median(times[plan]),
        **_spread(plan, times[plan]),
        # The ratio of each pair, not of the medians: neighbours in time saw the same machine.
        "speedup": _ratio(times["sequential"], times[plan]),
        "speedup_over_eager": _ratio(times["eager"], times[plan]),
        "rounds": statistics.mean(solution.rounds for solution, _ in found),
        "evaluations": evaluations,
        "inefficiency": evaluations / options.steps,
        "mean_deg": _precision(found),
        "recall_deg": _recall(found),
    }
    if plan in ("picard", "newton"):  # the others solve other equations
        pairs = zip(found, baseline, strict=True)
        angle = torch.cat([so3.degrees(so3.angle(a.rotations, b.rotations)) for (a, _), (b, _) in pairs])
        row |= {
            "angle_to_sequential_median_deg": float(angle.median()),
            "angle_to_sequential_above_half_deg": float((angle > FAR_DEG).float().mean()),
        }
    return row


def scenes(estimator: PoseEstimator, samples: int, count: int, generator: torch.Generator) -> Iterator[Scene]:
    """Test images of the model's objects in turn, each with a start of so many samples."""
    config, device = estimator.config, estimator.device
    objects: list[Object] = [estimator.catalogue[name] for name in config.objects]
    crop = Crop(config.distance, config.fill)
    for number in range(count):
        shape = objects[number % len(objects)]
        truth = so3.uniform(1, generator=generator)
        image = render(shape, truth, config.image_size, crop, config.channels)
        start = so3.uniform(samples, generator=generator, device=device)
        yield Scene(shape.true_poses(truth, crop.view(1)), image.to(device), start)


@contextlib.contextmanager
def _runtime(estimator: PoseEstimator, fast: bool) -> Iterator[None]:
    """Within it the model runs by its fastest runtime, or eagerly."""
    kept = estimator.model.runtime
    if not fast:
        estimator.model.runtime = None
    try:
        yield
    finally:
        estimator.model.runtime = kept


def _precision(found: list[tuple[Solution, Scene]]) -> float:
    errors = [so3.degrees(scene.poses.distance(solution.rotations.cpu(), 0)) for solution, scene in found]
    return float(torch.cat(errors).mean())


def _recall(found: list[tuple[Solution, Scene]]) -> float:
    """Mean angle from each true pose (about an axis: each 10 degrees) to the nearest sample."""
    listed = [(scene.poses.listed(0), solution.rotations.cpu()) for solution, scene in found]
    nearest = [metrics.nearest_samples(poses, samples).mean() for poses, samples in listed if poses is not None]
    return float(torch.stack(nearest).mean()) if nearest else math.nan


def _ratio(first: list[float], second: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def _spread(name: str, values: list[float]) -> dict[str, float]:
    deciles = statistics.quantiles(values, n=10) if len(values) > 1 else [values[0]] * 9
    return {f"{name}_ms": statistics.median(values), f"{name}_p10_ms": deciles[0], f"{name}_p90_ms": deciles[-1]}
