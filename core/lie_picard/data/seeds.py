"""Seeds: every stream of random numbers in one table, so that no two draw the same, and training none of the test's.

Torch's CPU generator looks at the lower 32 bits of a seed alone: 2^32 + k draws the same as k. So training and testing
share those 32 bits, half each, and the streams of each share its half.
"""

from __future__ import annotations

import torch

HALF = 1 << 31

# The order is for ever: figures in docs and weights were made with it.
TRAIN_STREAMS = (
    "images",  # what a batch shows, by its number
    "noise",  # of score matching, by step and process
    "photographs",  # crops behind randomised images
    "render",  # `lie-picard render --split train`
    "bop",  # the same in BOP's format
    "parts",  # random shapes, by their number
    "scenes",  # whole images for the locator
    "distillation",  # starts and pairs of points, by step
)
TEST_STREAMS = (
    "evaluate",  # images, starts and many samples of `lie-picard evaluate`, by object
    "calibration check",  # `lie-picard calibrate --check`
    "calibration",  # images to fit a calibration to
    "validation",  # images during training
    "speed",  # images and starts of `lie-picard bench`
    "frontier",  # the same for its quality against time
    "presence",  # bodies and backgrounds that are no known object
    "photographs",  # crops behind randomised images
    "gallery",  # pictures of a report
    "render",  # `lie-picard render --split test`
    "load",  # what the load test shows
    "bop",  # `lie-picard render --format bop`, but for splits whose names begin with train
    "parts",  # random shapes that training never saw
    "scenes",  # whole images that the locator is measured on
)
_TRAIN_EACH, _TEST_EACH = 1 << 28, 1 << 25  # numbers of one stream
_TRAIN_PARTS, _TEST_PARTS = 1_000_003, 1_000  # from one of the user's seeds to the next
# Where streams stood, and how many seeds of them fit there, when figures were published.
_BEFORE = {"evaluate": (0, 500), "calibration check": (500_000, 200), "photographs": (700_000, 1)}


def train_generator(stream: str, seed: int, part: int = 0) -> torch.Generator:
    """The generator of a part of a training stream under the user's seed; no test stream draws the same.

    Raises:
        ValueError: there is no such stream.
    """
    return torch.Generator().manual_seed(train_place(stream, seed, part))


def stream_generator(stream: str, seed: int, part: int = 0) -> torch.Generator:
    """The generator of a part, below 1,000, of a test stream under the user's seed; training cannot reach it.

    Raises:
        ValueError: there is no such stream or part.
    """
    return test_generator(test_place(stream, seed, part))


def test_generator(seed: int) -> torch.Generator:
    """A generator of the test's half by its bare number: for tests, which have no stream."""
    return torch.Generator().manual_seed(HALF + seed % HALF)


def train_place(stream: str, seed: int, part: int = 0) -> int:
    """Where a part of a training stream begins in its half."""
    if stream not in TRAIN_STREAMS:
        raise ValueError(f"there is no training stream '{stream}'")
    return TRAIN_STREAMS.index(stream) * _TRAIN_EACH + (seed * _TRAIN_PARTS + part) % _TRAIN_EACH


def test_place(stream: str, seed: int, part: int = 0) -> int:
    """Where a part of a test stream begins in its half."""
    if stream not in TEST_STREAMS or not 0 <= part < _TEST_PARTS:
        raise ValueError(f"there is no part {part} of a test stream '{stream}'")
    first, seeds = _BEFORE.get(stream, (0, 0))
    if 0 <= seed < seeds:
        return first + seed * _TEST_PARTS + part
    first = (TEST_STREAMS.index(stream) + 1) * _TEST_EACH  # the stretch before holds those of before
    return first + (seed * _TEST_PARTS + part) % (_TEST_EACH - _TEST_EACH % _TEST_PARTS)


test_generator.__test__ = test_place.__test__ = False  # type: ignore[attr-defined]  # pytest: helpers, not tests
