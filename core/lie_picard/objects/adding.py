"""A mesh file becomes an object: read, mended, in metres, about its centre, its symmetry found."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry import models_info
from lie_picard.geometry.mesh_files import MeshError
from lie_picard.geometry.mesh_import import load
from lie_picard.geometry.mesh_repair import mended
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.simplify import simplified
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry, SymmetryError
from lie_picard.geometry.symmetry_search import TOLERANCE, Nearly, assess, find_symmetry, partial_symmetries
from lie_picard.geometry.symmetry_search.refine import about
from lie_picard.geometry.units import metres_per_unit
from lie_picard.objects.folder import Part, centred, checked_name

Array = NDArray[np.float64]

PARTIAL_SHARE = 0.2  # of the surface that a partial symmetry carries onto itself, to be worth its time at each view
_TURN = re.compile(r"C(inf|\d{1,3})@([xyz]|[-+0-9.eE]+,[-+0-9.eE]+,[-+0-9.eE]+)", re.IGNORECASE)
_COARSE = 1e-4  # of the diameter: the resolution of a file's numbers that is worth a word
_FAR = 10.0  # diameters from the file's origin to the part


@dataclass(frozen=True)
class Wishes:
    """What the user says of a part; None and empty: found out.

    Attributes:
        unit: of the file, one of `units.UNITS`. diameter: of the circumscribed sphere, metres.
        colour: (3,) RGB in [0, 1] of the whole part.
        symmetries: turns and axes as "C6@z" or "Cinf@0,0,1", about the surface's centroid; axes are the file's.
        listed: a models_info.json in the file's frame, and the object's key in it.
        no_symmetry: there is none. tolerance: how nearly one must hold, of the diameter. ignore_colour: of shape alone.
        triangles: of the training mesh, at most.
    """

    unit: str | None = None
    diameter: float | None = None
    colour: tuple[float, float, float] | None = None
    symmetries: tuple[str, ...] = ()
    listed: tuple[Path, str] | None = None
    no_symmetry: bool = False
    tolerance: float = TOLERANCE
    ignore_colour: bool = False
    triangles: int | None = None


@dataclass(frozen=True)
class Added:
    """A part made of a file, and what there is to say of it."""

    part: Part
    said: tuple[str, ...]
    group: str
    nearly: tuple[Nearly, ...]


STAGES = "reading", "mending", "simplifying", "searching symmetries", "searching partial symmetries"


def made(
    path: Path,
    name: str,
    wishes: Wishes,
    ask: Callable[[str], str] | None = None,
    on_stage: Callable[[str], object] = lambda stage: None,
) -> Added:
    """An object of a mesh file.

    Args:
        ask: puts a question to the user; None: there is nobody, and what is not known is an error.
        on_stage: called with each of `STAGES` as it begins.

    Raises:
        MeshError, FolderError, SymmetryError: one line with the remedy.
    """
    checked_name(name)
    on_stage(STAGES[0])
    imported = load(path)
    on_stage(STAGES[1])
    try:
        surface, found = mended(imported.surface)
    except MeshError as error:
        raise MeshError(f"mesh {path}: {error}") from None
    said = [*imported.said, *found]
    surface, centre, size = centred(surface)
    if not size > 0:
        raise MeshError(f"mesh {path} is a point: export its surface")
    scale, unit = metres_per_unit(size, path.name, imported.unit, wishes.unit, wishes.diameter, ask)
    said += _of_origin(centre, size, scale)
    surface = Surface(surface.vertices * scale, surface.triangles, surface.colours, surface.uv, surface.textures,
                      surface.texture)  # fmt: skip
    if wishes.colour is not None:
        if surface.is_coloured:
            said.append("its own colours give way to the one that was given")
        colours = np.broadcast_to(np.asarray(wishes.colour, np.float32), (len(surface.triangles), 3, 3)).copy()
        surface = Surface(surface.vertices, surface.triangles, colours)
    diameter = size * scale
    on_stage(STAGES[2])
    limit = {} if wishes.triangles is None else {"triangles": wishes.triangles}
    training, distance = simplified(surface, diameter, **limit)
    if training is not surface:
        said.append(
            f"{len(training.triangles)} of {len(surface.triangles)} triangles for training, {100 * distance:.2g}% of "
            "the diameter apart"
        )
    on_stage(STAGES[3])
    symmetry, shape, group, nearly = _symmetry(surface, wishes, -centre * scale, scale)
    partial: tuple[PartialSymmetry, ...] = ()
    if not (shape.is_ball or wishes.no_symmetry or wishes.symmetries or wishes.listed):
        on_stage(STAGES[4])
        partial = tuple(partial_symmetries(surface, PARTIAL_SHARE))
    notes = {
        "group": group,
        "source": {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "unit": unit,
                   "metres_per_unit": scale},
        "mesh": {"triangles": len(surface.triangles), "colours": _colours(surface), "said": said},
        "search": {"tolerance": wishes.tolerance, "ignore_colour": wishes.ignore_colour,
                   "asked": not (wishes.no_symmetry or wishes.symmetries or wishes.listed)},
        "nearly": [_noted(one) for one in nearly],
    }  # fmt: skip
    part = Part(name, surface, diameter, symmetry, shape, None if training is surface else training, partial,
                -centre * scale, notes)  # fmt: skip
    return Added(part, tuple(said), group, nearly)


def _colours(surface: Surface) -> str:
    if surface.texture is not None:
        return f"{len(surface.textures)} textures"
    if surface.colours is None:
        return "none"
    return "one" if np.ptp(surface.colours.reshape(-1, 3), axis=0).max() < 1 / 255 else "of the corners"


def _noted(one: Nearly) -> dict[str, Any]:
    """For object.toml, which has no null."""
    values = {"axis": one.axis.tolist(), "centre": one.centre.tolist(), "order": one.order,
              "residual_max": one.residual_max, "residual_p95": one.residual_p95, "held": one.held,
              "shape_held": one.shape_held, "text": one.describe()}  # fmt: skip
    return values if one.colour is None else values | {"colour": one.colour}


def _of_origin(centre: Array, size: float, scale: float) -> list[str]:
    """What is to say of a file's origin, (3,) and size in its unit."""
    away = float(np.linalg.norm(centre))
    said = []
    if away > _FAR * size:
        said.append(f"its origin is {away * scale:.4g} m away from the part: object frames are about the part's centre")
    resolution = float(np.spacing(np.float32(np.abs(centre).max()))) / size
    if resolution > _COARSE:
        said.append(
            f"so far from its origin, 32-bit numbers resolve {100 * resolution:.2g}% of its size: export it about its "
            "own origin"
        )
    return said


def _symmetry(
    surface: Surface, wishes: Wishes, origin: Array, scale: float
) -> tuple[Symmetry, Symmetry, str, tuple[Nearly, ...]]:
    """With colours, of the shape, its name, and how nearly each holds."""
    if wishes.no_symmetry:
        return Symmetry.none(), Symmetry.none(), "C1, as asked", ()
    if wishes.symmetries or wishes.listed:
        given = _listed(wishes.listed, origin, scale) if wishes.listed else _spelt(wishes.symmetries, surface)
        reach = float(np.linalg.norm(surface.corners.reshape(-1, 3), axis=1).max())
        if not given.is_trivial and float(np.linalg.norm(given.centre)) > 2 * reach:
            away = float(np.linalg.norm(given.centre))
            raise SymmetryError(f"the symmetries are about a point {away:.3g} m from the middle of a part "
                                f"{2 * reach:.3g} m large: models_info.json is in millimetres")  # fmt: skip
        return given, given, "as given", assess(surface, given)
    found = find_symmetry(surface, wishes.tolerance, wishes.ignore_colour)
    return found.symmetry, found.shape_symmetry, found.group, found.candidates


def _listed(listed: tuple[Path, str], origin: Array, scale: float) -> Symmetry:
    """From a models_info.json in the frame and unit of the file."""
    path, key = listed
    found = models_info.symmetries_of(path, key)
    in_file = Symmetry.generated(*found)
    # models_info.json is in millimetres, whatever the mesh is in.
    return Symmetry(in_file.rotations, in_file.axes, in_file.centre + origin)


def _spelt(texts: Sequence[str], surface: Surface) -> Symmetry:
    """From "C6@z" and the like, about the centroid of the surface."""
    corners = surface.corners
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    centroid = (corners.mean(1) * area[:, None]).sum(0) / area.sum()
    turns, axes = [], []
    for text in texts:
        match = _TURN.fullmatch(text.strip())
        if match is None:
            raise SymmetryError(f"'{text}' is no symmetry: write C6@z, C2@1,0,0 or Cinf@z")
        letter = match[2].lower()
        axis = np.eye(3)["xyz".index(letter)] if letter in "xyz" else np.array([float(x) for x in letter.split(",")])
        if not (np.isfinite(axis).all() and np.linalg.norm(axis) > 1e-6):
            raise SymmetryError(f"'{text}' has no axis: three numbers that are not all zero")
        axis = axis / np.linalg.norm(axis)
        if match[1].lower() == "inf":
            axes.append(axis)
        elif int(match[1]) < 1:
            raise SymmetryError(f"'{text}' is no symmetry: the number of turns is 1 or more")
        elif int(match[1]) > 1:
            turns.append(about(axis, 2 * math.pi / int(match[1])))
    moves = [centroid - turn @ centroid for turn in turns]
    return Symmetry.generated(
        np.reshape(turns, (-1, 3, 3)), np.reshape(axes, (-1, 3)), np.reshape(moves, (-1, 3)),
        np.tile(centroid, (len(axes), 1)),
    )  # fmt: skip
