"""How large the score's error is expected to be, so that no image's error drowns another's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_BUMPS = 16
_TYPICAL = 0.1  # error that counts as it is
_LEAST = 1e-4


class Uncertainty(nn.Module):
    """The logarithm of the expected squared error, of an image and a noise level.

    Squared errors differ a thousandfold: a pose that a clean image tells to half a degree, and one that a hand covers.
    Their gradients do, too, and those of the second are mostly chance. To weigh each error by a power of the one that
    is expected (Kendall and Gal, 2017; Karras et al., 2024, for noise levels alone) leaves the optimum where it is, as
    the weight depends on nothing but what the score is given: the image and the noise level.
    """

    def __init__(self, features: int, width: int = 64) -> None:
        super().__init__()
        self.image = nn.Linear(features, width)
        self.level = nn.Linear(_BUMPS, width)
        self.read = nn.Linear(width, 1)
        nn.init.zeros_(self.read.weight)
        nn.init.constant_(self.read.bias, -2.0)

    def forward(self, features: Tensor, sigmas: Tensor, low: float, high: float) -> Tensor:
        """Logarithms. (B, F), (B, N) noise levels between `low` and `high` -> (B, N)."""
        places = (sigmas / low).log() / torch.tensor(high / low).log() * (_BUMPS - 1)
        bumps = torch.exp(-0.5 * (places[..., None] - torch.arange(_BUMPS, device=sigmas.device)).square())
        hidden = self.image(features.detach())[:, None] + self.level(bumps)
        return self.read(torch.nn.functional.silu(hidden))[..., 0]


def weighted(errors: Tensor, logarithms: Tensor, power: float) -> Tensor:
    """Errors (...) that are worth what they were, with the gradient of weighted ones, and that of the expectation.

    The expectation's own loss is the negative log likelihood of an exponential distribution, least at the mean.
    """
    expected = logarithms.detach().exp().clamp_min(_LEAST)
    balanced = errors * (expected / _TYPICAL) ** -power
    learned = errors.detach() * (-logarithms).exp() + logarithms
    return errors.detach() + (balanced - balanced.detach()) + (learned - learned.detach())
