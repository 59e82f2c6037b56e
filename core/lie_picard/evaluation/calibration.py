"""Calibration: regions that hold the truth as often as they say, weights that are probabilities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard import so3
from lie_picard.data.seeds import stream_generator
from lie_picard.data.testset import cases
from lie_picard.estimation.draws import Drawn
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.estimation.places import PlacesOfModes, places_of_modes
from lie_picard.evaluation.accuracy import EvaluationOptions
from lie_picard.evaluation.metrics import confidence
from lie_picard.posterior.covariance import Calibration, Scatter
from lie_picard.posterior.hypotheses import MODE_RADIUS, find_modes
from lie_picard.sampling import SamplerOptions

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
_FITTED_FROM = 0.9
_BINS = (0.0, 0.02, 0.04, 0.07, 0.12, 0.25, 0.5, 0.75, 1.0)
SAMPLES = 16, 32, 128  # of the same images: regions shall be calibrated however many there are
_SCALES = 0.6, 0.8, 1.0, 1.2, 1.5, 1.8, 2.0, 2.2, 2.5, 2.8, 3.3
_FLOORS = 0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0  # degrees
_PLACE_FLOORS = 0.0, 0.002, 0.004, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2  # half images, or of log size
_PARTS = {"sideways": slice(0, 2), "range": slice(2, 3)}  # of a place
_SPREADS = 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0  # degrees


@dataclass(frozen=True)
class Evidence:
    """What is known about the heaviest mode of M images, and about all their weights.

    Attributes:
        residuals: (M, 3) rad, Log(nearest true pose mode^T), in the camera's frame. scatter: (M, ...) of the mode.
        axes: (M, 3) unit vectors in the camera's frame along which there is nothing to miss, as they are symmetry
            axes; 0 where there is none.
        weights: (W,) of every mode of images with discrete poses. hits: (W,) whether it is the rendered pose's.
        places: what the model tells of the places of these modes; None where it does not. Rotations are then those seen
            along the ray to the object's centre. missed: (M, 3) true place less the mean.
    """

    residuals: Tensor
    scatter: Scatter
    axes: Tensor
    weights: Tensor
    hits: Tensor
    places: PlacesOfModes | None = None
    missed: Tensor | None = None

    def probabilities(self, calibration: Calibration) -> Tensor:
        """The smallest confidence whose region holds a true pose, for each image that has one. -> (M',)."""
        covariances = torch.from_numpy(self.scatter.covariance(calibration))
        known = ~covariances.isnan().any(-1).any(-1)
        return confidence(self.residuals[known], covariances[known], self.axes[known])

    def joint(self, calibration: Calibration) -> tuple[Tensor, Tensor, Tensor]:
        """Of (place, rotation): residuals (M, 6), covariances (M, 6, 6), axes (M, 6). Where the model tells places."""
        assert self.places is not None and self.missed is not None
        covariances = self.places.joint(torch.from_numpy(self.scatter.covariance(calibration)), calibration)
        nothing = torch.zeros_like(self.missed)
        return torch.cat([self.missed, self.residuals], 1), covariances, torch.cat([nothing, self.axes], 1)

    def position_probabilities(self, calibration: Calibration, part: slice = slice(0, 3)) -> Tensor:
        """`probabilities` of places, or of some of their numbers. -> (M,)."""
        residuals, covariances, axes = self.joint(calibration)
        return confidence(residuals[:, part], covariances[:, part, part], axes[:, part])

    def pose_probabilities(self, calibration: Calibration) -> Tensor:
        """`probabilities` of whole poses: to first order a pose is linear in place and rotation. -> (M',)."""
        residuals, covariances, axes = self.joint(calibration)
        known = ~covariances.isnan().any(-1).any(-1)
        return confidence(residuals[known], covariances[known], axes[known])


def gather(
    estimator: PoseEstimator,
    shapes: Sequence[str],
    sampler: SamplerOptions,
    options: EvaluationOptions,
    stream: str,
    on_images: Callable[[int], None] | None = None,
) -> dict[int, Evidence]:
    """Evidence by number of samples, `SAMPLES`, from `options.images` images of each object, of a test stream."""
    looks: dict[int, list[_Appearance]] = {count: [] for count in SAMPLES}
    for number, shape in enumerate(shapes):
        pictures, starts = (stream_generator(stream, options.seed, 2 * number + k) for k in range(2))
        shown = estimator.catalogue[shape]
        for case in cases(estimator.config, shown, options.images, pictures, options.randomisation):
            names = [shape if options.named else None] * len(case.images)
            solution = estimator.draw(case.images, names, max(SAMPLES), starts, sampler)
            view = case.view if solution.places is not None else None
            for k, samples in enumerate(solution.along_ray.cpu().unflatten(0, (len(case.images), -1))):
                poses = case.poses.listed(k, 0.5)
                if poses is None:
                    continue
                samples, poses, truth = samples.double(), poses.double(), case.poses.truth[k].double()
                if view is not None:
                    turn = so3.turn_z_to(view.translations[k].double()).mT
                    poses, truth = turn @ poses, turn @ truth
                for count, seen in looks.items():
                    seen.append(_appearance(samples[:count], poses, case.poses.axis(k), truth))
                    if view is not None:
                        seen[-1] = _with_place(seen[-1], solution, k, view.places()[k])
            if on_images:
                on_images(len(case.images))
    return {count: _joined(seen) for count, seen in looks.items()}


@dataclass(frozen=True)
class _Appearance:
    """An image's part of `Evidence`."""

    residual: Tensor
    scatter: tuple[NDArray[np.float64], ...]
    axis: Tensor
    weights: Tensor
    hits: Tensor
    best: Tensor
    places: PlacesOfModes | None = None
    missed: Tensor | None = None


def _appearance(samples: Tensor, poses: Tensor, axis: Tensor | None, truth: Tensor) -> _Appearance:
    modes, mode_of = find_modes(samples)
    means, best = torch.stack([mode.rotation for mode in modes]), modes[0].rotation
    scatter = Scatter.of(means.numpy(), samples.numpy(), mode_of.numpy())
    nearest = poses[so3.angle(poses, best).argmin()]
    weights, hits = torch.zeros(0), torch.zeros(0, dtype=torch.bool)
    if axis is None:
        weights = torch.tensor([mode.weight for mode in modes])
        angle = so3.angle(means, truth)
        hits = torch.zeros(len(modes), dtype=torch.bool)
        hits[angle.argmin()] = bool(angle.min() <= MODE_RADIUS)
    first = (scatter.within[0], scatter.count[0], scatter.total, scatter.freedom)
    along = torch.zeros(3).to(best) if axis is None else best @ axis.to(best)
    return _Appearance(so3.log(nearest @ best.mT), first, along, weights, hits, best)


def _with_place(look: _Appearance, drawn: Drawn, image: int, truth: Tensor) -> _Appearance:
    """With what the model tells of the mode's place (x, y, log size), whose truth is (3,)."""
    assert drawn.places is not None
    rotation, index = look.best[None].to(drawn.along_ray), torch.tensor([image], device=drawn.along_ray.device)
    places = places_of_modes(drawn.places, rotation, index)
    return replace(look, places=places, missed=truth.double() - places.mean[0])


def _joined(looks: Sequence[_Appearance]) -> Evidence:
    if not looks:
        raise ValueError("the true poses of no image can be listed: nothing tells how well covariances are calibrated")
    scatter = Scatter(*(np.stack(parts) for parts in zip(*(one.scatter for one in looks), strict=True)))
    told = [(one.places, one.missed) for one in looks if one.places is not None and one.missed is not None]
    places = missed = None
    if told:
        each = zip(*(found for found, _ in told), strict=True)
        places, missed = PlacesOfModes(*(torch.cat(parts) for parts in each)), torch.stack([gap for _, gap in told])
    return Evidence(torch.stack([one.residual for one in looks]), scatter, torch.stack([one.axis for one in looks]),
                    torch.cat([one.weights for one in looks]), torch.cat([one.hits for one in looks]),
                    places, missed)  # fmt: skip


def fit(evidence: Sequence[Evidence]) -> Calibration:
    """The calibration whose regions hold the truth as often as they say, on all sets of images alike.

    Errors have heavier tails than a Gaussian, so no scale is right for all confidences: it is fitted to regions of 90%
    and more, which a planner keeps clear of, at the price of regions of 50% that are too large.
    """
    best, chosen = math.inf, Calibration()
    for scale, floor, spread in itertools.product(_SCALES, _FLOORS, _SPREADS):
        calibration = Calibration(scale, math.radians(floor), math.radians(spread))
        error = sum((c - level) ** 2 for one in evidence for level, c in coverage(one, calibration).items()
                    if level >= _FITTED_FROM)  # fmt: skip
        if error < best:
            best, chosen = error, calibration
    for name, part in _PARTS.items():
        chosen = _fit_places([one for one in evidence if one.places is not None], chosen, name, part)
    return chosen


def _fit_places(evidence: Sequence[Evidence], calibration: Calibration, name: str, part: slice) -> Calibration:
    """The same of some numbers of the places, given the calibration of the rotation that moves them."""
    best, chosen = math.inf, calibration
    for scale, floor in itertools.product(_SCALES, _PLACE_FLOORS if evidence else ()):
        tried = replace(calibration, **{f"{name}_scale": scale, f"{name}_floor": floor})
        error = sum((share - level) ** 2 for one in evidence
                    for level, share in covered(one.position_probabilities(tried, part)).items()
                    if level >= _FITTED_FROM)  # fmt: skip
        if error < best:
            best, chosen = error, tried
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
    regions = {f"inside_{level:.0%}_region": shares[level] for level in LEVELS}
    if evidence.places is not None:
        told = {"position": evidence.position_probabilities, "pose": evidence.pose_probabilities}
        for name, probabilities in told.items():
            inside = covered(probabilities(calibration))
            regions |= {f"{name}_inside_{level:.0%}_region": inside[level] for level in LEVELS}
    return {
        "images": len(evidence.residuals),
        **regions,
        "expected_calibration_error_of_weights": calibration_error(bins),
        "reliability": bins,
    }
