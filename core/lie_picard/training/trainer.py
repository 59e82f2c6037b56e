"""Denoising score matching, and recognition beside it, on one or many devices; resumable, seeded, never pickled."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lie_picard.data import symsol_files
from lie_picard.data.bop import Dataset, agrees, crops, object_names
from lie_picard.data.seeds import train_generator
from lie_picard.data.stream import Batch, Stream, batches, stored_batches
from lie_picard.files import atomic_write
from lie_picard.model import checkpoint
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN, Catalogue, MeshObject, catalogue
from lie_picard.rendering.clean import Crop
from lie_picard.rendering.constants import uploaded
from lie_picard.training.losses import Denoising, Losses, finite
from lie_picard.training.optimizers import Muon
from lie_picard.training.recipe import Recipe, TrainingOptions

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SAVE_EVERY_S = 120.0
_log = logging.getLogger(__name__)


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
        if fabric.is_global_zero and self.options.averaged_target:
            _tell_of_tables(recipe, self.catalogue)
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
        self._earlier, self._started = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the run has taken, before it was resumed included; the same for all processes."""
        seconds = self._own_seconds()
        if self.options.minutes is not None and self.fabric.world_size > 1:  # they must end at the same step
            return float(self.fabric.broadcast(seconds))
        return seconds

    def _own_seconds(self) -> float:
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
            checkpoint.initialise(self.model, self.options.initial)
            self.average.load_state_dict(self.model.state_dict())

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
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        tensors = {k: v.contiguous().cpu() for k, v in tensors.items()}
        note: dict[str, Any] = {"step": self.step, "recipe": self.recipe.to_dict()}
        if self.options.minutes is not None:
            note["seconds"] = self._own_seconds() if seconds is None else seconds
        with atomic_write(path) as partial:
            save_file(tensors, str(partial), {"format": "lie_picard_training", "state": json.dumps(note)})

    def resume(self, path: Path) -> None:
        """Continue where `save` stood.

        A run may be lengthened or shortened as long as its learning rate has not begun to fall.

        Raises:
            CheckpointError: the file is damaged or belongs to a run with other settings.
        """
        try:
            with safe_open(str(path), "pt") as opened:
                note = json.loads((opened.metadata() or {}).get("state", "{}"))
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise checkpoint.CheckpointError(f"{path}: unreadable ({error}); remove it to start afresh") from error
        if not self._continues(note):
            raise checkpoint.CheckpointError(
                f"{path} belongs to a run with other settings; give the same ones, or remove it to start afresh"
            )
        pick = lambda prefix: {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}  # noqa: E731
        modules = tuple(f"{name}." for name, _ in self.losses.named_children())
        self.losses.load_state_dict({name: value for name, value in tensors.items() if name.startswith(modules)})
        self.average.load_state_dict(pick("average."))
        parameters = list(self.losses.parameters())
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in pick("optimizer.").items():
            index, name = key.split(".", 1)
            # The fused optimiser takes moments to lie in memory as their parameter does.
            like = parameters[int(index)]
            value = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            state.setdefault(int(index), {})[name] = value
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
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
    validate: Callable[[ScoreModel], dict[str, float]] | None = None,
    validate_every: int = 2000,
    known: Catalogue | None = None,
) -> ScoreModel:
    """Train and write `output` (averaged weights); beside it `output`.state for resuming.

    `output`.plateau is the state when the learning rate began to fall: a longer run can go on from a copy of it.

    Args:
        on_step: called with (steps done, losses) after each step. To read the losses waits for a GPU: now and then.
        validate: scalars of the averaged model, logged every `validate_every` steps and at the end.
        known: the catalogue of the recipe's objects; None: the built-in one.

    Returns:
        The averaged model.

    Raises:
        CheckpointError: `output` cannot be a file, or the state to resume from does not fit.
        UnknownObjectError: images of an object are to be rendered that the catalogue has not.
        ValueError: on a GPU, the losses are not finite any more.
    """
    if output.is_dir():
        raise checkpoint.CheckpointError(f"{output} is a folder: give a file name that ends in .safetensors")
    options = recipe.training
    trainer = Trainer(recipe, fabric, known)
    state, plateau = (output.with_name(output.name + end) for end in (".state", ".plateau"))
    if resume and state.is_file():
        trainer.resume(state)
        if options.finished(trainer.step, trainer.seconds) and output.is_file():
            return trainer.average.eval()
    else:
        trainer.begin()
    output.parent.mkdir(parents=True, exist_ok=True)
    first, validated, losses = trainer.step, -1, None
    source = _batches(recipe, fabric, first, trainer.catalogue)
    waiting = next(source)  # photographs are cut, constants copied: not the training's time
    started = saved = time.monotonic()
    trainer.start_clock()
    seconds = trainer.seconds
    for batch in itertools.chain([waiting], source):
        before, seconds = seconds, trainer.seconds
        if options.finished(trainer.step, seconds):
            break
        if options.decay < 1 and _falls(options, trainer.step, before, seconds):
            trainer.save(plateau, before)
        losses = trainer.advance(batch, seconds)
        if on_step:
            on_step(trainer.step, losses)
        if trainer.step % 20 == 0:
            rate = (trainer.step - first) * options.batch / max(1e-9, time.monotonic() - started)
            scalars = {"learning_rate": options.rate(trainer.step, seconds), "images_per_s": rate}
            fabric.log_dict(finite(losses) | scalars, trainer.step)
        if validate and fabric.is_global_zero and (trainer.step % validate_every == 0 or trainer.step == options.steps):
            fabric.log_dict(validate(trainer.average.eval()), trainer.step)
            validated = trainer.step
        if time.monotonic() - saved > SAVE_EVERY_S:
            finite(losses)
            trainer.save(state)
            saved = time.monotonic()
    if losses is not None:
        finite(losses)  # waits for the GPU, too: what follows is not the training's time
    rate = (trainer.step - first) * options.batch / max(1e-9, time.monotonic() - started)
    if validate and fabric.is_global_zero and options.minutes is not None and 0 < trainer.step != validated:
        fabric.log_dict(validate(trainer.average.eval()), trainer.step)
    trainer.save(state)
    note = {
        "command": command,
        "recipe": recipe.to_dict(),
        "steps": trainer.step,
        "processes": fabric.world_size,
        "minutes_since_start_or_resume": round((time.monotonic() - started) / 60, 1),
        "steps_since_start_or_resume": trainer.step - first,
        "images_per_s": round(rate, 1),
        "torch": torch.__version__,
    }
    if fabric.is_global_zero:
        checkpoint.save(trainer.average, output, note)
    return trainer.average.eval()


def _falls(options: TrainingOptions, step: int, before: float, seconds: float) -> bool:
    """Whether the learning rate begins to fall with this step; `before` is `seconds` at the step before."""
    if options.minutes is not None:
        return options.decayed(step, before) == 0 < options.decayed(step, seconds)
    return options.decayed(step) == 0 < options.decayed(step + 1)


def _tell_of_tables(recipe: Recipe, known: Catalogue) -> None:
    """Say what keeps a training from beginning at once."""
    shapes = [known.find(name) for name in recipe.model.objects]
    slow = [one.name for one in shapes if isinstance(one, MeshObject) and one.depends_on_view]
    if slow:
        print(f"what each view of {', '.join(slow)} leaves open is looked up in tables that are made first: some "
              "seconds an object; training.averaged_target=false does without", file=sys.stderr)  # fmt: skip


def known_objects(recipe: Recipe, known: Catalogue) -> Catalogue:
    """The catalogue that a recipe's objects are of; an empty one where a data set shows other shapes by these names."""
    if recipe.data.bop:
        return _known_models(recipe, known)
    if not recipe.data.symsol:
        return known
    stored = symsol_files.read(Path(recipe.data.symsol).expanduser(), "train", recipe.model.objects)
    others = [one.shape for one in stored if one.shape not in known or not symsol_files.agrees(one, known[one.shape])]
    if not others:
        return known
    _log.warning("the data set's %s are none of the catalogue '%s': nothing but the names is taken as known",
                 ", ".join(others), known.name)  # fmt: skip
    return Catalogue("", {})


def _known_models(recipe: Recipe, known: Catalogue) -> Catalogue:
    """The same where the data set is BOP's: its models tell whether they are the catalogue's objects."""
    models = Dataset(recipe.data.bop, object_names(recipe.data.bop_objects)).models
    numbers = {name: number for number, name in models.names.items()}
    alike = all(name in known and name in numbers and agrees(models[numbers[name]], known[name])
                for name in recipe.model.objects)  # fmt: skip
    if alike:
        return known
    shapes = {name: models[numbers[name]].shape for name in recipe.model.objects if name in numbers}
    return Catalogue.of("", *(shape for shape in shapes.values() if shape is not None))


def _batches(  # type: ignore[no-untyped-def]
    recipe: Recipe, fabric: Fabric, step: int, known: Catalogue
):
    """This process's share of every batch from `step` on."""
    model, data, options = recipe.model, recipe.data, recipe.training
    if options.batch % fabric.world_size:
        raise ValueError(f"training.batch = {options.batch} cannot be shared by {fabric.world_size} processes")
    share = options.batch // fabric.world_size
    start, stride = step * fabric.world_size + fabric.global_rank, fabric.world_size
    if data.symsol:
        folder = Path(data.symsol).expanduser()
        return stored_batches(folder, model, share, options.seed, start, stride, fabric.device)
    if data.bop:
        source = crops.Source(
            Path(data.bop).expanduser(), data.bop_split, object_names(data.bop_objects), data.bop_visible,
            data.randomised, data.absent, data.randomisation,
        )  # fmt: skip
        return crops.batches(source, model, share, options.seed, start, stride, fabric.device)
    stream = Stream(
        tuple(known[name] for name in model.objects), model.image_size, model.channels,
        Crop(model.distance, model.fill), share, data.randomised, data.absent, data.randomisation, data.together,
        data.off, data.parts, data.textured, data.repeats,
    )  # fmt: skip
    return batches(stream, options.seed, start, fabric.device, stride)
