"""A range that a depth image measured, and poses that the image tells, made one by their covariances.

A linear Gaussian update of whole poses (Kalman): what else errs with the range moves along. Samples are moved as the
square-root filter moves an ensemble (Whitaker and Hamill, 2002), without random numbers, so that their spread shrinks
as the covariance does.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from lie_picard.posterior import arrays
from lie_picard.posterior.hypotheses import Hypotheses, posed, poses_of_modes

Array = NDArray[np.float64]

APART = 4.0  # standard deviations from which the two contradict each other


def fused(hypotheses: Hypotheses, measured: float, sigma: float, centre: Array) -> tuple[Hypotheses, float]:
    """Hypotheses after a measurement of the range of the heaviest one's origin.

    What was measured is a surface, at which all hypotheses of one look must place the object alike: so the measurement
    is of the point about which its symmetries turn, which they share, along the heaviest one's ray.

    Args:
        hypotheses: whole poses in the camera's frame, metres. measured, sigma: along the ray to the heaviest mode's
            position, metres. centre: (3,) that point in the object's frame (`Symmetry.centre`), metres.

    Returns:
        the hypotheses, and by how many standard deviations the two ranges differ. From `APART` on the image's own range
        is as good as dropped: it is wrong by more than it says, the measurement is none of a guess.
    """
    rotations, positions, covariances = (one.numpy() for one in poses_of_modes(hypotheses))
    ray = positions[0] / np.linalg.norm(positions[0])
    levers = rotations @ centre
    measures = np.concatenate([np.broadcast_to(ray, levers.shape), np.cross(levers, ray)], 1)  # (M, 6)
    known = np.isfinite(covariances)
    spread = np.where(known, covariances, 0.0)
    gaps = measured + ray @ levers[0] - (positions + levers) @ ray
    variance = _along(spread, measures) + sigma**2
    apart = abs(float(gaps[0])) / math.sqrt(float(variance[0]))
    # Of the covariance before it is widened: this is how far the samples spread.
    shrunk = np.einsum("mij,mj->mi", spread, measures) / (variance + sigma * np.sqrt(variance))[:, None]
    if apart > APART:
        # So much more uncertain that both could be true.
        spread = spread.copy()
        spread[:, :3, :3] += gaps[0] ** 2 * np.outer(ray, ray)
        variance = _along(spread, measures) + sigma**2
    gains = np.einsum("mij,mj->mi", spread, measures) / variance[:, None]
    steps = gains * gaps[:, None]
    # Joseph's form stays positive where rounding would not.
    kept = np.eye(6) - gains[:, :, None] * measures[:, None, :]
    left = kept @ spread @ kept.swapaxes(-1, -2) + sigma**2 * gains[:, :, None] * gains[:, None, :]
    centres, places = arrays.exp(steps[:, 3:]) @ rotations, positions + steps[:, :3]

    mode_of = hypotheses.mode_of.numpy()
    assert hypotheses.positions is not None
    samples, there = hypotheses.rotations.double().numpy(), hypotheses.positions.numpy()
    offsets = np.concatenate([there - positions[mode_of], arrays.log(samples @ rotations[mode_of].swapaxes(-1, -2))], 1)
    off = (offsets * measures[mode_of]).sum(1)
    moves = steps[mode_of] - shrunk[mode_of] * off[:, None]
    tensors = (
        arrays.exp(moves[:, 3:]) @ samples,
        there + moves[:, :3],
        centres,
        places,
        np.where(known, left, np.nan),
    )
    return posed(hypotheses, *map(torch.from_numpy, tensors)), apart


def _along(covariances: Array, measures: Array) -> Array:
    """Variance of each mode's measure. (M, 6, 6), (M, 6) -> (M,)."""
    return np.asarray(np.einsum("mi,mij,mj->m", measures, covariances, measures))
