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
    test_generator,
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
    trained = [{train_place(stream, seed, step) for seed, step in itertools.product(range(4), steps)}
               for stream in TRAIN_STREAMS]  # fmt: skip
    assert sum(map(len, trained)) == len(set().union(*trained)) == len(TRAIN_STREAMS) * 4 * len(steps)


@given(
    st.permutations(TEST_STREAMS), st.permutations(TRAIN_STREAMS),
    st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), st.tuples(st.integers(0, 999), st.integers(0, 999)),
)  # fmt: skip
def test_streams_of_two_names_never_meet_whatever_their_seeds_and_parts(tested, trained, seeds, parts):
    one, other = (test_place(tested[k], seeds[k], parts[k]) for k in range(2))
    assert one != other
    one, other = (train_place(trained[k], seeds[k], 1000 * parts[k]) for k in range(2))
    assert one != other


@pytest.mark.parametrize("stream", TEST_STREAMS)
def test_the_places_of_old_and_of_large_seeds_do_not_meet(stream):
    """Some streams stand where they stood before there was a table, up to a seed; larger ones stand elsewhere."""
    seeds = [*range(4), *range(195, 205), *range(495, 505), 10_000]
    places = {test_place(other, seed, part) for other in TEST_STREAMS for seed in seeds for part in (0, 1, 999)
              if other != stream}  # fmt: skip
    own = {test_place(stream, seed, part) for seed in seeds for part in (0, 1, 999)}
    assert len(own) == 3 * len(seeds) and not own & places


@given(st.sampled_from(TEST_STREAMS), st.sampled_from(TRAIN_STREAMS), st.integers(0, 2**40), st.integers(0, 999))
def test_training_and_testing_share_nothing(tested, trained, seed, part):
    """Torch looks at the lower 32 bits of a seed: the halves differ in the highest of them."""
    assert 0 <= test_place(tested, seed, part) < HALF and 0 <= train_place(trained, seed, part) < HALF
    draws = [torch.rand(4, generator=generator(stream, seed, part))
             for generator, stream in ((stream_generator, tested), (train_generator, trained))]  # fmt: skip
    assert not torch.equal(*draws)
    training, testing = train_generator(trained, seed, part), stream_generator(tested, seed, part)
    assert training.initial_seed() % 2**32 < HALF <= testing.initial_seed() % 2**32
    assert test_generator(seed).initial_seed() % 2**32 >= HALF


def test_published_figures_keep_their_images():
    assert [test_place("evaluate", 0, part) for part in (0, 1, 26)] == [0, 1, 26]
    assert [test_place("calibration check", 0, part) for part in (0, 1, 26)] == [500_000, 500_001, 500_026]
    assert test_place("calibration check", 0, 7) == 500_007 and test_place("photographs", 0) == 700_000
    assert train_place("images", 0, 1234) == 1234


def test_what_has_no_stream_is_refused():
    with pytest.raises(ValueError, match="no part 1000 of a test stream 'evaluate'"):
        stream_generator("evaluate", 0, 1000)
    with pytest.raises(ValueError, match="training stream 'nothing'"):
        train_generator("nothing", 0)
