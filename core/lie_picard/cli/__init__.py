"""The `lie-picard` command. Each of its commands is a module here, which imports what it needs and no more."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from lie_picard import __version__

# In the order of --help. The module of each has `add_arguments(parser)` and `run(args)`, which may give an exit status.
COMMANDS = {
    "object": "Make objects of mesh files: units, symmetry, a folder that everything else reads.",
    "render": "Render objects: a data set in SYMSOL's or BOP's format, or a recording.",
    "train": "Train a score model on images rendered on the fly.",
    "locator": "Give a checkpoint what finds its objects in whole images.",
    "distil": "Give a checkpoint a flow map, which samples in one, two or four evaluations (--method map).",
    "average": "The mean of several models' weights, which is mostly better than any of them.",
    "evaluate": "Precision and recall on images that training has never seen.",
    "calibrate": "Calibrate the covariances of the hypotheses; written into the checkpoint.",
    "bench": "Time the samplers against the sequential one.",
    "evaluate-bag": "Score recordings of a camera (rosbag2, no ROS needed) with the pose node's own estimator, against "
    "true poses.",
    "evaluate-bop": "Score a BOP data set: BOP's errors and average recall, and the hypotheses as a distribution.",
    "compare": "Compare two reports of evaluate-bag: what got better or worse, with confidence intervals.",
    "info": "Show a checkpoint's configuration and how it was trained.",
}
_OWN_SEED = "train", "evaluate-bag"  # whose seed is otherwise a recipe's or a parameter's


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status: 0, 1 of `compare` where something is worse, 2 for bad input, 130 when
    interrupted."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        args = _parser(words).parse_args(words)
        if args.threads < 0:
            raise ValueError(f"--threads must be at least 0, got {args.threads}")
        if args.threads:
            import torch

            torch.set_num_threads(args.threads)
        if args.json is not None and str(args.json) != "-" and not args.json.absolute().parent.is_dir():
            raise ValueError(f"--json {args.json}: no such folder")  # now, not after an hour of work
        return args.run(args) or 0
    except KeyboardInterrupt as interruption:
        print(f"lie-picard: interrupted{': ' if interruption.args else ''}{interruption}", file=sys.stderr)
        return 130
    except ImportError as error:
        print(f"lie-picard: error: {error.name or error} is missing: pip install 'lie_picard[all]'", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"lie-picard {args.command}: error: {error}", file=sys.stderr)
        return 2


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a command line. Only the command in it has its arguments, so that the others import nothing."""
    parser = argparse.ArgumentParser(prog="lie-picard", description="Pose hypotheses by diffusion on SO(3).")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        if name != asked:
            continue
        module = importlib.import_module(f"lie_picard.cli.{name.replace('-', '_')}")
        sub.set_defaults(run=module.run)
        sub.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON; '-' prints it")
        seed = None if name in _OWN_SEED else 0
        sub.add_argument("--seed", type=int, default=seed, help="fixes everything random")
        sub.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch decides")
        module.add_arguments(sub)
    return parser
