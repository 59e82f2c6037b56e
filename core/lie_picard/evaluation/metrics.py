"""What a set of samples is measured by: precision, recall, uniformity over modes, separation of two scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard import so3

REACHED_DEG = 5.0
_NEAR_DEG = 15.0  # samples beyond belong to no mode


def precision(errors: Tensor) -> dict[str, Any]:
    """Of each sample's angle in degrees to the nearest true pose, (N,)."""
    return {
        "mean_deg": float(errors.mean()),
        "median_deg": float(errors.median()),
        "within_2deg": float((errors <= 2).float().mean()),
        "within_5deg": float((errors <= 5).float().mean()),
        "within_10deg": float((errors <= 10).float().mean()),
    }


def nearest_samples(poses: Tensor, samples: Tensor) -> Tensor:
    """Angle in degrees from each true pose (M, 3, 3) to the nearest of (N, 3, 3) samples. -> (M,)."""
    return so3.degrees(so3.pairwise_angle(poses, samples).amin(1))


def recall(poses: Tensor, samples: Tensor) -> dict[str, Any]:
    """Of all true poses of an image (M, 3, 3), by (N, 3, 3) samples."""
    nearest = nearest_samples(poses, samples)
    return {
        "recall_deg": float(nearest.mean()),
        "modes": len(poses),
        "modes_reached": float((nearest <= REACHED_DEG).double().mean()),
        "modes_reached_if_uniform": modes_reached_if_uniform(len(poses), len(samples)),
    }


def modes_reached(poses: Tensor, samples: Tensor) -> float:
    """Share of the true poses with a sample within `REACHED_DEG`."""
    return float((nearest_samples(poses, samples) <= REACHED_DEG).float().mean())


def modes_reached_if_uniform(modes: int, samples: int) -> float:
    """The same for a perfect sampler, which misses some modes too: 1 - (1 - 1/M)^n."""
    return 1 - (1 - 1 / modes) ** samples


def uniformity(poses: Tensor, samples: Tensor) -> tuple[float, float]:
    """Pearson's chi-square of samples over M discrete true poses: its value per degree of freedom, and p.

    Equal images make all true poses equally likely. p is the probability of a larger value for a perfect sampler.
    """
    angle = so3.degrees(so3.pairwise_angle(samples, poses))
    near = angle.amin(1) <= _NEAR_DEG
    counts = torch.bincount(angle.argmin(1)[near], minlength=len(poses)).double()
    expected = counts.sum().clamp_min(1e-9) / len(poses)
    chi2 = ((counts - expected).square() / expected).sum()
    freedom = torch.tensor(len(poses) - 1.0, dtype=torch.float64)
    return float(chi2 / freedom), float(torch.special.gammaincc(freedom / 2, chi2 / 2))


def area_under_roc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive's score exceeds a negative's, ties half. (P,), (N,)."""
    scores = torch.cat([positive, negative]).double()
    _, inverse, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    counts = counts.double()
    below = counts.cumsum(0) - counts
    ranks = (below + (counts + 1) / 2)[inverse]
    p, n = len(positive), len(negative)
    return float((ranks[:p].sum() - p * (p + 1) / 2) / (p * n))


def percentiles(values: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """p50, p95, p99 and max; nothing of nothing."""
    if not len(values):
        return {}
    p50, p95, p99 = np.quantile(values, (0.5, 0.95, 0.99)).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "max": float(max(values))}


def confidence(residual: Tensor, covariance: Tensor, axis: Tensor) -> Tensor:
    """The smallest confidence whose Gaussian region holds a point.

    Args:
        residual: (M, n). covariance: (M, n, n), of the same frame and unit squared. axis: (M, n) unit vectors, across
            which alone the point is sought; 0: everywhere.

    Returns:
        (M,) in [0, 1].
    """
    residual, covariance, axis = residual.double(), covariance.double(), axis.double()
    whole = torch.eye(residual.shape[1], dtype=torch.float64)
    along = axis[:, :, None] * axis[:, None, :]
    across = whole - along
    # Along the axis a unit variance meets a residual of zero.
    spread = across @ covariance @ across + along
    values, vectors = torch.linalg.eigh(spread)
    # Samples that all agree have no spread to divide by: a micrometre or microradian is the least.
    missed = (residual[:, None] @ across @ vectors)[:, 0]
    squared = (missed.square() / values.clamp_min(1e-12)).sum(1)
    freedom = residual.shape[1] - (axis.square().sum(1) > 0.5).double()
    return torch.special.gammainc(freedom / 2, squared / 2)
