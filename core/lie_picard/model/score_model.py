"""The score model: an image encoder, run once an image, and a score head, run at every denoising step."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lie_picard import so3
from lie_picard.model.config import ModelConfig
from lie_picard.model.encoders import Encoder
from lie_picard.model.flow_map import FlowMap
from lie_picard.model.heads import EquivariantHead, FourierHead, ImageTerms
from lie_picard.model.locator import StoredLocator
from lie_picard.model.position import PositionHead
from lie_picard.model.recognition import Recognition
from lie_picard.model.runtimes import graphs, onnx, onnx_loop
from lie_picard.objects import Catalogue
from lie_picard.posterior.covariance import Calibration
from lie_picard.sampling.noise import NoiseSchedule
from lie_picard.sampling.ode import integrate
from lie_picard.sampling.scheme import Scheme

_HEADS: dict[str, type[EquivariantHead] | type[FourierHead]] = {
    "equivariant": EquivariantHead,
    "fourier": FourierHead,
}

_ALONE = 128  # rotations up to which one thread is as fast as two (docs/performance.md)


class ScoreModel(nn.Module):
    """Approximates ``sigma * grad log p(R | image)`` in the body frame: trained to predict -z of R_0 Exp(sigma z)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.head = _HEADS[config.head](config)
        self.recognition = Recognition(config.features, len(config.objects)) if config.named else None
        self.position = PositionHead(config) if config.position else None
        self.flow_map = FlowMap(config, _HEADS[config.head]) if config.flow_map else None
        self.calibration = Calibration()
        self.catalogue = ""  # of its objects; "": their names are all that is known
        self.known: Catalogue | None = None  # of its objects, as a checkpoint carries them or training knows them
        self.auxiliary: dict[str, Tensor] = {}  # readings of training's other losses, for a training that goes on
        self.locator: StoredLocator | None = None  # finds the objects in whole images; none of this network's parts
        self.runtime: Runtime | None = None  # None: eager
        self._times: WeakKeyDictionary[NoiseSchedule, dict[bool, Tensor]] = WeakKeyDictionary()

    def to_device(self, device: torch.device | str) -> ScoreModel:
        """The model on a device, its convolutions in the memory layout that is fastest on CPUs and GPUs."""
        return self.to(device=device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def add_flow_map(self) -> None:
        """Give the model a flow map that begins at its score, where it has none."""
        if self.flow_map is None:
            self.config = dataclasses.replace(self.config, flow_map=True)
            self.flow_map = FlowMap(self.config, type(self.head)).to(self._device())
            self.flow_map.begin_at(self.head)

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
        pixels = images.float().div(127.5).sub(1)
        pixels = pixels[:, None] if channels == 1 else pixels.permute(0, 3, 1, 2)
        return self.encoder(pixels.contiguous(memory_format=torch.channels_last)).float()  # type: ignore[no-any-return]

    def name_conditioned(self, features: Tensor, objects: Tensor | None) -> Tensor:
        """Features (B, F) for the head where objects (B,) are asked for (see `Recognition`). -> (B, F)."""
        return features if self.recognition is None or objects is None else self.recognition.asked(features, objects)

    def forward(self, images: Tensor, rotations: Tensor, sigmas: Tensor, objects: Tensor | None = None) -> Tensor:
        """Scores of N noised rotations an image: (B, S, S[, 3]), (B, N, 3, 3), (B, N)[, (B,)] -> (B, N, 3)."""
        terms = self.head.image_terms(self.name_conditioned(self.features(images), objects)).unsqueeze(1)
        return self.head(rotations, terms, self.head.time_terms(sigmas))

    def accelerate(self) -> str:
        """Let a faster runtime do what `condition` and its scores compute: ONNX Runtime on a CPU, CUDA graphs on a GPU.

        The weights are copied or recorded, some when they are first needed: call it when they are final and in their
        place. Training and `forward` are not touched.

        Returns:
            the runtime's name: "onnx", "cuda-graphs", or "eager" where there is none.
        """
        self.eval()
        if self._device().type == "cuda":
            self.runtime = self.recorded(graphs.record_on_gpu)
            return self.runtime.name
        if not onnx.available():
            return "eager"
        size, terms = self.config.image_size, _ImageTerms(self)
        example = {"images": torch.zeros(2, size, size, *([3] if self.config.channels == 3 else []), dtype=torch.uint8)}
        if self.recognition is not None:
            example["objects"] = torch.zeros(2, dtype=torch.int64)
        with torch.no_grad():
            tables = {"rotations": torch.eye(3).repeat(2, 1, 1), "time": self.head.time_terms(torch.ones(2))}
            names = ("shift", "coefficients") if self.config.head == "equivariant" else ("shift",)
            tables |= dict(zip(names, terms(*example.values()), strict=False))
        module, threads = onnx.OnnxModule(terms, example), torch.get_num_threads()

        def runtime(head: nn.Module) -> Runtime:
            score = _Scores(head)
            scores = onnx.Lazy(lambda: onnx.OnnxModule(score, tables, _ALONE, threads))
            if self.config.head != "equivariant":
                return Runtime("onnx", module, scores)
            hoisted = [tables[name] for name in names]
            loop = onnx.Lazy(lambda: onnx_loop.OnnxLoop(_Step(score), tables["time"], hoisted, threads))

            def solver(scheme: Scheme) -> Callable[..., tuple[Tensor, ...]]:
                def solve(start: Tensor, time: Tensor, *terms: Tensor) -> tuple[Tensor, ...]:
                    rotations, recent = loop(start, scheme.weights, time[scheme.level], *terms)
                    return rotations, (scheme.score_slope @ recent).norm(dim=-1)

                return solve

            return Runtime("onnx", module, scores, solver, True)

        self.runtime = self._with_map(runtime)
        return self.runtime.name

    def _with_map(self, runtime: Callable[[nn.Module], Runtime]) -> Runtime:
        """The head's runtime, and beside it that of the flow map, where there is one."""
        found = runtime(self.head)
        return found if self.flow_map is None else found._replace(flow_map=runtime(self.flow_map.head))

    def recorded(self, record: graphs.Recorder) -> Runtime:
        """A runtime of recordings; the sequential samplers are recorded whole."""
        terms = graphs.Graphed(_ImageTerms(self), record)

        def runtime(head: nn.Module) -> Runtime:
            score = _Scores(head)

            @functools.lru_cache(maxsize=8)
            def solver(scheme: Scheme) -> graphs.Graphed:
                def solve(start: Tensor, time: Tensor, *terms: Tensor) -> tuple[Tensor, ...]:
                    return integrate(ImageScore(score, terms, time), start, scheme)

                return graphs.Graphed(solve, record, batched=1)

            return Runtime("cuda-graphs", terms, graphs.Graphed(score, record), solver)

        return self._with_map(runtime)

    @torch.inference_mode()
    def condition(
        self, images: Tensor, noise: NoiseSchedule, objects: Tensor | None = None, flow_map: bool = False
    ) -> ImageScore:
        """Encode images once and hoist all that does not depend on the rotation. -> a callable for the samplers.

        Args:
            objects: (B,) index of the object that is asked for in each image, len(config.objects) for any; None: any.
            flow_map: whether the score is the averaged one of the flow map, from each level to the next.
        """
        assert not flow_map or self.flow_map is not None
        runtime = self.runtime or self._with_map(lambda head: Runtime("eager", _ImageTerms(self), _Scores(head)))
        time, recognised, places = self._time_terms(noise, flow_map), None, None
        if self.recognition is None:
            terms = list(runtime.terms(images))
        else:
            if objects is None:
                objects = torch.full((len(images),), self.recognition.unnamed, device=images.device)
            terms = list(runtime.terms(images, objects))
        if self.flow_map is not None:
            few = 2 if self.config.head == "equivariant" else 1
            terms, own = terms[:-few], terms[-few:]
        if self.position is not None:
            places = Places(self.position, terms.pop())
        if self.recognition is not None:
            recognised = terms.pop().softmax(-1)
        if flow_map:
            assert runtime.flow_map is not None
            runtime, terms = runtime.flow_map, own
        if runtime.solver is not None and (runtime.solves_many or len(images) == 1):
            return SolvedScore(runtime.score, tuple(terms), time, recognised, runtime.solver, places)
        return ImageScore(runtime.score, tuple(terms), time, recognised, places)

    def _time_terms(self, noise: NoiseSchedule, flow_map: bool) -> Tensor:
        """What the head, or the map, needs of the noise levels; kept from call to call once the weights are final."""
        if self.runtime is not None and (found := self._times.get(noise, {}).get(flow_map)) is not None:
            return found
        sigmas = noise.sigmas.to(self._device())
        if flow_map and self.flow_map is not None:
            found = self.flow_map.time_terms(sigmas, torch.cat([sigmas[1:], sigmas.new_zeros(1)]))
        else:
            found = self.head.time_terms(sigmas)
        if self.runtime is not None:
            self._times.setdefault(noise, {})[flow_map] = found
        return found

    def _device(self) -> torch.device:
        return next(self.parameters()).device


class Runtime(NamedTuple):
    """How the parts of a model are run.

    Attributes:
        name: "eager", "onnx" or "cuda-graphs".
        terms: images -> the head's terms. score: rotations, time terms and image terms -> scores.
        solver: scheme -> (start, time terms, image terms -> rotations, score_slope), where samplers can be run whole.
        solves_many: whether the image terms may be those of several images, one row for each start.
        flow_map: the same for the model's flow map; None: it has none.
    """

    name: str
    terms: Callable[..., tuple[Tensor, ...]]
    score: Callable[..., tuple[Tensor, ...]]
    solver: Callable[[Scheme], Callable[..., tuple[Tensor, ...]]] | None = None
    solves_many: bool = False
    flow_map: Runtime | None = None


class _ImageTerms(nn.Module):
    """(B, S, S[, 3]) images[, (B,) objects] -> the head's terms[, logits][, the position's term][, the flow map's
    terms], (B, ...) each."""

    def __init__(self, model: ScoreModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, objects: Tensor | None = None) -> tuple[Tensor, ...]:
        features = self.model.features(images)
        conditioned = self.model.name_conditioned(features, objects)
        terms = self.model.head.image_terms(conditioned)
        found = [terms.shift] if terms.coefficients is None else [terms.shift, terms.coefficients]
        if self.model.recognition is not None:
            found.append(self.model.recognition.classify(features))
        if self.model.position is not None:
            found.append(self.model.position.image_terms(conditioned))
        if self.model.flow_map is not None:
            terms = self.model.flow_map.image_terms(conditioned)
            found += [terms.shift] if terms.coefficients is None else [terms.shift, terms.coefficients]
        return tuple(found)


class _Scores(nn.Module):
    """A head whose arguments and results are plain tensors."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, rotations: Tensor, time: Tensor, shift: Tensor, *coefficients: Tensor) -> tuple[Tensor]:
        return (self.head(rotations, ImageTerms(coefficients[0] if coefficients else None, shift), time),)


class _Step(nn.Module):
    """One evaluation of a scheme, as in `ode.integrate`: rotations (M, 3, 3) and the last h scores (M, h, 3) go on.

    `weights` (2, h) and `time` are those of the step.
    """

    def __init__(self, score: _Scores) -> None:
        super().__init__()
        self.score = score

    def forward(
        self, rotations: Tensor, recent: Tensor, weights: Tensor, time: Tensor, *terms: Tensor
    ) -> tuple[Tensor, Tensor]:
        (found,) = self.score(rotations, time[None], *terms)
        recent = torch.cat([recent[:, 1:], found[:, None]], 1)
        revision, advance = so3.exp(weights @ recent).unbind(1)
        return rotations @ (revision @ advance), recent


class Places(NamedTuple):
    """Where the objects of a fixed set of images are, given their rotations (`position.PositionHead`)."""

    head: PositionHead
    image: Tensor

    def __call__(self, rotations: Tensor, image: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(M, 3, 3)[, (M,) of which image] -> mean (M, 3) and lower Cholesky factor (M, 3, 3) of (x, y, log size)."""
        with torch.inference_mode():
            terms = self.image if image is None else self.image[image]
            found: tuple[Tensor, Tensor] = self.head(rotations, terms)
            return found


class ImageScore:
    """``score(rotations (M, 3, 3), step (M,), image (M,)) -> (M, 3)`` for a fixed set of images and noise levels.

    `image` says which of the encoded images each rotation belongs to; with a single image it may be left out.

    Attributes:
        recognised: (B, K + 1) probability that an image shows each of the objects, last: none of them; None where the
            model does not tell.
        places: tells where the objects are; None where the model does not.
    """

    def __init__(
        self,
        score: Callable[..., tuple[Tensor, ...]],
        image: tuple[Tensor, ...],
        time: Tensor,
        recognised: Tensor | None = None,
        places: Places | None = None,
    ) -> None:
        self._score, self._image, self._time, self.recognised = score, image, time, recognised
        self.places = places

    def __call__(self, rotations: Tensor, step: Tensor, image: Tensor | None = None) -> Tensor:
        with torch.inference_mode():
            # One step for all, expanded from a single element, need not be gathered.
            time = self._time[step[:1] if step.stride(0) == 0 else step]
            terms = self._image if image is None else [table[image] for table in self._image]
            return self._score(rotations, time, *terms)[0]

    def forget(self) -> None:
        """Give back the device's memory that recordings hold."""
        if isinstance(self._score, graphs.Graphed):
            self._score.forget()


class SolvedScore(ImageScore):
    """A score with a faster way through the whole sequential sampler."""

    def __init__(
        self,
        score: Callable[..., tuple[Tensor, ...]],
        image: tuple[Tensor, ...],
        time: Tensor,
        recognised: Tensor | None,
        solver: Callable[[Scheme], Callable[..., tuple[Tensor, ...]]],
        places: Places | None = None,
    ) -> None:
        super().__init__(score, image, time, recognised, places)
        self._solver = solver

    def integrate(self, start: Tensor, scheme: Scheme, image: Tensor | None = None) -> tuple[Tensor, ...]:
        """`ode.integrate` as one call."""
        terms = self._image if image is None else [table[image] for table in self._image]
        return self._solver(scheme)(start, self._time, *terms)

    def forget(self) -> None:
        super().forget()
        clear = getattr(self._solver, "cache_clear", None)
        if clear is not None:
            clear()
