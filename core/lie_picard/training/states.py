"""What a training by the clock keeps to go on later: one safetensors file of networks, moments and a note."""

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


def save_state(
    path: Path,
    kind: str,
    networks: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    run: Mapping[str, Any],
    note: Mapping[str, Any],
) -> None:
    """Write all that `load_state` needs; a file there is replaced as a whole.

    Args:
        kind: what trains: the file's `format`. run: the settings that a run which goes on must have, as JSON can hold.
        note: numbers of this run, such as its step.
    """
    tensors = {f"{key}.{name}": one for key, network in networks.items() for name, one in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": one for name, one in state.items()}
    tensors = {name: one.contiguous().cpu() for name, one in tensors.items()}
    with atomic_write(path) as partial:
        save_file(tensors, str(partial), {"format": kind, "state": json.dumps({**note, "run": dict(run)})})


def load_state(
    path: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, run: Mapping[str, Any]
) -> dict[str, Any]:
    """Give networks and optimiser what `save_state` wrote; the note.

    Raises:
        CheckpointError: the file is damaged, or belongs to a run with other settings.
    """
    try:
        with safe_open(str(path), "pt") as opened:
            note: dict[str, Any] = json.loads((opened.metadata() or {})["state"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if note["run"] != json.loads(json.dumps(dict(run))):
            raise CheckpointError(
                f"{path} belongs to a run with other settings; give the same ones, or remove it to start afresh"
            )
        for key, network in networks.items():
            network.load_state_dict(_below(tensors, f"{key}."))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, "optimizer.").items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: unreadable ({error}); remove it to start afresh") from error
    return note


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: one for name, one in tensors.items() if name.startswith(prefix)}
