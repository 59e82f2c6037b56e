"""`lie-picard object`: parts of one's own, from mesh files."""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from lie_picard.cli.common import wrote_json
from lie_picard.geometry.mesh_import import FORMATS
from lie_picard.geometry.symmetry_search import TOLERANCE
from lie_picard.geometry.units import UNITS
from lie_picard.objects import folder
from lie_picard.objects.folder import FolderError

_TAKEN = 0.05  # of the diameter: a tolerance that may be proposed
_NEARLY = 0.06  # of the diameter: 95% of a surface are nearer to itself after a turn that is worth a word


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own commands and their arguments."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = _command(commands, "add", f"Make an object of a mesh file ({', '.join(FORMATS)}).")
    add.add_argument("mesh", type=Path, help="the part's surface")
    add.add_argument("--id", help="its name in messages, TF and commands; default: the file's")
    add.add_argument("--unit", choices=UNITS, help="of the file's lengths; asked for where the file does not say it")
    add.add_argument("--diameter", type=float, metavar="METRES", help="of its circumscribed sphere, to check the unit")
    add.add_argument("--colour", type=_colour, metavar="COLOUR", help="of the whole part: #rrggbb, or r,g,b in 0 to 1")
    add.add_argument("--symmetry", action="append", default=[], metavar="TURN", help="what it is symmetric about, as "
                     "C6@z, C2@1,0,0 or Cinf@z (axes of the file, through the surface's centroid); not searched for "
                     "then; may be repeated")  # fmt: skip
    add.add_argument("--models-info", type=Path, metavar="FILE", help="BOP's models_info.json to take symmetries from")
    add.add_argument("--key", help="of the part in --models-info; default: the id")
    add.add_argument("--no-symmetry", action="store_true", help="it has none, whatever its shape")
    add.add_argument("--symmetry-tolerance", type=float, default=TOLERANCE, metavar="SHARE",
                     help="how far the surface may be off after a turn, of the diameter")  # fmt: skip
    add.add_argument("--ignore-colour", action="store_true", help="symmetric is what has a symmetric shape")
    add.add_argument("--replace", action="store_true", help="an object of this id may be there already")
    _command(commands, "list", "All objects.")
    for name, text in (("show", "What is known of an object."), ("check", "Whether an object's folder is sound.")):
        _command(commands, name, text).add_argument("object", help="its id, or a folder")
    remove = _command(commands, "remove", "Delete an object.")
    remove.add_argument("object", help="its id, or a folder")
    remove.add_argument("--yes", action="store_true", help="do not ask")


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--store", type=Path, metavar="FOLDER", help="where the objects are; default: "
                        "$LIE_PICARD_OBJECTS, or lie_picard/objects of the user's data")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="the result as JSON; '-' "
                        "prints it")  # fmt: skip
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what is asked for. Returns the exit status: 1 where `check` finds a fault."""
    actions = {"add": _add, "list": _list, "show": _show, "check": _check, "remove": _remove}
    return actions[args.action](args)


def _colour(text: str) -> tuple[float, float, float]:
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        red, green, blue = (int(text[k : k + 2], 16) / 255 for k in (1, 3, 5))
        return red, green, blue
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is none: write #rrggbb, or three numbers as 0.8,0.1,0.1") from None
    if not all(0 <= value <= 1 for value in (red, green, blue)):
        raise argparse.ArgumentTypeError(f"'{text}': each of red, green and blue is in 0 to 1")
    return red, green, blue


def _add(args: argparse.Namespace) -> int:
    from lie_picard.objects import BUILT_IN, catalogue
    from lie_picard.objects.adding import STAGES, Wishes, made

    plain = re.sub(r"\W+", "_", args.mesh.stem, flags=re.ASCII).strip("_")
    if not args.id and not folder.NAME.fullmatch(plain):
        raise FolderError(f"no id can be made of the name '{args.mesh.stem}': give one with --id, of letters, digits "
                          "and _, a letter first")  # fmt: skip
    name = folder.checked_name(args.id or plain)
    root = folder.store(args.store)
    if name in catalogue(BUILT_IN):
        raise FolderError(f"'{name}' is one of the embedded model's objects: choose another --id")
    folder.check_place(root / name)
    if (root / name).exists() and not args.replace:
        raise FolderError(f"there is an object '{name}' already in {root}: --replace it, or choose another --id")
    if not 0 < args.symmetry_tolerance < 0.5:
        raise ValueError(f"--symmetry-tolerance is a share of the diameter, as 0.01, got {args.symmetry_tolerance:g}")
    listed = (args.models_info, args.key or name) if args.models_info else None
    if sum(map(bool, (args.symmetry, listed, args.no_symmetry))) > 1:
        raise ValueError("--symmetry, --models-info and --no-symmetry exclude each other: choose one")
    wishes = Wishes(
        args.unit, args.diameter, args.colour, tuple(args.symmetry), listed, args.no_symmetry,
        args.symmetry_tolerance, args.ignore_colour,
    )  # fmt: skip
    with tqdm(total=len(STAGES) + 1, disable=None, leave=False, bar_format="{desc} {bar} {n}/{total}") as bar:

        def stage(text: str) -> None:
            bar.set_description_str(f"{text:30}")
            bar.update()

        def ask(question: str) -> str:
            bar.clear()
            return input(question)

        added = made(args.mesh, name, wishes, ask if sys.stdin.isatty() else None, stage)
        folder.write(added.part, root / name)
        stage("drawing")
        _write_picture(root / name)
    return _show(argparse.Namespace(**{**vars(args), "object": str(root / name)}))


def _write_picture(place: Path) -> None:
    import cv2
    import numpy as np

    from lie_picard.drawing.part import draw_part
    from lie_picard.objects.own import read_object

    shape, head = read_object(place), folder.head_of(place)
    almost = [(np.asarray(one["axis"]), np.asarray(one["centre"]), _order(one["order"]) + "?")
              for one in _worth(head) if not one["held"]]  # fmt: skip
    picture = draw_part(shape, shape.diameter, _lines(head), almost)
    _, data = cv2.imencode(".png", picture[..., ::-1])
    folder.write_picture(place, data.tobytes())


def _order(order: int) -> str:
    return f"C{order}" if order else "any turn"


def _place(args: argparse.Namespace) -> Path:
    """The folder of an object that is named, or given by its folder."""
    root = folder.store(args.store)
    if folder.NAME.fullmatch(args.object) and (root / args.object / folder.HEAD).exists():
        return root / str(args.object)
    if (Path(args.object) / folder.HEAD).exists():
        return Path(args.object)
    known = folder.names(root)
    there = f"there are {', '.join(known)}" if known else "there is none: lie-picard object add FILE makes one"
    raise FolderError(f"no object '{args.object}' in {root}: {there}")


_GIVEN = "as given"  # what `objects.adding` calls the group of symmetries that it was told


def _worth(head: Any) -> list[Any]:
    """The symmetries that hold, and those that a feature breaks and not the whole shape."""
    return [one for one in head.get("nearly", []) if one["held"] or one["residual_p95"] < _NEARLY][:8]


def _remedy(one: Any) -> str:
    """How to take a symmetry that a small feature breaks."""
    share = math.ceil(1e3 * one["residual_max"] + 0.5) / 1e3
    if one["held"] or share > _TAKEN:
        return ""
    return "; --ignore-colour takes it" if one["shape_held"] else f"; --symmetry-tolerance {share:g} takes it"


def _lines(head: Any) -> list[str]:
    """What is to say of an object, from its object.toml."""
    source, mesh = head.get("source", {}), head.get("mesh", {})
    x, y, z = (round(1e3 * value, 3) + 0.0 for value in head["origin"])
    lines = [
        f"{head['id']}: {head['diameter']:.4g} m (circumscribed sphere), {mesh.get('triangles', '?')} triangles, "
        f"colours: {mesh.get('colours', '?')}",
        f"from {source.get('file', '?')}, {source.get('unit', '?')}; its origin is at {x:g}, {y:g}, {z:g} mm here",
        *mesh.get("said", []),
        "symmetry: none (C1)" if head.get("group") == "C1" else f"symmetry: {head.get('group', '?')}",
        *(one["text"] + _remedy(one) for one in _worth(head)),
    ]
    if head.get("group") == _GIVEN:
        wrong = [one for one in head.get("nearly", []) if not one["held"]]
        lines += [f"warning: a symmetry that was given does not hold: {one['text']}" for one in wrong]
    if head.get("partial_symmetry"):
        lines.append(
            f"{len(head['partial_symmetry'])} turns look the same from some sides; training takes them into account"
        )
    return lines


def _show(args: argparse.Namespace) -> int:
    place = _place(args)
    head = folder.head_of(place)
    if not wrote_json(args, {"folder": str(place), **head}):
        console = Console(highlight=False, soft_wrap=True)
        for line in _lines(head):
            console.print(line, markup=False)
        console.print(f"folder: {place} (look at {folder.PICTURE})", markup=False)
    return 0


def _list(args: argparse.Namespace) -> int:
    root = folder.store(args.store)
    rows: list[dict[str, Any]] = []
    for name in folder.names(root):
        try:
            head = folder.head_of(root / name)
            rows.append({"id": name, "diameter": float(head["diameter"]), "symmetry": str(head.get("group", "?")),
                         "file": str(head.get("source", {}).get("file", "?"))})  # fmt: skip
        except (FolderError, KeyError, TypeError, ValueError, AttributeError) as error:
            rows.append({"id": name, "diameter": None, "symmetry": f"damaged: {str(error)[:80]}", "file": ""})
    if wrote_json(args, {"store": str(root), "objects": rows}):
        return 0
    console = Console(highlight=False)
    if not rows:
        console.print(f"no objects in {root}: lie-picard object add FILE makes one", markup=False, soft_wrap=True)
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("object", "diameter, m", "symmetry", "from"):
        table.add_column(heading)
    for row in rows:
        size = "" if row["diameter"] is None else f"{row['diameter']:.4g}"
        table.add_row(row["id"], size, row["symmetry"], row["file"])
    console.print(table)
    console.print(f"in {root}", markup=False, soft_wrap=True)
    return 0


def _check(args: argparse.Namespace) -> int:
    from lie_picard.geometry.mesh_repair import mended
    from lie_picard.geometry.symmetry_search import assess

    place = _place(args)
    part = folder.read(place)
    _, found = mended(part.surface)
    held = assess(part.surface, part.symmetry)
    _, centre, diameter = folder.centred(part.surface)
    faults = [one for one in found if one.startswith(("dropped", "turned"))]
    off = float((centre**2).sum() ** 0.5) / part.diameter
    if off > folder.CENTRED or abs(diameter / part.diameter - 1) > folder.CENTRED:
        faults.append(f"its smallest ball is {diameter:.4g} m wide and {100 * off:.2g}% off the origin, {folder.HEAD} "
                      f"says {part.diameter:.4g} m: add it again")  # fmt: skip
    lost = [one.describe() for one in held if not one.held]
    wrong = int(bool(faults or lost))
    if wrote_json(args, {"folder": str(place), "faults": faults, "symmetries_off": lost}):
        return wrong
    console = Console(highlight=False, soft_wrap=True)
    for line in [*faults, *(f"does not hold: {line}" for line in lost)]:
        console.print(line, markup=False)
    console.print(
        f"{place}: {'damaged' if faults else 'its symmetries do not hold' if lost else 'sound'}", markup=False
    )
    return wrong


def _remove(args: argparse.Namespace) -> int:
    place = _place(args)
    if not args.yes:
        if not sys.stdin.isatty():
            raise ValueError(f"{place} would be deleted: say --yes")
        if input(f"delete {place}? [y/N] ").strip().lower() not in ("y", "yes"):
            print("kept")
            return 1
    folder.remove(place)
    wrote_json(args, {"removed": str(place)}) or print(f"removed {place}")
    return 0
