"""`lie-picard calibrate`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path

from tqdm import tqdm

from lie_picard import machine
from lie_picard.cli.common import add_model_arguments, add_sampler_arguments, positive, report, sampler_of
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import assess, assess_report
from lie_picard.evaluation.accuracy import EvaluationOptions
from lie_picard.model import checkpoint

_UNITS = {"sideways": "half the image", "range": "the range"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_model_arguments(parser)
    parser.add_argument(
        "--images", type=positive, default=200, help="images of each solid and kind, not those of the tests"
    )
    parser.add_argument("--check", action="store_true", help="change nothing: measure the coverage on test images")
    parser.add_argument(
        "--half", action="store_true", help="write the weights in half precision: half the file, nearly the same model"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it, as PNG")
    add_sampler_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Fit and write, or check."""
    file = checkpoint.resolve(args.checkpoint)
    if not args.check:
        if file == checkpoint.DEFAULT:
            raise ValueError("the embedded checkpoint is calibrated, and is not written to: give --checkpoint FILE, or "
                             "--check")  # fmt: skip
        if file.exists() and not os.access(file.parent, os.W_OK):
            raise ValueError(f"{file} is to be written, and its folder cannot be: copy it elsewhere, or give --check")
    estimator = PoseEstimator.from_checkpoint(args.checkpoint, args.device)
    _, training = checkpoint.read_metadata(args.checkpoint)
    shapes = estimator.config.objects
    options = EvaluationOptions(images=args.images, seed=args.seed)
    with tqdm(total=len(assess.KINDS) * args.images * len(shapes), unit="image", disable=None) as bar:
        result = assess.calibrate(estimator, shapes, sampler_of(args), options, bar.update, not args.check)
    if not args.check:
        checkpoint.save(estimator.model, file, training, args.half)
    rows = (result if args.check else result["after"])["rows"]
    if args.plot is not None:
        assess_report.plot_calibration(rows, args.plot)
    result = {"machine": machine.describe(estimator.device), "checkpoint": str(args.checkpoint)} | result
    table = assess_report.calibration_rows(rows)
    report(args, result, assess_report.calibration_columns(table), table)
    used = estimator.model.calibration
    typical = "unknown" if used.spread is None else f"{math.degrees(used.spread):.2g} deg"
    text = f"scale {used.scale:g}, floor {math.degrees(used.floor):.2g} deg, typical spread {typical}"
    if estimator.config.position:
        for name in ("sideways", "range"):
            scale, floor = (getattr(used, f"{name}_{part}") for part in ("scale", "floor"))
            text += f"; {name} scale {scale:g}, floor {100 * floor:.2g}% of {_UNITS[name]}"
    print(f"calibration{'' if args.check else ', fitted'}: {text}", file=sys.stderr)
