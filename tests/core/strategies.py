"""What tests draw from: rotation vectors of every size, the awkward ones near 0 and pi above all; solids by kind."""

import math
import os
from typing import Any

import torch
from hypothesis import settings
from hypothesis import strategies as st

from lie_picard.objects.symsol.solids import SOLIDS, solid

BARE = tuple(name for name in SOLIDS if not solid(name).markers)  # SYMSOL I
MARKED = tuple(name for name in SOLIDS if solid(name).markers)  # SYMSOL II


def examples(count: int, **more: Any) -> settings:
    """So many examples, where each takes its time; more in `make fuzz`."""
    return settings(max_examples=count * int(os.environ.get("FUZZ", "1")), **more)


_component = st.floats(-1, 1, allow_subnormal=False)
_angle = st.one_of(
    st.floats(0, math.pi),
    st.floats(-8, -1).map(lambda e: 10**e),
    st.floats(-8, -1).map(lambda e: math.pi - 10**e),
    st.sampled_from([0.0, math.pi, math.pi / 2]),
)


@st.composite
def tangents(draw, count=1):
    """(count, 3) float64 rotation vectors with angles in [0, pi]."""
    rows = []
    for _ in range(count):
        axis = torch.tensor(
            draw(st.tuples(_component, _component, _component).filter(lambda v: math.hypot(*v) > 1e-3)),
            dtype=torch.float64,
        )
        rows.append(axis / axis.norm() * draw(_angle))
    return torch.stack(rows)
