"""What the core's tests share."""

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
