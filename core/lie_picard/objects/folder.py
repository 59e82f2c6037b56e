"""Objects of one's own as folders: what `lie-picard object add` writes, and everything else reads.

<store>/<id>/object.toml       size, origin, symmetry, what was said of the mesh
             mesh.glb          metres, about the centre of the smallest ball that holds it
             training.glb      fewer triangles, where the mesh has many
             models_info.json  as in a BOP data set
             part.png          a picture of it
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.files import atomic_write, expanded, read_at_most
from lie_picard.geometry import models_info
from lie_picard.geometry.enclosing import smallest_ball
from lie_picard.geometry.mesh_export import write_glb
from lie_picard.geometry.mesh_import import load
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Array = NDArray[np.float64]

HEAD, MESH, TRAINING, INFO, PICTURE = "object.toml", "mesh.glb", "training.glb", "models_info.json", "part.png"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_MAX_BYTES = 1 << 24
CENTRED = 1e-3  # of the diameter: what the mesh may be off its frame, and its size off the one that is stated


class FolderError(ValueError):
    """A folder that is no object's, or damaged; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Part:
    """An object of one's own, as its folder holds it.

    Attributes:
        name: its id. surface: metres, about the centre of its circumscribed sphere. diameter: of that sphere, metres.
        symmetry, shape_symmetry: with its colours and without. training: a surface of fewer triangles; None: itself.
        partial: symmetries of parts of it. origin: (3,) of the file's frame, in this frame, metres; same axes.
        notes: tables of object.toml that only people read.
    """

    name: str
    surface: Surface
    diameter: float
    symmetry: Symmetry = field(default_factory=Symmetry.none)
    shape_symmetry: Symmetry = field(default_factory=Symmetry.none)
    training: Surface | None = None
    partial: tuple[PartialSymmetry, ...] = ()
    origin: Array = field(default_factory=lambda: np.zeros(3))
    notes: Mapping[str, Any] = field(default_factory=dict)


def store(path: str | Path | None = None) -> Path:
    """The folder of objects: this one, else $LIE_PICARD_OBJECTS, else lie_picard/objects of the user's data."""
    given = path or os.environ.get("LIE_PICARD_OBJECTS")
    if given:
        return expanded(given)
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return expanded(data) / "lie_picard" / "objects"


def checked_name(name: str) -> str:
    """An object's id: it becomes a frame, a topic and a folder.

    Raises:
        FolderError: it cannot be one.
    """
    if not NAME.fullmatch(name):
        raise FolderError(f"'{name[:80]}' cannot be an object's id: use letters, digits and _, a letter first")
    return name


def names(root: Path) -> list[str]:
    """Ids of all objects in a store; none where there is no store."""
    if not root.is_dir():
        return []
    return sorted(one.name for one in root.iterdir() if NAME.fullmatch(one.name) and (one / HEAD).is_file())


def write(part: Part, folder: Path) -> None:
    """Write an object's folder, as a whole or not at all; an object that is there is replaced.

    Raises:
        FolderError: what is there is no object's folder.
    """
    import tomli_w

    check_place(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{what}") for what in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        write_glb(partial / MESH, part.surface)
        if part.training is not None:
            write_glb(partial / TRAINING, part.training)
        (partial / INFO).write_text(json.dumps({"1": _bop_entry(part)}, indent=1) + "\n")
        head = {
            "id": part.name,
            "diameter": part.diameter,
            "origin": part.origin.tolist(),
            "shape_symmetry": _listed(part.shape_symmetry),
            **part.notes,
            "partial_symmetry": [_entry(one) for one in part.partial],
        }
        (partial / HEAD).write_text("# Made by `lie-picard object add`; lengths are metres.\n" + tomli_w.dumps(head))
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_place(folder: Path) -> None:
    """Whether an object may be written there.

    Raises:
        FolderError: something else is there, which would be lost.
    """
    if folder.exists() and not (folder / HEAD).is_file():
        raise FolderError(f"{folder} is there, and is no object's folder (it has no {HEAD}): choose another --id, or "
                          "another --store")  # fmt: skip


def write_picture(folder: Path, png: bytes) -> None:
    """The object's picture."""
    with atomic_write(folder / PICTURE) as partial:
        partial.write_bytes(png)


def head_of(folder: Path) -> dict[str, Any]:
    """What object.toml says.

    Raises:
        FolderError: it is none.
    """
    path = folder / HEAD
    try:
        return tomllib.loads(read_at_most(path, _MAX_BYTES).decode())
    except OSError as error:
        raise FolderError(f"{folder} is no object's folder: {HEAD}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise FolderError(f"{path} is damaged ({str(error)[:100]}): add the object again") from None


def read(folder: Path) -> Part:
    """The object of a folder.

    Raises:
        FolderError: it is damaged, or its files do not belong together; one line with the remedy.
    """
    head = head_of(folder)
    try:
        name = checked_name(str(head["id"]))
        diameter = float(head["diameter"])
        origin = np.asarray(head.get("origin", (0, 0, 0)), float).reshape(3)
        shape = _symmetry(head.get("shape_symmetry", {}), diameter)
        partial = tuple(_partial(one) for one in head.get("partial_symmetry", []))
        if not (np.isfinite(origin).all() and np.isfinite(diameter) and diameter > 0):
            raise ValueError("a size that is no positive number")
        if NAME.fullmatch(folder.name) and name != folder.name:
            raise FolderError(f"{folder} holds the object '{name}': give the folder that name, or add the mesh again "
                              "with --id")  # fmt: skip
    except FolderError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{folder / HEAD} is damaged ({str(error)[:100]}): add the object again") from None
    try:
        surface = load(folder / MESH).surface
        training = load(folder / TRAINING).surface if (folder / TRAINING).exists() else None
        symmetry = Symmetry.generated(*models_info.symmetries_of(folder / INFO, "1"))
    except ValueError as error:
        raise FolderError(f"{folder}: {error}") from None
    for one in (surface, training):
        _check_size(folder, one, diameter)
    return Part(name, surface, diameter, symmetry, shape, training, partial, origin, head)


def remove(folder: Path) -> None:
    """Delete an object's folder.

    Raises:
        FolderError: it is none.
    """
    head_of(folder)
    shutil.rmtree(folder)


def _check_size(folder: Path, surface: Surface | None, diameter: float) -> None:
    if surface is None:
        return
    reach = 2 * float(np.linalg.norm(surface.vertices, axis=1).max())
    if abs(reach / diameter - 1) > 10 * CENTRED:
        raise FolderError(
            f"{folder}: its mesh fits a sphere of {reach:.4g} m around its origin, {HEAD} says {diameter:.4g} m: "
            "add the object again"
        )


def centred(surface: Surface) -> tuple[Surface, Array, float]:
    """A surface about the centre of the smallest ball that holds it, that centre in the old frame, and its diameter."""
    centre, radius = smallest_ball(surface.vertices)
    return surface.moved(centre), centre, 2 * radius


def _bop_entry(part: Part) -> dict[str, Any]:
    """Its entry in models_info.json: millimetres; the diameter is the largest distance of two vertices there."""
    vertices = 1e3 * part.surface.vertices
    low, size = vertices.min(0), np.ptp(vertices, axis=0)
    entry: dict[str, Any] = {"name": part.name, "diameter": widest(vertices)}
    for axis, letter in enumerate("xyz"):
        entry |= {f"min_{letter}": float(low[axis]), f"size_{letter}": float(size[axis])}
    symmetry = part.symmetry
    if symmetry.is_ball:  # BOP knows one axis at a time; two make a ball
        symmetry = Symmetry(axes=symmetry.axes[:2], centre=symmetry.centre)
    listed = symmetry.to_models_info()
    return entry | {key: value for key, value in listed.items() if value}


def widest(points: Array) -> float:
    """The largest distance of two of some points (N, 3): BOP's diameter. Exact but for balls of many vertices."""
    from scipy.spatial import QhullError
    from scipy.spatial.distance import cdist

    try:
        from scipy.spatial import ConvexHull

        points = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):  # flat: all of them, then
        pass
    centre, radius = smallest_ball(points)
    away = np.linalg.norm(points - centre, axis=1)
    start = points[int(away.argmax())]
    best = 0.0
    for _ in range(8):
        distance = np.linalg.norm(points - start, axis=1)
        best, start = max(best, float(distance.max())), points[int(distance.argmax())]
    points = points[away >= best - radius - 1e-12]  # no other point is an end of a longer distance
    points = points[:: max(1, len(points) // 4000)]
    return max(best, float(cdist(points, points).max()))


def _listed(symmetry: Symmetry) -> dict[str, Any]:
    return {
        "rotations": symmetry.rotations[1:].reshape(-1, 9).tolist(),
        "axes": [axis.tolist() for axis in symmetry.axes],
        "centre": symmetry.centre.tolist(),
    }


def _symmetry(listed: Mapping[str, Any], diameter: float) -> Symmetry:
    turns = np.asarray(listed.get("rotations", []), float).reshape(-1, 3, 3)
    axes = np.asarray(listed.get("axes", []), float).reshape(-1, 3)
    centre = np.asarray(listed.get("centre", (0, 0, 0)), float).reshape(3)
    if len(turns) > 1000 or not all(np.isfinite(one).all() for one in (turns, axes, centre)):
        raise ValueError("symmetries that are none")
    moves = centre - turns @ centre
    return Symmetry.generated(turns, axes, moves, np.tile(centre, (len(axes), 1)), 1e-3 * diameter)


def _entry(one: PartialSymmetry) -> dict[str, Any]:
    entry = {"axis": one.axis.tolist(), "point": one.point.tolist(), "share": one.share}
    return entry if one.angle is None else entry | {"angle": one.angle}


def _partial(entry: Mapping[str, Any]) -> PartialSymmetry:
    axis, point = (np.asarray(entry[key], float).reshape(3) for key in ("axis", "point"))
    angle = entry.get("angle")
    share = float(entry["share"])
    if not (np.isfinite([*axis, *point, share, angle or 0.0]).all() and abs(np.linalg.norm(axis) - 1) < 1e-3):
        raise ValueError("a partial symmetry that is none")
    return PartialSymmetry(axis, point, None if angle is None else float(angle), share)
