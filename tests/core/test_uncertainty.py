"""Errors weighed by what is expected of them: worth what they were, learned at their own scale, the same optimum."""

import pytest
import torch

from lie_picard.training.uncertainty import Uncertainty, weighted

LOW, HIGH = 0.01, 2.0


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_an_error_is_worth_what_it_was_and_its_gradient_is_weighed(power):
    errors = torch.tensor([0.001, 0.1, 0.9], requires_grad=True)
    expected = torch.tensor([0.002, 0.1, 0.5])
    found = weighted(errors, expected.log(), power)
    assert torch.equal(found, errors)
    found.sum().backward()
    torch.testing.assert_close(errors.grad, (expected / 0.1) ** -power)


def test_an_expectation_of_nothing_weighs_no_more_than_a_small_one():
    errors = torch.tensor([1.0, 1.0], requires_grad=True)
    weighted(errors, torch.tensor([-50.0, -9.3]), 1.0).sum().backward()
    assert errors.grad.max() <= 1100 and torch.isfinite(errors.grad).all()


def test_the_expectation_becomes_the_mean_error_of_an_image_and_a_noise_level():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = Uncertainty(8)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    true = lambda features, sigmas: 0.3 * torch.sigmoid(2 * features[:, :1]) * (0.1 + sigmas)  # noqa: E731
    for _ in range(600):
        features = torch.randn(256, 8, generator=generator)
        sigmas = LOW * (HIGH / LOW) ** torch.rand(256, 4, generator=generator)
        errors = true(features, sigmas) * torch.empty(256, 4).exponential_(generator=generator)
        optimizer.zero_grad()
        weighted(errors, model(features, sigmas, LOW, HIGH), 1.0).mean().backward()
        optimizer.step()
    features, sigmas = torch.randn(100, 8, generator=generator), torch.full((100, 2), 1.0)
    sigmas[:, 1] = 0.05
    with torch.no_grad():
        ratio = model(features, sigmas, LOW, HIGH).exp() / true(features, sigmas)
    assert (ratio.log().abs() < 0.4).float().mean() > 0.95


def test_the_optimum_stays_the_mean():
    """Two kinds of images, one a hundred times as uncertain: both are estimated by the mean of what they show."""
    generator = torch.Generator().manual_seed(1)
    kind = torch.arange(20_000) % 2
    values = torch.where(kind == 0, 1.0, -2.0) + torch.where(kind == 0, 0.1, 1.0) * torch.randn(
        20_000, generator=generator
    )
    estimate = torch.zeros(2, requires_grad=True)
    expected = torch.where(kind == 0, 0.01, 1.0).log()
    for _ in range(200):
        weighted((values - estimate[kind]).square(), expected, 1.0).mean().backward()
        with torch.no_grad():
            estimate -= torch.tensor([0.05, 5.0]) * estimate.grad
        estimate.grad = None
    means = torch.stack([values[kind == k].mean() for k in (0, 1)])
    torch.testing.assert_close(estimate.detach(), means, atol=1e-3, rtol=0)
