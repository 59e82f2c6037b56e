"""`lie-picard train`."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from lie_picard.cli.common import positive, report
from lie_picard.data.bop import Dataset, object_names
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import assess
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.model import checkpoint
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN, OWN, catalogue
from lie_picard.sampling import SamplerOptions
from lie_picard.training import recipe as recipes
from lie_picard.training.fabric import make_fabric
from lie_picard.training.trainer import train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write (.safetensors)")
    parser.add_argument(
        "--recipe", default="compact", metavar="NAME|FILE", help=f"{', '.join(recipes.RECIPES)}, or a TOML file"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe, e.g. model.head=fourier"
    )
    parser.add_argument("--solids", nargs="+", choices=list(catalogue(BUILT_IN)), help="model.objects of the recipe")
    parser.add_argument("--object", action="append", metavar="ID", help="an object of one's own (lie-picard object "
                        "list), instead of the solids; may be repeated")  # fmt: skip
    parser.add_argument("--images", type=positive, help="training.images of the recipe")
    parser.add_argument(
        "--minutes", type=float, help="training.minutes of the recipe: train so long, not so many images"
    )
    bop = parser.add_argument_group("a BOP data set, instead of rendered images")
    bop.add_argument("--bop", type=Path, metavar="FOLDER", help="data.bop of the recipe; all its objects, but for "
                     "--set model.objects=...")  # fmt: skip
    bop.add_argument("--split", help="data.bop_split of the recipe: train_pbr or alike")
    bop.add_argument("--bop-object", action="append", metavar="NUMBER=NAME", help="data.bop_objects of the recipe: "
                     "what one is called; otherwise by 'name' in models_info.json, or obj_000005")  # fmt: skip
    bop.add_argument("--min-visible", type=float, metavar="SHARE", help="data.bop_visible of the recipe: of an object")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--devices", type=positive, default=1, help="processes on this machine")
    parser.add_argument("--nodes", type=positive, default=1, help="machines (start with torchrun)")
    parser.add_argument("--resume", action="store_true", help="continue from OUTPUT.state where it exists")
    parser.add_argument("--validate-every", type=int, default=2000, help="steps between validations; 0: none")
    parser.add_argument("--progress-s", type=float, default=0.5, help="seconds between updates of the progress bar")


def run(args: argparse.Namespace) -> None:
    """Train."""
    shorthands = {
        "model.objects": args.object or args.solids, "training.images": args.images, "training.minutes": args.minutes,
        "training.seed": args.seed, "data.bop": args.bop and str(args.bop), "data.bop_split": args.split,
        "data.bop_objects": args.bop_object, "data.bop_visible": args.min_visible,
    }  # fmt: skip
    if args.object and (args.solids or args.bop):
        raise ValueError("--object, --solids and --bop exclude each other: choose one")
    known = catalogue(OWN) if args.object else None
    for name in args.object or ():
        known[name]  # type: ignore[index]  # an unknown or damaged one is an error now, not after the set-up
    if args.bop is not None and args.solids is None:
        models = Dataset(args.bop, object_names(args.bop_object or ())).models
        shorthands["model.objects"] = sorted(models.names.values())
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

        validation = None if args.validate_every == 0 else functools.partial(validate, recipe)
        train(recipe, args.output, fabric, args.resume, command, show, validation, args.validate_every or steps, known)
    if fabric.is_global_zero:
        _, note = checkpoint.read_metadata(args.output)
        images = note["steps"] * recipe.training.batch if recipe.training.minutes else recipe.training.images
        rate = {"steps": note["steps"], "images_per_s": note.get("images_per_s")}
        report(args, {"output": str(args.output), "images": images, "seed": recipe.training.seed} | rate)


def validate(recipe: recipes.Recipe, model: ScoreModel) -> dict[str, float]:
    """Precision of the model so far on a few images of each object that are neither training's nor the test's.

    Objects that no catalogue knows are looked at in their data set's test split, where it has one; these figures choose
    nothing.
    """
    scalars: dict[str, float] = {}
    estimator = PoseEstimator(model, next(model.parameters()).device)
    options = EvaluationOptions(images=10, samples=8, recall_images=0, seed=recipe.training.seed)
    measure = functools.partial(evaluate, estimator, recipe.model.objects, SamplerOptions("ode"), stream="validation")
    if all(name in estimator.catalogue for name in recipe.model.objects):
        kinds = assess.kinds(recipe.data.randomisation)
        rows = {kind: measure(dataclasses.replace(options, randomisation=how))[-1] for kind, how in kinds.items()}
    else:
        data = Path(recipe.data.symsol).expanduser()
        there = bool(recipe.data.symsol) and (data / "test" / "rotations.npz").is_file()
        rows = {"test split": measure(options, data)[-1]} if there else {}
    for kind, row in rows.items():
        scalars |= {f"{kind}/{name}": float(row[name]) for name in ("mean_deg", "median_deg", "within_5deg")}
    return scalars
