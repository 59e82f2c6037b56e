"""What an image says about its pose, as harmonic moments: an auxiliary target that teaches the encoder quickly.

The functions of R that a score head builds on are Y_lm(R v), the spherical harmonics of where a direction v of the
object points. Regressing them on the true pose gives their posterior means E[Y_lm(R v) | image]. Through the noise of
score matching the encoder learns symmetric shapes slowly: of an icosahedron nothing below degree 6 is left in the mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lie_picard import so3
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.model.config import ModelConfig
from lie_picard.model.harmonics import BodyFrame
from lie_picard.objects import Catalogue

_DIRECTIONS = 6
_VANISHING = 1e-3  # energy below which a degree is zero for a symmetry group
_AXIAL_STEP_DEG = 15.0  # 24 turns: more than twice any degree in use


class Moments(nn.Module):
    """A linear reading of the image feature, and its squared error.

    The mean over a bare shape's symmetries is known, so its moments are taken in the mean: the same optimum without the
    noise of which of the equal poses was rendered, scaled to unit energy at each degree. Of an object with landmarks
    half the directions are those of the bare shape and half point at its landmarks, low degrees first: where a mark is
    seen takes one look, which of 12 poses a face's colour stands for takes many. Objects of which nothing but the name
    is known are regressed on the rendered pose along directions of no meaning.
    """

    signature: Tensor

    def __init__(self, config: ModelConfig, known: Catalogue) -> None:
        super().__init__()
        self.catalogue = known
        self.frame = BodyFrame(config.degree)
        generic = self._zonal(so3.uniform(_DIRECTIONS, generator=torch.Generator().manual_seed(0)))
        tables = [self.frame.prepared(self._signature(generic, name)) for name in config.objects]
        tables.append(torch.zeros_like(self.frame.prepared(generic)))  # no known object
        self.register_buffer("signature", torch.stack(tables), persistent=False)
        self.read = nn.Linear(config.features, len(generic) * _DIRECTIONS)

    def forward(self, features: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
        """Mean squared error of each image. (B, F), (B, 3, 3), (B,) -> (B,)."""
        target = self.frame(self.signature[labels], truth.mT).flatten(1)
        return (self.read(features) - target).square().mean(1)

    def _turned(self, coefficients: Tensor, rotations: Tensor) -> Tensor:
        """D(R) c: (size, n), (B, 3, 3) -> (B, n, size). `BodyFrame` applies the inverse."""
        return self.frame(self.frame.prepared(coefficients), rotations.mT)

    def _zonal(self, rotations: Tensor) -> Tensor:
        """Y_lm(R z), every degree but 0 with unit energy: (n, 3, 3) -> (size, n)."""
        along = torch.zeros((self.frame.degree + 1) ** 2, 1)
        for degree in range(1, self.frame.degree + 1):
            along[degree * degree + degree] = 1.0
        return self._turned(along, rotations)[:, 0].T.clone()

    def _signature(self, generic: Tensor, name: str) -> Tensor:
        """Coefficients (size, directions) whose turned values are an object's target."""
        shape = self.catalogue.find(name)
        if shape is None:
            return generic
        symmetry, landmarks = shape.shape_symmetry, shape.landmarks
        if not len(landmarks):
            return torch.zeros_like(generic) if symmetry.is_ball else self._mean(generic, symmetry)
        pointing = self._zonal(torch.stack([so3.frame_of(landmark) for landmark in landmarks]))
        harmonic = sum(1 / k for k in range(1, self.frame.degree + 1))
        for k in range(1, self.frame.degree + 1):
            pointing[k * k : (k + 1) * (k + 1)] *= math.sqrt(self.frame.degree / k / harmonic)
        marked = pointing[:, torch.arange(_DIRECTIONS) % len(landmarks)]
        if symmetry.is_ball:
            return marked
        half = _DIRECTIONS // 2
        return torch.cat([self._mean(generic, symmetry)[:, :half], marked[:, half:]], 1)

    def _mean(self, generic: Tensor, symmetry: Symmetry) -> Tensor:
        """Coefficients (size, directions) averaged over the symmetries of a shape."""
        alike = symmetry.equivalents(torch.eye(3), _AXIAL_STEP_DEG)
        mean = self._turned(generic, alike).mean(0).T.clone()
        for k in range(1, self.frame.degree + 1):
            rows = mean[k * k : (k + 1) * (k + 1)]  # a view: changed in place
            energy = rows.square().sum(0).mean()
            rows.mul_(energy.rsqrt() if energy > _VANISHING else 0.0)
        return mean
