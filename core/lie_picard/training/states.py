"""What a training keeps to go on later: one safetensors file of weights, the optimiser's moments and a note."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lie_picard.files import atomic_write
from lie_picard.model.checkpoint import CheckpointError

SAVE_EVERY_S = 120.0
_MOMENTS = "optimizer."


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


def other_run(path: Path) -> CheckpointError:
    """What is said of a state that another run left."""
    return CheckpointError(
        f"{path} belongs to a run with other settings; give the same ones, or remove it to start afresh"
    )


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: unreadable ({error}); remove it to start afresh")
