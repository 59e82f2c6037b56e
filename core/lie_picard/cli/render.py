"""`lie-picard render`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from lie_picard.cli.common import positive, report
from lie_picard.data import symsol_files
from lie_picard.objects import BUILT_IN, catalogue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    known = list(catalogue(BUILT_IN))
    parser.add_argument("output", type=Path, help="root folder of the data set")
    parser.add_argument("--split", choices=symsol_files.SPLITS, default="train", help="which split to write")
    parser.add_argument("--images", type=positive, default=1000, help="images of each solid")
    parser.add_argument("--size", type=positive, default=224, help="side of the square images, pixels")
    parser.add_argument("--solids", nargs="+", choices=known, default=known, help="which solids")


def run(args: argparse.Namespace) -> None:
    """Write the data set."""
    shapes = [catalogue(BUILT_IN)[name] for name in args.solids]
    with tqdm(total=args.images * len(shapes), unit="image", disable=None) as bar:
        symsol_files.write(args.output, args.split, shapes, args.images, args.size, args.seed, on_image=bar.update)
    report(args, {"output": str(args.output), "split": args.split, "images_per_solid": args.images, "seed": args.seed})
