"""The unit of a mesh: what the file says, what the user says, a question; never a guess."""

import pytest

from lie_picard.geometry.units import UNITS, UnitError, metres_per_unit


def never(question):
    raise AssertionError("nobody is asked")


@pytest.mark.parametrize("unit", UNITS)
def test_what_the_user_says_counts(unit):
    size = 0.12 / UNITS[unit]
    assert metres_per_unit(size, "part.stl", None, unit, None, never) == (UNITS[unit], f"{unit}, as given")
    assert metres_per_unit(size, "part.stl", None, None, 0.125, never)[0] == UNITS[unit]
    assert metres_per_unit(size, "part.stl", 1.0, unit, None, never)[0] == UNITS[unit]


def test_without_a_word_it_is_asked_or_refused_with_every_choice():
    with pytest.raises(UnitError, match=r"0\.12 m if in mm") as refused:
        metres_per_unit(120.0, "part.stl")
    assert all(f"if in {unit}" in str(refused.value) for unit in UNITS) and "--unit" in str(refused.value)
    asked = []
    answers = iter(["millimetres?", "mm"])

    def ask(question):
        asked.append(question)
        return next(answers)

    assert metres_per_unit(120.0, "part.stl", ask=ask) == (1e-3, "mm, as answered")
    assert "120" in asked[0] and len(asked) == 2
    with pytest.raises(UnitError, match="no unit was chosen"):
        metres_per_unit(120.0, "part.stl", ask=lambda _: "")


def test_a_format_s_own_unit_is_taken_where_it_is_plausible():
    assert metres_per_unit(0.12, "part.glb", 1.0) == (1.0, "m, as the file says")
    with pytest.raises(UnitError, match="120 m large"):  # millimetres that were exported as metres
        metres_per_unit(120.0, "part.glb", 1.0)
    assert metres_per_unit(120.0, "part.glb", 1.0, ask=lambda _: "mm")[0] == 1e-3
    assert metres_per_unit(120.0, "part.glb", 1.0, diameter=120.0)[0] == 1.0


@pytest.mark.parametrize(("given", "why"), [
    ({"unit": "m"}, "say --diameter 120"), ({"unit": "mm", "diameter": 0.3}, "correct --unit or --diameter"),
    ({"diameter": 0.3}, "correct --diameter"), ({"diameter": -1.0}, "positive"), ({"unit": "ft"}, "choose from"),
    ({"diameter": float("nan")}, "positive"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(given, why):
    with pytest.raises(UnitError, match=why):
        metres_per_unit(120.0, "part.stl", **given)
