"""What the score is regressed on: the mean over the poses that look the same, instead of the noise that was drawn.

Score matching regresses on -z, where R_sigma = R_0 Exp(sigma z). Of an object that looks the same at R_0 S_k in this
image, which of these was rendered is chance, and at high noise that chance is nearly all of the loss. Its mean is
known: with

    v_k = Log((R_0 S_k)^T R_sigma),   v_kn = v_k (1 + 2 pi n / |v_k|), n = -1, 0, 1      (tangents that lead there)
    w_kn ~ exp(-|v_kn|^2 / 2 sigma^2) |v_kn|^2 / (2 - 2 cos |v_k|)     (density of Exp(sigma z) by Haar's measure)

the target is -sum_kn w_kn v_kn / sigma: the same optimum, without the noise.

A circle of poses is a sum over angles about the nearest of its poses, at most sigma apart: the trapezoidal rule is
exact to rounding for a function as smooth as that.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lie_picard import so3
from lie_picard.model.config import ModelConfig
from lie_picard.objects import Catalogue
from lie_picard.objects.alike import GRID, Family, Shares
from lie_picard.rendering.buffers import ViewGeometry
from lie_picard.rendering.constants import constant

_POINTS = 24  # of a circle; at sigma apart they reach 12 sigma to each side
_SMALLEST = 1e-2  # rad; of a smaller turn the terms of n = -1 and 1 cancel, and their quotients are rounding errors


class AveragedTarget(nn.Module):
    """The mean of -z over the poses that look the same in an image, given the noised rotation.

    An object of which nothing but the name is known keeps the pose that was rendered.
    """

    def __init__(self, config: ModelConfig, known: Catalogue) -> None:
        super().__init__()
        self.shapes = [known.find(name) for name in config.objects]
        self.families = [None if shape is None else shape.family for shape in self.shapes]

    @torch.no_grad()
    def forward(
        self,
        truth: Tensor,
        labels: Tensor,
        noised: Tensor,
        sigmas: Tensor,
        alike: dict[int, Shares | None] | None = None,
    ) -> Tensor:
        """Args:
            truth: (B, 3, 3). labels: (B,). noised: (B, N, 3, 3) the R_sigma. sigmas: (B, N) rad.
            alike: `alike` of these images; None: of views that are not known.

        Returns:
            (B, N, 3) in the body frame of `noised`.
        """
        if alike is None:
            alike = self.alike(truth, labels, None)
        single = torch.eye(3).to(truth)[None]
        alone = Family(single, single[:0], single[:0, 0])
        result = truth.new_zeros(*sigmas.shape, 3)
        rest = torch.ones_like(labels, dtype=torch.bool)
        for label, family in enumerate(self.families):
            if family is None or label not in alike:
                continue
            chosen = (labels == label).nonzero()[:, 0]
            rest[chosen] = False
            shares = alike[label] or Shares.whole(family, len(chosen), truth)
            result[chosen] = _mean(family, shares, truth[chosen], noised[chosen], sigmas[chosen])
        left = rest.nonzero()[:, 0]
        if len(left):
            shares = Shares.whole(alone, len(left), truth)
            result[left] = _mean(alone, shares, truth[left], noised[left], sigmas[left])
        return result

    @torch.no_grad()
    def alike(self, truth: Tensor, labels: Tensor, view: ViewGeometry | None) -> dict[int, Shares | None]:
        """Which poses look like the rendered ones (B, 3, 3), camera_from_object, by label (`Object.alike`)."""
        found: dict[int, Shares | None] = {}
        for label, shape in enumerate(self.shapes):
            if shape is not None:
                chosen = (labels == label).nonzero()[:, 0]
                if len(chosen):
                    found[label] = shape.alike(truth[chosen], None if view is None else view[chosen])
        return found


def _mean(family: Family, shares: Shares, truth: Tensor, noised: Tensor, sigmas: Tensor) -> Tensor:
    """The target of images of one object: (B, 3, 3), (B, N, 3, 3), (B, N) -> (B, N, 3)."""
    relatives, logs = [], []
    if bool((shares.turns > 0).any()):
        used = (shares.turns > 0).any(0).nonzero()[:, 0]
        poses = truth[:, None] @ family.turns.to(truth)[used]  # (B, K, 3, 3)
        relatives.append(poses[:, None].mT @ noised[:, :, None])
        logs.append(shares.turns[:, used].log()[:, None].expand(-1, sigmas.shape[1], -1))
    if len(family.axes) and bool((shares.circles > 0).any()):
        relative, log = _circles(family, shares.circles, truth, noised, sigmas)
        relatives.append(relative)
        logs.append(log)
    tangents = so3.log(torch.cat(relatives, 2))  # (B, N, K, 3)
    angle = tangents.norm(dim=-1, keepdim=True)
    safe = angle.clamp_min(_SMALLEST)
    wound = safe + 2 * math.pi * constant((-1.0, 0.0, 1.0), angle)  # (B, N, K, 3): signed lengths, by n
    weights = -0.5 * (wound / sigmas[:, :, None, None]).square() + (wound.square() / (2 - 2 * safe.cos())).log()
    weights = weights + torch.cat(logs, 2)[..., None]
    weights = weights.flatten(2).softmax(-1).unflatten(2, wound.shape[2:])
    lengths = (weights * wound).sum(-1, keepdim=True)  # along the tangent's direction
    return -(lengths * tangents / safe).sum(2) / sigmas[..., None]


def _circles(family: Family, shares: Tensor, truth: Tensor, noised: Tensor, sigmas: Tensor) -> tuple[Tensor, Tensor]:
    """Points of a family's circles about those nearest to the noised rotations.

    -> (B, N, A _POINTS, 3, 3) from them to the noised rotations, and the logarithms of their shares, (B, N, A _POINTS).
    """
    axes, bases = family.axes.to(truth), family.bases.to(truth)
    relative = (truth[:, None] @ bases)[:, None].mT @ noised[:, :, None]  # (B, N, A, 3, 3)
    best = so3.turn_about(relative, axes)  # (B, N, A)
    steps = torch.arange(_POINTS, device=truth.device).to(truth) - (_POINTS - 1) / 2
    step = sigmas.clamp_max(2 * math.pi / _POINTS)
    angles = best[..., None] + steps * step[..., None, None]  # (B, N, A, M)
    back = so3.exp(-angles[..., None] * axes[:, None])
    place = (angles % (2 * math.pi)) * (GRID / (2 * math.pi))
    low = place.floor()
    share = shares[:, None].expand(-1, angles.shape[1], -1, -1)
    first, second = (share.gather(-1, (low.long() + k) % GRID) for k in (0, 1))
    log = torch.lerp(first, second, place - low).clamp_min(1e-30).log()
    return (back @ relative[..., None, :, :]).flatten(2, 3), log.flatten(2)
