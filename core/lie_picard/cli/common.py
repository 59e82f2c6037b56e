"""What several commands share: arguments, and how results are shown."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from lie_picard import machine
from lie_picard.evaluation.tables import cell
from lie_picard.files import finite
from lie_picard.sampling import INTEGRATORS, METHODS, SamplerOptions
from lie_picard.sampling.options import FEW, STEPS

_WIDE = 200


def positive(text: str) -> int:
    """A whole number of at least 1, as argparse's type."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def at_least_none(text: str) -> int:
    """A whole number of at least 0, as argparse's type."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {value}")
    return value


def minutes(text: str) -> float:
    """A time above 0, as argparse's type."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def check_output(file: Path) -> None:
    """Whether a file can be written there: now, not after an hour of work. Its folder is made.

    Raises:
        ValueError, OSError: it cannot.
    """
    if file.is_dir():
        raise ValueError(f"--output {file} is a folder: give a file")
    file.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(file.parent, os.W_OK):
        raise ValueError(f"--output {file}: its folder cannot be written to")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, where, and what its parallel samplers take."""
    parser.add_argument("--checkpoint", default="default", help="file, or 'default' for the embedded one")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--window", type=positive, help="picard and newton: evaluations in flight; default 16 and all")
    parser.add_argument("--tolerance", type=float, default=0.03, help="picard and newton: relative to the noise level")


def add_sampler_arguments(parser: argparse.ArgumentParser) -> None:
    """How to sample."""
    default = SamplerOptions()
    parser.add_argument("--steps", type=positive, default=argparse.SUPPRESS,
                        help=f"noise levels, default: {STEPS}; of method map {FEW}")  # fmt: skip
    parser.add_argument("--method", choices=METHODS, default=default.method,
                        help="how the steps are solved; auto: here ode, so that no result depends on a stopwatch; "
                        "map: by a flow map (lie-picard distil)")  # fmt: skip
    parser.add_argument("--integrator", choices=sorted(INTEGRATORS), default=default.integrator, help="of the ODE")
    parser.add_argument("--restarts", type=int, default=default.restarts, help="of samples that end between two poses")


def sampler_of(args: argparse.Namespace) -> SamplerOptions:
    """The options that these arguments ask for; "auto" is "ode", so that no result depends on a stopwatch."""
    method = "ode" if args.method == "auto" else args.method
    return SamplerOptions(
        method, getattr(args, "steps", 0), args.window, args.tolerance, args.integrator, args.restarts
    )


class RunBar:
    """A progress bar over the time of a run of so many minutes, or over the steps of another, with losses."""

    def __init__(
        self,
        minutes: float | None,
        title: str = "",
        steps: int = 0,
        every_s: float | None = None,
        shown: bool = True,
        done_s: float = 0.0,
    ) -> None:
        """`minutes`: None: the run is of `steps`. `every_s`: how often it is written; None: each second on a terminal,
        twice a minute into a file. `done_s`: seconds that a resumed run had before."""
        if every_s is None:
            every_s = 1.0 if sys.stderr.isatty() else 30.0
        common: dict[str, Any] = {"mininterval": every_s, "maxinterval": 60, "disable": not shown}
        self._timed = minutes is not None
        if minutes is None:
            self._bar = tqdm(total=steps, unit="step", desc=title or None, **common)
        else:  # how many steps they hold is not known
            whole = round(60 * minutes)
            form = f"{title}{': ' if title else ''}" + "{percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"
            self._bar = tqdm(total=whole, initial=min(whole, int(done_s)), bar_format=form, **common)

    def __enter__(self) -> RunBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, step: int, seconds: float, losses: Mapping[str, float]) -> None:
        """After so many steps and seconds; with no losses those before stay."""
        if losses:
            told: dict[str, Any] = {name.removeprefix("loss/"): f"{value:.3f}" for name, value in losses.items()}
            self._bar.set_postfix({"step": step} | told if self._timed else told, refresh=False)
        done = min(self._bar.total, int(seconds)) if self._timed else step
        self._bar.update(done - self._bar.n)


def wrote_json(args: argparse.Namespace, result: dict[str, Any]) -> bool:
    """Write a result as JSON where asked; whether it went to standard output, which then holds nothing else."""
    if args.json is None:
        return False
    text = json.dumps(finite(result), indent=1)  # JSON has no word for NaN
    if str(args.json) == "-":
        print(text)
        return True
    args.json.write_text(text + "\n")
    return False


def report(
    args: argparse.Namespace,
    result: dict[str, Any],
    columns: Mapping[str, str] | None = None,
    rows: list[dict[str, Any]] | None = None,
    more: Sequence[tuple[Mapping[str, str], list[dict[str, Any]]]] = (),
) -> None:
    """Print a result for people, and write it as JSON where asked ("-": JSON alone, to standard output).

    Args:
        columns: headings of a table of `rows`, by their keys; else the JSON is printed. more: further tables.
    """
    if wrote_json(args, result):
        return
    # In a file, or another program's hands, nothing is cut for want of columns.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    if not columns:
        console.print_json(json.dumps(result))
        return
    for headings, listed in ((columns, rows or result["rows"]), *more):
        table = Table(box=None, padding=(0, 1, 0, 0))
        for heading in headings.values():
            table.add_column(heading, justify="right", no_wrap=True)
        for row in listed:
            table.add_row(*(cell(row.get(column)) for column in headings))
        console.print(table)
    console.print(machine.one_line(result["machine"]))
