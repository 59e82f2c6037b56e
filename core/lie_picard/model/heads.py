"""Score heads: (rotation, image feature, noise level) -> sigma * grad log p, in the body frame.

What depends on the image alone or on the noise level alone is computed once (`image_terms`, `time_terms`) and
indexed, so that an evaluation during sampling costs only what depends on the rotation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lie_picard import so3
from lie_picard.model.config import ModelConfig
from lie_picard.model.harmonics import BodyFrame


@dataclass(frozen=True)
class ImageTerms:
    """What a head keeps of B images.

    Attributes:
        coefficients: (B, copies, K) of spherical harmonics as `BodyFrame.prepared` gives them; None: not used.
        shift: (B, depth, width) of the MLP.
    """

    coefficients: Tensor | None
    shift: Tensor

    def __getitem__(self, index: Tensor) -> ImageTerms:
        coefficients = None if self.coefficients is None else self.coefficients[index]
        return ImageTerms(coefficients, self.shift[index])

    def unsqueeze(self, dim: int) -> ImageTerms:
        """Insert a dimension for several rotations an image."""
        coefficients = None if self.coefficients is None else self.coefficients.unsqueeze(dim)
        return ImageTerms(coefficients, self.shift.unsqueeze(dim))


class ConditionedMLP(nn.Module):
    """Residual MLP whose every block is shifted by the image and scaled and shifted by the noise level.

    The gain that turns an angle into an angle over sigma must grow as 1 / sigma: hence a scale, not only a shift.
    """

    def __init__(self, config: ModelConfig, inputs: int) -> None:
        super().__init__()
        width = config.width
        self.depth = config.depth
        self.enter = nn.Linear(inputs, width)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth))
        self.leave = nn.Linear(width, 3)
        self.image = nn.Linear(config.features, config.depth * width)
        self.time = nn.Sequential(
            nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, 2 * config.depth * width)
        )
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def image_shift(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, depth, width)."""
        return self.image(features).unflatten(-1, (self.depth, -1))

    def time_terms(self, sigmas: Tensor) -> Tensor:
        """(...) noise levels in radians -> (..., depth, 2, width): gains around 1 and shifts."""
        scale, shift = self.time(time_features(sigmas)).unflatten(-1, (self.depth, 2, -1)).unbind(-2)
        return torch.stack([1 + scale, shift], -2)

    def forward(self, inputs: Tensor, shift: Tensor, time: Tensor) -> Tensor:
        h = self.enter(inputs)
        offset = time[..., 1, :] + shift
        for block, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            h = h + second(F.silu(torch.addcmul(offset[..., block, :], first(h), time[..., block, 0, :])))
        return self.leave(F.silu(h))


class EquivariantHead(nn.Module):
    """The image as functions on the sphere, seen from the body frame of the noised rotation, then an MLP.

    Turning object and camera together changes nothing that the MLP sees, so it need not learn the group.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = (config.degree + 1) ** 2
        self.copies = config.copies
        self.coefficients = nn.Linear(config.features, size * config.copies)
        self.body_frame = BodyFrame(config.degree)
        self.mlp = ConditionedMLP(config, size * config.copies)

    def image_terms(self, features: Tensor) -> ImageTerms:
        """(B, F) image features -> what `forward` needs of them."""
        coefficients = self.coefficients(features).unflatten(-1, (-1, self.copies))
        return ImageTerms(self.body_frame.prepared(coefficients), self.mlp.image_shift(features))

    def time_terms(self, sigmas: Tensor) -> Tensor:
        """(...) noise levels -> what `forward` needs of them."""
        return self.mlp.time_terms(sigmas)

    def forward(self, rotations: Tensor, image: ImageTerms, time: Tensor) -> Tensor:
        """(..., 3, 3) rotations, terms of matching leading shape -> (..., 3) scores."""
        assert image.coefficients is not None
        body = self.body_frame(image.coefficients, rotations)
        return self.mlp(body.flatten(-2), image.shift, time)


class FourierHead(nn.Module):
    """The paper's head: sinusoidal embedding of the rotation vector (3 x 256 -> 256), then the same MLP."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mlp = ConditionedMLP(config, 3 * 2 * _ROTATION_FREQUENCIES)

    def image_terms(self, features: Tensor) -> ImageTerms:
        """(B, F) image features -> what `forward` needs of them."""
        return ImageTerms(None, self.mlp.image_shift(features))

    def time_terms(self, sigmas: Tensor) -> Tensor:
        """(...) noise levels -> what `forward` needs of them."""
        return self.mlp.time_terms(sigmas)

    def forward(self, rotations: Tensor, image: ImageTerms, time: Tensor) -> Tensor:
        """(..., 3, 3) rotations, terms of matching leading shape -> (..., 3) scores."""
        frequencies = torch.logspace(0, 2, _ROTATION_FREQUENCIES, device=rotations.device)
        phase = so3.log(rotations)[..., None] * frequencies
        return self.mlp(torch.cat([phase.sin(), phase.cos()], -1).flatten(-2), image.shift, time)


TIME_FEATURES = 32
_ROTATION_FREQUENCIES = 128


def time_features(sigmas: Tensor) -> Tensor:
    """Sines and cosines of log sigma at 16 frequencies. (...) -> (..., 32)."""
    frequencies = torch.arange(1, TIME_FEATURES // 2 + 1, device=sigmas.device) * (math.pi / 12)
    phase = sigmas.log()[..., None] * frequencies
    return torch.cat([phase.sin(), phase.cos()], -1)
