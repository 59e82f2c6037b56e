"""Denoising score matching on images rendered on the fly; resumable, seeded, never pickled."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lie_picard import so3
from lie_picard.model import checkpoint
from lie_picard.model.config import ModelConfig
from lie_picard.model.score_model import ScoreModel
from lie_picard.seeds import HALF, train_generator
from lie_picard.symsol.renderer import Crop, render
from lie_picard.symsol.solids import solid

_SAVE_EVERY_S = 120.0


@dataclass(frozen=True)
class TrainingOptions:
    """Settings of a training run.

    Attributes:
        images: number of images to see, all rendered afresh.
        batch: images an optimiser step. rotations: noised rotations an image.
        learning_rate: peak of the cosine that decays to zero. ema: decay of the averaged weights that are saved.
    """

    images: int = 640_000
    batch: int = 80
    rotations: int = 16
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    warmup_steps: int = 300
    ema: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("images", "batch", "rotations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.seed < HALF:
            raise ValueError(f"training seeds lie in [0, 2^31), got {self.seed}")

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return math.ceil(self.images / self.batch)


Batch = tuple[Tensor, Tensor]


def rendered_batches(
    config: ModelConfig, options: TrainingOptions, device: torch.device, start: int
) -> Iterator[Batch]:
    """Endless (images (B, S, S[, 3]) uint8, rotations (B, 3, 3)); batch k depends on the seed and k alone."""
    crop = Crop(config.distance, config.fill)
    step = start
    while True:
        generator = train_generator(options.seed * 1_000_003 + step)
        images, rotations = [], []
        for index, name in enumerate(config.objects):
            share = options.batch // len(config.objects) + (index < options.batch % len(config.objects))
            if share:
                rotations.append(so3.uniform(share, generator=generator, device=device))
                images.append(render(solid(name), rotations[-1], config.image_size, crop, config.channels))
        stacked = torch.cat(images)
        yield stacked, torch.cat(rotations)
        step += 1


def loss_of(model: ScoreModel, batch: Batch, options: TrainingOptions, generator: torch.Generator) -> Tensor:
    """Mean squared error of the score against ``-z``, R_sigma = R_0 Exp(sigma z), sigma log-uniform (Eq. 7-10)."""
    images, truth = batch
    config, shape = model.config, (len(truth), options.rotations)
    uniform = torch.rand(shape, generator=generator).to(truth.device)
    sigmas = config.sigma_min * (config.sigma_max / config.sigma_min) ** uniform
    z = torch.randn(*shape, 3, generator=generator).to(truth.device)
    noised = truth[:, None] @ so3.exp(sigmas[..., None] * z)
    # Convolutions in bf16 (two to three times faster, also on CPUs that know it); the head and all rotations in fp32.
    with torch.autocast(truth.device.type, torch.bfloat16):
        features = model.features(images)
    terms = model.head.image_terms(features).unsqueeze(1)
    score = model.head(noised, terms, model.head.time_terms(sigmas))
    return (score + z).square().mean()


class Trainer:
    """Model, its moving average, optimiser and position in the run; saved and resumed as one safetensors file."""

    def __init__(self, config: ModelConfig, options: TrainingOptions, device: torch.device) -> None:
        torch.manual_seed(options.seed)
        self.config, self.options, self.device, self.step = config, options, device, 0
        self.model = ScoreModel(config).to_device(device)
        self.average = ScoreModel(config).to(device)
        self.average.load_state_dict(self.model.state_dict())
        self.average.requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to zero at the last step."""
        o = self.options
        warm = min(1.0, (self.step + 1) / o.warmup_steps)
        return o.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / o.steps)))

    def advance(self, batch: Batch) -> float:
        """One optimiser step; the loss before it."""
        # Batches use seeds of their own, so noise needs another stream that resumes at any step.
        generator = train_generator(self.options.seed * 7_919 + self.step * 31 + 17)
        self.model.train()
        loss = loss_of(self.model, batch, self.options, generator)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return float(loss.detach())

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.options.ema, (1 + self.step) / (10 + self.step))
        for mine, theirs in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)

    def save(self, path: Path) -> None:
        """Write the whole state; the old file is replaced only when the new one is complete."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        tensors = {k: v.contiguous().cpu() for k, v in tensors.items()}
        note = {"step": self.step, "config": self.config.to_dict(), "options": asdict(self.options)}
        partial = path.with_name(path.name + ".partial")
        save_file(tensors, str(partial), {"format": "lie_picard_training", "state": json.dumps(note)})
        os.replace(partial, path)

    def resume(self, path: Path) -> None:
        """Continue where `save` stood.

        Raises:
            CheckpointError: the file is damaged or belongs to a run with other settings.
        """
        try:
            with safe_open(str(path), "pt") as opened:
                note = json.loads((opened.metadata() or {}).get("state", "{}"))
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise checkpoint.CheckpointError(f"{path}: unreadable ({error}); remove it to start afresh") from error
        if note.get("config") != self.config.to_dict() or note.get("options") != asdict(self.options):
            raise checkpoint.CheckpointError(
                f"{path} belongs to a run with other settings; give the same ones, or remove it to start afresh"
            )
        pick = lambda prefix: {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}  # noqa: E731
        self.model.load_state_dict(pick("model."))
        self.average.load_state_dict(pick("average."))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in pick("optimizer.").items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step = int(note["step"])


def train(
    config: ModelConfig,
    options: TrainingOptions,
    output: Path,
    device: torch.device,
    resume: bool = False,
    command: str = "",
    on_step: Callable[[int, float], None] | None = None,
) -> ScoreModel:
    """Train and write `output` (averaged weights) with `output`.state beside it for resuming.

    Args:
        on_step: called with (steps done, loss) after each step.

    Returns:
        The averaged model.

    Raises:
        CheckpointError: `output` cannot be a file, or the state to resume from does not fit.
    """
    if output.is_dir():
        raise checkpoint.CheckpointError(f"{output} is a folder: give a file name that ends in .safetensors")
    trainer = Trainer(config, options, device)
    state = output.with_name(output.name + ".state")
    if resume and state.is_file():
        trainer.resume(state)
        if trainer.step >= options.steps and output.is_file():
            return trainer.average.eval()
    output.parent.mkdir(parents=True, exist_ok=True)
    started = saved = time.monotonic()
    first = trainer.step
    for batch in rendered_batches(config, options, device, trainer.step):
        if trainer.step >= options.steps:
            break
        loss = trainer.advance(batch)
        if on_step:
            on_step(trainer.step, loss)
        if time.monotonic() - saved > _SAVE_EVERY_S:
            trainer.save(state)
            saved = time.monotonic()
    trainer.save(state)
    note = {
        "command": command,
        "options": asdict(options),
        "steps": trainer.step,
        "minutes_since_start_or_resume": round((time.monotonic() - started) / 60, 1),
        "steps_since_start_or_resume": trainer.step - first,
        "torch": torch.__version__,
    }
    checkpoint.save(trainer.average, output, note)
    return trainer.average.eval()
