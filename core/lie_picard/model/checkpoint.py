"""Checkpoints: safetensors files that carry their model's configuration as metadata. Never pickle."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lie_picard.files import atomic_write, expanded
from lie_picard.model.config import ModelConfig
from lie_picard.model.locator import StoredLocator
from lie_picard.model.position import WIDTH as POSITION_WIDTH
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN, OWN, Catalogue, carried, catalogue
from lie_picard.posterior.covariance import Calibration
from lie_picard.rendering.buffers import LUMINANCE

DEFAULT = Path(__file__).parent.parent / "checkpoints" / "compact.safetensors"

_log = logging.getLogger(__name__)
_LISTED = "objects"  # the metadata's key for those that the file carries
_AUXILIARY = "auxiliary."
_LOCATOR = "locator"  # the metadata's key for its configuration; before the names of its weights
_BY_OBJECT = (
    "recognition.classify.weight",
    "recognition.classify.bias",
    "recognition.gain.weight",
    "recognition.shift.weight",
)


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or of another kind; the message says which and what to do."""


def save(model: ScoreModel, path: str | Path, training: dict[str, Any] | None = None, half: bool = False) -> None:
    """Write weights, configuration, and what is known of the model's objects that are meshes (`objects.carried`).

    The file is there as a whole or, where writing it failed, as it was.

    Args:
        training: command, seed, images seen, ...; kept as a note.
        half: matrices in half precision: half the file, errors of 0.05% of each weight. They are loaded as float32.
    """
    objects, listed = carried.stored(model.known, model.config.objects)
    metadata = {
        "format": "lie_picard",
        "config": json.dumps(model.config.to_dict()),
        "training": json.dumps(training or {}),
        "calibration": json.dumps(asdict(model.calibration)),
        "catalogue": model.catalogue,
    }
    if listed:
        metadata[_LISTED] = listed
    if model.locator is not None:
        metadata[_LOCATOR] = model.locator.described
        objects |= {f"{_LOCATOR}.{name}": _halved(one) if half else one for name, one in model.locator.tensors.items()}
    every = model.state_dict() | {_AUXILIARY + name: tensor for name, tensor in model.auxiliary.items()}
    weights = {name: tensor.contiguous() for name, tensor in every.items()}
    if half:
        weights = {name: _halved(one) for name, one in weights.items()}
    with atomic_write(Path(path)) as partial:
        save_file(weights | objects, str(partial), metadata)


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.dim() > 1 else tensor


def resolve(path: str | Path) -> Path:
    """The file behind a name: "default" is the embedded checkpoint; ~ is the home directory, where there is one."""
    return DEFAULT if str(path) == "default" else expanded(path)


def read_metadata(path: str | Path) -> tuple[ModelConfig, dict[str, Any]]:
    """Configuration and training note of a checkpoint.

    Raises:
        CheckpointError: as `load`.
    """
    stored = _read(path)
    return stored.config, stored.training


def catalogue_of(path: str | Path) -> str:
    """Name of the catalogue that a checkpoint's objects are of; "" where it cannot be read: `load` says why."""
    try:
        with safe_open(str(resolve(path)), "pt") as opened:
            metadata = opened.metadata() or {}
        return metadata.get("catalogue", _catalogue_before(json.loads(metadata.get("training", "{}"))))
    except (SafetensorError, OSError, ValueError, AttributeError, RecursionError):
        return ""


def carried_by(path: str | Path) -> Catalogue | None:
    """The objects that a checkpoint carries; None: none. The weights are not read.

    None, too, where they cannot be read: `load` says why.
    """
    try:
        with safe_open(str(resolve(path)), "pt") as opened:
            metadata = opened.metadata() or {}
            names = ModelConfig.from_dict(json.loads(metadata["config"])).objects
            tensors = {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(carried.PREFIX)}  # noqa: SIM118
        return carried.read(metadata.get("catalogue", ""), tensors, metadata.get(_LISTED, ""), names)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def catalogue_for(known: Catalogue | None, name: str) -> Catalogue:
    """What is known of a model's objects: those that it carries (`ScoreModel.known`), before the catalogue it names."""
    named = catalogue(name)
    return named if known is None else known.joined(named)


def tell_of_others(path: str | Path, model: ScoreModel) -> None:
    """Say where this machine's store has other objects by the names of those that a checkpoint carries."""
    if model.known is not None and (names := carried.differing(model.known, catalogue(OWN))):
        _log.warning("checkpoint %s carries %s as it was trained on; this machine's store has another object by that "
                     "name: the checkpoint's counts, train again to follow the store",
                     resolve(path), ", ".join(names))  # fmt: skip


def load(path: str | Path, device: torch.device | str = "cpu") -> ScoreModel:
    """The model of a checkpoint, in evaluation mode; `known` are the objects that the file carries.

    Raises:
        CheckpointError: no such file, not a safetensors file, not one of this package, damaged objects, or weights
            that do not fit.
    """
    stored = _read(path)
    _check_sizes(path, stored)
    tensors, model = stored.tensors, ScoreModel(stored.config)
    model.calibration, model.catalogue, model.known = stored.calibration, stored.catalogue, stored.known
    model.auxiliary, model.locator = stored.auxiliary, stored.locator
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        _refuse_weights(path, str(error).splitlines()[0])
    # In double precision a sum is finite exactly where all its terms are; one operation each, not two.
    sums = (float(tensor.sum(dtype=torch.float64)) for tensor in tensors.values() if tensor.is_floating_point())
    if not all(map(math.isfinite, sums)):
        raise CheckpointError(
            f"checkpoint {resolve(path)}: holds non-finite weights; train again from an earlier state"
        )
    return model.to_device(device).eval().requires_grad_(False)


def locator_of(path: str | Path) -> StoredLocator | None:
    """The locator that a checkpoint carries; None: none.

    Raises:
        CheckpointError: as `load`.
    """
    return _read(path).locator


def initialise(model: ScoreModel, path: str | Path) -> dict[str, Tensor]:
    """Let a model's training begin at a checkpoint's weights: those of the same name and shape.

    -> what it holds of the other losses' readings (`ScoreModel.auxiliary`); those of the moments, which are the
    objects' own, for the same objects alone.

    The first convolution of a grey model is spread over red, green and blue as luminance weighs them, so that the new
    model sees in a grey image what the old one saw. What is known of objects by name is taken over for those of the
    same name.

    Raises:
        CheckpointError: as `load`, or its encoder is another.
    """
    stored = _read(path)
    mine = model.state_dict()
    theirs = dict(stored.tensors)
    stem = "encoder.stem.0.weight"
    if stored.config.channels == 1 and model.config.channels == 3:
        theirs[stem] = theirs[stem] * theirs[stem].new_tensor(LUMINANCE)[:, None, None]
    # The last row of each: none of them, or any.
    objects, objects_there = (*model.config.objects, None), (*stored.config.objects, None)
    for name in _BY_OBJECT:
        if name in theirs and name in mine:
            rows = mine[name].clone()
            for row, known in enumerate(objects):
                if known in objects_there:
                    rows[row] = theirs[name][objects_there.index(known)]
            theirs[name] = rows
    taken = {name: value for name, value in theirs.items() if name in mine and value.shape == mine[name].shape}
    if not {name for name in mine if name.startswith("encoder.")} <= set(taken):
        raise CheckpointError(
            f"checkpoint {resolve(path)}: its encoder is of another kind; start from one of the same encoder and size, "
            "or without training.initial"
        )
    model.load_state_dict(mine | taken)
    same = stored.config.objects == model.config.objects
    return {name: value for name, value in stored.auxiliary.items() if same or not name.startswith("moments.")}


class _Stored(NamedTuple):
    tensors: dict[str, Tensor]
    config: ModelConfig
    training: dict[str, Any]
    calibration: Calibration
    catalogue: str
    known: Catalogue | None
    auxiliary: dict[str, Tensor]
    locator: StoredLocator | None


def _read(path: str | Path) -> _Stored:
    file = resolve(path)
    if not file.is_file():
        raise CheckpointError(
            f"checkpoint {file}: no such file; give a .safetensors file written by `lie-picard train`, or 'default'"
        )
    try:
        with safe_open(str(file), "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {file}: not a readable safetensors file ({error}); copy it again, or use 'default'"
        ) from error
    if metadata.get("format") != "lie_picard":
        raise CheckpointError(
            f"checkpoint {file}: safetensors, but not of lie_picard (no configuration inside); "
            "use a file written by `lie-picard train`"
        )
    try:
        config = ModelConfig.from_dict(json.loads(metadata["config"]))
        training = json.loads(metadata.get("training", "{}"))
        calibration = Calibration(**json.loads(metadata.get("calibration", "{}")))
        if not isinstance(training, dict):
            raise ValueError("training must be a table")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"checkpoint {file}: unreadable configuration ({reason})") from error
    name = metadata.get("catalogue", _catalogue_before(training))
    objects = {key: tensors.pop(key) for key in list(tensors) if key.startswith(carried.PREFIX)}
    try:
        known = carried.read(name, objects, metadata.get(_LISTED, ""), config.objects)
    except carried.CarriedError as error:
        raise CheckpointError(
            f"checkpoint {file}: the objects that it carries are damaged ({error}); copy it again, or write it again "
            "with `lie-picard train`"
        ) from error
    auxiliary = {k.removeprefix(_AUXILIARY): tensors.pop(k) for k in list(tensors) if k.startswith(_AUXILIARY)}
    begins = f"{_LOCATOR}."
    parts = {k.removeprefix(begins): tensors.pop(k) for k in list(tensors) if k.startswith(begins)}
    locator = None
    if parts or _LOCATOR in metadata:
        try:
            whole = {key: one.float() if one.is_floating_point() else one for key, one in parts.items()}
            locator = StoredLocator.read(metadata.get(_LOCATOR, ""), whole)
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"checkpoint {file}: its locator is damaged ({reason}); copy it again, or write it again with "
                "`lie-picard train`"
            ) from error
    return _Stored(tensors, config, training, calibration, name, known, auxiliary, locator)


def _check_sizes(path: str | Path, stored: _Stored) -> None:
    """Refuse a configuration that promises more than the file's weights, before a model of that size is made.

    Raises:
        CheckpointError: as `load`.
    """
    config, tensors = stored.config, stored.tensors
    width, features = config.width, config.features
    wanted = {
        "head.mlp.enter.bias": (width,),
        "head.mlp.image.weight": (config.depth * width, features),
        "encoder.project.bias": (features,),
    }
    if config.head == "equivariant":
        wanted["head.coefficients.weight"] = (config.copies * (config.degree + 1) ** 2, features)
    if config.named:
        wanted["recognition.classify.weight"] = (len(config.objects) + 1, features)
    if config.flow_map:
        wanted["flow_map.head.mlp.image.weight"] = wanted["head.mlp.image.weight"]
    if config.position:
        wanted["position.image.weight"] = (POSITION_WIDTH, features)
    for name, shape in wanted.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shape:
            _refuse_weights(path, f"{name} is {found}, not {shape}")
    projection = tensors.get("encoder.project.weight")
    if projection is None or projection.dim() != 2 or projection.shape[1] < (config.image_size // 32) ** 2:
        _refuse_weights(path, f"encoder.project.weight is too small for images of {config.image_size} pixels")


def _refuse_weights(path: str | Path, reason: str) -> NoReturn:
    raise CheckpointError(
        f"checkpoint {resolve(path)}: weights do not fit its configuration ({reason}); "
        "write it again with `lie-picard train`"
    )


def _catalogue_before(training: dict[str, Any]) -> str:
    """Of a file of before 0.2, which does not say it: what was rendered was built in, what was read may be anything."""
    data = training.get("recipe", {}).get("data")
    return BUILT_IN if data is not None and not data.get("symsol") else ""
