"""`lie-picard evaluate-bag`."""

from __future__ import annotations

import argparse

from lie_picard.cli.common import report
from lie_picard.recording import command, summary
from lie_picard.recording.command import add_arguments

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> None:
    """Score, and say where the report is."""
    report(args, command.run(args), summary.COLUMNS)
    if str(args.json) != "-":
        print(f"report: {args.output / 'report.html'}")
