"""A small BOP data set for tests, written once a session, and copies of it to spoil."""

import json
import shutil
from pathlib import Path

from lie_picard.data.bop.write import Scenes, write
from lie_picard.objects import catalogue

SOLIDS = "cone", "cube", "tetX", "cyl"  # the middle of a cone's box is not that of its ball


def scenes(images=3, most=4, count=1):
    solids = [catalogue("symsol")[name] for name in SOLIDS]
    return Scenes(solids, count, images, most, 320, 240)


def written(root, split="test", layout="scenes", **changes):
    write(root, split, scenes(**changes), layout, seed=1)
    return root


def copied(source, target):
    shutil.copytree(source, target)
    return target


def edit(file: Path, change):
    """Rewrite a JSON file by a function of its content."""
    value = json.loads(file.read_text())
    file.write_text(json.dumps(change(value) or value))


def set_in(value, *path_and_new):
    *path, last, new = path_and_new
    for key in path:
        value = value[key]
    value[last] = new
