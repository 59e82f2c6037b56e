"""How far positions are from true ones: sideways and along the ray, which a camera sees unlike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def parted(position: Array, truth: Array) -> tuple[float, float]:
    """Error of a position (3,) in the camera's frame: its distance from the ray to the true one, and how much too far.

    Same unit as theirs. A position that is too far away on the right ray has no error sideways.
    """
    ray = truth / np.linalg.norm(truth)
    return float(np.linalg.norm(position - ray * (position @ ray))), float(np.linalg.norm(position)) - float(
        np.linalg.norm(truth)
    )
