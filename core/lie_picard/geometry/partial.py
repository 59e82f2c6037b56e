"""Partial symmetries: motions that carry a part of a surface, not all of it, onto the surface itself.

The body of a mug is round although its handle is not. A view that hides what breaks such a symmetry is as ambiguous as
if there were nothing to break it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PartialSymmetry:
    """Turns about a line that carry a share of a surface onto the surface.

    Attributes:
        axis: (3,) unit vector. point: (3,) of the line, nearest to the origin; both in the object's frame.
        angle: of the turn, radians; None: every turn does.
        share: of the surface's area that is carried onto it, 0 to 1.
    """

    axis: Array
    point: Array
    angle: float | None
    share: float
