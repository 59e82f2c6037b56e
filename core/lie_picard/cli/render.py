"""`lie-picard render`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from lie_picard.cli.common import positive, report
from lie_picard.data import symsol_files
from lie_picard.objects import BUILT_IN, OWN, Catalogue, catalogue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    built_in = list(catalogue(BUILT_IN))
    known = list(_known())
    parser.add_argument("output", type=Path, help="root folder of the data set, or of the recording")
    parser.add_argument("--format", choices=("symsol", "bop", "bag"), default="symsol", help="SYMSOL's: one object an "
                        "image; BOP's: scenes of several, with depth, masks and models; bag: a recording (rosbag2) of "
                        "objects that turn, with a parameters file for the node")  # fmt: skip
    parser.add_argument("--split", default="train", help="which split to write; SYMSOL's: train or test")
    parser.add_argument("--images", type=positive, default=1000, help="images of each solid, of each BOP "
                        "scene, or of the recording (ten a second)")  # fmt: skip
    parser.add_argument("--size", type=positive, default=224, help="side of SYMSOL's square images, pixels")
    parser.add_argument("--solids", nargs="+", choices=known, default=built_in, metavar="OBJECT", help="which objects: "
                        f"{', '.join(built_in)}, or one's own (lie-picard object list)")  # fmt: skip
    bop = parser.add_argument_group("BOP's format")
    bop.add_argument("--scenes", type=positive, default=1, help="number of scenes")
    bop.add_argument("--layout", choices=("scenes", "shards"), default="scenes", help="a folder for each scene, or tar "
                     "files of a thousand images as webdatasets are")  # fmt: skip
    bop.add_argument("--objects-per-image", type=positive, default=6, metavar="N", help="at most")
    scenes = parser.add_argument_group("BOP's format, and recordings")
    scenes.add_argument("--width", type=positive, default=640, help="of the images, pixels")
    scenes.add_argument("--height", type=positive, default=480, help="of the images, pixels")
    scenes.add_argument("--background", choices=("dark", "photographs"), default="dark", help="photographs are those "
                        "of scikit-image; splits whose names begin with train have others than the rest")  # fmt: skip
    parser.add_argument("--moving", action="store_true", help="objects of a recording move freely, the first one out "
                        "of the image and back, and the parameters do not say where they are")  # fmt: skip
    parser.add_argument("--compressed", action="store_true", help="images of a recording as JPEGs, a tenth as "
                        "large")  # fmt: skip


def _known() -> Catalogue:
    """What can be rendered."""
    return catalogue(BUILT_IN).joined(catalogue(OWN))


def run(args: argparse.Namespace) -> None:
    """Write the data set.

    Raises:
        ValueError: one line with the remedy.
    """
    shapes = [_known()[name] for name in args.solids]
    about = {"output": str(args.output), "format": args.format, "split": args.split, "seed": args.seed}
    if args.format == "bop":
        from lie_picard.data.bop import write

        what = write.Scenes(shapes, args.scenes, args.images, args.objects_per_image, args.width, args.height,
                            args.background)  # fmt: skip
        with tqdm(total=args.scenes * args.images, unit="image", disable=None) as bar:
            write.write(args.output, args.split, what, args.layout, args.seed, bar.update)
        report(args, about | {"scenes": args.scenes, "images_per_scene": args.images, "layout": args.layout})
        return
    if args.format == "bag":
        from lie_picard.recording import rendered

        turning = rendered.Turning(shapes, args.images, args.width, args.height, args.background, args.moving,
                                   args.compressed)  # fmt: skip
        with tqdm(total=args.images, unit="image", disable=None) as bar:
            parameters = rendered.write(args.output, turning, args.seed, bar.update)
        report(args, {"output": str(args.output), "format": "bag", "seed": args.seed, "images": args.images,
                      "parameters": str(parameters)})  # fmt: skip
        return
    if args.split not in symsol_files.SPLITS:
        raise ValueError(f"--split {args.split}: SYMSOL's splits are {' and '.join(symsol_files.SPLITS)}")
    with tqdm(total=args.images * len(shapes), unit="image", disable=None) as bar:
        symsol_files.write(args.output, args.split, shapes, args.images, args.size, args.seed, on_image=bar.update)
    report(args, about | {"images_per_solid": args.images})
