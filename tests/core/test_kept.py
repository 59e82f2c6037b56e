"""Kept results come back as they were, and reading them runs nothing and raises one kind of error."""

import dataclasses
import json
import math
import os
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from strategies import examples

from lie_picard.estimation.poses import ObjectPoses
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.node.pipeline import Estimate
from lie_picard.posterior.hypotheses import Ambiguity, Hypotheses, Mode
from lie_picard.recording.jobs import Done, Estimated
from lie_picard.recording.kept import KeptError, decode, encode

_numbers = st.floats() | st.sampled_from([math.nan, math.inf, -0.0, 5e-324, 1 / 3])
_counts = st.integers(-(2**63), 2**63 - 1)
_texts = st.text(max_size=8) | st.sampled_from(["", "\x00", "\ud800", "../x", "NaN"])


@st.composite
def _arrays(draw, *shape, dtype=np.float64):
    seed = draw(st.integers(0, 99))
    array = np.random.default_rng(seed).normal(0, 100, shape).astype(dtype)
    if array.size and dtype != np.int64 and draw(st.booleans()):
        array.flat[0] = np.nan
    return array


def _tensors(*shape, dtype=np.float32):
    return _arrays(*shape, dtype=dtype).map(torch.from_numpy)


@st.composite
def _hypotheses(draw):
    count, dtype = draw(st.integers(0, 5)), draw(st.sampled_from([np.float32, np.float64]))
    mode = st.builds(Mode, _tensors(3, 3, dtype=dtype), _numbers, _tensors(3, 3, dtype=dtype), _counts)
    return Hypotheses(
        rotations=draw(_tensors(count, 3, 3, dtype=dtype)),
        modes=tuple(draw(st.lists(mode, max_size=3))),
        ambiguity=draw(st.sampled_from(Ambiguity)),
        axis=draw(st.none() | _tensors(3)),
        mode_of=draw(_tensors(count, dtype=np.int64)),
        presence=draw(_numbers), method=draw(_texts), rounds=draw(_counts), evaluations=draw(_numbers),
        inefficiency=draw(_numbers), converged=draw(st.booleans()),
    )  # fmt: skip


_symmetries = st.builds(
    Symmetry, st.integers(1, 4).flatmap(lambda k: _arrays(k, 3, 3)), st.lists(_arrays(3), max_size=3).map(tuple)
)
_poses = st.builds(ObjectPoses, _texts, _hypotheses(), _arrays(3), _arrays(3, 3), _symmetries)
_estimates = st.builds(
    Estimate, st.lists(_poses, max_size=2), st.lists(_texts, max_size=2), st.dictionaries(_texts, _numbers, max_size=2)
)
_estimated = st.builds(Estimated, _counts, _counts, _texts, st.none() | _estimates, _texts, _texts)
_done = st.builds(Done, st.lists(_estimated, max_size=3), _texts)


def assert_same(one, other):
    """Equal to the bit and the type; NaN is itself."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        assert_same(list(one.values()), list(other.values()))
    elif isinstance(one, torch.Tensor):
        assert_same(one.numpy(), other.numpy())
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    elif isinstance(one, float):
        assert np.float64(one).tobytes() == np.float64(other).tobytes() or (math.isnan(one) and math.isnan(other))
    else:
        assert one == other


@given(_done)
@examples(40, deadline=None)
def test_results_come_back_as_they_were(done):
    assert_same(decode(encode(done), Done), done)


def test_arrays_may_be_big_endian_strided_or_empty():
    symmetry = Symmetry(np.arange(18, dtype=">f8").reshape(2, 3, 3)[:, ::-1], (np.zeros((0,)),))
    again = decode(encode(symmetry), Symmetry)
    assert np.array_equal(again.rotations, symmetry.rotations) and again.axes[0].shape == (0,)
    again.rotations[0] = 1  # can be written to


class Malicious:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_reading_a_pickle_runs_nothing(tmp_path):
    code = pickle.dumps(Malicious(tmp_path / "ran"))
    with pytest.raises(KeptError):
        decode(code, Done)
    assert not (tmp_path / "ran").exists()
    pickle.loads(code)  # the bait is good
    assert (tmp_path / "ran").exists()


def test_an_object_array_is_never_written():
    with pytest.raises(TypeError, match="object"):
        encode(Symmetry(np.array([Malicious("x")], dtype=object)))


@given(_done, st.data())
@examples(60, deadline=None)
def test_damaged_bytes_give_a_result_or_one_kind_of_error(done, data):
    kept = bytearray(encode(done))
    for _ in range(data.draw(st.integers(1, 3))):
        kept[data.draw(st.integers(0, len(kept) - 1))] = data.draw(st.integers(0, 255))
    kept = bytes(kept[: data.draw(st.integers(0, len(kept)))]) if data.draw(st.booleans()) else bytes(kept)
    try:
        assert isinstance(decode(kept, Done), Done)
    except KeptError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "tree",
    [
        b"[" * 100_000,
        b"9" * 100_000,
        b'[[],{"__class__":"os.system"}]',
        b'[[[0,0,"",null,"","unusable"]],""',
        b"null",
        b"[[1],2]",
        b'[["a"],""]',
    ],
    ids=range(7),
)
def test_a_text_that_is_no_result_is_refused(tree):
    with pytest.raises(KeptError):
        decode(save({"tree": np.frombuffer(tree, np.uint8)}), Done)


@pytest.mark.parametrize(
    "place", [["float64", 0, [10**30]], ["float64", -1, [1]], ["float64", 0, [-1, -1]], ["float64", 1, [9]],
              ["object", 0, [1]], ["tree", 0, [1]], ["float64", 0, [True]], ["float64", 0, [0] * 99], [], {}]
)  # fmt: skip
def test_places_outside_the_file_are_refused(place):
    tree = json.dumps([place, []]).encode()
    with pytest.raises(KeptError):
        decode(save({"tree": np.frombuffer(tree, np.uint8), "float64": np.zeros(9)}), Symmetry)


def test_a_class_with_other_fields_is_refused():
    @dataclass
    class Before:
        images: list[str]

    with pytest.raises(KeptError, match="1 fields where Done has 2"):
        decode(encode(Before([])), Done)
