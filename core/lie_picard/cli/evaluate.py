"""`lie-picard evaluate`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lie_picard import machine
from lie_picard.cli.common import (
    add_model_arguments,
    add_sampler_arguments,
    at_least_none,
    positive,
    report,
    sampler_of,
)
from lie_picard.data import symsol_files
from lie_picard.drawing.gallery import plot_gallery
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import assess, assess_report, locating, tables, videos
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.rendering.randomisation import TEXTURED, Randomisation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    p = parser
    add_model_arguments(p)
    p.add_argument("--images", type=positive, default=200, help="test images of each solid")
    p.add_argument("--samples", type=positive, default=16, help="samples an image, for precision")
    p.add_argument("--recall-images", type=at_least_none, default=20, help="images of each solid for recall; 0: none")
    p.add_argument("--recall-samples", type=positive, default=200, help="samples an image, for recall")
    add_sampler_arguments(p)
    kind = p.add_mutually_exclusive_group()
    kind.add_argument("--randomised", action="store_true", help="randomised images instead of clean ones")
    kind.add_argument("--textured", action="store_true", help="randomised images of objects with prints, wear and "
                      "gloss, behind hands, in boxes that are off")  # fmt: skip
    kind.add_argument("--scenes", action="store_true", help="whole images of 640 x 480 with several objects: are they "
                      "found, and nothing else")  # fmt: skip
    kind.add_argument("--videos", type=positive, metavar="N", help="so many videos of each object, which leaves the "
                      "image and comes back beside another of its kind: is it followed, lost, found again")  # fmt: skip
    p.add_argument("--unnamed", action="store_true", help="do not tell the model which object it sees")
    p.add_argument("--solids", nargs="+", metavar="SOLID", help="which solids; default: all that the model knows")
    p.add_argument("--compare", action="store_true", help="also solve one step after another, and compare")
    p.add_argument("--data", type=Path, help="root of a data set in SYMSOL's format, instead of fresh images")
    p.add_argument("--output", type=Path, metavar="FOLDER", help="measure everything (clean, randomised and "
                   "textured images, presence, calibration) and write evaluation.json, evaluation.md and plots "
                   "there")  # fmt: skip


def _refuse_others(args: argparse.Namespace) -> None:
    """Scenes and videos are looked at as the node looks at them: nothing of the sampler can be chosen."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    default = vars(parser.parse_args([]))
    used = {"checkpoint", "device", "scenes", "videos"} | ({"images"} if args.scenes else set())
    given = [name for name, value in vars(args).items()
             if name not in used and (name in default or name == "steps") and value != default.get(name)]  # fmt: skip
    if given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        raise ValueError(f"{'--scenes' if args.scenes else '--videos'} takes no {named}: leave it out")


def run(args: argparse.Namespace) -> None:
    """Measure, and write what was asked for."""
    if args.scenes or args.videos:
        _refuse_others(args)
    if args.data is not None and (args.output is not None or args.randomised or args.textured):
        raise ValueError("--data measures on its own images: leave --output, --randomised and --textured out")
    if args.output is not None and args.output.is_file():
        raise ValueError(f"--output {args.output} is a file: give a folder")
    if args.method == "map" and args.compare:
        raise ValueError("--compare solves the same steps one after another, which a flow map has not: evaluate twice")
    estimator = PoseEstimator.from_checkpoint(args.checkpoint, args.device)
    result: dict[str, Any]
    if args.scenes or args.videos:
        look, columns = (locating, tables.LOCATING_COLUMNS) if args.scenes else (videos, tables.VIDEO_COLUMNS)
        count = args.images if args.scenes else args.videos
        total = count if args.scenes else count * len(estimator.locates) * videos.IMAGES
        with tqdm(total=total, unit="image", disable=None) as bar:
            rows = look.evaluate(estimator, count, args.seed, on_images=bar.update)
        result = {"machine": machine.describe(estimator.device), "checkpoint": str(args.checkpoint), "rows": rows}
        report(args, result, columns, rows)
        return
    if args.data is not None:
        shapes = args.solids or [shape.shape for shape in symsol_files.read(args.data, "test")]
    else:
        shapes = args.solids or list(estimator.config.objects)
    options = EvaluationOptions(
        args.images, args.samples, args.recall_images, args.recall_samples, args.seed, args.compare,
        TEXTURED if args.textured else Randomisation() if args.randomised else None, not args.unnamed,
    )  # fmt: skip
    result = {"machine": machine.describe(estimator.device), "checkpoint": str(args.checkpoint)}
    if args.output is not None:
        with tqdm(total=assess.total(tuple(shapes), options), unit="image", disable=None) as bar:
            result |= assess.assess(estimator, tuple(shapes), sampler_of(args), options, bar.update)
        assess_report.write_assessment(args.output, result)
        pictures = list(assess.gallery(estimator, tuple(shapes), args.seed))
        plot_gallery(args.output / "gallery.png", estimator, pictures, args.recall_samples)
        every = [row for kind in assess.KINDS for row in result[kind]]
        report(args, result, tables.with_positions(tables.EVALUATE_COLUMNS, every), every)
        return
    with tqdm(total=args.images * len(shapes), unit="image", disable=None) as bar:
        rows = evaluate(estimator, shapes, sampler_of(args), options, args.data, bar.update)
    result |= {
        "sampler": dataclasses.asdict(sampler_of(args)),
        "options": dataclasses.asdict(options),
        "data": None if args.data is None else str(args.data),
        "rows": rows,
    }
    columns = tables.COMPARE_COLUMNS if args.compare else tables.EVALUATE_COLUMNS
    report(args, result, tables.with_positions(columns, rows))
