"""What passes between the parts of an estimate: images after the encoder, and samples of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from lie_picard.model.score_model import ImageScore, Places
from lie_picard.sampling import Plan, SamplerOptions, Solution


class Encoded(NamedTuple):
    """B images after the encoder, and how they are to be sampled.

    Attributes:
        score: of all images. plan: the sampler's tables. options: as they were asked for. images: their number B.
    """

    score: ImageScore
    plan: Plan
    options: SamplerOptions
    images: int

    @property
    def presence(self) -> Tensor | None:
        """(B,) probability that an image shows a known object; None where the model does not tell."""
        recognised = self.score.recognised
        return None if recognised is None else 1 - recognised[:, -1]

    def likeness(self, names: Sequence[str | None], objects: Sequence[str]) -> list[float]:
        """`Hypotheses.likeness` of each image, where these names were asked for, of the model's objects."""
        recognised = self.score.recognised
        if recognised is None:
            return [math.nan] * len(names)
        share = (recognised[:, :-1] / recognised[:, :-1].amax(1, keepdim=True).clamp_min(1e-12)).cpu()
        return [math.nan if one is None else float(share[k, objects.index(one)]) for k, one in enumerate(names)]

    def image_of(self, start: Tensor) -> Tensor | None:
        """(N,) image of each start; None for a single image."""
        if self.images == 1:
            return None
        return torch.arange(self.images, device=start.device).repeat_interleave(len(start) // self.images)


@dataclass(frozen=True)
class Drawn(Solution):
    """Samples of B images, whole poses in their virtual cameras where the model tells places.

    Attributes:
        along_ray: (B n, 3, 3) the samples as the model has them: seen along the ray to the object's centre where it
            tells places, else the same as `rotations`.
        places: tells the places of `along_ray` (and of other rotations) of these images; None where the model does not.
    """

    along_ray: Tensor = field(default_factory=lambda: torch.zeros(0, 3, 3))
    places: Places | None = None
