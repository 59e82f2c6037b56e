"""What the core's tests share."""

import time

import pytest

from lie_picard import PoseEstimator
from lie_picard.data.seeds import test_generator


@pytest.fixture
def generator():
    """A seeded generator, beyond all training seeds."""
    return test_generator(7)


@pytest.fixture(scope="session")
def estimator():
    """The embedded checkpoint on the CPU."""
    return PoseEstimator.from_checkpoint("default", device="cpu")


class Clock:
    """Time that passes by a second an optimiser step, or stands still."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def tick(self, *_):
        self.now += 1


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)
