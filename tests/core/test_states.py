"""Trainings by the clock: what is kept when one ends, is interrupted, or goes wrong."""

from pathlib import Path

import pytest

from lie_picard.training.states import run_by_the_clock


class Counted:
    """A training that counts, and writes how far it is."""

    def __init__(self) -> None:
        self.step, self.seconds = 0, 0.0

    def advance(self) -> dict[str, float]:
        self.step += 1
        return {"loss": 1 / self.step}

    def save(self, path: Path) -> None:
        path.write_text(str(self.step))


def stopped_by(error: BaseException):
    """Called after each step; raises in the third."""

    def on_step(step, seconds, losses):
        assert losses == {"loss": 1 / step} and seconds > 0
        if step == 3:
            raise error

    return on_step


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_what_is_interrupted_is_kept(tmp_path, error):
    training, state = Counted(), tmp_path / "state"
    with pytest.raises(type(error)):
        run_by_the_clock(training, 60, training.advance, state, stopped_by(error))
    assert state.read_text() == "3" and training.seconds > 0


def test_what_went_wrong_does_not_replace_what_was_kept(tmp_path):
    training, state = Counted(), tmp_path / "state"
    state.write_text("earlier")
    with pytest.raises(ValueError, match="not finite"):
        run_by_the_clock(training, 60, training.advance, state, stopped_by(ValueError("not finite")))
    assert state.read_text() == "earlier"


def test_it_ends_with_its_minutes_those_before_it_was_resumed_included(tmp_path):
    training, state = Counted(), tmp_path / "state"
    run_by_the_clock(training, 0.001, training.advance, state, None)
    assert training.seconds >= 0.06 and state.read_text() == str(training.step)
    steps = training.step
    run_by_the_clock(training, 0.001, training.advance, state, None)
    assert training.step == steps
