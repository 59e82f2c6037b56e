"""The score model: an image encoder, run once an image, and a score head, run at every denoising step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lie_picard.model.config import ModelConfig
from lie_picard.model.encoder import Encoder
from lie_picard.model.head import EquivariantHead, FourierHead
from lie_picard.noise import NoiseSchedule

_HEADS: dict[str, type[EquivariantHead] | type[FourierHead]] = {
    "equivariant": EquivariantHead,
    "fourier": FourierHead,
}


class ScoreModel(nn.Module):
    """Approximates ``sigma * grad log p(R | image)`` in the body frame: trained to predict -z of R_0 Exp(sigma z)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.head = _HEADS[config.head](config)

    def to_device(self, device: torch.device | str) -> ScoreModel:
        """The model on a device, its convolutions in the memory layout that is fastest on CPUs and GPUs."""
        return self.to(device=device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def features(self, images: Tensor) -> Tensor:
        """(B, S, S) grey or (B, S, S, 3) RGB uint8 images of the configured size -> (B, F).

        Raises:
            ValueError: the images have another shape or type.
        """
        size, channels = self.config.image_size, self.config.channels
        expected = (size, size) if channels == 1 else (size, size, 3)
        if tuple(images.shape[1:]) != expected or images.dtype != torch.uint8:
            raise ValueError(
                f"expected uint8 images of shape (B, {', '.join(map(str, expected))}), "
                f"got {images.dtype} {tuple(images.shape)}"
            )
        pixels = images.float().div_(127.5).sub_(1)
        pixels = pixels[:, None] if channels == 1 else pixels.movedim(-1, 1)
        return self.encoder(pixels.contiguous(memory_format=torch.channels_last)).float()

    def forward(self, images: Tensor, rotations: Tensor, sigmas: Tensor) -> Tensor:
        """Scores of N noised rotations an image: (B, S, S[, 3]), (B, N, 3, 3), (B, N) -> (B, N, 3)."""
        terms = self.head.image_terms(self.features(images)).unsqueeze(1)
        return self.head(rotations, terms, self.head.time_terms(sigmas))

    @torch.inference_mode()
    def condition(self, images: Tensor, noise: NoiseSchedule) -> ImageScore:
        """Encode images once and hoist all that does not depend on the rotation. -> a callable for the samplers."""
        return ImageScore(self, self.features(images), noise)


class ImageScore:
    """``score(rotations (M, 3, 3), step (M,), image (M,)) -> (M, 3)`` for a fixed set of images and noise levels.

    `image` says which of the encoded images each rotation belongs to; with a single image it may be left out.
    """

    def __init__(self, model: ScoreModel, features: Tensor, noise: NoiseSchedule) -> None:
        self.features = features
        self._head = model.head
        self._image = model.head.image_terms(features)
        self._time = model.head.time_terms(noise.sigmas.to(features.device))

    def __call__(self, rotations: Tensor, step: Tensor, image: Tensor | None = None) -> Tensor:
        with torch.inference_mode():
            terms = self._image if image is None else self._image[image]
            return self._head(rotations, terms, self._time[step])
