"""Quality against time: which sampler is worth its evaluations."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from lie_picard.data.seeds import stream_generator
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.evaluation.speed import WARM_UP, scenes
from lie_picard.machine import timed
from lie_picard.sampling import SamplerOptions

SAMPLES = 16  # an image, for precision
TIMED = (1, SAMPLES, 100, 2000)
RECALLED = 200  # samples an image, for recall
_RECALL_SHARE = 10  # one in so many images
_SLOW = 500  # samples from which on a quarter of the repeats must do


def _plans() -> dict[str, SamplerOptions]:
    ways = {f"euler {t}": SamplerOptions.published("ode", t) for t in (10, 20, 50, 100)}
    ways |= {f"heun {t}": SamplerOptions("ode", t, integrator="heun", restarts=0) for t in (4, 6, 8)}
    ways |= {f"heun {t}, restarts": SamplerOptions("ode", t, integrator="heun") for t in (4, 6, 8)}
    ways |= {f"multistep {t}": SamplerOptions("ode", t, restarts=0) for t in (2, 4, 6, 8, 12, 20)}
    ways |= {f"multistep {t}, restarts": SamplerOptions("ode", t) for t in (2, 4, 6, 8, 12, 20)}
    ways |= {f"picard {t}": SamplerOptions.published("picard", t) for t in (20, 50, 100)}
    ways |= {f"newton {t}": SamplerOptions.published("newton", t) for t in (20, 50, 100)}
    ways |= {f"map {t}": SamplerOptions("map", t, restarts=0) for t in (1, 2, 4)}
    return ways | {f"map {t}, restarts": SamplerOptions("map", t) for t in (2, 4)}


PLANS = _plans()


def plans(has_flow_map: bool) -> dict[str, SamplerOptions]:
    """Those that a model with or without a flow map can be sampled by."""
    return {name: one for name, one in PLANS.items() if one.method != "map" or has_flow_map}


def frontier(
    estimator: PoseEstimator,
    images: int,
    repeats: int,
    seed: int,
    on_row: Callable[[list[dict[str, Any]]], None] | None = None,
) -> list[dict[str, Any]]:
    """One row a plan: quality on `images` test images of each solid, and times for one image's samples.

    Precision is of 16 samples an image, recall of 200 of each tenth image. For the times (`ms_of_N`) all plans run on
    each image in turn, from the same start. `on_row` gets the rows so far whenever there is another one.
    """
    chosen = plans(estimator.config.flow_map)
    times = {count: _times(estimator, chosen, count, repeats, seed) for count in TIMED}
    rows: list[dict[str, Any]] = []
    quality = EvaluationOptions(images, SAMPLES, max(1, images // _RECALL_SHARE), RECALLED, seed)
    for name, options in chosen.items():
        measured = evaluate(estimator, estimator.config.objects, options, quality)
        each = [row for row in measured[:-1] if "evaluations" in row]  # not the groups of an object's views
        uniform = [row["chi2_per_freedom"] for row in each if "chi2_per_freedom" in row]
        every = measured[-1]
        rows.append(
            {
                "plan": name,
                "samples": SAMPLES,
                "evaluations": statistics.mean(row["evaluations"] for row in each),
                "mean_deg": every["mean_deg"],
                "median_deg": every["median_deg"],
                "beyond_5deg": 1 - every["within_5deg"],
                "modes_reached": statistics.mean(row["modes_reached"] for row in each),
                "chi2_per_freedom": statistics.mean(uniform) if uniform else None,
                "ms": times[SAMPLES][name],
                **{f"ms_of_{count}": times[count][name] for count in TIMED},
            }
        )
        if on_row:
            on_row(rows)
    return rows


def _times(
    estimator: PoseEstimator, chosen: Mapping[str, SamplerOptions], samples: int, repeats: int, seed: int
) -> dict[str, float]:
    """Median milliseconds of each plan."""
    count = repeats if samples < _SLOW else max(3, repeats // 4)
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for number, scene in enumerate(scenes(estimator, samples, count + WARM_UP, stream_generator("frontier", seed))):
        for name, options in chosen.items():
            encoded = estimator.encode(scene.image, None, options)
            _, ms = timed(estimator.device, estimator.solve, encoded, scene.start)
            if number >= WARM_UP:
                times[name].append(ms)
    return {name: statistics.median(taken) for name, taken in times.items()}
