"""`lie-picard train`."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lie_picard import machine
from lie_picard.cli import locator
from lie_picard.cli.common import RunBar, positive, report
from lie_picard.cli.common import minutes as a_time
from lie_picard.data.bop import Dataset, object_names
from lie_picard.data.scenes import SceneOptions
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import assess, live, locating
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.evaluation.tables import LOCATING_COLUMNS, with_positions
from lie_picard.files import expanded
from lie_picard.model import checkpoint
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN, OWN, Catalogue, MeshObject, catalogue
from lie_picard.sampling import SamplerOptions
from lie_picard.training import recipe as recipes
from lie_picard.training.fabric import make_fabric
from lie_picard.training.trainer import train

_LOOK_EVERY_S = 120.0  # at a part of one's own while it is learned
_LOOK = EvaluationOptions(images=40, samples=8, recall_images=5, recall_samples=100)  # of each object and kind
_LAST = EvaluationOptions(images=100, samples=16, recall_images=20)  # when it has been
_CALIBRATION_IMAGES = 100
_SCENES = 100  # whole images, to find the objects in
_OWN_MINUTES = 45.0
_LOCATOR_SHARE = 0.2  # of the minutes
_MOST_MINUTES = 180.0  # until a goal is met
# What the recipe changes for an appearance.
_APPEARANCE = {
    "unknown": {"data.randomised": 0.65, "data.textured": 0.8, "data.prints": 0.7},
    "colour": {},
    "textured": {"data.prints": 0.1},
}
_COLUMNS = {"kind": "images", "solid": "object", "mean_deg": "D mean\ndeg", "median_deg": "D median\ndeg",
            "within_5deg": "within\n5 deg", "within_10deg": "within\n10 deg", "modes_reached": "modes\nreached",
            "modes_reached_if_uniform": "if perfectly\nuniform"}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write (.safetensors)")
    parser.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help=f"{', '.join(recipes.RECIPES)}, or a TOML file; default: own with --object, else compact",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe, e.g. model.head=fourier"
    )
    parser.add_argument("--solids", nargs="+", choices=list(catalogue(BUILT_IN)), help="model.objects of the recipe")
    parser.add_argument("--object", action="append", metavar="ID", help="an object of one's own (lie-picard object "
                        "list), instead of the solids; may be repeated")  # fmt: skip
    parser.add_argument(
        "--appearance",
        choices=tuple(_APPEARANCE),
        help="with --object, how the real part looks: unknown: whatever the mesh says, anything may be printed on it; "
        "colour: with its colours and little else; textured: as the mesh. Default: colour of a coloured one, else "
        "unknown",
    )
    parser.add_argument("--images", type=positive, help="training.images of the recipe")
    parser.add_argument(
        "--minutes", type=a_time, help="training.minutes of the recipe: train so long, not so many images"
    )
    parser.add_argument(
        "--until",
        action="append",
        default=[],
        metavar="GOAL",
        help="train until this accuracy is met, such as median=2 or randomised.within_10=80 (degrees, percent), at "
        f"most --minutes, {_MOST_MINUTES:g} if not given; may be repeated",
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
    parser.add_argument(
        "--locator-minutes",
        type=float,
        metavar="MINUTES",
        help="how long to train what finds the objects in whole images, 0: none; default with --object: a fifth of "
        "the whole, at most 9, with --until on top; else none",
    )
    parser.add_argument("--resume", action="store_true", help="continue from OUTPUT.state where it exists")
    parser.add_argument("--validate-every", type=int, help="steps between validations, 0: none; default: 2000, with "
                        f"--object or --until {_LOOK_EVERY_S:g} seconds")  # fmt: skip
    parser.add_argument("--progress-s", type=float, default=0.5, help="seconds between updates of the progress bar")


def run(args: argparse.Namespace) -> None:
    """Train."""
    own, minutes, goals = bool(args.object), args.minutes, [live.Goal.parse(text) for text in args.until]
    said = args.images or any(one.startswith(("training.images=", "training.minutes=")) for one in args.set)
    if minutes is None and not said and (own or args.until):
        minutes = _MOST_MINUTES if args.until else _OWN_MINUTES
    locator_minutes = args.locator_minutes
    if locator_minutes is None and not own:
        locator_minutes = 0.0
    elif locator_minutes is None and minutes is not None:
        locator_minutes = _LOCATOR_SHARE * min(minutes, _OWN_MINUTES)
    if locator_minutes is not None and not 0 <= locator_minutes < math.inf:
        raise ValueError(f"--locator-minutes must be at least 0, got {locator_minutes:g}")
    if minutes is not None and locator_minutes and not args.until:
        minutes -= locator_minutes
        if minutes <= 0:
            raise ValueError(f"--locator-minutes {locator_minutes:g} leaves nothing of --minutes for the poses")
    names = list(dict.fromkeys(args.object or args.solids or ()))
    shorthands = {
        "model.objects": names or None, "training.images": args.images, "training.minutes": minutes,
        "training.seed": args.seed, "data.bop": args.bop and str(args.bop), "data.bop_split": args.split,
        "data.bop_objects": args.bop_object, "data.bop_visible": args.min_visible,
    }  # fmt: skip
    if own and (args.solids or args.bop):
        raise ValueError("--object, --solids and --bop exclude each other: choose one")
    if args.until and args.validate_every == 0:
        raise ValueError("--until needs to look now and then: leave --validate-every out")
    if args.until and args.images:
        raise ValueError("--until and --images exclude each other: how long a goal takes is not known before")
    if args.appearance and not own:
        raise ValueError("--appearance is said of parts: give --object")
    known = _parts(args.object, args.appearance) if own else None
    if args.bop is not None and args.solids is None:
        models = Dataset(args.bop, object_names(args.bop_object or ())).models
        shorthands["model.objects"] = sorted(models.names.values())
    if known is not None:
        painted = any(isinstance(one, MeshObject) and one.is_coloured for one in map(known.find, known))
        shorthands |= _APPEARANCE[args.appearance or ("colour" if painted else "unknown")]
    changes = [f"{key}={json.dumps(value)}" for key, value in shorthands.items() if value is not None]
    recipe = recipes.read(args.recipe or ("own" if own else "compact"), [*changes, *args.set])
    command = shlex.join(["lie-picard", *(sys.argv[1:])])
    log = args.output.with_name(args.output.name + ".log")
    fabric = make_fabric(args.device, args.devices, args.nodes, log)
    watched = live.Live(args.output.with_suffix(".live.json"), goals, tqdm.write) if own or goals else None
    if watched is not None and args.resume:
        watched.resume()
    training = recipe.training
    with RunBar(training.minutes, "", training.steps, args.progress_s, fabric.is_global_zero) as bar:

        def show(step: int, losses: Mapping[str, float], seconds: float) -> None:
            bar.show(step, seconds, losses if step % 20 == 0 else {})  # to read them each time would keep a GPU waiting

        validation, watch, every_s = None, None, None
        if watched is not None and args.validate_every != 0:
            validation, watch = functools.partial(look, recipe), watched.add
            every_s = _LOOK_EVERY_S if args.validate_every is None else None
        elif args.validate_every != 0:
            validation = functools.partial(validate, recipe)
        every = args.validate_every or (2000 if args.validate_every is None else recipe.training.steps)
        enough = watched.enough if watched is not None and goals else None
        train(recipe, args.output, fabric, args.resume, command, show, validation, every, known, every_s, watch,
              enough)  # fmt: skip
    if not fabric.is_global_zero:
        return
    _, note = checkpoint.read_metadata(args.output)
    timed = recipe.training.minutes is not None
    images = note["steps"] * recipe.training.batch if timed else recipe.training.images
    if locator_minutes is None:  # a run of so many images: how long it took is known now
        took = images / max(note.get("images_per_s") or math.inf, 1e-3) / 60
        locator_minutes = _LOCATOR_SHARE / (1 - _LOCATOR_SHARE) * took
    if locator_minutes > 0:
        _add_locator(args.output, recipe, locator_minutes, known, args.resume, fabric.device)
    result = {"output": str(args.output), "images": images, "seed": recipe.training.seed}
    result |= {"steps": note["steps"], "images_per_s": note.get("images_per_s")}
    if not own:
        report(args, result)
        return
    tqdm.write(f"{args.output} is written and may be used; what follows calibrates and tests it", file=sys.stderr)
    rows = finish(args.output, recipe, args.device)
    found = [] if locator_minutes <= 0 else _find(args.output, recipe, args.device)
    result |= {"machine": machine.describe(fabric.device), "rows": rows, "finding": found}
    report(args, result, with_positions(_COLUMNS, rows), rows, [(LOCATING_COLUMNS, found)] if found else [])


def _add_locator(
    output: Path, recipe: recipes.Recipe, minutes: float, known: Catalogue | None, resume: bool, device: torch.device
) -> None:
    """Train what finds the objects in whole images, and write it into the checkpoint."""
    initial = checkpoint.locator_of(recipe.training.initial) if recipe.training.initial else None
    objects = [(catalogue(BUILT_IN) if known is None else known)[name] for name in recipe.model.objects]
    scenes = SceneOptions(prints=recipe.data.prints)
    found, images = locator.trained(objects, output, minutes, recipe.training.seed, initial, resume, scenes, device)
    model, (_, note) = checkpoint.load(output), checkpoint.read_metadata(output)
    model.locator = found
    checkpoint.save(model, output, note | {"locator": {"minutes": minutes, "images": images}})


def _find(output: Path, recipe: recipes.Recipe, device: str) -> list[dict[str, Any]]:
    """How well the objects are found in whole images, with the presence that was just calibrated."""
    estimator = PoseEstimator.from_checkpoint(output, device)
    with tqdm(total=_SCENES, unit="image", desc="finding it in whole images", disable=None) as bar:
        rows = locating.evaluate(estimator, _SCENES, recipe.training.seed, on_images=bar.update)
    return rows[:1] if len(recipe.model.objects) == 1 else rows[: len(recipe.model.objects) + 1]


def _parts(names: Sequence[str], appearance: str | None) -> Catalogue:
    """The objects of one's own that are asked for; one that is unknown or damaged is an error now, not in an hour."""
    store = catalogue(OWN)
    found = [store[name] for name in dict.fromkeys(names)]
    if appearance == "unknown":
        found = [one.unpainted() if isinstance(one, MeshObject) else one for one in found]
    return Catalogue.of(OWN, *found)


def look(recipe: recipes.Recipe, model: ScoreModel) -> dict[str, float]:
    """Precision and recall of parts so far."""
    options = dataclasses.replace(_LOOK, seed=recipe.training.seed)
    estimator = PoseEstimator(model, next(model.parameters()).device)
    return live.measure(estimator, recipe.data.randomisation, options)


def finish(output: Path, recipe: recipes.Recipe, device: str) -> list[dict[str, Any]]:
    """Calibrate a checkpoint of one's own parts, and measure it on test images: clean, randomised, textured."""
    estimator = PoseEstimator.from_checkpoint(output, device)
    shapes, sampler = estimator.config.objects, SamplerOptions("ode")
    options = dataclasses.replace(_LAST, seed=recipe.training.seed)
    kinds = assess.kinds(recipe.data.randomisation)
    with tqdm(total=len(kinds) * len(shapes) * (_CALIBRATION_IMAGES + options.images), unit="image",
              desc="calibration, evaluation", disable=None) as bar:  # fmt: skip
        fitting = dataclasses.replace(options, images=_CALIBRATION_IMAGES, randomisation=recipe.data.randomisation)
        try:
            assess.calibrate(estimator, shapes, sampler, fitting, bar.update)
        except ValueError as error:  # a plain ball, say, whose poses all look the same
            tqdm.write(f"not calibrated: {error}", file=sys.stderr)
        else:
            _, note = checkpoint.read_metadata(output)
            checkpoint.save(estimator.model, output, note)
        rows = []
        for kind, how in kinds.items():
            here = dataclasses.replace(options, randomisation=how)
            found = evaluate(estimator, shapes, sampler, here, None, bar.update)
            rows += [{"kind": kind} | row for row in found[: 1 if len(shapes) == 1 else None]]
    return rows


def validate(recipe: recipes.Recipe, model: ScoreModel) -> dict[str, float]:
    """Precision of the model so far on a few images of each object that are neither training's nor the test's.

    Objects that no catalogue knows are looked at in their data set's test split, where it has one; these figures choose
    nothing.
    """
    estimator = PoseEstimator(model, next(model.parameters()).device)
    options = EvaluationOptions(images=10, samples=8, recall_images=0, seed=recipe.training.seed)
    if all(name in estimator.catalogue for name in recipe.model.objects):
        return live.measure(estimator, recipe.data.randomisation, options)
    data = expanded(recipe.data.symsol)
    if not recipe.data.symsol or not (data / "test" / "rotations.npz").is_file():
        return {}
    row = evaluate(estimator, recipe.model.objects, SamplerOptions("ode"), options, data, stream="validation")[-1]
    return {f"test split/{name}": float(row[name]) for name in ("mean_deg", "median_deg", "within_5deg")}
