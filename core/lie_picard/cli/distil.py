"""`lie-picard distil`: give a checkpoint a flow map, which samples in one, two or four evaluations (`--method map`)."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from lie_picard.cli.common import RunBar, check_output, minutes, report
from lie_picard.model import checkpoint
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN
from lie_picard.training import recipe as recipes
from lie_picard.training.distillation import Distillation, DistillationOptions
from lie_picard.training.fabric import make_fabric
from lie_picard.training.sources import batches_of, known_objects

_MINUTES = 30.0
# Images of 32 batches are mixed, each shown four times with other starts: on a CPU rendering costs as much as the rest.
_TOGETHER, _REPEATS = 128, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--checkpoint", default="default", help="file, or 'default'")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write, with a map")
    parser.add_argument("--minutes", type=minutes, default=_MINUTES, help="how long to train")
    parser.add_argument("--recipe", metavar="NAME|FILE",
                        help="whose images it is trained on; default: what the checkpoint was trained on")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--resume", action="store_true", help="continue from OUTPUT.map where it exists")
    parser.add_argument("--half", action="store_true", help="write matrices in half precision: half the file")


def run(args: argparse.Namespace) -> None:
    """Distil a checkpoint's score into its flow map, beginning at the map it has."""
    check_output(args.output)
    options = DistillationOptions(args.minutes, seed=args.seed)
    model = checkpoint.load(args.checkpoint)
    _, note = checkpoint.read_metadata(args.checkpoint)
    said = note.get("recipe")
    said = said if isinstance(said, dict) else {}
    if args.recipe is None and not said:  # a mean of several models says nothing
        raise ValueError(f"{args.checkpoint} does not say what it was trained on: give --recipe")
    recipe = recipes.Recipe.from_dict(said) if args.recipe is None else recipes.read(args.recipe)
    state = args.output.with_name(args.output.name + ".map")
    images = distil(model, recipe, options, args.device, state, args.resume)
    checkpoint.save(model, args.output, note | {"flow_map": {"minutes": args.minutes, "images": images}}, args.half)
    report(args, {"output": str(args.output), "images": images, "minutes": args.minutes})


def distil(
    model: ScoreModel,
    recipe: recipes.Recipe,
    options: DistillationOptions,
    device: str = "auto",
    state: Path | None = None,
    resume: bool = False,
) -> int:
    """Give a model a flow map, trained on a recipe's images; the number of images shown.

    Args:
        state: file that is kept up to date, from which an interrupted run goes on with `resume`.

    Raises:
        UnknownObjectError, DatasetError: what the recipe shows is not there.
        CheckpointError: the state is damaged, or of another run.
    """
    fabric = make_fabric(device)
    known = checkpoint.catalogue_for(model.known, model.catalogue or BUILT_IN)
    data = recipe.data
    if fabric.device.type == "cpu":
        data = dataclasses.replace(data, together=_TOGETHER, repeats=_REPEATS)
    shown = dataclasses.replace(
        recipe,
        model=dataclasses.replace(model.config, flow_map=False),
        data=data,
        training=dataclasses.replace(recipe.training, batch=options.images, seed=options.seed),
    )
    model.to_device(fabric.device).add_flow_map()
    training = Distillation(model, options, dataclasses.asdict(shown.data))
    if resume and state is not None and state.is_file():
        training.resume(state)
    with RunBar(options.minutes, "flow map", done_s=training.seconds) as bar:
        training.run(batches_of(shown, fabric, training.step, known_objects(shown, known)), state, bar.show)
    model.eval()
    return training.images
