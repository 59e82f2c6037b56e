"""`lie-picard info`."""

from __future__ import annotations

import argparse

from lie_picard import __version__, machine
from lie_picard.cli.common import report
from lie_picard.model import checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("checkpoint", nargs="?", default="default", help="file, or 'default' for the embedded one")


def run(args: argparse.Namespace) -> None:
    """Show it."""
    model = checkpoint.load(args.checkpoint)
    config, training = checkpoint.read_metadata(args.checkpoint)
    file = checkpoint.resolve(args.checkpoint)
    report(
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
