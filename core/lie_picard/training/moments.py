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
from lie_picard.objects import Catalogue, Object
from lie_picard.objects.alike import GRID, Shares, circle_turns

_DIRECTIONS = 6
_VANISHING = 1e-3  # energy below which a degree is zero for a symmetry group
_AXIAL_STEP_DEG = 15.0  # 24 turns: more than twice any degree in use
# How much each degree counts, 1 first: a part without symmetry is told from its own flips by the lowest ones.
_FACTORS = (2.0, 1.4, 1.0, 0.7, 0.5, 0.4)


class Moments(nn.Module):
    """A linear reading of the image feature, and its squared error.

    The poses that look the same in an image are known, so the moments are taken in the mean over them: the same optimum
    without the noise of which of them was rendered. Of a bare shape they are scaled to unit energy at each degree that
    its symmetry leaves. Of an object with landmarks half the directions are those of the bare shape and half point at
    its landmarks, low degrees first: where a mark is seen takes one look, which of 12 poses a face's colour stands for
    takes many. Objects of which nothing but the name is known are regressed on the rendered pose along directions of no
    meaning.
    """

    signature: Tensor

    def __init__(self, config: ModelConfig, known: Catalogue, by_view: bool = True) -> None:
        """`by_view`: whether `forward` will be told which poses look alike in each image."""
        super().__init__()
        self.catalogue = known
        self.frame = BodyFrame(config.degree)
        generic = self._zonal(so3.uniform(_DIRECTIONS, generator=torch.Generator().manual_seed(0)))
        self._tables: dict[int, Tensor] = {}
        signatures = []
        for label, name in enumerate(config.objects):
            shape = known.find(name)
            signatures.append(self._signature(generic, shape))
            if by_view and shape is not None and shape.depends_on_view:
                self._tables[label] = self._table(signatures[-1], shape)
        signatures.append(torch.zeros_like(generic))  # no known object
        self.register_buffer("signature", torch.stack(signatures), persistent=False)
        self.read = nn.Linear(config.features, len(generic) * _DIRECTIONS)

    def forward(
        self, features: Tensor, truth: Tensor, labels: Tensor, alike: dict[int, Shares | None] | None = None
    ) -> Tensor:
        """Mean squared error of each image. (B, F), (B, 3, 3), (B,) -> (B,).

        Args:
            alike: which poses look the same in each image (`AveragedTarget.alike`); None: the rendered one alone.
        """
        return (self.read(features) - self.target(truth, labels, alike).flatten(1)).square().mean(1)

    def target(self, truth: Tensor, labels: Tensor, alike: dict[int, Shares | None] | None = None) -> Tensor:
        """What the reading is compared with. (B, 3, 3), (B,) -> (B, directions, size)."""
        coefficients = self.signature[labels]
        for label, shares in (alike or {}).items():
            if shares is not None and label in self._tables:
                chosen = (labels == label).nonzero()[:, 0]
                weights = torch.cat([shares.turns, shares.circles.flatten(1)], 1)
                weights = weights / weights.sum(1, keepdim=True)
                coefficients[chosen] = (weights @ self._tables[label].to(weights).flatten(1)).unflatten(
                    1, coefficients.shape[1:]
                )
        return self.frame(self.frame.prepared(coefficients), truth.mT)

    def _table(self, signature: Tensor, shape: Object) -> Tensor:
        """A signature turned by every motion of an object's family. -> (K + A GRID, size, directions)."""
        turns = torch.cat([shape.family.turns.float(), circle_turns(shape.family, signature).flatten(0, 1)])
        assert len(turns) == len(shape.family.turns) + GRID * len(shape.family.axes)
        return self._turned(signature, turns).mT.contiguous()

    def _turned(self, coefficients: Tensor, rotations: Tensor) -> Tensor:
        """D(R) c: (size, n), (B, 3, 3) -> (B, n, size). `BodyFrame` applies the inverse."""
        return self.frame(self.frame.prepared(coefficients), rotations.mT)

    def _zonal(self, rotations: Tensor) -> Tensor:
        """Y_lm(R z), every degree but 0 with unit energy: (n, 3, 3) -> (size, n)."""
        along = torch.zeros((self.frame.degree + 1) ** 2, 1)
        for degree in range(1, self.frame.degree + 1):
            along[degree * degree + degree] = 1.0
        return self._turned(along, rotations)[:, 0].T.clone()

    def _signature(self, generic: Tensor, shape: Object | None) -> Tensor:
        """Coefficients (size, directions) whose turned values are an object's target."""
        if shape is None:
            return generic
        symmetry, landmarks = shape.shape_symmetry, shape.landmarks
        if not len(landmarks):
            if symmetry.is_ball:
                return torch.zeros_like(generic)
            return self._weighted(self._mean(generic, symmetry if not shape.depends_on_view else Symmetry.none()))
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

    def _weighted(self, mean: Tensor) -> Tensor:
        """Low degrees weighted up, the energy of all as it was."""
        rows = [slice(k * k, (k + 1) * (k + 1)) for k in range(1, self.frame.degree + 1)]
        factors = [_FACTORS[min(k, len(_FACTORS) - 1)] for k in range(len(rows))]
        there = [f for row, f in zip(rows, factors, strict=True) if mean[row].any()]
        scale = math.sqrt(sum(f * f for f in there) / len(there)) if there else 1.0
        for row, factor in zip(rows, factors, strict=True):
            mean[row] *= factor / scale
        return mean
