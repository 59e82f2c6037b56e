"""`lie-picard average`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from lie_picard.cli.common import report
from lie_picard.model import averaging, checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("checkpoints", nargs="+", metavar="FILE[=WEIGHT]", help="models that were trained on from the "
                        "same weights; a weight is 1 where it is not given")  # fmt: skip
    parser.add_argument("--heads-of", metavar="FILE", help="take recognition and position from this one instead")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write (.safetensors)")


def run(args: argparse.Namespace) -> None:
    """Average them.

    Raises:
        ValueError: one line with the remedy.
    """
    names, weights = [], []
    for text in args.checkpoints:
        name, equals, weight = text.rpartition("=")
        try:
            weights.append(float(weight) if equals else 1.0)
        except ValueError:
            weights.append(math.nan)
        if not (math.isfinite(weights[-1]) and weights[-1] > 0):
            raise ValueError(f"'{text}': after '=' comes the weight, a number above 0")
        names.append(name if equals else text)
    heads = None if args.heads_of is None else checkpoint.load(args.heads_of)
    model = averaging.averaged([checkpoint.load(name) for name in names], weights, heads)
    parts = [{"file": Path(name).name, "weight": weight} for name, weight in zip(names, weights, strict=True)]
    note = {"average_of": parts, "heads_of": None if args.heads_of is None else Path(args.heads_of).name,
            "recipe": _without_folder(checkpoint.read_metadata(names[0])[1].get("recipe", {}))}  # fmt: skip
    checkpoint.save(model, args.output, note)
    report(args, {"output": str(args.output), **note, "next": f"lie-picard calibrate --checkpoint {args.output}"})


def _without_folder(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the folder of the weights that it began at: that is of the machine which trained it."""
    training = dict(recipe.get("training", {}))
    if training.get("initial"):
        training["initial"] = Path(training["initial"]).name
    return {**recipe, "training": training} if training else recipe
