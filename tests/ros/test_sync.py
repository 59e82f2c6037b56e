"""Messages are gathered by stamp, the newest complete set wins, and nothing is given out twice."""

from hypothesis import given
from hypothesis import strategies as st

from lie_picard_pose.sync import ApproximateSync

MS = 1_000_000


def test_a_single_topic_passes_at_once():
    gather = ApproximateSync(["image"], 0.0)
    assert gather.put("image", 5, "a") == {"image": "a"}
    assert gather.put("image", 9, "b") == {"image": "b"}


def test_images_without_stamps_pass_too():
    gather = ApproximateSync(["image"], 0.0)
    assert [gather.put("image", 0, k) for k in range(3)] == [{"image": 0}, {"image": 1}, {"image": 2}]


def test_a_detectors_answer_finds_its_image_and_older_images_are_given_up():
    gather = ApproximateSync(["image", "mask"], 0.005)
    for k in range(10):
        assert gather.put("image", k * 33 * MS, k) is None
    assert gather.put("mask", 6 * 33 * MS + MS, "m6") == {"image": 6, "mask": "m6"}
    assert gather.put("mask", 4 * 33 * MS, "m4") is None  # its image is older than one that was answered


def test_a_recording_that_starts_again_is_followed():
    gather = ApproximateSync(["image", "depth"], 0.01)
    for k in range(20):
        gather.put("image", k * 33 * MS, k)
        gather.put("depth", k * 33 * MS, k)
    assert gather.put("image", 0, "again") is None  # the old depth image of that stamp is forgotten
    assert gather.put("depth", 0, "depth") == {"image": "again", "depth": "depth"}


def test_what_comes_late_is_left_out_and_nothing_is_forgotten():
    gather = ApproximateSync(["image", "depth"], 0.01)
    for k in range(5):
        gather.put("depth", k * 33 * MS, k)
    assert gather.put("image", 99 * MS, "new") is not None and not gather.late
    assert gather.put("image", 66 * MS, "late") is None and gather.late
    assert gather.put("image", 132 * MS, "newer") == {"image": "newer", "depth": 4} and not gather.late


def test_a_short_recording_that_starts_again_is_followed_after_a_few():
    gather = ApproximateSync(["image"], 0.0)
    for round_ in range(3):
        got = [gather.put("image", k * 33 * MS, k) for k in range(8)]
        assert sum(one is not None for one in got) >= 4, round_


def test_what_is_missing_is_named():
    gather = ApproximateSync(["image", "depth", "mask"], 0.01)
    gather.put("image", 0, 0)
    assert gather.missing() == ["depth", "mask"]


@given(
    st.lists(st.tuples(st.sampled_from(["image", "depth", "mask"]), st.integers(0, 3)), max_size=200),
    st.integers(0, 10),
)
def test_sets_are_within_the_tolerance_and_in_order(arrivals, tolerance):
    """Whatever arrives when, each topic's stamps increasing."""
    gather, clock, given_out = ApproximateSync(["image", "depth", "mask"], tolerance * 1e-3), {}, []
    for topic, step in arrivals:
        clock[topic] = clock.get(topic, 0) + 1 + step
        found = gather.put(topic, clock[topic] * MS, clock[topic])
        if found is not None:
            assert all(abs(found["image"] - other) <= tolerance for other in found.values())
            given_out.append(found["image"])
    assert given_out == sorted(set(given_out))
