"""What the core's tests share."""

import pytest
import torch

from lie_picard import PoseEstimator


@pytest.fixture
def generator():
    """A seeded generator, beyond all training seeds."""
    return torch.Generator().manual_seed((1 << 32) + 7)


@pytest.fixture(scope="session")
def estimator():
    """The embedded checkpoint on the CPU."""
    return PoseEstimator.from_checkpoint("default", device="cpu")
