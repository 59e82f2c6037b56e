"""The unit of a mesh file's lengths: as it says, as the user says, or a question; never a guess."""

from __future__ import annotations

import math
from collections.abc import Callable

from lie_picard.geometry.mesh_files import MeshError

UNITS = {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "in": 0.0254}  # metres
PLAUSIBLE = 0.004, 2.0  # diameters in metres that a camera on a robot looks for
_FIT = 0.1  # of a diameter that is stated, relative


class UnitError(MeshError):
    """The unit is not known, or contradicts the size."""


def metres_per_unit(
    size: float,
    name: str,
    declared: float | None = None,
    unit: str | None = None,
    diameter: float | None = None,
    ask: Callable[[str], str] | None = None,
) -> tuple[float, str]:
    """Metres in one unit of a file, and how that is known.

    Args:
        size: diameter of the part's circumscribed sphere in the file's unit. name: of the file, for messages.
        declared: metres in a unit, as the file says itself. unit: one of `UNITS`, as the user says.
        diameter: of the sphere in metres, as the user says; any size is plausible then.
        ask: puts a question to the user and gives the answer; None: nobody can be asked.

    Raises:
        UnitError: it is not known, or what is said does not fit; the message lists what each unit would make of it.
    """
    if diameter is not None and not (math.isfinite(diameter) and diameter > 0):
        raise UnitError(f"--diameter must be positive metres, got {diameter}")
    if unit is not None:
        if unit not in UNITS:
            raise UnitError(f"unknown unit '{unit}': choose from {', '.join(UNITS)}")
        return _checked(size, name, UNITS[unit], unit, diameter), f"{unit}, as given"
    if declared is not None:
        known = next((one for one, metres in UNITS.items() if math.isclose(metres, declared, rel_tol=1e-6)), None)
        what = known or f"{declared:.4g} m"
        try:
            return _checked(size, name, declared, what, diameter), f"{what}, as the file says"
        except UnitError:
            if ask is None or diameter is not None:
                raise
    elif diameter is not None:
        fits = [one for one, metres in UNITS.items() if abs(size * metres / diameter - 1) <= _FIT]
        if fits:
            return UNITS[fits[0]], f"{fits[0]}, which fits the diameter"
        raise UnitError(f"{name} fits no sphere of {diameter:g} m: it would be {_choices(size)}; correct --diameter")
    if ask is None:
        raise UnitError(f"{name} says nothing of its unit: it would be {_choices(size)}; choose one with --unit")
    question = f"{name} is {size:.4g} units large (its circumscribed sphere). That is {_choices(size)}. Which unit? "
    for _ in range(3):
        answer = ask(question).strip().lower()
        if answer in UNITS:
            return UNITS[answer], f"{answer}, as answered"
        question = f"mm, cm, m or in? ('{answer[:20]}' is none of them) "
    raise UnitError("no unit was chosen: say --unit mm, cm, m or in")


def _checked(size: float, name: str, metres: float, what: str, diameter: float | None) -> float:
    found = size * metres
    if diameter is not None:
        if abs(found / diameter - 1) > _FIT:
            raise UnitError(
                f"{name} in {what} fits a sphere of {found:.4g} m, not {diameter:g}: it would be {_choices(size)}; "
                "correct --unit or --diameter"
            )
    elif not PLAUSIBLE[0] <= found <= PLAUSIBLE[1]:
        raise UnitError(
            f"{name} in {what} is {found:.4g} m large, but it would be {_choices(size)}; choose with --unit, or say "
            f"--diameter {found:.3g} if that is so"
        )
    return metres


def _choices(size: float) -> str:
    """What each unit makes of it, likely ones first."""
    order = sorted(UNITS, key=lambda one: not PLAUSIBLE[0] <= size * UNITS[one] <= PLAUSIBLE[1])
    return ", ".join(f"{size * UNITS[one]:.3g} m if in {one}" for one in order)
