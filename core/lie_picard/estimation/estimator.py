"""`PoseEstimator`: an image in, hypotheses out. The one thing that the node and the tools call."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard import so3
from lie_picard.estimation.draws import Drawn, Encoded
from lie_picard.estimation.locate import Locates
from lie_picard.estimation.places import centres, drawn, in_camera, placed, training_half_tangent
from lie_picard.geometry.camera import fit
from lie_picard.machine import pick_device
from lie_picard.model import checkpoint
from lie_picard.model.runtimes import graphs
from lie_picard.model.score_model import ImageScore, ScoreModel
from lie_picard.objects import Catalogue
from lie_picard.posterior.hypotheses import Hypotheses, summarise
from lie_picard.sampling import (
    Plan,
    SamplerOptions,
    Score,
    Solution,
    WarmStart,
    autotune,
    draw_walk_noise,
    joined,
    sample,
)

PARALLEL = "picard", "newton"
MIN_SETTLED = 0.95  # of an image's samples, for the sampler to have converged
_FEWEST_ROWS = 32  # samples at a time below which a GPU without memory is given up


class ImageError(ValueError):
    """An image that cannot be used; the message says why and what to give."""


class PoseEstimator(Locates):
    """Pose hypotheses from images of known objects.

    Rotations are camera_from_object for the model's virtual camera, which looks straight at the object
    (`lie_picard.geometry.camera` makes such images of any camera's and turns the rotations back). Where the model
    tells places, hypotheses are whole poses: positions are the object's centre in that camera's frame, in radii of its
    sphere.
    """

    def __init__(self, model: ScoreModel, device: torch.device | str = "cpu", known: Catalogue | None = None) -> None:
        """`known`: the catalogue of the model's objects; None: those that the model carries, and the one it names."""
        self.device = torch.device(device)
        if self.device.type == "cuda":
            graphs.full_precision()
        self.model = model.to(self.device).eval()
        self.config = model.config
        self.catalogue = checkpoint.catalogue_for(model.known, model.catalogue) if known is None else known
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
        checkpoint.tell_of_others(path, estimator.model)
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

    def _sample(
        self, score: Score, start: Tensor, plan: Plan, options: SamplerOptions, **arguments: Tensor | bool | None
    ) -> Solution:
        """`sampling.sample` for this model's scores, in several batches where one does not fit into the memory.

        Raises:
            torch.OutOfMemoryError: not even `_FEWEST_ROWS` samples fit.
        """
        with self._one_thread(options.method in ("ode", "map")):
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

    @contextlib.contextmanager
    def _one_thread(self, small: bool = True) -> Iterator[None]:
        """Where ONNX Runtime computes the scores, torch is left with small operations.

        Its own threads would only wait actively for more, and take the cores from ONNX Runtime's.

        Args:
            small: whether they are.
        """
        threads = torch.get_num_threads()
        if self.runtime == "onnx" and small:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def _to_cpu(self) -> None:
        reason = f"the memory of {self.device} ran out: computing on the CPU from now on"
        self.model.runtime = self._finder = None  # graphs hold memory of the device
        self.device, self._most_rows = torch.device("cpu"), None
        self.model.to(self.device)
        torch.cuda.empty_cache()
        self.accelerate()
        self.reduced = reason + "; free memory there and load the checkpoint again"

    @torch.inference_mode()
    def encode(
        self, images: Tensor, names: Sequence[str | None] | None = None, options: SamplerOptions | None = None
    ) -> Encoded:
        """The part of an estimate that does not depend on the samples: images (B, S, S[, 3]) uint8 through the encoder.

        Args:
            names: of the object that is asked for in each image; None: any.

        Raises:
            ValueError: the model knows no object of that name, has no flow map, or the images do not fit it.
        """
        options = options or SamplerOptions()
        options.check(self.config.flow_map)
        plan, asked = self.plan(options), None if names is None else self.indices(names)
        score = self.model.condition(images.to(self.device), plan.noise, asked, options.method == "map")
        return Encoded(score, plan, options, len(images))

    def walk_noise(self, encoded: Encoded, samples: int, generator: torch.Generator) -> Tensor | None:
        """The random walk's noise (T, samples, 3); None for the ODE, which draws its starts alone."""
        return draw_walk_noise(encoded.plan.noise, samples, generator) if encoded.options.method == "walk" else None

    @torch.inference_mode()
    def solve(
        self,
        encoded: Encoded,
        start: Tensor,
        noise: Tensor | None = None,
        guess: Tensor | None = None,
        keep_trajectory: bool = False,
    ) -> Solution:
        """Denoise starts (N, 3, 3), N / B of each image in a row; N is a multiple of the number of images.

        Args:
            noise: `walk_noise` of all starts. guess, keep_trajectory: as for `sampling.sample`.

        Raises:
            torch.OutOfMemoryError: not even a few samples fit.
        """
        way, index = self.resolve(encoded, start), encoded.image_of(start)
        return self._sample(encoded.score, start, encoded.plan, way, condition=index, walk_noise=noise, guess=guess,
                            keep_trajectory=keep_trajectory)  # fmt: skip

    def draw(
        self,
        images: Tensor,
        names: Sequence[str | None] | None,
        samples: int,
        generator: torch.Generator,
        options: SamplerOptions | None = None,
        half_tangent: Tensor | None = None,
    ) -> Drawn:
        """Samples of each of B images, image by image, from starts of their own: `encode` and `solve`.

        Arguments and errors are theirs. -> (B samples, 3, 3) rotations in `Drawn.rotations`.

        Args:
            half_tangent: (B, 2) tangents of half the virtual cameras' fields of view; None: the training images'.
        """
        encoded = self.encode(images, names, options)
        start = so3.uniform(len(images) * samples, generator=generator, device=self.device)
        solution = self.solve(encoded, start, self.walk_noise(encoded, len(start), generator))
        told, rotations = encoded.score.places, solution.rotations
        parts = {one.name: getattr(solution, one.name) for one in dataclasses.fields(Solution)}
        if told is not None:
            normal = torch.randn(len(start), 3, generator=generator)
            there = drawn(told, rotations, normal, encoded.image_of(rotations))
            opening = self._openings(half_tangent, len(images)).repeat_interleave(samples, 0).to(there)
            parts["rotations"] = in_camera(rotations, centres(there, opening))
        return Drawn(**parts, along_ray=rotations, places=told)

    def _openings(self, half_tangent: Tensor | None, images: int) -> Tensor:
        """(B, 2) tangents of half the fields of view, as given or those of training."""
        if half_tangent is None:
            return torch.full((images, 2), training_half_tangent(self.config), dtype=torch.float64)
        if half_tangent.shape != (images, 2):
            raise ValueError(f"half_tangent must have shape ({images}, 2), got {tuple(half_tangent.shape)}")
        return half_tangent

    def resolve(self, encoded: Encoded, start: Tensor) -> SamplerOptions:
        """Options whose method is "auto" with the fastest one for these samples (`autotune.resolve`).

        Kept for the next call: `autotune` reads files to look its answer up.
        """
        options = encoded.options
        if options.method != "auto":
            return options
        # The other two also tell the measurements apart; both can change under way.
        key = options, autotune.size_class(len(start)), self.runtime, torch.get_num_threads()
        if key not in self._resolved:
            name = "; ".join(f"{k} {getattr(self.config, k)}" for k in ("encoder", "head", "width", "depth", "copies"))
            index = encoded.image_of(start)
            self._resolved[key] = autotune.resolve(
                options, len(start), f"{self.runtime}; {name}", self.device,
                lambda way: self._sample(encoded.score, start, self.plan(way), way, condition=index),
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
        half_tangent: Tensor | None = None,
    ) -> list[Hypotheses]:
        """Hypotheses for several images in one pass; arguments as for `estimate`, `half_tangent` as for `draw`.

        Args:
            warm: where the images follow those of the last call, as in a video: begin the parallel samplers with that
                call's solution. It saves rounds; the samples are others than without, of the same distribution.
        """
        if not images:
            return []
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        try:
            return self._estimate_batch(images, samples, seed, options or SamplerOptions(), warm, names, half_tangent)
        except torch.OutOfMemoryError:
            if self.device.type == "cpu":
                raise
        self._to_cpu()
        return self._estimate_batch(images, samples, seed, options or SamplerOptions(), warm, names, half_tangent)

    def _estimate_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        samples: int,
        seed: int | None,
        options: SamplerOptions,
        warm: WarmStart | None,
        names: Sequence[str | None] | None,
        half_tangent: Tensor | None = None,
    ) -> list[Hypotheses]:
        count = len(images)
        encoded = self.encode(self.prepare(images), names, options)
        generator = torch.Generator()
        generator.manual_seed(seed) if seed is not None else generator.seed()
        # Every image gets the same draw, so a result does not depend on what else is in the batch.
        start = so3.uniform(samples, generator=generator, device=self.device).repeat(count, 1, 1)
        noise = self.walk_noise(encoded, samples, generator)
        solve = functools.partial(self.solve, encoded, noise=None if noise is None else noise.repeat(1, count, 1))
        if warm is None or seed is None or self.resolve(encoded, start).method not in PARALLEL:
            solution = solve(start)
        else:
            guess = warm.guess((id(self), self.resolve(encoded, start), samples, count, seed, tuple(names or ())))
            start = start if guess is None else guess[:, 0]
            solution = solve(start, guess=guess, keep_trajectory=True)
            warm.keep(solution, count)
        results = []
        presences, settled = encoded.presence, solution.settled(count)
        presence = [math.nan] * count if presences is None else presences.tolist()
        likeness = encoded.likeness(names or [None] * count, self.config.objects)
        for k, rotations in enumerate(solution.rotations.unflatten(0, (count, samples)).cpu()):
            if not bool(torch.isfinite(rotations).all()):
                raise ImageError(f"no hypotheses: {solution.status.value}")
            results.append(
                dataclasses.replace(
                    summarise(rotations, calibration=self.model.calibration),
                    presence=presence[k],
                    likeness=likeness[k],
                    method=self.resolve(encoded, start).method,
                    rounds=solution.rounds,
                    evaluations=solution.evaluations,
                    inefficiency=solution.inefficiency,
                    converged=solution.converged and settled[k] >= MIN_SETTLED,
                )
            )
        if encoded.score.places is None:
            return results
        normal, opening = torch.randn(samples, 3, generator=generator), self._openings(half_tangent, count)
        with self._one_thread():
            whole = placed(results, encoded.score.places, normal, opening, self.model.calibration)
        if not all(bool(one.positions.isfinite().all()) for one in whole if one.positions is not None):
            raise ImageError("no hypotheses: a position was not finite: check the checkpoint and the image")
        return whole

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
    """The arguments of `sampling.sample` for some samples; the walk's noise counts them along its second axis."""
    cut = {name: value[part] for name, value in arguments.items() if isinstance(value, Tensor) and name != "walk_noise"}
    noise = arguments.get("walk_noise")
    return arguments | cut | ({"walk_noise": noise[:, part]} if isinstance(noise, Tensor) else {})
