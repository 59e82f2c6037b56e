"""The score model: an image encoder, run once an image, and a score head, run at every denoising step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lie_picard.model import graphs, onnx
from lie_picard.model.config import ModelConfig
from lie_picard.model.encoder import Encoder
from lie_picard.model.head import EquivariantHead, FourierHead, ImageTerms
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
        # Encoder and head as another runtime runs them; no submodules, so not part of the state.
        self.accelerated: tuple[Callable[..., Tensor], Callable[..., Tensor]] | None = None

    def to_device(self, device: torch.device | str) -> ScoreModel:
        """The model on a device, its convolutions in the memory layout that is fastest on CPUs and GPUs."""
        return self.to(device=device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def features(self, images: Tensor) -> Tensor:
        """(B, S, S) grey or (B, S, S, 3) RGB uint8 images of the configured size -> (B, F).

        Raises:
            ValueError: the images have another shape or type.
        """
        return self.encoder(self._pixels(images)).float()  # type: ignore[no-any-return]

    def _pixels(self, images: Tensor) -> Tensor:
        """Images as the encoder takes them, (B, C, S, S) in [-1, 1].

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
        return pixels.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor, rotations: Tensor, sigmas: Tensor) -> Tensor:
        """Scores of N noised rotations an image: (B, S, S[, 3]), (B, N, 3, 3), (B, N) -> (B, N, 3)."""
        terms = self.head.image_terms(self.features(images)).unsqueeze(1)
        return self.head(rotations, terms, self.head.time_terms(sigmas))

    def accelerate(self) -> str:
        """Let a faster runtime do what `condition` and its scores compute: ONNX Runtime on a CPU, CUDA graphs on a GPU.

        The weights are copied or recorded: call it when they are final and in their place. Training and `forward` are
        not touched.

        Returns:
            the runtime's name: "onnx", "cuda-graphs", or "eager" where there is none.
        """
        self.eval()
        if next(self.parameters()).device.type == "cuda":
            self.accelerated = graphs.Graphed(self.encoder), graphs.Graphed(_FlatHead(self.head))
            return "cuda-graphs"
        if not onnx.available():
            return "eager"
        side, channels = self.config.image_size, self.config.channels
        features = torch.zeros(2, self.config.features)
        with torch.no_grad():
            terms = self.head.image_terms(features)
            time = self.head.time_terms(torch.ones(2))
        tables = {"shift": terms.shift, "time": time}
        if terms.coefficients is not None:
            tables["coefficients"] = terms.coefficients
        self.accelerated = (
            onnx.OnnxModule(self.encoder, {"images": torch.zeros(2, channels, side, side)}),
            onnx.OnnxModule(_FlatHead(self.head), {"rotations": torch.eye(3).repeat(2, 1, 1)} | tables),
        )
        return "onnx"

    @torch.inference_mode()
    def condition(self, images: Tensor, noise: NoiseSchedule) -> ImageScore:
        """Encode images once and hoist all that does not depend on the rotation. -> a callable for the samplers."""
        encode, score = self.accelerated or (self.encoder, _FlatHead(self.head))
        features = encode(self._pixels(images)).float()
        return ImageScore(score, self.head.image_terms(features), self.head.time_terms(noise.sigmas.to(features)))


class _FlatHead(nn.Module):
    """A head whose arguments are all tensors."""

    def __init__(self, head: EquivariantHead | FourierHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, rotations: Tensor, shift: Tensor, time: Tensor, coefficients: Tensor | None = None) -> Tensor:
        return self.head(rotations, ImageTerms(coefficients, shift), time)  # type: ignore[no-any-return]


class ImageScore:
    """``score(rotations (M, 3, 3), step (M,), image (M,)) -> (M, 3)`` for a fixed set of images and noise levels.

    `image` says which of the encoded images each rotation belongs to; with a single image it may be left out.
    """

    def __init__(self, score: Callable[..., Tensor], image: ImageTerms, time: Tensor) -> None:
        self._score, self._image, self._time = score, image, time

    def __call__(self, rotations: Tensor, step: Tensor, image: Tensor | None = None) -> Tensor:
        with torch.inference_mode():
            terms = self._image if image is None else self._image[image]
            # One step for all, expanded from a single element, need not be gathered.
            time = self._time[step[:1] if step.stride(0) == 0 else step]
            tables = [terms.shift, time]
            if terms.coefficients is not None:
                tables.append(terms.coefficients)
            return self._score(rotations, *tables)
