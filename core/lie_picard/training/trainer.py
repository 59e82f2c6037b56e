"""Denoising score matching, and recognition beside it, on one or many devices; resumable, seeded, never pickled."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lie_picard.data.seeds import train_generator
from lie_picard.data.stream import Batch
from lie_picard.model import checkpoint
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN, Catalogue, MeshObject, catalogue
from lie_picard.rendering.constants import uploaded
from lie_picard.training import states
from lie_picard.training.losses import Denoising, Losses, finite
from lie_picard.training.optimizers import Muon
from lie_picard.training.recipe import Recipe, TrainingOptions
from lie_picard.training.sources import batches_of, known_objects, tell_of_tables
from lie_picard.training.states import SAVE_EVERY_S

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Trainer:
    """Model, its moving average, optimiser and position in the run; saved and resumed as one safetensors file."""

    def __init__(self, recipe: Recipe, fabric: Fabric, known: Catalogue | None = None) -> None:
        """`known`: the catalogue of the recipe's objects; None: the built-in one."""
        torch.manual_seed(recipe.training.seed)
        self.catalogue = known_objects(recipe, catalogue(BUILT_IN) if known is None else known)
        self.recipe, self.options, self.fabric, self.step = recipe, recipe.training, fabric, 0
        self.model = ScoreModel(recipe.model).to_device(fabric.device)
        self.average = ScoreModel(recipe.model).to(fabric.device)
        self.average.load_state_dict(self.model.state_dict())
        self.average.requires_grad_(False)
        self.model.catalogue = self.average.catalogue = self.catalogue.name
        # As they are now: a store may change until the checkpoint is written.
        meshes = [one for one in map(self.catalogue.find, recipe.model.objects) if isinstance(one, MeshObject)]
        self.model.known = self.average.known = Catalogue.of(self.catalogue.name, *meshes) if meshes else None
        self._shapes = {one.name: states.digest(one) for one in meshes}
        if fabric.is_global_zero and self.options.averaged_target:
            tell_of_tables(recipe, self.catalogue)
        self.losses = Denoising(self.model, self.options, self.catalogue).to(fabric.device)
        optimizer: torch.optim.Optimizer
        if self.options.optimizer == "muon":
            optimizer = Muon(self.losses.parameters(), self.options.learning_rate, self.options.weight_decay)
        else:
            optimizer = torch.optim.AdamW(
                self.losses.parameters(),
                lr=self.options.learning_rate,
                weight_decay=self.options.weight_decay,
                fused=True,
            )
        self.denoising, self.optimizer = fabric.setup(self.losses, optimizer)
        self._earlier, self._started, self._fell = 0.0, time.monotonic(), False

    @property
    def seconds(self) -> float:
        """How long the run has taken, before it was resumed included; the same for all processes."""
        seconds = self.own_seconds()
        if self.options.minutes is not None and self.fabric.world_size > 1:  # they must end at the same step
            return float(self.fabric.broadcast(seconds))
        return seconds

    def own_seconds(self) -> float:
        """As `seconds`, of this process alone: the others need not ask."""
        return self._earlier + time.monotonic() - self._started

    def start_clock(self) -> None:
        """The time of the run counts from here."""
        self._started = time.monotonic()

    def begin(self) -> None:
        """Take the weights that the recipe begins at; where a run is resumed, they need not exist any more.

        Raises:
            CheckpointError: `training.initial` cannot be read or does not fit.
        """
        if self.options.initial:
            readings = checkpoint.initialise(self.model, self.options.initial)
            self.average.load_state_dict(self.model.state_dict())
            mine = self.losses.state_dict()
            taken = {k: v for k, v in readings.items() if k in mine and v.shape == mine[k].shape}
            self.losses.load_state_dict(mine | taken)

    def advance(self, batch: Batch, seconds: float = 0.0) -> Losses:
        """One optimiser step on this process's share of a batch; the losses before it.

        Nothing here waits for a GPU: the next batch can be prepared while it computes.

        Args:
            seconds: that the run has taken, for the learning rate of runs of so many minutes.
        """
        options = self.options
        # By step and process, so that it resumes at any step.
        part = self.step * self.fabric.world_size + self.fabric.global_rank
        generator = train_generator("noise", options.seed, part)
        images, truth, labels, view, signatures = batch
        config, shape = self.recipe.model, (len(truth), options.rotations)
        uniform = uploaded(torch.rand(shape, generator=generator), truth.device)
        sigmas = options.noise_levels(uniform, config.sigma_min, config.sigma_max)
        z = uploaded(torch.randn(*shape, 3, generator=generator), truth.device)
        named = uploaded(torch.rand(len(truth), generator=generator) < options.name_share, truth.device)
        asked = torch.where(named, labels, len(config.objects))
        self.denoising.train()
        losses = self.denoising(images, truth, labels, asked, sigmas, z, view, signatures)
        weights = {"score": 1.0} | {name: getattr(options, name) for name in losses if name != "score"}
        for group in self.optimizer.param_groups:
            group["lr"] = options.rate(self.step, seconds)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(torch.stack([weights[name] * loss for name, loss in losses.items()]).sum())
        # On a GPU a gradient that is not finite is found with the next losses that are read (`train`).
        checked = truth.device.type != "cuda"
        self.fabric.clip_gradients(self.denoising, self.optimizer, max_norm=1.0, error_if_nonfinite=checked)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return Losses({f"loss/{name}": loss for name, loss in losses.items()})

    def check(self, losses: Losses) -> None:
        """Whether losses and weights may be saved.

        Raises:
            ValueError: they are not finite any more. The losses are of the step before the weights.
        """
        weights = torch.stack([one.detach().double().sum() for one in self.losses.parameters()]).sum()
        finite(dict(losses) | {"weights": float(weights)})

    def fall(self) -> None:
        """Let the learning rate begin to fall now, where it has not: the run ends when it has fallen."""
        seconds = self.own_seconds()
        if self.options.minutes is None or self.options.decayed(self.step, seconds):
            return
        minutes = seconds / 60 / max(1e-3, 1 - self.options.decay)
        self._take(dataclasses.replace(self.options, minutes=min(minutes, self.options.minutes)))
        self._fell = True

    def _take(self, options: TrainingOptions) -> None:
        self.options = options
        self.recipe = dataclasses.replace(self.recipe, training=options)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.options.ema, (1 + self.step) / (10 + self.step))
        pairs = zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True)
        averaged: list[tuple[Tensor, Tensor]] = []
        copied: list[tuple[Tensor, Tensor]] = []
        for pair in pairs:
            (averaged if pair[0].is_floating_point() else copied).append(pair)
        mine, theirs = (list(tensors) for tensors in zip(*averaged, strict=True))
        get_ema_multi_avg_fn(decay)(mine, theirs, None)  # all in one kernel on a GPU
        for count, new in copied:
            count.copy_(new)

    def save(self, path: Path, seconds: float | None = None) -> None:
        """Write the whole state; the old file is replaced only when the new one is complete.

        Args:
            seconds: that the run has taken; None: up to now.
        """
        if not self.fabric.is_global_zero:
            return
        tensors = dict(self.losses.state_dict())
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        note: dict[str, Any] = {"step": self.step, "recipe": self.recipe.to_dict(), "fell": self._fell}
        note |= {"shapes": self._shapes} if self._shapes else {}
        if self.options.minutes is not None:
            note["seconds"] = self.own_seconds() if seconds is None else seconds
        states.write(path, "lie_picard_training", tensors, self.optimizer, note)

    def resume(self, path: Path) -> None:
        """Continue where `save` stood.

        A run may be lengthened or shortened as long as its learning rate has not begun to fall.

        Raises:
            CheckpointError: the file is damaged or belongs to a run with other settings.
        """
        note, tensors = states.read(path)
        if note.get("fell"):  # a goal was met: the run is as long as that made it, whatever it might have been
            try:
                self._take(dataclasses.replace(self.options, minutes=Recipe.from_dict(note["recipe"]).training.minutes))
            except (KeyError, TypeError, ValueError):
                note = {}  # damaged: of no run that is known
            self._fell = True
        if not self._continues(note) or note.get("shapes", self._shapes) != self._shapes:
            raise states.other_run(path)
        modules = tuple(f"{name}." for name, _ in self.losses.named_children())
        self.losses.load_state_dict({name: value for name, value in tensors.items() if name.startswith(modules)})
        self.average.load_state_dict(states.below(tensors, "average."))
        parameters = list(self.losses.parameters())
        state = states.moments(tensors)
        for index, parts in state.items():
            like = parameters[index]  # the fused optimiser takes moments to lie in memory as their parameter does
            for name, value in parts.items():
                if value.shape == like.shape:
                    parts[name] = torch.empty_like(like).copy_(value)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step = int(note["step"])
        self._earlier = float(note.get("seconds", 0.0))

    def _continues(self, note: dict[str, Any]) -> bool:
        mine = json.loads(json.dumps(self.recipe.to_dict()))
        if note.get("recipe") == mine:
            return True
        try:
            theirs = Recipe.from_dict(note["recipe"])
        except (KeyError, ValueError):
            return False
        longer = dataclasses.replace(theirs.training, images=self.options.images, minutes=self.options.minutes)
        behind = note["step"], note.get("seconds", 0.0)
        plateau = theirs.training.decayed(*behind) == 0 == self.options.decayed(*behind)
        return plateau and dataclasses.replace(theirs, training=longer) == self.recipe


def train(
    recipe: Recipe,
    output: Path,
    fabric: Fabric,
    resume: bool = False,
    command: str = "",
    on_step: Callable[[int, Mapping[str, float], float], None] | None = None,
    validate: Callable[[ScoreModel], dict[str, float]] | None = None,
    validate_every: int = 2000,
    known: Catalogue | None = None,
    validate_every_s: float | None = None,
    watch: Callable[[int, float, Mapping[str, float]], None] | None = None,
    enough: Callable[[Mapping[str, float]], bool] | None = None,
) -> ScoreModel:
    """Train and write `output` (averaged weights); beside it `output`.state for resuming.

    `output`.plateau is the state when the learning rate began to fall: a longer run can go on from a copy of it.

    Args:
        on_step: called with (steps done, losses, seconds) after each step. To read the losses waits for a GPU: now and
            then.
        validate: scalars of the averaged model, logged every `validate_every` steps and at the end.
        known: the catalogue of the recipe's objects; None: the built-in one.
        validate_every_s: seconds between validations, instead of steps.
        watch: called with (steps done, seconds, scalars) after each validation.
        enough: asked after each, by its scalars; once it says so, the learning rate begins to fall, and the run, which
            must be one of so many minutes, ends when it has fallen.

    Returns:
        The averaged model.

    Raises:
        CheckpointError: `output` cannot be a file, or the state to resume from does not fit.
        UnknownObjectError: images of an object are to be rendered that the catalogue has not.
        ValueError: on a GPU, the losses are not finite any more; `enough` for a run of so many images, or of several
            processes.
    """
    if enough is not None and (recipe.training.minutes is None or fabric.world_size > 1):
        raise ValueError("to train until a goal is met takes one process and training.minutes, the most it may last")
    if output.is_dir():
        raise checkpoint.CheckpointError(f"{output} is a folder: give a file name that ends in .safetensors")
    trainer = Trainer(recipe, fabric, known)
    state, plateau = (output.with_name(output.name + end) for end in (".state", ".plateau"))
    if resume and state.is_file():
        trainer.resume(state)
        if trainer.options.finished(trainer.step, trainer.seconds) and output.is_file():
            return trainer.average.eval()
    else:
        trainer.begin()
    output.parent.mkdir(parents=True, exist_ok=True)
    first, validated, losses = trainer.step, -1, None
    source = batches_of(recipe, fabric, first, trainer.catalogue)
    waiting = next(source)  # photographs are cut, constants copied: not the training's time
    started = saved = time.monotonic()
    trainer.start_clock()
    seconds = trainer.seconds
    looked = seconds

    def look() -> dict[str, float]:
        assert validate is not None
        found = validate(trainer.average.eval())
        fabric.log_dict(found, trainer.step)
        if watch is not None:
            watch(trainer.step, trainer.own_seconds(), found)
        return found

    for batch in itertools.chain([waiting], source):
        options = trainer.options
        before, seconds = seconds, trainer.seconds
        if options.finished(trainer.step, seconds):
            break
        if options.decay < 1 and _falls(options, trainer.step, before, seconds):
            trainer.save(plateau, before)
        losses = trainer.advance(batch, seconds)
        if on_step:
            on_step(trainer.step, losses, seconds)
        if trainer.step % 20 == 0:
            rate = (trainer.step - first) * options.batch / max(1e-9, time.monotonic() - started)
            scalars = {"learning_rate": options.rate(trainer.step, seconds), "images_per_s": rate}
            fabric.log_dict(finite(losses) | scalars, trainer.step)
        due = trainer.step % validate_every == 0 if validate_every_s is None else seconds - looked >= validate_every_s
        if validate and fabric.is_global_zero and (due or trainer.step == options.steps):
            found = look()
            validated, looked = trainer.step, trainer.own_seconds()
            if enough is not None and enough(found):
                trainer.fall()
        if time.monotonic() - saved > SAVE_EVERY_S:
            trainer.check(losses)
            trainer.save(state)
            saved = time.monotonic()
    if losses is not None:
        trainer.check(losses)  # waits for the GPU, too: what follows is not the training's time
    rate = (trainer.step - first) * trainer.options.batch / max(1e-9, time.monotonic() - started)
    timed = trainer.options.minutes is not None
    if validate and fabric.is_global_zero and timed and 0 < trainer.step != validated:
        look()
    trainer.save(state)
    note = {
        "command": command,
        "recipe": trainer.recipe.to_dict(),
        "steps": trainer.step,
        "processes": fabric.world_size,
        "minutes_since_start_or_resume": round((time.monotonic() - started) / 60, 1),
        "steps_since_start_or_resume": trainer.step - first,
        "images_per_s": round(rate, 1),
        "torch": torch.__version__,
    }
    if fabric.is_global_zero:
        own = {k: v.detach().cpu() for k, v in trainer.losses.state_dict().items() if not k.startswith("model.")}
        trainer.average.auxiliary = own
        checkpoint.save(trainer.average, output, note)
    return trainer.average.eval()


def _falls(options: TrainingOptions, step: int, before: float, seconds: float) -> bool:
    """Whether the learning rate begins to fall with this step; `before` is `seconds` at the step before."""
    if options.minutes is not None:
        return options.decayed(step, before) == 0 < options.decayed(step, seconds)
    return options.decayed(step) == 0 < options.decayed(step + 1)
