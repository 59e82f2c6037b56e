"""The flow map: from a rotation at one noise level straight to where the probability flow has it at a lower one.

The flow dR/dsigma = -R hat(s(R, sigma)) takes R at sigma to

    Phi(R, sigma, tau) = R Exp((sigma - tau) v(R, sigma, tau)),

with v the score averaged along the way (in the body frame, as the score is); v -> s for tau -> sigma. A network that
knows v samples in a few evaluations (Boffi et al., "Flow map matching", 2024; on manifolds: Davis et al., "Generalised
flow maps", 2025). `training.distillation` learns it from the score.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lie_picard import so3
from lie_picard.model.config import ModelConfig
from lie_picard.model.heads import TIME_FEATURES, EquivariantHead, FourierHead, ImageTerms, time_features

_LOWEST = 5e-3  # radians: what the network is told of tau = 0, whose logarithm is none


class FlowMap(nn.Module):
    """A score head that is also told where to go. It keeps the head's equivariance: the image enters as it does there.

    Its terms of image and time have the shapes of the head's, so whatever runs the head runs this.
    """

    def __init__(self, config: ModelConfig, head: type[EquivariantHead] | type[FourierHead]) -> None:
        super().__init__()
        self.head = head(config)
        width = config.width
        leave = nn.Linear(width, 2 * config.depth * width)
        nn.init.zeros_(leave.weight)
        nn.init.zeros_(leave.bias)
        self.towards = nn.Sequential(nn.Linear(2 * TIME_FEATURES, width), nn.SiLU(), leave)

    def begin_at(self, head: nn.Module) -> None:
        """Take a score head's weights: v of a new map is then the score, whatever the aim."""
        self.head.load_state_dict(head.state_dict())

    def image_terms(self, features: Tensor) -> ImageTerms:
        """(B, F) image features -> what `forward` needs of them."""
        return self.head.image_terms(features)

    def time_terms(self, sigmas: Tensor, taus: Tensor) -> Tensor:
        """(...) noise levels [rad] from and to (0: the denoised rotation) -> what `forward` needs of them."""
        both = torch.cat([time_features(sigmas), time_features(taus.clamp_min(_LOWEST))], -1)
        terms = self.head.time_terms(sigmas)
        return terms + self.towards(both).unflatten(-1, terms.shape[-3:])

    def forward(self, rotations: Tensor, image: ImageTerms, time: Tensor) -> Tensor:
        """v of (..., 3, 3) rotations, terms of matching leading shape. -> (..., 3)."""
        return self.head(rotations, image, time)  # type: ignore[no-any-return]


def moved(rotations: Tensor, velocity: Tensor, sigmas: Tensor, taus: Tensor) -> Tensor:
    """Phi(R, sigma, tau): rotations (..., 3, 3), their v (..., 3), noise levels (...) -> (..., 3, 3)."""
    return rotations @ so3.exp((sigmas - taus)[..., None] * velocity)
