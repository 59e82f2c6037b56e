"""What an image says about its pose, as harmonic moments: an auxiliary target that teaches the encoder quickly.

The functions of R that a score head builds on are Y_lm(R v), the spherical harmonics of where a direction v of the
object points. Regressing them on the true pose gives their posterior means E[Y_lm(R v) | image]. Through the noise of
score matching the encoder learns symmetric shapes slowly: of an icosahedron nothing below degree 6 is left in the mean.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lie_picard import so3
from lie_picard.model.config import ModelConfig
from lie_picard.model.harmonics import BodyFrame
from lie_picard.symsol.markers import frame_of
from lie_picard.symsol.solids import SOLIDS, solid

_DIRECTIONS = 6
_VANISHING = 1e-3  # energy below which a degree is zero for a symmetry group
_AXIAL_TURNS = 24  # more than twice any degree in use


class Moments(nn.Module):
    """A linear reading of the image feature, and its squared error.

    The mean over a bare solid's symmetries is known, so its moments are taken in the mean: the same optimum without the
    noise of which of the equal poses was rendered, scaled to unit energy at each degree. Of a solid with markers half
    the directions are those of the bare solid and half point at its markers, low degrees first: where a marker is seen
    takes one look, which of 12 poses a face's colour stands for takes many. Other objects are regressed on the rendered
    pose along directions of no meaning.
    """

    signature: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.frame = BodyFrame(config.degree)
        size = (config.degree + 1) ** 2
        zonal = torch.zeros(size, 1)  # Y_lm(z), every degree with unit energy
        for degree in range(1, config.degree + 1):
            zonal[degree * degree + degree] = 1.0
        directions = so3.uniform(_DIRECTIONS, generator=torch.Generator().manual_seed(0))
        generic = self._turned(zonal, directions)[:, 0].T  # (size, directions)
        self._zonal = zonal
        tables = [self.frame.prepared(self._signature(generic, name, config.degree)) for name in config.objects]
        absent = torch.zeros_like(tables[0]) if tables else self.frame.prepared(torch.zeros_like(generic))
        self.register_buffer("signature", torch.stack([*tables, absent]), persistent=False)
        self.read = nn.Linear(config.features, size * _DIRECTIONS)

    def forward(self, features: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
        """Mean squared error of each image. (B, F), (B, 3, 3), (B,) -> (B,)."""
        target = self.frame(self.signature[labels], truth.mT).flatten(1)
        return (self.read(features) - target).square().mean(1)

    def _turned(self, coefficients: Tensor, rotations: Tensor) -> Tensor:
        """D(R) c: (size, n), (B, 3, 3) -> (B, n, size). `BodyFrame` applies the inverse."""
        return self.frame(self.frame.prepared(coefficients), rotations.mT)

    def _signature(self, generic: Tensor, name: str, degree: int) -> Tensor:
        """Coefficients (size, directions) whose turned values are an object's target."""
        if name not in SOLIDS:
            return generic
        markers = solid(name).markers
        if not markers:
            return self._mean(generic, name, degree)
        normals = [marker.centre / marker.centre.norm() for marker in markers]
        if len(normals) > 1:
            normals.append(F.normalize(torch.linalg.cross(normals[0], normals[1]), dim=0))
        pointing = self._turned(self._zonal, torch.stack([frame_of(normal) for normal in normals]))[:, 0].T.clone()
        for k in range(1, degree + 1):
            pointing[k * k : (k + 1) * (k + 1)] *= math.sqrt(degree / k / sum(1 / n for n in range(1, degree + 1)))
        marked = pointing[:, torch.arange(_DIRECTIONS) % len(normals)]
        if solid(name).ball:
            return marked
        half = _DIRECTIONS // 2
        return torch.cat([self._mean(generic, name, degree)[:, :half], marked[:, half:]], 1)

    def _mean(self, generic: Tensor, name: str, degree: int) -> Tensor:
        """Coefficients (size, directions) averaged over the symmetries of a bare solid."""
        group = solid(name).group
        if solid(name).axial:
            angles = torch.arange(_AXIAL_TURNS) * (2 * math.pi / _AXIAL_TURNS)
            group = (group[:, None] @ so3.about_axis(torch.tensor([0.0, 0.0, 1.0]), angles)[None]).flatten(0, 1)
        mean = self._turned(generic, group).mean(0).T.clone()
        for k in range(1, degree + 1):
            rows = mean[k * k : (k + 1) * (k + 1)]  # a view: changed in place
            energy = rows.square().sum(0).mean()
            rows.mul_(energy.rsqrt() if energy > _VANISHING else 0.0)
        return mean
