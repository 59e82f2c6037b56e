"""Frames in TF: few names, each of which stays with its mode; none that is another's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lie_picard.messages.read import nanoseconds_of
from lie_picard.node.frames import Frames, Slots, prefix_of
from lie_picard.node.settings import settings_of
from lie_picard.node.table import TABLE
from lie_picard.recording.message_types import header_of, types, writer

DEFAULTS = {name: entry.default for name, entry in TABLE.items()}


@given(st.lists(st.lists(st.integers(0, 12), max_size=4, unique=True), min_size=1, max_size=40))
def test_numbers_are_few_distinct_and_stay_with_their_modes(images):
    slots, before = Slots(), {}
    for ids in images:
        numbers = slots.assign(ids)
        assert len(set(numbers)) == len(ids) and all(number < 4 for number in numbers)
        now = dict(zip(ids, numbers, strict=True))
        assert all(now[mode] == before[mode] for mode in now.keys() & before.keys())
        before = now


def test_a_mode_that_comes_back_has_its_number_again():
    slots = Slots()
    assert slots.assign([7, 8, 9]) == [0, 1, 2]
    assert slots.assign([9, 7]) == [2, 0]
    assert slots.assign([7, 8, 9]) == [0, 1, 2]
    assert slots.assign([7, 8, 11]) == [0, 1, 2]


def message(name, ids, frame_id="camera"):
    t = types()
    modes = [t.PoseHypothesis(mode_id=number, weight=1 / len(ids)) for number in ids]
    for one in modes:
        one.pose.pose.position.z = float(one.mode_id)
    return t.PoseHypothesisArray(header=header_of(5, frame_id), object_id=name, hypotheses=modes)


def test_ever_new_modes_need_no_more_frames_than_are_shown_at_once():
    frames, seen = Frames(writer()), set()
    for k in range(50):
        transforms, complaints = frames.transforms([message("cube", range(6 * k, 6 * k + 6))], 4)
        assert not complaints
        assert transforms[0].child_frame_id == "cube"
        assert {t.transform.translation.z for t in transforms[1:]} == set(range(6 * k, 6 * k + 4))
        assert all(t.header.frame_id == "camera" and nanoseconds_of(t.header.stamp) == 5 for t in transforms)
        seen |= {t.child_frame_id for t in transforms}
    assert seen == {"cube", *(f"cube/mode_{k}" for k in range(4))}


def test_an_image_without_a_frame_is_not_published_to_tf():
    transforms, (complaint,) = Frames(writer()).transforms([message("cube", [1], "")], 4)
    assert not transforms and "frame_id" in complaint


@pytest.mark.parametrize("parent", ["cube", "/cube", "cube/mode_0"])
def test_a_frame_is_never_its_own_parent(parent):
    transforms, (complaint,) = Frames(writer()).transforms(
        [message("cube", [1], parent), message("cyl", [1], parent)], 4
    )
    assert [t.child_frame_id for t in transforms] == ["cyl", "cyl/mode_0"]
    assert f"'{parent.lstrip('/')}'" in complaint


@pytest.mark.parametrize(
    ("value", "namespace", "prefix"),
    [("auto", "/r1", "r1/"), ("auto", "/a/b", "a/b/"), ("auto", "/", ""), ("", "/r1", ""), ("left_", "/r1", "left_")],
)
def test_the_prefix_is_the_nodes_namespace_unless_said_otherwise(value, namespace, prefix):
    assert prefix_of(value, namespace) == prefix


@pytest.mark.parametrize("objects", [["cube", "cube/mode_0"], ["/cube"], ["cube/"]])
def test_objects_whose_frames_would_collide_are_refused(objects):
    n = len(objects)
    with pytest.raises(ValueError, match="another frame in TF"):
        settings_of(DEFAULTS | {"objects": objects, "diameters": [0.1] * n, "regions": [0.0] * 4 * n})
