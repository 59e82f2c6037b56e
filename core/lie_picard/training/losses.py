"""The losses of a training step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lie_picard import machine, so3
from lie_picard.model.position import log_density
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import Catalogue
from lie_picard.rendering.buffers import ViewGeometry
from lie_picard.training.descriptions import Descriptions
from lie_picard.training.moments import Moments
from lie_picard.training.recipe import TrainingOptions
from lie_picard.training.targets import AveragedTarget
from lie_picard.training.uncertainty import Uncertainty, weighted

_TYPICAL = 0.03  # deviation of a place, in half images, at which its loss counts as it is


class Losses(Mapping[str, float]):
    """A step's losses by name, read from the device when they are asked for.

    To read waits until the device has come that far: at every step, a GPU would idle while the next batch is prepared.
    """

    def __init__(self, losses: Mapping[str, Tensor]) -> None:
        self._names = tuple(losses)
        self._tensor = torch.stack([loss.detach() for loss in losses.values()])
        self._values: dict[str, float] | None = None

    def __getitem__(self, name: str) -> float:
        if self._values is None:
            self._values = dict(zip(self._names, self._tensor.tolist(), strict=True))
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def finite(losses: Mapping[str, float], remedy: str = "lower training.learning_rate and resume") -> dict[str, float]:
    """The losses, read from the device.

    Raises:
        ValueError: one is not finite: so are the weights, and they must not replace those that were saved.
    """
    if not all(map(math.isfinite, losses.values())):
        raise ValueError(f"the losses are not finite ({dict(losses)}): {remedy}")
    return dict(losses)


class Denoising(nn.Module):
    """A score model with its losses, as one module whose forward pass data-parallel training can wrap."""

    def __init__(self, model: ScoreModel, options: TrainingOptions, known: Catalogue) -> None:
        """`known`: what the model's objects are; of those that it lacks nothing but the name is."""
        super().__init__()
        self.model, self.options = model, options
        self.moments = Moments(model.config, known, options.averaged_target) if options.moments else None
        self.descriptions = Descriptions(model.config, known) if options.descriptions else None
        self.target = AveragedTarget(model.config, known) if options.averaged_target else None
        self.uncertainty = Uncertainty(model.config.features) if options.uncertainty else None

    def forward(
        self, images: Tensor, truth: Tensor, labels: Tensor, asked: Tensor, sigmas: Tensor, z: Tensor,
        view: ViewGeometry | None = None, signatures: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The losses by name.

        score: squared error of the score against ``-z``, R_sigma = R_0 Exp(sigma z) (Eq. 7-10), or its mean over the
        poses that look the same (`targets`). recognition: cross entropy. moments: see `Moments`. position: of the true
        place given the true rotation, see `place_loss`. descriptions: see `Descriptions`. Images of no known object
        count for recognition, and for descriptions where their shape is known.

        Args:
            truth: (B, 3, 3) camera_from_object. labels: (B,), len(objects) for no known object.
            asked: (B,) labels that the head is conditioned on, len(objects) for none.
            sigmas: (B, N) rad. z: (B, N, 3).
            view: how the images were taken; None: unknown, with the object in the middle.
            signatures: (B, 49, 4) of shapes that have no name, NaN of others.
        """
        model = self.model
        # The convolutions alone: Fabric's own mixed precision would round the rotations as well.
        kind = truth.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.options.bfloat16 and machine.computes_bfloat16(kind)):
            features = model.features(images)
        conditioned = model.name_conditioned(features, asked)
        known = labels < len(model.config.objects)
        alike = None if self.target is None else self.target.alike(truth, labels, view)
        if model.position is not None and view is not None:
            truth = view.along_ray(truth)
        noised = truth[:, None] @ so3.exp(sigmas[..., None] * z)
        score = model.head(noised, model.head.image_terms(conditioned).unsqueeze(1), model.head.time_terms(sigmas))
        mean = lambda errors: (errors * known).sum() / known.sum().clamp_min(1)  # noqa: E731
        target = -z if self.target is None else self.target(truth, labels, noised, sigmas, alike)
        errors = (score - target).square().mean(-1)
        if self.uncertainty is not None:
            expected = self.uncertainty(conditioned, sigmas, model.config.sigma_min, model.config.sigma_max)
            errors = weighted(errors, expected, self.options.uncertainty)
        losses = {"score": mean(errors.mean(1))}
        if model.recognition is not None:
            losses["recognition"] = F.cross_entropy(model.recognition.classify(features), labels)
        if self.moments is not None:
            losses["moments"] = mean(self.moments(conditioned, truth, labels, alike))
        if self.descriptions is not None:
            losses["descriptions"] = self.descriptions(features, truth, labels, signatures)
        if model.position is not None and view is not None:
            place, factor = model.position(truth, model.position.image_terms(conditioned))
            losses["position"] = mean(place_loss(place, factor, view.places()))
        return losses


def place_loss(mean: Tensor, factor: Tensor, place: Tensor) -> Tensor:
    """Negative log likelihood of places (B, 3), weighted by the deviation that is expected. -> (B,).

    Without the weight an image of which the place is known to a thousandth would count a thousand times more than one
    of which it is known to a thirtieth, and nothing would be learned of the latter (Seitzer et al., 2022: beta = 1/2).
    """
    deviation = factor.diagonal(dim1=-2, dim2=-1).detach().log().mean(-1).exp()
    return -log_density(place - mean, factor) * deviation / _TYPICAL
