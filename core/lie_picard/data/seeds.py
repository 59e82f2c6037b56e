"""Seeds that keep training and testing apart.

Torch's CPU generator looks at the lower 32 bits of a seed alone: 2^32 + k draws the same as k. So the two sides share
those 32 bits, half each.
"""

from __future__ import annotations

import torch

HALF = 1 << 31


def train_generator(seed: int) -> torch.Generator:
    """A generator for training; no `test_generator` draws the same."""
    return torch.Generator().manual_seed(seed % HALF)


def test_generator(seed: int) -> torch.Generator:
    """A generator for whatever is tested, measured or shown; training cannot reach it."""
    return torch.Generator().manual_seed(HALF + seed % HALF)


test_generator.__test__ = False  # type: ignore[attr-defined]  # pytest: a helper, not a test
