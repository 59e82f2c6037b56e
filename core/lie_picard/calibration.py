"""Are the hypotheses honest? Regions that hold the truth as often as they say, weights that mean probabilities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.estimator import PoseEstimator
from lie_picard.evaluation import Draws, EvaluationOptions
from lie_picard.hypotheses import MODE_RADIUS, Calibration, Mode, summarise
from lie_picard.sampling import SamplerOptions
from lie_picard.seeds import test_generator
from lie_picard.testset import cases

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
_FITTED_FROM = 0.9
_BINS = (0.0, 0.02, 0.04, 0.07, 0.12, 0.25, 0.5, 0.75, 1.0)
_STREAM = 500_000  # of the test generators, away from those of `evaluate`


@dataclass(frozen=True)
class Evidence:
    """What is known about the heaviest mode of M images, and about all their weights.

    Attributes:
        residuals: (M, 3) rad, Log(mode^T nearest true pose), in the body frame; covariances: (M, 3, 3) rad^2 of the
            samples, not calibrated. Along a symmetry axis there is nothing to miss: there the residual is 0.
        freedom: (M,) number of directions in which the truth can be missed, 3 or 2.
        weights: (W,) of every mode of images with discrete poses. hits: (W,) whether it is the rendered pose's.
    """

    residuals: Tensor
    covariances: Tensor
    freedom: Tensor
    weights: Tensor
    hits: Tensor

    def probabilities(self, calibration: Calibration) -> Tensor:
        """The smallest confidence whose region holds a true pose, for each image. -> (M,)."""
        return confidence(self.residuals, calibration(self.covariances.double()), self.freedom)


def gather(
    estimator: PoseEstimator,
    shapes: Sequence[str],
    sampler: SamplerOptions,
    options: EvaluationOptions,
    on_images: Callable[[int], None] | None = None,
) -> Evidence:
    """Evidence from `options.images` test images of each solid with `options.samples` samples."""
    residuals, covariances, freedom, weights, hits = [], [], [], [], []
    for number, shape in enumerate(shapes):
        pictures, starts = (test_generator(_STREAM + options.seed * 1_000 + 2 * number + k) for k in range(2))
        draws = Draws(estimator, shape if options.named else None)
        for case in cases(estimator.config, shape, options.images, pictures, options.randomisation):
            solution, _ = draws(case.images, sampler, options.samples, starts)
            for k, samples in enumerate(solution.rotations.cpu().unflatten(0, (len(case.images), -1))):
                modes = summarise(samples).modes
                best = modes[0]
                poses, axis = case.poses.listed(k), case.poses.axis(k)
                if poses is None or best.covariance.isnan().any():
                    continue
                near = case.poses.listed(k, 0.5)
                assert near is not None
                residual, spread = miss(best, near[so3.angle(near, best.rotation).argmin()], axis)
                residuals.append(residual)
                covariances.append(spread)
                freedom.append(3 if axis is None else 2)
                if axis is None:
                    means = torch.stack([mode.rotation for mode in modes])
                    angle = so3.angle(means, case.poses.truth[k])
                    hit = torch.zeros(len(modes), dtype=torch.bool)
                    hit[angle.argmin()] = bool(angle.min() <= MODE_RADIUS)
                    weights.append(torch.tensor([mode.weight for mode in modes]))
                    hits.append(hit)
            if on_images:
                on_images(len(case.images))
    none = torch.zeros(0)
    return Evidence(torch.stack(residuals), torch.stack(covariances), torch.tensor(freedom),
                    torch.cat(weights or [none]), torch.cat(hits or [none.bool()]))  # fmt: skip


def miss(mode: Mode, nearest: Tensor, axis: Tensor | None) -> tuple[Tensor, Tensor]:
    """Body-frame turn from a mode to its nearest true pose (3,) and the mode's covariance; across the axis if any.

    Args:
        axis: (3,) unit vector in the object's frame any turn about which is a symmetry.
    """
    residual, spread = so3.log(mode.rotation.mT @ nearest), mode.covariance
    if axis is not None:
        across = torch.eye(3).to(spread) - torch.outer(axis, axis)
        residual = across @ residual
        spread = across @ spread @ across + torch.outer(axis, axis)  # a unit variance that meets a zero residual
    return residual, spread


def confidence(residual: Tensor, spread: Tensor, freedom: Tensor) -> Tensor:
    """The smallest confidence whose Gaussian region holds a point. (M, D), (M, D, D), (M,) -> (M,)."""
    values, vectors = torch.linalg.eigh(spread.double())
    # Samples that all agree have no spread to divide by: a micrometre or microradian is the least.
    along = (residual.double()[:, None] @ vectors)[:, 0]
    squared = (along.square() / values.clamp_min(1e-12)).sum(1)
    return torch.special.gammainc(freedom.double() / 2, squared / 2)


def fit(evidence: Sequence[Evidence]) -> Calibration:
    """The scale and floor whose regions hold the truth as often as they say, on all sets of images alike.

    Errors have heavier tails than a Gaussian, so no scale is right for all confidences: it is fitted to regions of 90%
    and more, which a planner keeps clear of, at the price of regions of 50% that are too large.
    """
    best, chosen = math.inf, Calibration()
    for scale, floor in itertools.product((0.6, 0.8, 1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3),
                                          (0.0, 0.02, 0.05, 0.08, 0.12, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0)):  # fmt: skip
        calibration = Calibration(scale, math.radians(floor))
        error = sum((c - level) ** 2 for one in evidence for level, c in coverage(one, calibration).items()
                    if level >= _FITTED_FROM)  # fmt: skip
        if error < best:
            best, chosen = error, calibration
    return chosen


def coverage(evidence: Evidence, calibration: Calibration) -> dict[float, float]:
    """Share of images whose heaviest mode's region of each confidence holds a true pose."""
    return covered(evidence.probabilities(calibration))


def covered(inside: Tensor) -> dict[float, float]:
    """Share of images whose region of each confidence holds the truth, from the smallest such confidence (M,)."""
    return {level: float((inside <= level).double().mean()) for level in LEVELS}


def reliability(weights: Tensor, hits: Tensor) -> list[dict[str, float]]:
    """How often a mode of a weight is the true one, by bins of the weight. Both (W,), see `Evidence`."""
    rows = []
    for low, high in itertools.pairwise(_BINS):
        chosen = (weights > low) & (weights <= high)
        if chosen.any():
            rows.append(
                {
                    "weight_above": low,
                    "modes": int(chosen.sum()),
                    "mean_weight": float(weights[chosen].mean()),
                    "frequency": float(hits[chosen].float().mean()),
                }
            )
    return rows


def calibration_error(bins: Sequence[Mapping[str, float]]) -> float:
    """Mean gap between weight and frequency, by `reliability`'s bins (expected calibration error)."""
    modes = sum(row["modes"] for row in bins)
    gap = sum(row["modes"] * abs(row["mean_weight"] - row["frequency"]) for row in bins)
    return gap / modes if modes else math.nan


def report(evidence: Evidence, calibration: Calibration) -> dict[str, Any]:
    """Coverage of the regions and calibration error of the weights."""
    shares, bins = coverage(evidence, calibration), reliability(evidence.weights, evidence.hits)
    return {
        "images": len(evidence.freedom),
        **{f"inside_{level:.0%}_region": shares[level] for level in LEVELS},
        "expected_calibration_error_of_weights": calibration_error(bins),
        "reliability": bins,
    }
