"""Lie-Picard: the whole posterior over rotations from one image, sampled in parallel on SO(3)."""

from lie_picard.estimation.estimator import ImageError, PoseEstimator
from lie_picard.model.checkpoint import CheckpointError
from lie_picard.posterior.hypotheses import Ambiguity, Hypotheses, Mode
from lie_picard.sampling import SamplerOptions

__version__ = "0.1.0"

__all__ = [
    "Ambiguity",
    "CheckpointError",
    "Hypotheses",
    "ImageError",
    "Mode",
    "PoseEstimator",
    "SamplerOptions",
    "__version__",
]
