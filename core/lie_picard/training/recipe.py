"""Recipes: one TOML file says all that makes a model (what it is, what it is shown, how it is trained)."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lie_picard.data.seeds import HALF
from lie_picard.files import expanded
from lie_picard.model.config import ModelConfig
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.rendering.randomisation import TEXTURED, Randomisation

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


OPTIMIZERS = ("adamw", "muon")


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names the file and the key."""


@dataclass(frozen=True)
class DataOptions:
    """What the model is shown.

    Attributes:
        randomised: share of images that are randomised, the rest is clean (`rendering.randomisation`).
        absent: share of images without a known object, for the presence score.
        symsol: root of a data set in SYMSOL's format to train on instead; "": images rendered on the fly.
        randomisation: how far randomised images vary.
        off: share of clean images whose crop is off in place and size (`rendering.randomisation.OFF_CENTRE`).
        parts: share of images that show random parts (`data.random_parts`), which are no known object either.
        together: batches that are rendered as one (`data.stream.Stream`): on a GPU some 2,000 images are best.
        repeats: how often each of these images is shown, each time with another noise; `together` is a multiple of it.
        textured: share of the randomised images that are `rendering.randomisation.TEXTURED`: prints, wear, hands.
        prints: share of textured images whose object carries pictures, text, patterns, labels, or colours of its faces.
        bop: root of a BOP data set to train on instead; "": none. bop_split: of it. bop_objects: names of its objects,
            such as "5=bracket". bop_visible: least share of an object that is seen.
    """

    randomised: float = 0.0
    absent: float = 0.0
    symsol: str = ""
    randomisation: Randomisation = field(default_factory=Randomisation)
    together: int = 1
    off: float = 0.0
    parts: float = 0.0
    textured: float = 0.0
    repeats: int = 1
    prints: float = TEXTURED.prints
    bop: str = ""
    bop_split: str = "train_pbr"
    bop_objects: tuple[str, ...] = ()
    bop_visible: float = 0.25

    def __post_init__(self) -> None:
        if not isinstance(self.randomisation, Randomisation):  # a table, as TOML and JSON give it
            object.__setattr__(self, "randomisation", _built(Randomisation, self.randomisation, "data.randomisation"))
        object.__setattr__(self, "bop_objects", tuple(self.bop_objects))
        if self.bop and self.symsol:
            raise ValueError("data.bop and data.symsol are both given: choose one of them")
        for name in ("randomised", "absent", "off", "parts", "textured", "prints", "bop_visible"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.{name} is a share between 0 and 1, got {getattr(self, name)}")
        if self.together < 1:
            raise ValueError(f"data.together must be at least 1, got {self.together}")
        if self.repeats < 1 or self.together % self.repeats:
            raise ValueError(
                f"data.repeats = {self.repeats}: data.together = {self.together} must be a multiple of it, or those "
                "of a repeated batch would not be mixed with others"
            )


@dataclass(frozen=True)
class TrainingOptions:
    """Settings of a training run.

    Attributes:
        images: number of images to see. batch: images an optimiser step, over all processes.
        rotations: noised rotations an image.
        learning_rate: of the plateau, after `warmup_steps`. decay: share of the run, at its end, in which the rate
            falls to zero along half a cosine. ema: decay of the averaged weights that are saved.
        optimizer: "adamw", or "muon" (`training.optimizers`), which learns more an image at the same rate.
        initial: checkpoint whose weights training begins at ("default": the embedded one); "": random ones.
        name_share: share of images whose object the head is conditioned on by name (`told` in recipes of before 0.2).
        noise_power: p of the density sigma^(p - 1) of noise levels; 0: as many in every e-fold; above: more high ones.
        uncertainty: power of the score's expected error by which each error is divided (`training.uncertainty`); 0:
            every error counts as it is, so that most of the gradient is that of images that say little.
        averaged_target: whether the score is regressed on the mean over poses that look the same (`training.targets`).
        recognition, moments, position, descriptions: weights of the other losses (`losses.Denoising`) beside the
            score's; 0: without.
        bfloat16: whether the convolutions run in it where the device has instructions for it (two to three times
            faster, also on CPUs; `machine.computes_bfloat16`); the head and all rotations stay in float32.
        minutes: length of the run; `images` then says nothing, and the learning rate falls over the time instead of the
            steps. None: the run is as long as its images.
    """

    images: int = 640_000
    batch: int = 80
    rotations: int = 16
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    warmup_steps: int = 300
    decay: float = 1.0
    ema: float = 0.999
    initial: str = ""
    name_share: float = 0.8
    averaged_target: bool = False
    noise_power: float = 0.0
    uncertainty: float = 0.0
    optimizer: str = "adamw"
    recognition: float = 0.05
    moments: float = 3.0
    position: float = 0.1
    descriptions: float = 0.0
    bfloat16: bool = True
    seed: int = 0
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("images", "batch", "rotations"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be at least 1, got {getattr(self, name)}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"training.optimizer is '{self.optimizer}': choose from {', '.join(OPTIMIZERS)}")
        if self.noise_power and not 0.05 <= self.noise_power <= 4:
            raise ValueError(f"training.noise_power is 0 or lies between 0.05 and 4, got {self.noise_power}")
        if not 0 <= self.seed < HALF:
            raise ValueError(f"training seeds lie in [0, 2^31), got {self.seed}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"training.minutes must be above 0, got {self.minutes}")

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return math.ceil(self.images / self.batch)

    def noise_levels(self, uniform: Tensor, low: float, high: float) -> Tensor:
        """Noise levels between two, with a density ~ sigma^(power - 1), of uniform numbers in [0, 1]."""
        if not self.noise_power:
            return low * (high / low) ** uniform
        first, last = low**self.noise_power, high**self.noise_power
        return (first + (last - first) * uniform) ** (1 / self.noise_power)

    def finished(self, step: int, seconds: float = 0.0) -> bool:
        """Whether a run is over after so many steps, which took so long."""
        return step >= self.steps if self.minutes is None else seconds >= 60 * self.minutes

    def rate(self, step: int, seconds: float = 0.0) -> float:
        """Learning rate of a step: warm-up, plateau, decay."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * self.decayed(step, seconds)))

    def decayed(self, step: int, seconds: float = 0.0) -> float:
        """How much of the decay lies behind, 0 to 1, after so many steps, which took so long."""
        if self.minutes is not None:
            length = 60 * self.minutes
            begin = length * (1 - self.decay)
            return min(1.0, max(0.0, (seconds - begin) / max(1e-9, length - begin)))
        begin = self.steps * (1 - self.decay)
        return min(1.0, max(0.0, (step - begin) / max(1.0, self.steps - begin)))


@dataclass(frozen=True)
class Recipe:
    """Model, data and training."""

    model: ModelConfig = field(default_factory=lambda: ModelConfig(objects=tuple(catalogue(BUILT_IN))))
    data: DataOptions = DataOptions()
    training: TrainingOptions = TrainingOptions()

    def __post_init__(self) -> None:
        if self.model.flow_map:
            raise ValueError("model.flow_map: training makes none; `lie-picard distil` gives it to a trained model")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        training = dataclasses.asdict(self.training)
        data = dataclasses.asdict(self.data)
        if self.training.minutes is None:  # as runs without it were written, and are resumed
            del training["minutes"]
        for name in ("averaged_target", "noise_power", "descriptions", "uncertainty"):
            if not getattr(self.training, name):
                del training[name]
        if self.training.optimizer == "adamw":
            del training["optimizer"]
        if not self.model.position:
            del training["position"]
        data["randomisation"] = self.data.randomisation.to_dict()
        for name in ("together", "repeats"):
            if getattr(self.data, name) == 1:
                del data[name]
        for name in ("off", "parts", "textured"):
            if not getattr(self.data, name):
                del data[name]
        if not self.data.bop:
            data = {key: value for key, value in data.items() if not key.startswith("bop")}
        return {"model": self.model.to_dict(), "data": data, "training": training}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Inverse of `to_dict`; what is left out keeps its default.

        Raises:
            RecipeError: a key is unknown or a value of no use.
        """
        training = values.get("training")
        if isinstance(training, dict) and "told" in training:  # its name in recipes and checkpoints of before 0.2
            renamed = {"name_share" if key == "told" else key: value for key, value in training.items()}
            values = values | {"training": renamed}
        kinds = {"model": ModelConfig, "data": DataOptions, "training": TrainingOptions}
        _known(values, tuple(kinds), "")
        sections = {name: _built(kinds[name], values.get(name, {}), name) for name in kinds}
        if not sections["model"].objects:
            sections["model"] = dataclasses.replace(sections["model"], objects=tuple(catalogue(BUILT_IN)))
        return cls(**sections)


def read(name: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of that name (`RECIPES`) or file, changed by assignments such as ``training.images=1000``.

    Raises:
        RecipeError: no such recipe, no valid TOML, or unknown keys.
    """
    file = _FOLDER / f"{name}.toml" if str(name) in RECIPES else expanded(name)
    if not file.is_file():
        raise RecipeError(f"no recipe '{name}': give one of {', '.join(RECIPES)}, or a TOML file")
    try:
        values = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: {error}") from error
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise RecipeError(f"'{change}' is no assignment: write it as section.key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # a bare word is a string
        *path, last = key.strip().split(".")
        table = values
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise RecipeError(f"'{change}': {part} is a value, not a section")
        table[last] = value
    return Recipe.from_dict(values)


def _built(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    if not isinstance(values, dict):
        raise RecipeError(f"recipe: {where} is a section, got {values!r}")
    _known(values, tuple(kind.__dataclass_fields__), f"{where}.")
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"recipe, [{where}]: {error}") from error


def _known(values: dict[str, Any], names: tuple[str, ...], prefix: str) -> None:
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise RecipeError(f"recipe: unknown key {prefix}{unknown[0]}; known are {', '.join(prefix + n for n in names)}")
