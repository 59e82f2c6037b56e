"""Calibration: regions that hold the truth as often as they say, weights that are probabilities."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from lie_picard.evaluation import calibration
from lie_picard.evaluation.calibration import Evidence
from lie_picard.posterior.covariance import Calibration, Scatter


def evidence(sure, generator, images=4000, shared=0.0):
    """A model whose samples spread `sure` times as far as its error, plus an error that all samples share, rad."""
    sigma = torch.rand(images, 1, generator=generator) * 0.02 + 0.005
    residuals = sigma * torch.randn(images, 3, generator=generator)
    residuals += shared * torch.randn(images, 3, generator=generator)
    weights = torch.rand(images, generator=generator)
    return Evidence(residuals, scatter((sure * sigma)[..., None] ** 2 * torch.eye(3)), torch.zeros(images, 3), weights,
                    torch.rand(images, generator=generator) < weights)  # fmt: skip


def scatter(covariances, count=100_000):
    """Of one mode with so many samples that nothing is left to guess."""
    counts, sums = np.full(len(covariances), float(count)), covariances.double().numpy() * (count - 1)
    return Scatter(sums, counts, sums, counts - 1)


def test_an_honest_model_covers_what_it_claims(generator):
    for level, share in calibration.coverage(evidence(1.0, generator), Calibration()).items():
        assert share == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize(("sure", "shared"), [(0.4, 0.0), (1.2, 0.0), (1.0, 0.01), (0.6, 0.005)])
def test_fitting_makes_a_model_honest_on_other_images(sure, shared, generator):
    fitted = calibration.fit([evidence(sure, generator, 1500, shared)])
    covered = calibration.coverage(evidence(sure, generator, shared=shared), fitted)
    assert 0.90 <= covered[0.95] <= 0.99
    if sure < 1 or shared:
        assert calibration.coverage(evidence(sure, generator, shared=shared), Calibration())[0.95] < covered[0.95]


def test_two_directions_are_judged_by_two(generator):
    """About a symmetry axis nothing can be missed; a chi-square with three degrees would claim too much."""
    residuals = 0.01 * torch.randn(4000, 3, generator=generator)
    residuals[:, 2] = 0
    spread = torch.diag(torch.tensor([1e-4, 1e-4, 1.0])).expand(4000, 3, 3)
    axes = torch.tensor([0.0, 0.0, 1.0]).expand(4000, 3)
    flat = Evidence(residuals, scatter(spread), axes, torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    assert calibration.coverage(flat, Calibration())[0.95] == pytest.approx(0.95, abs=0.015)


def test_weights_that_are_probabilities_have_a_small_calibration_error(generator):
    honest = evidence(1.0, generator)
    assert calibration.report(honest, Calibration())["expected_calibration_error_of_weights"] < 0.03
    squared = dataclasses.replace(honest, weights=honest.weights.square())
    assert calibration.report(squared, Calibration())["expected_calibration_error_of_weights"] > 0.1


def test_no_discrete_images_leave_the_weights_unjudged(generator):
    one = evidence(1.0, generator, images=10)
    bare = dataclasses.replace(one, weights=torch.zeros(0), hits=torch.zeros(0, dtype=torch.bool))
    assert math.isnan(calibration.report(bare, Calibration())["expected_calibration_error_of_weights"])
