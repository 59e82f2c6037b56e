"""Lightning Fabric: device, processes, and where scalars go."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lie_picard.machine import pick_device

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class TrainingToolsError(ValueError):
    """What only training needs is not installed."""


def make_fabric(device: str = "auto", devices: int = 1, nodes: int = 1, log: Path | None = None) -> Fabric:
    """Lightning Fabric for this run: device, processes, where scalars go.

    That is TensorBoard, or a CSV file where it is not installed. Fabric may come as a package of its own or as a part
    of `lightning`. Under torchrun its processes are taken as they are.

    Raises:
        TrainingToolsError: Fabric is not installed.
        ValueError: there is no such device.
    """
    chosen = pick_device(device)
    place: int | list[int] = devices if chosen.index is None or devices > 1 else [chosen.index]
    try:
        try:
            from lightning_fabric import Fabric
        except ModuleNotFoundError as error:
            try:
                from lightning.fabric import Fabric  # type: ignore[no-redef]
            except ModuleNotFoundError:
                raise error from None
        loggers = [] if log is None else [_logger(Fabric.__module__.rpartition(".")[0], log)]
        if "TORCHELASTIC_RUN_ID" in os.environ:  # Fabric checks the numbers instead of taking torchrun's
            place = devices = int(os.environ["LOCAL_WORLD_SIZE"])
            nodes = int(os.environ["WORLD_SIZE"]) // devices
        strategy = "ddp" if devices * nodes > 1 else "auto"
        fabric = Fabric(accelerator=chosen.type, devices=place, num_nodes=nodes, strategy=strategy, loggers=loggers)
    except ImportError as error:
        raise TrainingToolsError(f"{error.name or error} is missing: pip install 'lie_picard[train]'") from error
    fabric.launch()
    return fabric


def _logger(fabric: str, log: Path) -> Any:
    """Where a run's scalars go: the logger of that package of Fabric."""
    loggers = importlib.import_module(f"{fabric}.loggers")
    if importlib.util.find_spec("tensorboard") is not None:
        return loggers.TensorBoardLogger(log, name="", version="")
    print(f"tensorboard is not installed: losses go to {log} as CSV", file=sys.stderr)
    # Another version for each start: what an earlier one logged is kept. Written at once, as a run may be cut.
    return loggers.CSVLogger(log, name="", flush_logs_every_n_steps=1)
