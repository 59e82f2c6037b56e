"""Quality against time: which sampler is worth its evaluations."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from lie_picard.data.seeds import stream_generator
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.evaluation.speed import WARM_UP, scenes
from lie_picard.machine import timed
from lie_picard.sampling import SamplerOptions

SAMPLES = 16


def _plans() -> dict[str, SamplerOptions]:
    ways = {f"euler {t}": SamplerOptions.published("ode", t) for t in (10, 20, 50, 100)}
    ways |= {f"heun {t}": SamplerOptions("ode", t, integrator="heun", restarts=0) for t in (4, 5, 6, 8, 10)}
    ways |= {f"heun {t}, restarts": SamplerOptions("ode", t, integrator="heun") for t in (4, 5, 6, 8, 10)}
    ways |= {f"multistep {t}": SamplerOptions("ode", t, restarts=0) for t in (6, 8, 12, 20)}
    ways |= {f"multistep {t}, restarts": SamplerOptions("ode", t) for t in (5, 6, 8, 12, 20)}
    ways |= {f"picard {t}": SamplerOptions.published("picard", t) for t in (20, 50, 100)}
    return ways | {f"newton {t}": SamplerOptions.published("newton", t) for t in (20, 50, 100)}


PLANS = _plans()


def frontier(
    estimator: PoseEstimator, images: int, repeats: int, seed: int, on_row: Callable[[], None] | None = None
) -> list[dict[str, Any]]:
    """One row a plan: error on `images` test images of each solid with 16 samples, and the time for one image's.

    For the times all plans run on each image in turn, from the same start.
    """
    device = estimator.device
    times: dict[str, list[float]] = {name: [] for name in PLANS}
    for number, scene in enumerate(scenes(estimator, SAMPLES, repeats + WARM_UP, stream_generator("frontier", seed))):
        for name, options in PLANS.items():
            encoded = estimator.encode(scene.image, None, options)
            _, ms = timed(device, estimator.solve, encoded, scene.start)
            if number >= WARM_UP:
                times[name].append(ms)
    rows = []
    quality = EvaluationOptions(images=images, samples=SAMPLES, recall_images=0, seed=seed)
    for name, options in PLANS.items():
        measured = evaluate(estimator, estimator.config.objects, options, quality)
        every = measured[-1]
        rows.append(
            {
                "plan": name,
                "samples": SAMPLES,
                "ms": statistics.median(times[name]),
                "evaluations": statistics.mean(row["evaluations"] for row in measured[:-1]),
                "mean_deg": every["mean_deg"],
                "median_deg": every["median_deg"],
                "beyond_5deg": 1 - every["within_5deg"],
            }
        )
        if on_row:
            on_row()
    return rows
