"""Streams of random numbers: none draws what another draws, and training nothing of the test's."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lie_picard.data.seeds import (
    HALF,
    TEST_STREAMS,
    TRAIN_STREAMS,
    stream_generator,
    test_place,
    train_generator,
    train_place,
)


def test_no_two_streams_share_a_place():
    parts = [*range(40), 998, 999]
    tested = [{test_place(stream, seed, part) for seed, part in itertools.product(range(5), parts)}
              for stream in TEST_STREAMS]  # fmt: skip
    assert sum(map(len, tested)) == len(set().union(*tested)) == len(TEST_STREAMS) * 5 * len(parts)
    steps = [*range(2000), 999_999, 1_000_002]
    trained = [{train_place(stream, seed, step) for seed, step in itertools.product(range(3), steps)}
               for stream in TRAIN_STREAMS]  # fmt: skip
    assert sum(map(len, trained)) == len(set().union(*trained)) == len(TRAIN_STREAMS) * 3 * len(steps)


@given(st.sampled_from(TEST_STREAMS), st.sampled_from(TRAIN_STREAMS), st.integers(0, 2**40), st.integers(0, 999))
def test_training_and_testing_share_nothing(tested, trained, seed, part):
    """Torch looks at the lower 32 bits of a seed: the halves differ in the highest of them."""
    assert 0 <= test_place(tested, seed, part) < HALF and 0 <= train_place(trained, seed, part) < HALF
    draws = [torch.rand(4, generator=generator(stream, seed, part))
             for generator, stream in ((stream_generator, tested), (train_generator, trained))]  # fmt: skip
    assert not torch.equal(*draws)


def test_published_figures_keep_their_images():
    assert [test_place("evaluate", 0, part) for part in (0, 1, 26)] == [0, 1, 26]
    assert test_place("calibration check", 0, 7) == 500_007 and test_place("photographs", 0) == 700_000
    assert train_place("images", 0, 1234) == 1234


def test_what_has_no_stream_is_refused():
    with pytest.raises(ValueError, match="no part 1000 of a test stream 'evaluate'"):
        stream_generator("evaluate", 0, 1000)
    with pytest.raises(ValueError, match="training stream 'nothing'"):
        train_generator("nothing", 0)
