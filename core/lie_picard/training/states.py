"""What a training keeps to go on later: one safetensors file of weights, the optimiser's moments and a note."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lie_picard.files import atomic_write
from lie_picard.model.checkpoint import CheckpointError
from lie_picard.objects import MeshObject, Object

SAVE_EVERY_S = 120.0
_MOMENTS = "optimizer."


class Timed(Protocol):
    """A training by the clock: `step` optimiser steps are done, which took `seconds`."""

    step: int
    seconds: float

    def save(self, path: Path) -> None:
        """All that is needed to go on, as one file."""


def run_by_the_clock(
    training: Timed,
    minutes: float,
    advance: Callable[[], Mapping[str, float]],
    state: Path | None,
    on_step: Callable[[int, float, Mapping[str, float]], None] | None,
) -> None:
    """Call `advance` until the training has taken so many minutes.

    Args:
        advance: one step, which `training.step` counts; its losses.
        state: file that is kept up to date, also when the run is interrupted.
        on_step: called with (steps done, seconds, losses).
    """
    begun = saved = time.monotonic()
    before = training.seconds
    try:
        while training.seconds < 60 * minutes:
            losses = advance()
            training.seconds = before + time.monotonic() - begun
            if on_step is not None:
                on_step(training.step, training.seconds, losses)
            if state is not None and time.monotonic() - saved > SAVE_EVERY_S:
                training.save(state)
                saved = time.monotonic()
    except Exception:  # as when the losses are not finite: the state before that is the one to keep
        raise
    except BaseException:  # Ctrl-C
        if state is not None:
            training.save(state)
        raise
    if state is not None:
        training.save(state)


def save_state(
    path: Path,
    kind: str,
    networks: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    run: dict[str, Any],
    step: int,
    seconds: float,
) -> None:
    """Write all that `load_state` needs, of a training by the clock.

    Args:
        kind: what trains: the file's `format`. run: the settings that a run which goes on must have, as JSON can hold.
    """
    tensors = {f"{key}.{name}": one for key, network in networks.items() for name, one in network.state_dict().items()}
    write(path, kind, tensors, optimizer, {"step": step, "seconds": seconds, "run": run})


def load_state(
    path: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, run: dict[str, Any]
) -> tuple[int, float]:
    """Give networks and optimiser what `save_state` wrote; the step and the seconds at which the run stood.

    Raises:
        CheckpointError: the file is damaged, or belongs to a run with other settings.
    """
    note, tensors = read(path)
    try:
        if note["run"] != json.loads(json.dumps(run)):
            raise other_run(path)
        for key, network in networks.items():
            network.load_state_dict(below(tensors, f"{key}."))
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments(tensors)})
        return int(note["step"]), float(note["seconds"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise _unreadable(path, error) from error


def write(
    path: Path, kind: str, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, note: Mapping[str, Any]
) -> None:
    """Write tensors, an optimiser's moments beside them, and a note; a file there is replaced as a whole."""
    kept = dict(tensors)
    for index, state in optimizer.state_dict()["state"].items():
        kept |= {f"{_MOMENTS}{index}.{name}": one for name, one in state.items()}
    kept = {name: one.contiguous().cpu() for name, one in kept.items()}
    with atomic_write(path) as partial:
        save_file(kept, str(partial), {"format": kind, "state": json.dumps(note)})


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Note (empty where the file has none) and tensors of a file that `write` wrote.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        with safe_open(str(path), "pt") as opened:
            note = json.loads((opened.metadata() or {}).get("state", "{}"))
            return note, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name[len(prefix) :]: one for name, one in tensors.items() if name.startswith(prefix)}


def moments(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimiser's state of each parameter."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in below(tensors, _MOMENTS).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return state


def digest(one: Object) -> str:
    """Of an object's shape, look and size: a part may be replaced by another one of its name."""
    mesh, found = one.mesh(1.0), hashlib.sha256(repr(one.diameter).encode())
    colours = one.surface.colours if isinstance(one, MeshObject) else None
    for part in (mesh.vertices, mesh.triangles, colours):
        found.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def other_run(path: Path) -> CheckpointError:
    """What is said of a state that another run left."""
    return CheckpointError(
        f"{path} belongs to a run with other settings; give the same ones, or remove it to start afresh"
    )


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: unreadable ({error}); remove it to start afresh")
