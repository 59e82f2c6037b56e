"""`lie-picard compare`."""

from __future__ import annotations

import argparse

from lie_picard.cli.common import report
from lie_picard.recording import compare
from lie_picard.recording.compare import add_arguments

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Compare. Returns 1 where something is surely worse."""
    result = compare.run(args)
    # What did not change is said once, of all objects; the JSON has all.
    rows = [row for row in result["rows"] if row["verdict"] != "same" or row["object"] == "all"]
    report(args, result, compare.COLUMNS, rows)
    if str(args.json) != "-":
        print(f"{result['images_in_both']} images of an object in both, {result['only_in_a']} only in A, "
              f"{result['only_in_b']} only in B; surely worse: {result['worse']}")  # fmt: skip
    return 1 if result["worse"] else 0
