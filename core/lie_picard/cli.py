"""The `lie-picard` command: render, train, evaluate, bench, info."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from lie_picard import __version__, assessment, assessment_report, frontier, machine, report
from lie_picard import recipe as recipes
from lie_picard.benchmark import PLANS, benchmark, windows
from lie_picard.estimator import PoseEstimator
from lie_picard.evaluation import CALIBRATION_SEED, VALIDATION_SEED, EvaluationOptions, evaluate
from lie_picard.model import checkpoint
from lie_picard.model.score_model import ScoreModel
from lie_picard.randomisation import Randomisation
from lie_picard.recording import command as bags
from lie_picard.recording import compare, summary
from lie_picard.sampling import INTEGRATORS, METHODS, SamplerOptions
from lie_picard.symsol import dataset
from lie_picard.symsol.solids import SOLIDS
from lie_picard.training import make_fabric, train


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status: 0, 1 of `compare` where something is worse, 2 for bad input, 130 when
    interrupted."""
    args = _parser().parse_args(argv)
    try:
        if args.threads < 0:
            raise ValueError(f"--threads must be at least 0, got {args.threads}")
        if args.threads:
            torch.set_num_threads(args.threads)
        if args.json is not None and str(args.json) != "-" and not args.json.absolute().parent.is_dir():
            raise ValueError(f"--json {args.json}: no such folder")  # now, not after an hour of work
        return args.run(args) or 0
    except KeyboardInterrupt as interruption:
        print(f"lie-picard: interrupted{': ' if interruption.args else ''}{interruption}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"lie-picard {args.command}: error: {error}", file=sys.stderr)
        return 2


def _render(args: argparse.Namespace) -> None:
    with tqdm(total=args.images * len(args.solids), unit="image", disable=None) as bar:
        dataset.write(args.output, args.split, args.solids, args.images, args.size, args.seed, on_image=bar.update)
    _report(args, {"output": str(args.output), "split": args.split, "images_per_solid": args.images, "seed": args.seed})


def _train(args: argparse.Namespace) -> None:
    shorthands = {
        "model.objects": args.solids, "training.images": args.images, "training.minutes": args.minutes,
        "training.seed": args.seed,
    }  # fmt: skip
    changes = [f"{key}={json.dumps(value)}" for key, value in shorthands.items() if value is not None]
    recipe = recipes.read(args.recipe, [*changes, *args.set])
    command = shlex.join(["lie-picard", *(sys.argv[1:])])
    log = args.output.with_name(args.output.name + ".log")
    fabric = make_fabric(args.device, args.devices, args.nodes, log)
    steps = recipe.training.steps
    total = None if recipe.training.minutes else steps  # how many steps the minutes hold is not known
    with tqdm(total=total, unit="step", mininterval=args.progress_s, maxinterval=60,
              disable=not fabric.is_global_zero) as bar:  # fmt: skip

        def show(step: int, losses: Mapping[str, float]) -> None:
            if step % 20 == 0:  # to read them at each step would keep a GPU waiting
                bar.set_postfix(
                    {name.removeprefix("loss/"): f"{value:.3f}" for name, value in losses.items()}, refresh=False
                )
            bar.update(step - bar.n)

        validate = None if args.validate_every == 0 else functools.partial(_validate, recipe)
        train(recipe, args.output, fabric, args.resume, command, show, validate, args.validate_every or steps)
    if fabric.is_global_zero:
        _, note = checkpoint.read_metadata(args.output)
        images = note["steps"] * recipe.training.batch if recipe.training.minutes else recipe.training.images
        rate = {"steps": note["steps"], "images_per_s": note.get("images_per_s")}
        _report(args, {"output": str(args.output), "images": images, "seed": recipe.training.seed} | rate)


def _validate(recipe: recipes.Recipe, model: ScoreModel) -> dict[str, float]:
    """Precision of the model so far on a few images of each solid that are neither training's nor the test's."""
    scalars: dict[str, float] = {}
    estimator = PoseEstimator(model, next(model.parameters()).device)
    options = EvaluationOptions(images=10, samples=8, recall_images=0, seed=VALIDATION_SEED)
    for kind, how in assessment.kinds(recipe.data.randomisation).items():
        here = dataclasses.replace(options, randomisation=how)
        row = evaluate(estimator, recipe.model.objects, SamplerOptions("ode"), here)[-1]
        scalars |= {f"{kind}/{name}": float(row[name]) for name in ("mean_deg", "median_deg", "within_5deg")}
    return scalars


def _evaluate(args: argparse.Namespace) -> None:
    estimator = PoseEstimator.from_checkpoint(args.checkpoint, args.device)
    if args.data is not None:
        shapes = args.solids or [shape.shape for shape in dataset.read(args.data, "test")]
    else:
        shapes = args.solids or list(estimator.config.objects)
    options = EvaluationOptions(
        args.images, args.samples, args.recall_images, args.recall_samples, args.seed, args.compare,
        Randomisation() if args.randomised else None, not args.unnamed,
    )  # fmt: skip
    result: dict[str, Any] = {"machine": machine.describe(estimator.device), "checkpoint": str(args.checkpoint)}
    if args.output is not None:
        with tqdm(total=assessment.total(tuple(shapes), options), unit="image", disable=None) as bar:
            result |= assessment.assess(estimator, tuple(shapes), _sampler(args), options, bar.update)
        assessment_report.write_assessment(args.output, result)
        pictures = list(assessment.gallery(estimator, tuple(shapes), args.seed))
        assessment_report.plot_gallery(args.output / "gallery.png", estimator, pictures, args.recall_samples)
        _report(args, result, report.EVALUATE_COLUMNS, result["clean"] + result["randomised"])
        return
    with tqdm(total=args.images * len(shapes), unit="image", disable=None) as bar:
        rows = evaluate(estimator, shapes, _sampler(args), options, args.data, bar.update)
    result |= {
        "sampler": dataclasses.asdict(_sampler(args)),
        "options": dataclasses.asdict(options),
        "data": None if args.data is None else str(args.data),
        "rows": rows,
    }
    _report(args, result, report.COMPARE_COLUMNS if args.compare else report.EVALUATE_COLUMNS)


def _calibrate(args: argparse.Namespace) -> None:
    estimator = PoseEstimator.from_checkpoint(args.checkpoint, args.device)
    _, training = checkpoint.read_metadata(args.checkpoint)
    shapes = estimator.config.objects
    seed = args.seed if args.check else CALIBRATION_SEED + args.seed
    options = EvaluationOptions(images=args.images, seed=seed)
    with tqdm(total=2 * args.images * len(shapes), unit="image", disable=None) as bar:
        result = assessment.calibrate(estimator, shapes, _sampler(args), options, bar.update, not args.check)
    if not args.check:
        checkpoint.save(estimator.model, checkpoint.resolve(args.checkpoint), training)
    rows = (result if args.check else result["after"])["rows"]
    if args.plot is not None:
        assessment_report.plot_calibration(rows, args.plot)
    result = {"machine": machine.describe(estimator.device), "checkpoint": str(args.checkpoint)} | result
    _report(args, result, assessment_report.calibration_columns(rows), rows)
    used = estimator.model.calibration
    typical = "unknown" if used.spread is None else f"{math.degrees(used.spread):.2g} deg"
    text = f"scale {used.scale:g}, floor {math.degrees(used.floor):.2g} deg, typical spread {typical}"
    print(f"calibration{'' if args.check else ', fitted'}: {text}", file=sys.stderr)


def _bench(args: argparse.Namespace) -> None:
    estimator = PoseEstimator.from_checkpoint(args.checkpoint, args.device)
    sampler = SamplerOptions(window=args.window, tolerance=args.tolerance)
    common: dict[str, Any] = {"sampler": sampler, "repeats": args.repeats, "seed": args.seed}
    images = args.frontier_images
    total = len(args.steps) * len(args.samples) + len(args.windows) + (len(frontier.PLANS) if images else 0)
    result: dict[str, Any] = {
        "machine": machine.describe(estimator.device),
        "runtime": estimator.runtime,
        "checkpoint": str(args.checkpoint),
        "seed": args.seed,
        **{part: [] for part in ("rows", "windows", "frontier")},
    }
    with tqdm(total=total, unit="setting", disable=None) as bar:

        def keep(part: str) -> Callable[[list[dict[str, Any]]], None]:
            """What is done when rows of that part are there: they are written at once, as the run may be cut."""

            def on_row(rows: list[dict[str, Any]]) -> None:
                bar.update()
                result[part] = rows
                if args.output is not None:
                    report.write_benchmark(args.output, result)

            return on_row

        benchmark(estimator, args.steps, args.samples, args.plans, on_row=keep("rows"), **common)
        windows(estimator, args.windows, max(args.steps), on_row=keep("windows"), **common)
        if images:
            result["frontier"] = frontier.frontier(estimator, images, args.repeats, args.seed, bar.update)
    if args.output is not None:
        report.write_benchmark(args.output, result)
    _report(args, result, report.BENCH_COLUMNS)


def _info(args: argparse.Namespace) -> None:
    model = checkpoint.load(args.checkpoint)
    config, training = checkpoint.read_metadata(args.checkpoint)
    file = checkpoint.resolve(args.checkpoint)
    _report(
        args,
        {
            "version": __version__,
            "checkpoint": str(file),
            "megabytes": round(file.stat().st_size / 1e6, 2),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "config": config.to_dict(),
            "training": training,
            "machine": machine.describe(),
        },
    )


def _evaluate_bag(args: argparse.Namespace) -> None:
    result = bags.run(args)
    _report(args, result, summary.COLUMNS)
    if str(args.json) != "-":
        print(f"report: {args.output / 'report.html'}")


def _compare(args: argparse.Namespace) -> int:
    result = compare.run(args)
    # What did not change is said once, of all objects; the JSON has all.
    rows = [row for row in result["rows"] if row["verdict"] != "same" or row["object"] == "all"]
    _report(args, result, compare.COLUMNS, rows)
    if str(args.json) != "-":
        print(f"{result['images_in_both']} images of an object in both, {result['only_in_a']} only in A, "
              f"{result['only_in_b']} only in B; surely worse: {result['worse']}")  # fmt: skip
    return 1 if result["worse"] else 0


def _sampler(args: argparse.Namespace) -> SamplerOptions:
    return SamplerOptions(args.method, args.steps, args.window, args.tolerance, args.integrator, args.restarts)


def _report(
    args: argparse.Namespace,
    result: dict[str, Any],
    columns: Mapping[str, str] | None = None,
    rows: list[dict[str, Any]] | None = None,
) -> None:
    """Print a result for people, and write it as JSON where asked ("-": JSON alone, to standard output)."""
    if args.json is not None:
        text = json.dumps(result, indent=1)
        if str(args.json) == "-":
            print(text)
            return
        args.json.write_text(text + "\n")
    console = Console(highlight=False)
    if not columns:
        console.print_json(json.dumps(result))
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows or result["rows"]:
        table.add_row(*(report.cell(row.get(column)) for column in columns))
    console.print(table)
    console.print(machine.one_line(result["machine"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lie-picard", description="Pose hypotheses by diffusion on SO(3).")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, seed: int | None = 0) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.set_defaults(run=run)
        sub.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON; '-' prints it")
        sub.add_argument("--seed", type=int, default=seed, help="fixes everything random")
        sub.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch decides")
        return sub

    p = command("render", _render, "Render the solids and write a data set in SYMSOL's format.")
    p.add_argument("output", type=Path, help="root folder of the data set")
    p.add_argument("--split", choices=dataset.SPLITS, default="train", help="which split to write")
    p.add_argument("--images", type=_positive, default=1000, help="images of each solid")
    p.add_argument("--size", type=_positive, default=224, help="side of the square images, pixels")
    p.add_argument("--solids", nargs="+", choices=SOLIDS, default=list(SOLIDS), help="which solids")

    p = command("train", _train, "Train a score model on images rendered on the fly.", seed=None)
    p.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write (.safetensors)")
    p.add_argument(
        "--recipe", default="compact", metavar="NAME|FILE", help=f"{', '.join(recipes.RECIPES)}, or a TOML file"
    )
    p.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe, e.g. model.head=fourier"
    )
    p.add_argument("--solids", nargs="+", choices=SOLIDS, help="model.objects of the recipe")
    p.add_argument("--images", type=_positive, help="training.images of the recipe")
    p.add_argument("--minutes", type=float, help="training.minutes of the recipe: train so long, not so many images")
    p.add_argument("--device", default="auto", help="auto, cpu or cuda")
    p.add_argument("--devices", type=_positive, default=1, help="processes on this machine")
    p.add_argument("--nodes", type=_positive, default=1, help="machines (start with torchrun)")
    p.add_argument("--resume", action="store_true", help="continue from OUTPUT.state where it exists")
    p.add_argument("--validate-every", type=int, default=2000, help="steps between validations; 0: none")
    p.add_argument("--progress-s", type=float, default=0.5, help="seconds between updates of the progress bar")

    p = command("evaluate", _evaluate, "Precision and recall on images that training has never seen.")
    _model_arguments(p)
    p.add_argument("--images", type=_positive, default=200, help="test images of each solid")
    p.add_argument("--samples", type=_positive, default=16, help="samples an image, for precision")
    p.add_argument("--recall-images", type=int, default=20, help="images of each solid for recall; 0: none")
    p.add_argument("--recall-samples", type=_positive, default=200, help="samples an image, for recall")
    _sampler_arguments(p)
    p.add_argument("--randomised", action="store_true", help="randomised images instead of clean ones")
    p.add_argument("--unnamed", action="store_true", help="do not tell the model which object it sees")
    p.add_argument("--solids", nargs="+", metavar="SOLID", help="which solids; default: all that the model knows")
    p.add_argument("--compare", action="store_true", help="also solve one step after another, and compare")
    p.add_argument("--data", type=Path, help="root of a data set in SYMSOL's format, instead of fresh images")
    p.add_argument("--output", type=Path, metavar="FOLDER", help="measure everything (clean and randomised images, "
                   "presence, calibration) and write evaluation.json, evaluation.md and plots there")  # fmt: skip

    p = command("calibrate", _calibrate, "Make the hypotheses' covariances honest; written into the checkpoint.")
    _model_arguments(p)
    p.add_argument(
        "--images", type=_positive, default=200, help="images of each solid and kind, not those of the tests"
    )
    p.add_argument("--check", action="store_true", help="change nothing: say how honest they are on test images")
    p.add_argument("--plot", type=Path, metavar="FILE", help="draw it, as PNG")
    _sampler_arguments(p)

    p = command("bench", _bench, "Time the samplers against the sequential one.")
    _model_arguments(p)
    p.add_argument("--steps", type=_positive, nargs="+", default=[100, 50], help="denoising steps")
    p.add_argument("--samples", type=_positive, nargs="+", default=[1, 10, 50, 100, 2000], help="samples an image")
    p.add_argument("--plans", nargs="+", choices=PLANS, default=["picard", "newton", "best"], help="compared with the "
                   "sequential sampler; best: what is done where nothing is asked for")  # fmt: skip
    p.add_argument("--windows", type=_positive, nargs="*", default=[], help="windows of an ablation with one sample")
    p.add_argument("--frontier-images", type=int, default=0, help="test images of each solid for quality against time; "
                   "0: none")  # fmt: skip
    p.add_argument("--repeats", type=_positive, default=20, help="timed images a setting")
    p.add_argument("--output", type=Path, metavar="FOLDER", help="write bench.json, bench.md and plots there")

    p = command("evaluate-bag", _evaluate_bag, bags.TEXT, seed=None)
    bags.add_arguments(p)

    p = command("compare", _compare, compare.TEXT)
    compare.add_arguments(p)

    p = command("info", _info, "Show a checkpoint's configuration and how it was trained.")
    p.add_argument("checkpoint", nargs="?", default="default", help="file, or 'default' for the embedded one")
    return parser


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default="default", help="file, or 'default' for the embedded one")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--window", type=_positive, help="picard and newton: evaluations in flight; default 16 and all")
    parser.add_argument("--tolerance", type=float, default=0.03, help="picard and newton: relative to the noise level")


def _sampler_arguments(parser: argparse.ArgumentParser) -> None:
    default = SamplerOptions()
    parser.add_argument("--steps", type=_positive, default=default.steps, help="noise levels")
    parser.add_argument("--method", choices=METHODS, default="ode", help="how the steps are solved")
    parser.add_argument("--integrator", choices=sorted(INTEGRATORS), default=default.integrator, help="of the ODE")
    parser.add_argument("--restarts", type=int, default=default.restarts, help="of samples that end between two poses")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
