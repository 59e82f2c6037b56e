"""`method="auto"`: which way of solving is fastest here, measured once and remembered."""

from __future__ import annotations

import json
import logging
import math
import os
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lie_picard import machine
from lie_picard.sampling import SamplerOptions

_log = logging.getLogger(__name__)
_REPEATS = 5
# A parallel method must win by this much: its rounds vary from image to image, those of "ode" do not.
_MARGIN = 0.9


def candidates(options: SamplerOptions) -> dict[str, SamplerOptions]:
    """The ways in which the steps of these options can be solved, by name."""
    ways = {"ode": replace(options, method="ode")}
    if options.window is not None:
        return ways | {name: replace(options, method=name) for name in ("picard", "newton")}
    if options.integrator == "euler" and options.steps > 16:
        ways |= {f"{name} {window}": replace(options, method=name, window=window)
                 for name in ("picard", "newton") for window in (16, 32)}  # fmt: skip
    return ways | {name: replace(options, method=name, window=10**6) for name in ("picard", "newton")}


def size_class(samples: int) -> int:
    """The power of four nearest to a number of samples: within one, costs are taken to rank alike."""
    return 4 ** round(math.log(max(samples, 1), 4))


def resolve(
    options: SamplerOptions, samples: int, model: str, device: torch.device, run: Callable[[SamplerOptions], Any]
) -> SamplerOptions:
    """The fastest equivalent of options whose method is "auto"; others are returned as they are.

    Every way solves the same equations, so the result differs by no more than their tolerance. The cost is measured
    by `run` on the first image of about as many samples, and stored; `run` is not called again on this machine.

    Args:
        samples: rotations in the batch. model: what distinguishes the model's cost from another's.
    """
    if options.method != "auto":
        return options
    ways, size = candidates(options), size_class(samples)
    key = "; ".join(
        [
            *(f"{value}" for name, value in machine.describe(device).items() if name != "date"),
            model,
            f"{options.integrator} {options.steps} steps, tolerance {options.tolerance}, window {options.window}",
            f"about {size} samples",
        ]
    )
    costs = _read().get(key)
    if not costs or set(costs) != set(ways):
        costs = _measure(ways, device, run)
        _write(key, costs)
        _log.info("fastest of %s ms for about %d samples: %s", costs, size, _best(costs))
    return ways[_best(costs)]


def _best(costs: dict[str, float]) -> str:
    fastest = min(costs, key=lambda name: costs[name])
    return fastest if costs[fastest] < _MARGIN * costs["ode"] else "ode"


def _measure(
    ways: dict[str, SamplerOptions], device: torch.device, run: Callable[[SamplerOptions], Any]
) -> dict[str, float]:
    """Median milliseconds of each way, taken in turns; a way that is twice as slow as the best is tried no more."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(_REPEATS + 1):
        for name, options in ways.items():
            limit = 2 * min((min(taken) for taken in times.values() if taken), default=float("inf"))
            if times[name] and min(times[name]) > limit:
                continue
            _, ms = machine.timed(device, run, options)
            if turn:  # the first warms up
                times[name].append(ms)
    return {name: round(statistics.median(taken), 3) for name, taken in times.items()}


def store() -> Path:
    """Where measured costs are kept; once the file is removed, the next process measures them again."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "lie_picard" / "costs.json"


def _read() -> dict[str, dict[str, float]]:
    try:
        stored = json.loads(store().read_text())
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _write(key: str, costs: dict[str, float]) -> None:
    """Add to the store; where it cannot be written, costs are measured again next time."""
    try:
        store().parent.mkdir(parents=True, exist_ok=True)
        new = store().with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(_read() | {key: costs}, indent=1))
        new.replace(store())
    except OSError as error:
        _log.warning("cannot store measured costs in %s: %s", store(), error)
