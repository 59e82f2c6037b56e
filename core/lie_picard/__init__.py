"""Lie-Picard: the whole posterior over rotations from one image, sampled in parallel on SO(3)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Imported when they are first asked for: torch takes longer to import than `lie-picard --help` may.
_PLACES = {
    "Ambiguity": "posterior.hypotheses",
    "CheckpointError": "model.checkpoint",
    "Hypotheses": "posterior.hypotheses",
    "ImageError": "estimation.estimator",
    "Mode": "posterior.hypotheses",
    "PoseEstimator": "estimation.estimator",
    "SamplerOptions": "sampling",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'lie_picard' has no attribute '{name}'")
    return getattr(importlib.import_module(f"lie_picard.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
