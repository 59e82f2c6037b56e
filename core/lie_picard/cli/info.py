"""`lie-picard info`."""

from __future__ import annotations

import argparse
from typing import Any

from lie_picard import __version__, machine
from lie_picard.cli.common import report
from lie_picard.model import checkpoint
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import MeshObject


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
            "objects": [_described(model, name) for name in config.objects],
            "training": training,
            "machine": machine.describe(),
        },
    )


def _described(model: ScoreModel, name: str) -> dict[str, Any]:
    """What the checkpoint itself or the catalogue that it names says of an object; None: unknown, or of any size."""
    from lie_picard.geometry.symmetry_search import in_words

    try:
        found = checkpoint.catalogue_for(model.known, model.catalogue).find(name)
    except ValueError:  # damaged in this machine's store, of which the checkpoint has nothing
        found = None
    own = model.known is not None and name in model.known
    surface = found.surface if isinstance(found, MeshObject) else None
    return {
        "name": name,
        "carried": own,
        "diameter_m": None if found is None else found.diameter,
        "symmetry": None if found is None else in_words(found.symmetry),
        "partial_symmetries": 0 if found is None else len(found.partial),
        "triangles": None if surface is None else len(surface.triangles),
        "coloured": None if found is None else found.is_coloured,
    }
