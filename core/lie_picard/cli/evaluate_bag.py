"""`lie-picard evaluate-bag`."""

from __future__ import annotations

import argparse
import sys

from lie_picard.cli.common import report
from lie_picard.recording import command, summary
from lie_picard.recording.command import add_arguments

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> None:
    """Score, and say where the report is, and what is wrong with the recordings.

    Raises:
        ValueError: nothing was scored; the report is there all the same.
    """
    result = command.run(args)
    report(args, result, summary.COLUMNS)
    for line in summary.warnings(result):
        print(f"warning: {line}", file=sys.stderr)
    if str(args.json) != "-":
        print(f"report: {args.output / 'report.html'}")
    if why := summary.nothing(result):
        raise ValueError(why)
