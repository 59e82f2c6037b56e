"""Objects that travel within a checkpoint: what is known of parts, as a few small tensors and a list of names.

Vertices are whole numbers, 32,000 to a radius: at most 1.4e-5 of the diameter from where they were.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.simplify import apart, reduced
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects.catalogue import Catalogue, Object
from lie_picard.objects.mesh_object import MeshObject

_log = logging.getLogger(__name__)
PREFIX = "objects."
TRIANGLES = 5_000  # of a mesh that is reduced, about
MAX_TRIANGLES = 6_000  # of one that is stored as it is, and of what is read
_STEPS = 32_000  # of a radius; 16 bits hold a little more
_REACH = 1.0019  # radii; what `MeshObject` takes, less some rounding
_MAX_TURNS = 240  # of a discrete group (`geometry.symmetry`)
_MAX_PARTIAL = 1_000
_SIZES = 1e-6, 1e6  # metres
_APART = 0.005  # of the diameter: beyond it two surfaces are of different parts, or of one in different frames
_EXACT = 1e-3  # of a rotation matrix
_CLOSED = math.radians(5.0)  # products of listed rotations are rounded more than these


class CarriedError(ValueError):
    """Stored objects that cannot be understood; the message says which, in a few words."""


def stored(known: Catalogue | None, names: Iterable[str]) -> tuple[dict[str, Tensor], str]:
    """The objects of these names that are meshes, as tensors and JSON; others are known by their catalogue alone."""
    tensors: dict[str, Tensor] = {}
    entries: list[dict[str, Any]] = []
    for name in names:
        found = None if known is None else known.find(name)
        if isinstance(found, MeshObject):
            parts = _arrays(found)
            start = f"{PREFIX}{len(entries)}."
            tensors |= {start + part: torch.tensor(value) for part, value in parts.items()}
            entries.append({"name": name, "diameter": found.diameter})
    return tensors, json.dumps(entries) if entries else ""


def read(name: str, tensors: Mapping[str, Tensor], text: str, names: Sequence[str]) -> Catalogue | None:
    """What `stored` gave, as a catalogue; None where there is nothing.

    Args:
        name: of the catalogue. tensors: those whose names begin with `PREFIX`. text: the JSON. names: of the model.

    Raises:
        CarriedError: they are damaged, or more than a model of these objects has.
    """
    if not text:
        if tensors:
            raise CarriedError("tensors without a list of objects")
        return None
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise CarriedError("a list of objects that is no JSON") from None
    if not isinstance(entries, list) or not 0 < len(entries) <= len(names):
        raise CarriedError("no list of some of the model's objects")
    rest = dict(tensors)
    objects: list[MeshObject] = []
    for number, entry in enumerate(entries):
        what = entry.get("name") if isinstance(entry, dict) else None
        if what not in names or any(one.name == what for one in objects):
            raise CarriedError(f"object {number} is none of the model's, or there twice")
        start = f"{PREFIX}{number}."
        own = {key.removeprefix(start): rest.pop(key) for key in list(rest) if key.startswith(start)}
        try:
            objects.append(_object(str(what), entry.get("diameter"), own))
        except ValueError as error:
            raise CarriedError(f"object '{str(what)[:64]}': {error}") from None
    if rest:
        raise CarriedError("tensors of an object that is not listed")
    return Catalogue.of(name, *objects)


def differing(known: Catalogue, others: Catalogue) -> list[str]:
    """Names of objects of which another catalogue says something else: size, symmetry or surface."""
    return [name for name in known if name in others and _differ(known[name], others, name)]


def _differ(one: Object, others: Catalogue, name: str) -> bool:
    try:
        other = others[name]
    except ValueError:  # a damaged folder; whoever wants it is told
        return False
    if not (isinstance(one, MeshObject) and isinstance(other, MeshObject)):
        return True
    mine, theirs = one.symmetry, other.symmetry
    if (len(mine.rotations), len(mine.axes)) != (len(theirs.rotations), len(theirs.axes)):
        return True
    if abs(one.diameter / other.diameter - 1) > _APART:
        return True
    if len(other.surface.triangles) <= MAX_TRIANGLES and _same(_arrays(one), _arrays(other)):
        return False  # the usual case, without a search
    return apart(one.surface, other.simplified or other.surface) > _APART * one.diameter


def _same(first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]]) -> bool:
    parts = [part for part in ("vertices", "triangles", "colours") if part in first or part in second]
    return all(part in first and part in second and np.array_equal(first[part], second[part]) for part in parts)


def _arrays(one: MeshObject) -> dict[str, NDArray[Any]]:
    surface, off = reduced(one.surface, one.diameter, TRIANGLES, MAX_TRIANGLES)
    if off > _APART:
        _log.warning("'%s': %d triangles stand for its %d where checkpoints carry it, %.2g%% of the diameter apart",
                     one.name, len(surface.triangles), len(one.surface.triangles), 100 * off)  # fmt: skip
    places = surface.vertices * (2 / one.diameter)
    places = places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True) / _REACH, 1)  # reduced ones may bulge
    found: dict[str, NDArray[Any]] = {
        "vertices": np.round(places * _STEPS).astype(np.int16),
        "triangles": surface.triangles.astype(np.int16),
    }
    if surface.colours is not None:
        found["colours"] = np.round(np.clip(surface.colours, 0, 1) * 255).astype(np.uint8)
    for prefix, symmetry in (("", one.symmetry), ("shape_", one.shape_symmetry)):
        found[f"{prefix}rotations"] = np.asarray(symmetry.rotations, float)
        found[f"{prefix}centre"] = np.asarray(symmetry.centre, float)
        if symmetry.axes:
            found[f"{prefix}axes"] = np.eye(3) if symmetry.is_ball else np.stack(symmetry.axes).astype(float)
    if one.partial:
        rows = [[*p.axis, *p.point, math.nan if p.angle is None else p.angle, p.share] for p in one.partial]
        found["partial"] = np.array(rows, float)
    return found


def _object(name: str, diameter: Any, tensors: dict[str, Tensor]) -> MeshObject:
    """Raises: ValueError: what is wrong, in a few words."""
    known = isinstance(diameter, (int, float)) and not isinstance(diameter, bool)
    if not known or not _SIZES[0] <= diameter <= _SIZES[1]:
        raise ValueError("a diameter that is none")
    vertices = _taken(tensors, "vertices", torch.int16, (3 * MAX_TRIANGLES, 3))
    triangles = _taken(tensors, "triangles", torch.int16, (MAX_TRIANGLES, 3))
    if vertices is None or triangles is None:
        raise ValueError("no surface")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ValueError("triangles of vertices that are not there")
    colours = _taken(tensors, "colours", torch.uint8, (MAX_TRIANGLES, 3, 3))
    if colours is not None and len(colours) != len(triangles):
        raise ValueError("colours of other triangles")
    surface = Surface(
        vertices.astype(float) * (diameter / (2 * _STEPS)),
        triangles.astype(np.int64),
        None if colours is None else (colours / 255).astype(np.float32),
    )
    symmetry, shape = (_symmetry(tensors, prefix, float(diameter)) for prefix in ("", "shape_"))
    partial = _taken(tensors, "partial", torch.float64, (_MAX_PARTIAL, 8))
    if tensors:
        raise ValueError(f"an unknown part '{next(iter(tensors))[:64]}'")
    parts = () if partial is None else tuple(map(_partial, partial))
    return MeshObject(name, surface, symmetry, shape, float(diameter), partial=parts)


def _taken(tensors: dict[str, Tensor], name: str, kind: torch.dtype, limits: tuple[int, ...]) -> NDArray[Any] | None:
    """A tensor of this type with at most limits[0] rows, and of these other sizes; None where it is not there."""
    found = tensors.pop(name, None)
    if found is None:
        return None
    shape = tuple(found.shape)
    if found.dtype != kind or shape[1:] != limits[1:] or not 0 < shape[0] <= limits[0]:
        raise ValueError(f"'{name}' is {str(found.dtype).removeprefix('torch.')} {shape}")
    return found.numpy()  # type: ignore[no-any-return]


def _symmetry(tensors: dict[str, Tensor], prefix: str, diameter: float) -> Symmetry:
    turns = _taken(tensors, f"{prefix}rotations", torch.float64, (_MAX_TURNS, 3, 3))
    centre = _taken(tensors, f"{prefix}centre", torch.float64, (3,))
    axes = _taken(tensors, f"{prefix}axes", torch.float64, (3, 3))
    if turns is None or centre is None or centre.shape != (3,) or not np.linalg.norm(centre) <= diameter:
        raise ValueError("no symmetry that is one")
    lines = np.zeros((0, 3)) if axes is None else axes
    if len(lines) == 2 or not np.abs(lines @ lines.T - np.eye(len(lines))).max(initial=0) < _EXACT:
        raise ValueError("axes of symmetry that are none")
    if not (np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max() < _EXACT and (np.linalg.det(turns) > 0).all()):
        raise ValueError("rotations that are none")
    if np.abs(turns[0] - np.eye(3)).max() > _EXACT or not _is_group(turns, lines):
        raise ValueError("rotations that are no group")
    return Symmetry(turns, tuple(lines), centre)


def _is_group(turns: NDArray[np.float64], axes: NDArray[np.float64]) -> bool:
    """Whether products of rotations are among them; those that turn an axis over, at most one, are each other's."""
    if len(axes) == 3:
        return len(turns) == 1
    if len(axes) == 1:
        along = turns @ axes[0] @ axes[0]
        return len(turns) <= 2 and bool(np.all(along[1:] < _EXACT - 1))
    products = np.einsum("aij,bjk->abik", turns, turns).reshape(-1, 9)
    # tr(A^T B) = 1 + 2 cos(angle)
    return bool((products @ turns.reshape(-1, 9).T).max(1).min() > 1 + 2 * math.cos(_CLOSED))


def _partial(row: NDArray[np.float64]) -> PartialSymmetry:
    axis, point, angle, share = row[:3], row[3:6], float(row[6]), float(row[7])
    finite = np.isfinite(point).all() and (math.isnan(angle) or math.isfinite(angle))
    if not (finite and abs(float(np.linalg.norm(axis)) - 1) < _EXACT and 0 <= share <= 1 + _EXACT):
        raise ValueError("partial symmetries that are none")
    return PartialSymmetry(axis, point, None if math.isnan(angle) else angle, share)
