"""`PoseEstimator`: an image in, hypotheses out. The one thing that the node and the tools call."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard import planner, so3
from lie_picard.camera import fit
from lie_picard.hypotheses import Hypotheses, summarise
from lie_picard.model import checkpoint, graphs
from lie_picard.model.score_model import ImageScore, ScoreModel
from lie_picard.sampling import Plan, SamplerOptions, Score, Solution, WarmStart, draw_walk, joined, sample

_FEWEST_ROWS = 32  # samples at a time below which a GPU without memory is given up


class ImageError(ValueError):
    """An image that cannot be used; the message says why and what to give."""


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one.

    Raises:
        ValueError: the name is unknown, or CUDA is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown device '{name}': use auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for, but torch finds no GPU: use device 'auto' or 'cpu'")
    return device


class PoseEstimator:
    """Rotation hypotheses from images of known objects.

    Rotations are camera_from_object for the model's virtual camera, which looks straight at the object
    (`lie_picard.camera` makes such images of any camera's and turns the rotations back).
    """

    def __init__(self, model: ScoreModel, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda":
            graphs.full_precision()
        self.model = model.to(self.device).eval()
        self.config = model.config
        self.reduced = ""  # what was given up because the device's memory ran out, and the remedy
        self._most_rows: int | None = None  # samples in one batch, where more do not fit
        self._resolved: dict[tuple[SamplerOptions, int, str, int], SamplerOptions] = {}

    @classmethod
    def from_checkpoint(cls, path: str | Path = "default", device: str = "auto") -> PoseEstimator:
        """Load a checkpoint; "default" is the one that the package brings along.

        Raises:
            CheckpointError, ValueError: one line with the remedy.
        """
        chosen = pick_device(device)
        estimator = cls(checkpoint.load(path, chosen), chosen)
        estimator.accelerate()
        return estimator

    def accelerate(self) -> None:
        """Take the fastest way to run the model on its device; results are the same to float accuracy."""
        self.model.accelerate()

    @property
    def runtime(self) -> str:
        """How the model is run: "eager", "onnx" or "cuda-graphs"."""
        return self.model.runtime.name if self.model.runtime else "eager"

    def plan(self, options: SamplerOptions) -> Plan:
        """The sampler's tables for this model."""
        return options.plan(self.config.sigma_max, self.config.sigma_min, torch.zeros(0, device=self.device))

    def sample(
        self, score: Score, start: Tensor, plan: Plan, options: SamplerOptions, **arguments: Tensor | bool | None
    ) -> Solution:
        """`sampling.sample` for this model's scores, in several batches where one does not fit into the memory.

        Where ONNX Runtime computes them, torch is left with small operations; its own threads would only wait actively
        for more, and take the cores from ONNX Runtime's.

        Raises:
            torch.OutOfMemoryError: not even `_FEWEST_ROWS` samples fit.
        """
        threads = torch.get_num_threads()
        if self.runtime == "onnx" and options.method == "ode":
            torch.set_num_threads(1)
        try:
            while True:
                rows = min(self._most_rows or len(start), len(start))
                try:
                    return joined([sample(score, start[part], plan, options, **_part(arguments, part))  # type: ignore[arg-type]
                                   for part in _slices(len(start), rows)])  # fmt: skip
                except torch.OutOfMemoryError:
                    if rows <= _FEWEST_ROWS:
                        raise
                    self._most_rows = max(_FEWEST_ROWS, rows // 2)
                if isinstance(score, ImageScore):
                    score.forget()  # recordings of larger batches
                torch.cuda.empty_cache()  # nothing where there is no GPU
                self.reduced = (
                    f"the memory of {self.device} ran out: samples now come in batches of {self._most_rows}; "
                    "free memory there, or ask for fewer samples"
                )
        finally:
            torch.set_num_threads(threads)

    def _to_cpu(self) -> None:
        reason = f"the memory of {self.device} ran out: computing on the CPU from now on"
        self.model.runtime = None  # graphs hold memory of the device
        self.device, self._most_rows = torch.device("cpu"), None
        self.model.to(self.device)
        torch.cuda.empty_cache()
        self.accelerate()
        self.reduced = reason + "; free memory there and load the checkpoint again"

    def resolve(
        self, options: SamplerOptions, score: Score, start: Tensor, condition: Tensor | None = None
    ) -> SamplerOptions:
        """Options whose method is "auto" with the fastest one for these samples (`planner.resolve`).

        Kept for the next call: the planner reads files to look its answer up.
        """
        if options.method != "auto":
            return options
        # The other two also tell the planner's measurements apart; both can change under way.
        key = options, planner.size_class(len(start)), self.runtime, torch.get_num_threads()
        if key not in self._resolved:
            name = "; ".join(f"{k} {getattr(self.config, k)}" for k in ("encoder", "head", "width", "depth", "copies"))
            self._resolved[key] = planner.resolve(
                options, len(start), f"{self.runtime}; {name}", self.device,
                lambda way: self.sample(score, start, self.plan(way), way, condition=condition),
            )  # fmt: skip
        return self._resolved[key]

    def estimate(
        self,
        image: NDArray[np.uint8],
        samples: int = 32,
        seed: int | None = None,
        options: SamplerOptions | None = None,
        name: str | None = None,
    ) -> Hypotheses:
        """Hypotheses for one image.

        Args:
            image: (H, W, 3) RGB or (H, W) grey, square or nearly so, showing the object as in training.
            samples: number of rotations to draw.
            seed: fixes the draw; the same seed gives the same result, alone or in a batch.
            name: of the object to look for, one of `config.objects`; None: any of them.

        Raises:
            ImageError: empty image, wrong shape or type.
            ValueError: the model knows no object of that name.
        """
        return self.estimate_batch([image], samples, seed, options, names=[name])[0]

    @torch.inference_mode()
    def estimate_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        samples: int = 32,
        seed: int | None = None,
        options: SamplerOptions | None = None,
        warm: WarmStart | None = None,
        names: Sequence[str | None] | None = None,
    ) -> list[Hypotheses]:
        """Hypotheses for several images in one pass; arguments as for `estimate`.

        Args:
            warm: where the images follow those of the last call, as in a video: begin the parallel samplers with that
                call's solution. It saves rounds; the samples are others than without, of the same distribution.
        """
        if not images:
            return []
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        try:
            return self._estimate_batch(images, samples, seed, options or SamplerOptions(), warm, names)
        except torch.OutOfMemoryError:
            if self.device.type == "cpu":
                raise
        self._to_cpu()
        return self._estimate_batch(images, samples, seed, options or SamplerOptions(), warm, names)

    def _estimate_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        samples: int,
        seed: int | None,
        options: SamplerOptions,
        warm: WarmStart | None,
        names: Sequence[str | None] | None,
    ) -> list[Hypotheses]:
        count = len(images)
        plan = self.plan(options)
        asked = None if names is None else self.indices(names)
        score = self.model.condition(self.prepare(images), plan.noise, asked)
        generator = torch.Generator()
        generator.manual_seed(seed) if seed is not None else generator.seed()
        start = so3.uniform(samples, generator=generator, device=self.device).repeat(count, 1, 1)
        index = torch.arange(count, device=self.device).repeat_interleave(samples)
        # Every image gets the same draw, so a result does not depend on what else is in the batch.
        draws = draw_walk(plan.noise, samples, generator).repeat(1, count, 1) if options.method == "walk" else None
        condition = index if count > 1 else None
        options = self.resolve(options, score, start, condition)
        if warm is None or seed is None or options.method not in ("picard", "newton"):
            solution = self.sample(score, start, plan, options, condition=condition, draws=draws)
        else:
            guess = warm.guess((id(self), options, samples, count, seed, tuple(names or ())))
            start = start if guess is None else guess[:, 0]
            solution = self.sample(score, start, plan, options, condition=condition, guess=guess, keep_trajectory=True)
            warm.keep(solution, count)
        results = []
        present = [math.nan] * count if score.recognised is None else (1 - score.recognised[:, -1]).tolist()
        for rotations, presence in zip(solution.rotations.unflatten(0, (count, samples)).cpu(), present, strict=True):
            if not bool(torch.isfinite(rotations).all()):
                raise ImageError(f"no hypotheses: {solution.status.value}")
            results.append(
                dataclasses.replace(
                    summarise(rotations, calibration=self.model.calibration),
                    presence=presence,
                    method=options.method,
                    rounds=solution.rounds,
                    evaluations=solution.evaluations,
                    inefficiency=solution.inefficiency,
                    converged=solution.converged,
                )
            )
        return results

    def indices(self, names: Sequence[str | None]) -> Tensor:
        """Indices of objects by name, len(config.objects) for None. -> (B,) int64.

        Raises:
            ValueError: the model knows no object of that name.
        """
        known: dict[str | None, int] = {name: k for k, name in enumerate(self.config.objects)}
        known[None] = len(known)
        unknown = next((name for name in names if name not in known), None)
        if unknown is not None:
            raise ValueError(f"the model knows no '{unknown}', only {', '.join(self.config.objects)}")
        return torch.tensor([known[name] for name in names], device=self.device)

    def prepare(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Images as the encoder takes them: colour and size changed where they differ. -> (B, S, S[, 3]) uint8."""
        return torch.from_numpy(np.stack([self._fit(image) for image in images])).to(self.device)

    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise ImageError(f"expected a uint8 image (H, W, 3) or (H, W), got {image.dtype} {image.shape}")
        if 0 in image.shape:
            raise ImageError(f"the image is empty: shape {image.shape}")
        return fit(image, self.config.image_size, self.config.channels)


def _slices(count: int, rows: int) -> list[slice]:
    return [slice(begin, begin + rows) for begin in range(0, count, rows)]


def _part(arguments: dict[str, Tensor | bool | None], part: slice) -> dict[str, Tensor | bool | None]:
    """The arguments of `sampling.sample` for some samples; the walk's draws count them along their second axis."""
    cut = {name: value[part] for name, value in arguments.items() if isinstance(value, Tensor) and name != "draws"}
    draws = arguments.get("draws")
    return arguments | cut | ({"draws": draws[:, part]} if isinstance(draws, Tensor) else {})
