"""How fast the samplers are: every method against the sequential one, interleaved, same weights, same start."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from lie_picard import so3
from lie_picard.estimator import PoseEstimator
from lie_picard.sampling import SamplerOptions, draw_walk, sample
from lie_picard.seeds import test_generator
from lie_picard.symsol.renderer import Crop, render
from lie_picard.symsol.solids import solid

FAR_DEG = 0.5


def benchmark(
    estimator: PoseEstimator,
    steps: Sequence[int],
    samples: Sequence[int],
    methods: Sequence[str],
    sampler: SamplerOptions,
    repeats: int = 20,
    seed: int = 0,
    on_row: Callable[[], None] | None = None,
) -> list[dict[str, Any]]:
    """One row for each number of steps and samples and each method other than "ode", the sequential baseline.

    Each repeat is another image; its methods run one after the other from the same start. Times are medians with
    the 10th and 90th percentile, of the sampler alone; the encoder, which all share, has a column of its own.
    """
    rows = []
    for count in steps:
        for number in samples:
            for method in methods:
                options = dataclasses.replace(sampler, method=method, steps=count)
                rows.append(_row(estimator, options, number, repeats, seed))
                if on_row:
                    on_row()
    return rows


def _row(estimator: PoseEstimator, options: SamplerOptions, samples: int, repeats: int, seed: int) -> dict[str, Any]:
    config, device = estimator.config, estimator.device
    generator = test_generator(500_000 + seed)
    noise = options.schedule(config.sigma_max, config.sigma_min)
    sequential = dataclasses.replace(options, method="ode")
    objects = [solid(name) for name in config.objects]
    times: dict[str, list[float]] = {"encoder": [], "sequential": [], "method": []}
    angles, errors, base_errors, rounds, evaluations = [], [], [], [], []
    for repeat in range(repeats + 2):
        shape = objects[repeat % len(objects)]
        truth = so3.uniform(1, generator=generator)
        image = render(shape, truth, config.image_size, Crop(config.distance, config.fill))
        if config.channels == 3:
            image = image[..., None].expand(-1, -1, -1, 3)
        start = so3.uniform(samples, generator=generator, device=device)
        draws = draw_walk(noise, samples, generator) if options.method == "walk" else None
        score, encoder_ms = _timed(device, estimator.model.condition, image.to(device), noise)
        base, base_ms = _timed(device, sample, score, start, noise, sequential)
        found, found_ms = _timed(device, sample, score, start, noise, options, draws=draws)
        if repeat < 2:  # warm-up
            continue
        for key, value in (("encoder", encoder_ms), ("sequential", base_ms), ("method", found_ms)):
            times[key].append(value)
        angles.append(so3.degrees(so3.angle(base.rotations, found.rotations)).cpu())
        errors.append(so3.degrees(shape.distance(found.rotations.cpu(), truth)))
        base_errors.append(so3.degrees(shape.distance(base.rotations.cpu(), truth)))
        rounds.append(found.rounds)
        evaluations.append(found.evaluations)
    angle, method = torch.cat(angles), options.method
    row = {
        "steps": options.steps,
        "samples": samples,
        "method": method,
        "window": min(options.window, options.steps) if method == "picard" else 1,
        "tolerance": options.tolerance if method == "picard" else 0.0,
        "repeats": repeats,
        "encoder_ms": statistics.median(times["encoder"]),
        **_spread("sequential", times["sequential"]),
        **_spread(method, times["method"]),
        # The ratio of each pair, not of the medians: neighbours in time saw the same machine.
        "speedup": statistics.median(a / b for a, b in zip(times["sequential"], times["method"], strict=True)),
        "rounds": statistics.mean(rounds),
        "evaluations": statistics.mean(evaluations),
        "inefficiency": statistics.mean(evaluations) / options.steps,
        "mean_deg": float(torch.cat(errors).mean()),
        "sequential_mean_deg": float(torch.cat(base_errors).mean()),
    }
    if method != "walk":  # a walk solves another equation
        row |= {
            "angle_to_sequential_median_deg": float(angle.median()),
            "angle_to_sequential_above_half_deg": float((angle > FAR_DEG).float().mean()),
        }
    return row


def _spread(name: str, values: list[float]) -> dict[str, float]:
    deciles = statistics.quantiles(values, n=10) if len(values) > 1 else [values[0]] * 9
    return {f"{name}_ms": statistics.median(values), f"{name}_p10_ms": deciles[0], f"{name}_p90_ms": deciles[-1]}


def _timed(device: torch.device, work: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, float]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    result = work(*args, **kwargs)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, (time.perf_counter() - begin) * 1e3
