"""What the score is regressed on: the mean over the poses that look the same, instead of the noise that was drawn.

Score matching regresses on -z, where R_sigma = R_0 Exp(sigma z). Of an object that looks the same at R_0 S_k, which of
these was rendered is chance, and at high noise that chance is nearly all of the loss. Its mean is known: with

    v_k = Log((R_0 S_k)^T R_sigma),   v_kn = v_k (1 + 2 pi n / |v_k|), n = -1, 0, 1      (tangents that lead there)
    w_kn ~ exp(-|v_kn|^2 / 2 sigma^2) |v_kn|^2 / (2 - 2 cos |v_k|)     (density of Exp(sigma z) by Haar's measure)

the target is -sum_kn w_kn v_kn / sigma: the same optimum, without the noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lie_picard import so3
from lie_picard.model.config import ModelConfig
from lie_picard.objects import Catalogue
from lie_picard.rendering.constants import constant

_STEP_DEG = 5.0  # between the poses that stand for a circle
_SMALLEST = 1e-2  # rad; of a smaller turn the terms of n = -1 and 1 cancel, and their quotients are rounding errors


class AveragedTarget(nn.Module):
    """The mean of -z over the symmetry of an object's shape, given the noised rotation.

    An object whose colours tell poses apart keeps the pose that was rendered: which of its poses look the same hangs on
    what the image shows. So does one of which nothing but the name is known.
    """

    turns: Tensor
    missing: Tensor

    def __init__(self, config: ModelConfig, known: Catalogue) -> None:
        super().__init__()
        groups = [self._turns(known, name) for name in config.objects] + [torch.eye(3)[None]]
        longest = max(map(len, groups))
        turns = torch.eye(3).repeat(len(groups), longest, 1, 1)
        missing = torch.ones(len(groups), longest, dtype=torch.bool)
        for row, group in enumerate(groups):
            turns[row, : len(group)], missing[row, : len(group)] = group, False
        self.register_buffer("turns", turns, persistent=False)
        self.register_buffer("missing", missing, persistent=False)

    @staticmethod
    def _turns(known: Catalogue, name: str) -> Tensor:
        """(K, 3, 3) turns after which the object looks the same, identity first."""
        shape = known.find(name)
        if shape is None or len(shape.landmarks) or shape.symmetry.is_ball:
            return torch.eye(3)[None]
        return shape.symmetry.equivalents(torch.eye(3), _STEP_DEG)

    @torch.no_grad()
    def forward(self, truth: Tensor, labels: Tensor, noised: Tensor, sigmas: Tensor) -> Tensor:
        """Args:
            truth: (B, 3, 3). labels: (B,). noised: (B, N, 3, 3) the R_sigma. sigmas: (B, N) rad.

        Returns:
            (B, N, 3) in the body frame of `noised`.
        """
        alike = truth[:, None] @ self.turns[labels]  # (B, K, 3, 3)
        tangents = so3.log(alike[:, None].mT @ noised[:, :, None])  # (B, N, K, 3)
        angle = tangents.norm(dim=-1, keepdim=True)
        safe = angle.clamp_min(_SMALLEST)
        wound = safe + 2 * math.pi * constant((-1.0, 0.0, 1.0), angle)  # (B, N, K, 3): signed lengths, by n
        spread = sigmas[:, :, None, None]
        weights = -0.5 * (wound / spread).square() + (wound.square() / (2 - 2 * safe.cos())).log()
        weights = weights.masked_fill(self.missing[labels][:, None, :, None], -math.inf)
        weights = weights.flatten(2).softmax(-1).unflatten(2, wound.shape[2:])
        lengths = (weights * wound).sum(-1, keepdim=True)  # along the tangent's direction
        return -(lengths * tangents / safe).sum(2) / sigmas[..., None]
