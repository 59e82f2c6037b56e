"""`lie-picard evaluate-bop`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lie_picard import machine
from lie_picard.cli.common import add_model_arguments, add_sampler_arguments, positive, report, sampler_of
from lie_picard.data.bop import Dataset, object_names
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import bop, bop_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    p = parser
    p.add_argument("data", type=Path, metavar="FOLDER", help="a BOP data set: models, and splits in folders or shards")
    p.add_argument("--split", default="test", help="which part of it")
    p.add_argument("--sensor", default="", help="whose images, where there are those of several")
    p.add_argument("--object", action="append", default=[], metavar="NUMBER=NAME", help="what one of its objects is "
                   "called; otherwise by 'name' in models_info.json, or obj_000005")  # fmt: skip
    p.add_argument("--regions", default=bop.TRUTH, metavar="gt|gt-visib|FILE", help="where to look: at the sphere "
                   "around the true pose, at what is seen of it, or at a detector's results (COCO's JSON)")  # fmt: skip
    p.add_argument("--output", type=Path, metavar="FOLDER", help="for the results (CSV), weighted hypotheses "
                   "(JSON) and scores")  # fmt: skip
    p.add_argument("--method-name", default="lie-picard", metavar="NAME", help="in the results file's name")
    p.add_argument("--images", type=positive, help="at most so many images, the first")
    p.add_argument("--samples", type=positive, default=32, help="samples an object")
    p.add_argument("--depth", action="store_true", help="take distances from the depth images")
    p.add_argument("--delta", type=float, default=15.0, metavar="MM", help="of VSD; 5 for ITODD")
    add_model_arguments(p)
    add_sampler_arguments(p)


def run(args: argparse.Namespace) -> None:
    """Score, and write what was asked for.

    Raises:
        ValueError: nothing was scored; what there is was written all the same.
    """
    stem = bop_results.file_stem(args.method_name, args.data.resolve().name, args.split or "test")
    if not 0 < args.delta < 1000:
        raise ValueError(f"--delta is a length above 0, in millimetres, got {args.delta}")
    options = bop.Options(
        split=args.split, sensor=args.sensor, regions=args.regions, samples=args.samples, sampler=sampler_of(args),
        seed=args.seed, depth=args.depth, delta=args.delta * 1e-3, images=args.images,
    )  # fmt: skip
    dataset = Dataset(args.data, object_names(args.object))
    estimator = PoseEstimator.from_checkpoint(args.checkpoint, args.device)
    evaluation = bop.Evaluation(estimator, dataset, options)
    with tqdm(unit="image", disable=None) as bar:
        outcome = evaluation.run(bar.update)
    result: dict[str, Any] = {
        "machine": machine.describe(estimator.device), "checkpoint": str(args.checkpoint), "seed": args.seed,
        "data": str(args.data), "split": args.split, "regions": args.regions, "samples": args.samples,
        "depth": args.depth, "delta_mm": args.delta, "images": outcome.images, "unusable_images": outcome.unusable,
        "rows": bop_results.rows(outcome), "problems": bop_results.reasons(outcome),
    }  # fmt: skip
    if args.output is not None:
        bop_results.write(args.output, stem, outcome, result)
    why = bop_results.nothing(outcome)
    if why:
        raise ValueError(why)
    report(args, result, bop_results.COLUMNS)
    for line in result["problems"]:
        print(f"warning: {line}", file=sys.stderr)
    if args.output is not None and str(args.json) != "-":
        print(f"results: {args.output / stem}.csv")
