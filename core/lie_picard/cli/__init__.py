"""The `lie-picard` command. Each of its commands is a module here, which imports what it needs and no more."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lie_picard import __version__


class Command(NamedTuple):
    """A command as `--help` shows it. Its module here has `add_arguments(parser)` and `run(args)`, which may give an
    exit status.

    Attributes:
        text: what it does. examples: lines, as they are typed.
    """

    text: str
    examples: tuple[str, ...]


# In the order of --help, by what one wants to do.
GROUPS: dict[str, dict[str, Command]] = {
    "Prepare objects and images": {
        "object": Command(
            "Make objects of mesh files: units, symmetry, a folder that everything else reads.",
            ("lie-picard object add bracket.stl --unit mm", "lie-picard object show bracket"),
        ),
        "render": Command(
            "Render objects: a data set in SYMSOL's or BOP's format, or a recording.",
            (
                "lie-picard render data --split test --images 100",
                "lie-picard render trial --format bag --solids cube",
            ),
        ),
    },
    "Train": {
        "train": Command(
            "Train a score model on images rendered on the fly.",
            (
                "lie-picard train --object bracket --output bracket.safetensors",
                "lie-picard train --object bracket --until median=2 --output bracket.safetensors",
                "lie-picard train --output solids.safetensors --solids cube cyl --resume",
            ),
        ),
        "calibrate": Command(
            "Calibrate the covariances of the hypotheses; written into the checkpoint.",
            (
                "lie-picard calibrate --checkpoint solids.safetensors",
                "lie-picard calibrate --check --plot coverage.png",
            ),
        ),
        "locator": Command(
            "Give a checkpoint what finds its objects in whole images.",
            ("lie-picard locator --checkpoint solids.safetensors --minutes 30 --output solids.safetensors",),
        ),
        "distil": Command(
            "Give a checkpoint a flow map, which samples in one, two or four evaluations (--method map).",
            ("lie-picard distil --checkpoint bracket.safetensors --output bracket.safetensors --minutes 20",),
        ),
        "average": Command(
            "The mean of several models' weights, which is mostly better than any of them.",
            ("lie-picard average first.safetensors=2 second.safetensors --output mean.safetensors",),
        ),
    },
    "Measure": {
        "evaluate": Command(
            "Precision and recall on images that training has never seen.",
            (
                "lie-picard evaluate --checkpoint bracket.safetensors --randomised",
                "lie-picard evaluate --method map --steps 2 --images 100",
                "lie-picard evaluate --output report",
            ),
        ),
        "bench": Command(
            "Time the samplers against the sequential one.",
            (
                "lie-picard bench --samples 1 10 100",
                "lie-picard bench --frontier-images 100 --output report",
            ),
        ),
        "evaluate-bag": Command(
            "Score recordings of a camera (rosbag2, no ROS needed) with the pose node's own estimator, against true "
            "poses.",
            ("lie-picard evaluate-bag recording --params my_objects.yaml --output report",),
        ),
        "evaluate-bop": Command(
            "Score a BOP data set: BOP's errors and average recall, and the hypotheses as a distribution.",
            ("lie-picard evaluate-bop lmo --checkpoint lmo.safetensors",),
        ),
        "compare": Command(
            "Compare two reports of evaluate-bag: what got better or worse, with confidence intervals.",
            ("lie-picard compare before/report.json after/report.json",),
        ),
    },
    "Look": {
        "view": Command(
            "Show hypotheses in the browser, of images, a recording, or a running node: image, posterior that can be "
            "turned, weights.",
            (
                "lie-picard view photo.jpg --checkpoint bracket.safetensors --fov 50",
                "lie-picard view recording --params my_objects.yaml",
                "lie-picard view --topic /pose_node/hypotheses --params my_objects.yaml",
            ),
        ),
        "info": Command(
            "Show a checkpoint's configuration and how it was trained.", ("lie-picard info bracket.safetensors",)
        ),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
_COMPLETION = 'Completion in shells: eval "$(register-python-argcomplete lie-picard)"'
_OWN_SEED = "train", "evaluate-bag"  # whose seed is otherwise a recipe's or a parameter's


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status: 0, 1 of `compare` where something is worse, 2 for bad input, 130 when
    interrupted."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        parser = _parser(_completed() or words)
        with contextlib.suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)
        args = parser.parse_args(words)
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


def _completed() -> list[str]:
    """The words that a shell asks to be completed; none where it does not."""
    return os.environ.get("COMP_LINE", "").split()[1:] if "_ARGCOMPLETE" in os.environ else []


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a command line. Only the command in it has its arguments, so that the others import nothing."""
    parser = argparse.ArgumentParser(
        prog="lie-picard", usage="%(prog)s [-h] [--version] COMMAND ...",
        description="Pose hypotheses by diffusion on SO(3).", epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS)
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, (text, examples) in COMMANDS.items():
        sub = commands.add_parser(
            name, description=text, formatter_class=_Formatter, epilog="\n  ".join(["examples:", *examples])
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


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Options with their defaults; the examples line by line."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        """Without a default where there is none."""
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


def _overview() -> str:
    """The commands, by what one wants to do."""
    lines = []
    for group, commands in GROUPS.items():
        lines.append(f"{group}:")
        for name, command in commands.items():
            first, *more = textwrap.wrap(command.text, 62)
            lines += [f"  {name:14}{first}", *(" " * 16 + line for line in more)]
        lines.append("")
    return "\n".join([*lines, "Options and examples of one: lie-picard COMMAND --help", _COMPLETION])
