"""BOP's models_info.json: which symmetries it lists of an object, in metres."""

from __future__ import annotations

import difflib
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lie_picard.files import read_at_most

Array = NDArray[np.float64]

_MAX_BYTES = 1 << 24
_MAX_LISTED = 1000  # symmetries of an object
_DISCRETE, _CONTINUOUS = "symmetries_discrete", "symmetries_continuous"
_UNITS = 1e-3, 1.0, 1e-2, 0.0254  # BOP's millimetres first
_MILLIMETRE = _UNITS[0]
# The circumscribed sphere's diameter over BOP's, the largest distance of two vertices: 1 to 1.22, and some error.
_FIT = 0.9, 1.35
_NAMED = re.compile(r"(?:obj|object|model)?[_ -]*0*([0-9]+)", re.IGNORECASE)
_EXPECTED = "expected symmetries_discrete as lists of 16 numbers and symmetries_continuous as a list of {axis, offset}"


class SymmetryError(ValueError):
    """Symmetries that cannot be read; the message says which and why, in one line."""


class Listed(NamedTuple):
    """Symmetries as they are listed: rotations (K, 3, 3), axes (A, 3), translations (K, 3), offsets (A, 3).

    In metres. `tolerance`: what translations and offsets may be off.
    """

    rotations: Array
    axes: Array
    translations: Array
    offsets: Array
    tolerance: float


def read(path: str | Path) -> dict[str, Any]:
    """All objects of a file.

    Raises:
        SymmetryError: no such file, not JSON, or a key that is there twice.
    """
    try:
        content = read_at_most(path, _MAX_BYTES)
    except OSError as error:
        raise SymmetryError(f"cannot read '{path}': {error.strerror}") from None
    try:
        found = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_unique)
    except SymmetryError as error:
        raise SymmetryError(f"'{path}' {error}") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise SymmetryError(f"'{path}' is not JSON: {reason}") from None
    return found if isinstance(found, dict) else {}


def key_of(objects: dict[str, Any], name: str | int) -> str | None:
    """The key of an object: its name, that of the entry with this "name", or BOP's number where the name is one, as 5,
    000005 and obj_000005; or None.

    Raises:
        SymmetryError: several keys are it.
    """
    if str(name) in objects:
        return str(name)
    number = _number(str(name))
    keys = [key for key, entry in objects.items() if isinstance(entry, dict) and entry.get("name") == str(name)]
    keys = keys or [key for key in objects if number is not None and _number(key) == number]
    if len(keys) > 1:
        raise SymmetryError(f"object '{name}' is several keys, {', '.join(map(repr, keys))}: keep one")
    return keys[0] if keys else None


def symmetries_of(path: str | Path, name: str | int, diameter: float | None = None) -> Listed:
    """What a file lists of an object.

    Args:
        diameter: of the object's circumscribed sphere, metres; with the file's, it tells the file's unit. None: it is
            in millimetres, as BOP's are.

    Raises:
        SymmetryError: no such file or object, or it cannot be understood.
    """
    objects = read(path)
    try:
        key = key_of(objects, name)
        if key is None:
            there = f"it has {_some(list(objects))}" if objects else "it has none"
            raise SymmetryError(f"has no object '{name}': {there}")
    except SymmetryError as error:
        raise SymmetryError(f"'{path}' {error}") from None
    try:
        return _listed(objects[key], diameter)
    except SymmetryError as error:
        raise SymmetryError(f"object '{name}' in '{path}': {error}") from None


def _listed(entry: Any, diameter: float | None) -> Listed:
    if not isinstance(entry, dict):
        raise SymmetryError(_EXPECTED)
    _check_keys(entry, (_DISCRETE, _CONTINUOUS))
    discrete, continuous = entry.get(_DISCRETE, []), entry.get(_CONTINUOUS, [])
    if not isinstance(discrete, list) or not isinstance(continuous, list):
        raise SymmetryError(_EXPECTED)
    if max(len(discrete), len(continuous)) > _MAX_LISTED:
        raise SymmetryError(f"lists {max(len(discrete), len(continuous))} symmetries: at most {_MAX_LISTED} are read")
    try:
        transforms = np.array([np.array(one, float).reshape(4, 4) for one in discrete]).reshape(-1, 4, 4)
        for one in continuous:
            _check_keys(one, ("axis", "offset"), every=True)
        axes = np.array([np.array(one["axis"], float).reshape(3) for one in continuous]).reshape(-1, 3)
        offsets = np.array([np.array(one.get("offset", (0, 0, 0)), float).reshape(3) for one in continuous])
    except SymmetryError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise SymmetryError(_EXPECTED) from None
    offsets = offsets.reshape(-1, 3)
    if not all(np.isfinite(part).all() for part in (transforms, axes, offsets)):
        raise SymmetryError("symmetries must be finite numbers")
    if len(transforms) and np.abs(transforms[:, 3] - (0, 0, 0, 1)).max() > 1e-3:
        raise SymmetryError("symmetries_discrete are 4 x 4 transforms row by row: each must end in 0, 0, 0, 1")
    translations = transforms[:, :3, 3]
    size = _number_of(entry.get("diameter"))
    unit = _MILLIMETRE
    if diameter is not None and size is not None and (translations.any() or offsets.any()):
        unit = _unit(size, diameter)
    known = diameter or (size * unit if size else 0.1)
    return Listed(transforms[:, :3, :3], axes, translations * unit, offsets * unit, 0.02 * known)


def _unit(size: float, diameter: float) -> float:
    """Metres in one unit of a file that says the object's size in it."""
    for unit in _UNITS:
        if _FIT[0] <= diameter / (size * unit) <= _FIT[1]:
            return unit
    raise SymmetryError(
        f"its diameter, {size:.4g}, fits the object's, {diameter:.4g} m, in no unit (mm, m, cm, inches): correct one "
        "of them, or leave the file's out where its lengths are millimetres"
    )


def _number_of(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
        raise SymmetryError(f"its diameter must be a positive number, got {str(value)[:40]}")
    return float(value)


def _check_keys(entry: dict[str, Any], known: tuple[str, ...], every: bool = False) -> None:
    """Refuse a key that is one of the known ones misspelt, or (`every`) any other."""
    for key in entry:
        like = difflib.get_close_matches(key.lower(), known, 1, 0.8) if len(key) < 60 else []
        if key not in known and (like or every or key.lower().startswith("symm")):
            raise SymmetryError(f"there is no key '{key[:60]}': did you mean {' or '.join(like or known)}?")


def _number(name: str) -> int | None:
    found = _NAMED.fullmatch(name) if len(name) < 40 else None
    return None if found is None else int(found[1])


def _some(names: list[str]) -> str:
    return ", ".join(name[:40] for name in names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise SymmetryError(f"has the key '{twice[:60]}' twice: keep one")
    return found
