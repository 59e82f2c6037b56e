"""What a warm start saves on a video: rounds of the parallel samplers, cold and from the image before."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard import so3
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.estimation.poses import Target, ViewCache, estimate_poses
from lie_picard.evaluation import metrics
from lie_picard.geometry.camera import Camera, sphere_region
from lie_picard.sampling import SamplerOptions, WarmStart

PLANS = {
    "picard, 100 euler steps": SamplerOptions.published("picard", 100, window=100),
    "newton, 100 euler steps": SamplerOptions.published("newton", 100),
    "newton, 8 multistep steps": SamplerOptions("newton"),
}


class Frame(NamedTuple):
    """An image of a video.

    Attributes:
        image: (H, W, 3) RGB. camera: that took it, undistorted.
        truth: by object its rotation (3, 3), camera_from_object, and the position (3,) of its centre, metres.
    """

    image: NDArray[np.uint8]
    camera: Camera
    truth: Mapping[str, tuple[torch.Tensor, NDArray[np.float64]]]


def measure(
    estimator: PoseEstimator, video: Sequence[Frame], diameter: float, samples: int, seed: int, cut: int
) -> list[dict[str, Any]]:
    """One row a plan and start. The warm one also crosses a cut: `cut` images are left out once, halfway.

    Args:
        diameter: of all objects' circumscribed spheres, metres.

    Raises:
        UnknownObjectError: the estimator's catalogue lacks an object of the video.
    """
    middle = len(video) // 2
    played = [*video[:middle], *video[middle + cut :]]
    rows = []
    for plan, options in PLANS.items():
        for start in ("cold", "warm"):
            views, warm = ViewCache(), {name: WarmStart() for name in played[0].truth}
            rounds: list[int] = []
            at_cut: list[int] = []
            evaluations, errors, reached = [], [], []
            for number, frame in enumerate(played):
                for name, (rotation, position) in frame.truth.items():
                    target = Target(name, diameter, sphere_region(frame.camera, position, diameter / 2))
                    state = warm[name] if start == "warm" else None
                    (poses,) = estimate_poses(
                        estimator, frame.image, frame.camera, [target], samples, seed, options, views, state
                    )
                    result, symmetry = poses.hypotheses, estimator.catalogue[name].symmetry
                    (at_cut if number == middle else rounds).append(result.rounds)
                    evaluations.append(result.evaluations)
                    errors.append(so3.degrees(symmetry.distance(rotation.float(), result.rotations)))
                    every = symmetry.equivalents(rotation.float(), 10.0)
                    reached.append(metrics.modes_reached(every, result.rotations))
            precision = metrics.precision(torch.cat(errors))
            rows.append(
                {
                    "plan": plan,
                    "start": start,
                    "rounds": statistics.mean(rounds[len(played[0].truth) :]),  # without the very first image
                    "rounds_at_cut": statistics.mean(at_cut),
                    "evaluations": statistics.mean(evaluations),
                    "mean_deg": precision["mean_deg"],
                    "median_deg": precision["median_deg"],
                    "modes_reached": statistics.mean(reached),
                }
            )
    return rows
