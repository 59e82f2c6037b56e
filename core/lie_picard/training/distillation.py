"""Distillation of a score model into its flow map (`model.flow_map`); no true poses are needed, only images.

The teacher solves the probability flow from uniform starts in many steps. Of each path pairs of points are drawn, and
the map learns to take the first to the second. Paths that end between two poses (`solution.UNSETTLED`) are the
teacher's own errors, and are left out.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lie_picard import so3
from lie_picard.data.seeds import train_generator
from lie_picard.data.stream import Batch
from lie_picard.model.flow_map import FlowMap, moved
from lie_picard.model.heads import ImageTerms
from lie_picard.model.score_model import ScoreModel
from lie_picard.sampling.noise import few, geometric
from lie_picard.sampling.options import LAST_SIGMA
from lie_picard.sampling.scheme import Scheme, multistep
from lie_picard.sampling.solution import UNSETTLED
from lie_picard.training.losses import finite
from lie_picard.training.optimizers import Muon
from lie_picard.training.states import load_state, run_by_the_clock, save_state

_TAKEN = 2, 4  # numbers of steps that the map is for
_REMEDY = "go on from the state before with --resume"


@dataclass(frozen=True)
class DistillationOptions:
    """Settings of a run.

    Attributes:
        minutes: how long. images: a step. starts: of each image. pairs: of each path. steps: of the teacher.
        learning_rate: after `warmup_steps`; it falls to zero along half a cosine. ema: decay of the averaged weights.
        used: share of the pairs that are a step of `noise.few`'s two or four, which sampling takes.
        from_start, to_end: share of the others that begin at the uniform start, and that end at the denoised rotation.
        huber: error, in units of the score, from which on it counts linearly: at the border between two poses' basins
            the map jumps, and a mean of squares would blur more than the border.
        seed: of everything.
    """

    minutes: float
    images: int = 32
    starts: int = 48
    pairs: int = 4
    steps: int = 16
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    ema: float = 0.998
    weight_decay: float = 0.01
    used: float = 0.6
    from_start: float = 0.3
    to_end: float = 0.4
    huber: float = 0.1
    seed: int = 0

    def rate(self, step: int, seconds: float) -> float:
        """The learning rate of a step."""
        done = min(1.0, seconds / (60 * self.minutes))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * 0.5 * (1 + math.cos(math.pi * done))


class Paths(NamedTuple):
    """What the teacher found.

    Attributes:
        points: (B, N, n + 2, 3, 3) from the uniform start, by way of n levels, to the denoised rotation.
        settled: (B, N) whether it has found a pose.
    """

    points: Tensor
    settled: Tensor


@torch.no_grad()
def solved(head: nn.Module, terms: ImageTerms, start: Tensor, scheme: Scheme, sigmas: Tensor) -> Paths:
    """Follow the flow of a score head from starts (B, N, 3, 3); the multistep points are the corrected ones."""
    each, time_terms = terms.unsqueeze(1), head.time_terms(sigmas)  # type: ignore[operator]
    rotations, points = start, [start]
    recent = start.new_zeros(*start.shape[:2], scheme.history, 3)
    for k, weights in enumerate(scheme.weights):
        recent = torch.cat([recent[:, :, 1:], head(rotations, each, time_terms[k])[:, :, None]], 2)
        revision, advance = so3.exp(weights @ recent).unbind(2)
        points.append(rotations @ revision)
        rotations = points[-1] @ advance
    slope = (scheme.score_slope @ recent).norm(dim=-1)
    return Paths(torch.stack([*points, rotations], 2), slope <= UNSETTLED)


class Distillation:
    """A model's flow map in training, and its moving average."""

    def __init__(self, model: ScoreModel, options: DistillationOptions, shown: Mapping[str, Any] | None = None) -> None:
        """`model` has a `flow_map`, whose weights training begins at; the rest of it stays as it is.

        `shown`: what the images are made of, as JSON can hold; a run that goes on must be shown the same.
        """
        assert model.flow_map is not None
        self._shown = dict(shown or {})
        self.model, self.options = model.eval(), options
        config, device = model.config, next(model.parameters()).device
        self.map = FlowMap(config, type(model.head)).to(device)
        self.map.load_state_dict(model.flow_map.state_dict())
        self.average = model.flow_map.requires_grad_(False)
        self.optimizer = Muon(self.map.parameters(), options.learning_rate, options.weight_decay)
        noise = geometric(options.steps + 1, config.sigma_max, max(config.sigma_min, LAST_SIGMA), skip=1)
        # All tables are made on the CPU, then moved.
        levels = torch.cat([noise.sigmas.new_tensor([config.sigma_max]), noise.sigmas, noise.sigmas.new_zeros(1)])
        self.used = self._used(levels)
        self.sigmas, self.levels = noise.sigmas.to(device), levels.to(device)
        self.scheme = multistep(noise, prior=config.sigma_max).to(self.sigmas)
        self.step, self.seconds = 0, 0.0

    def _used(self, levels: Tensor) -> Tensor:
        """Pairs (S, 2) of the teacher's levels that are nearest to those of the map's steps."""
        config, pairs = self.model.config, []
        for steps in _TAKEN:
            wanted = [*few(steps, config.sigma_max, max(config.sigma_min, LAST_SIGMA)).sigmas.tolist(), 0.0]
            near = [int((levels - level).abs().argmin()) for level in wanted]
            pairs += [pair for pair in itertools.pairwise(near) if pair[0] < pair[1]]
        return torch.tensor(pairs)

    def pairs(self, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Indices (rows,) of the levels at which a pair begins and ends, the first above the second."""
        last = len(self.levels) - 1
        first = torch.randint(0, last, (rows,), generator=generator)
        first = torch.where(torch.rand(rows, generator=generator) < self.options.from_start, 0, first)
        left = last - first
        second = first + 1 + (torch.rand(rows, generator=generator) * left).long().clamp_max(left - 1)
        second = torch.where(torch.rand(rows, generator=generator) < self.options.to_end, last, second)
        used = self.used[torch.randint(0, len(self.used), (rows,), generator=generator)]
        taken = torch.rand(rows, generator=generator) < self.options.used
        first, second = torch.where(taken, used[:, 0], first), torch.where(taken, used[:, 1], second)
        return first.to(self.levels.device), second.to(self.levels.device)

    def loss(self, terms: ImageTerms, paths: Paths, generator: torch.Generator) -> Tensor:
        """The map's error on pairs of points, in units of the score; pseudo-Huber."""
        images, starts = paths.settled.shape
        rows = starts * self.options.pairs
        first, second = (index.unflatten(0, (images, rows)) for index in self.pairs(images * rows, generator))
        path = torch.arange(starts, device=first.device).repeat(self.options.pairs)
        image = torch.arange(images, device=first.device)[:, None]
        here, there = paths.points[image, path, first], paths.points[image, path, second]
        sigmas, taus = self.levels[first], self.levels[second]
        velocity = self.map(here, terms.unsqueeze(1), self.map.time_terms(sigmas, taus))
        found = moved(here, velocity, sigmas, taus)
        squared = (found - there).square().sum((-2, -1)) / 2 / (sigmas - taus).square()  # chordal: angle^2 where small
        huber = self.options.huber
        error = (squared + huber**2).sqrt() - huber
        kept = paths.settled[:, path]
        return (error * kept).sum() / kept.sum().clamp_min(1)

    def advance(self, batch: Batch) -> float:
        """One step of the optimiser; the loss before it."""
        options = self.options
        generator = train_generator("distillation", options.seed, self.step)
        with torch.no_grad():
            named = torch.rand(len(batch.labels), generator=generator) < 0.8
            asked = torch.where(named.to(batch.labels.device), batch.labels, len(self.model.config.objects))
            features = self.model.name_conditioned(self.model.features(batch.images), asked)
            teacher = self.model.head.image_terms(features)
        start = so3.uniform(len(batch.labels) * options.starts, generator=generator, device=features.device)
        start = start.unflatten(0, (len(batch.labels), options.starts))
        paths = solved(self.model.head, teacher, start, self.scheme, self.sigmas)
        loss = self.loss(self.map.image_terms(features), paths, generator)
        for group in self.optimizer.param_groups:
            group["lr"] = options.rate(self.step, self.seconds)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.map.parameters(), 1.0)
        finite({"loss": float(loss.detach()), "gradient": float(norm)}, _REMEDY)
        self.optimizer.step()
        self.step += 1
        decay = min(options.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mine, theirs in zip(self.average.parameters(), self.map.parameters(), strict=True):
                mine.lerp_(theirs, 1 - decay)
        return float(loss.detach())

    def run(
        self,
        batches: Iterator[Batch],
        state: Path | None = None,
        on_step: Callable[[int, float, Mapping[str, float]], None] | None = None,
    ) -> None:
        """Train on until the options' minutes are over. `model.flow_map` is the average.

        Args:
            state: file that is kept up to date for `resume`, also when the run is interrupted.
            on_step: called with (steps done, seconds, losses).
        """
        waiting = next(batches)  # photographs are cut, constants copied: not the training's time

        def advance() -> dict[str, float]:
            nonlocal waiting
            loss = self.advance(waiting)
            waiting = next(batches)
            return {"loss": loss}

        run_by_the_clock(self, self.options.minutes, advance, state, on_step)

    @property
    def images(self) -> int:
        """Images that were shown so far."""
        return self.step * self.options.images

    def save(self, path: Path) -> None:
        """All that `resume` needs, as one file."""
        save_state(
            path, "lie_picard_distillation", self._networks(), self.optimizer, self._run(), self.step, self.seconds
        )

    def resume(self, path: Path) -> None:
        """Continue where `save` stood; the run may be longer or shorter than it was meant to be.

        Raises:
            CheckpointError: the file is damaged, or belongs to a run with other settings or of another model.
        """
        self.step, self.seconds = load_state(path, self._networks(), self.optimizer, self._run())

    def _networks(self) -> dict[str, nn.Module]:
        return {"map": self.map, "average": self.average}

    def _run(self) -> dict[str, Any]:
        score = hashlib.sha256()
        for name, one in self.model.state_dict().items():
            if not name.startswith("flow_map."):
                score.update(one.detach().cpu().numpy().tobytes())
        settings = {name: value for name, value in asdict(self.options).items() if name != "minutes"}
        model = self.model.config.to_dict()
        return {"training": settings, "model": model, "score": score.hexdigest(), "shown": self._shown}
