"""Where an object is, given its image and one of its rotations: p(position | rotation, image), one evaluation a sample.

Lengths are counted in the model's virtual camera, which looks at a region that may be off: x to the right and y down
are the tangents of the centre's direction over that of half the field of view (half images), and the third number is
the logarithm of the apparent size, tan(asin(radius / range)) over the same tangent (`Crop.fill` of an exact region).
A symmetric ambiguity keeps its own positions, as each rotation has one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lie_picard.model.config import ModelConfig

WIDTH = 256
_LOWER = ((1, 0), (2, 0), (2, 1))  # entries of the Cholesky factor below its diagonal
_SHARPEST, _WIDEST = math.log(1e-3), math.log(1.0)  # of the standard deviations
_START = (0.0, 0.0, math.log(0.85), *(math.log(0.1),) * 3, 0.0, 0.0, 0.0)


class PositionHead(nn.Module):
    """A normal distribution of (x, y, log size) for every rotation."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.image = nn.Linear(config.features, WIDTH)
        self.rotation = nn.Linear(9, WIDTH)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.leave = nn.Linear(WIDTH, 9)
        nn.init.zeros_(self.leave.weight)
        with torch.no_grad():
            self.leave.bias.copy_(torch.tensor(_START))

    def image_terms(self, features: Tensor) -> Tensor:
        """(B, F) image features -> (B, width), what `forward` needs of them."""
        return self.image(features)  # type: ignore[no-any-return]

    def forward(self, rotations: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and Cholesky factor of the covariance. (..., 3, 3), (..., width) -> (..., 3), (..., 3, 3) lower."""
        h = F.silu(image + self.rotation(rotations.flatten(-2)))
        out = self.leave(F.silu(h + self.hidden(h)))
        return out[..., :3], cholesky(out[..., 3:])


def cholesky(numbers: Tensor) -> Tensor:
    """Logarithms of three standard deviations, and three slopes, (..., 6) -> lower factor L (..., 3, 3).

    The covariance is L L^T. Slopes are in units of their row's deviation, so that none depends on the scale.
    """
    deviations = numbers[..., :3].clamp(_SHARPEST, _WIDEST).exp()
    factor = torch.diag_embed(torch.ones_like(deviations))
    for k, (row, column) in enumerate(_LOWER):
        unit = torch.zeros(3, 3, device=numbers.device, dtype=numbers.dtype)
        unit[row, column] = 1.0
        factor = factor + numbers[..., 3 + k, None, None].clamp(-10, 10) * unit
    return deviations[..., :, None] * factor


def log_density(offset: Tensor, factor: Tensor) -> Tensor:
    """Of a normal distribution, up to a constant. Offsets from the mean (..., 3), factors (..., 3, 3) -> (...)."""
    white = torch.linalg.solve_triangular(factor, offset[..., None], upper=False)[..., 0]
    return -0.5 * white.square().sum(-1) - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
