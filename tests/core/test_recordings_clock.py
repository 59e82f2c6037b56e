"""What a recording's clock does, whatever that is, changes neither what scoring costs nor what is scored."""

import json
from itertools import pairwise

import numpy as np
import pytest
from dresses import (
    STEP_NS,
    T0,
    Stored,
    image,
    info,
    problems,
    quicken,
    record,
    scene,
    score,
    settings,
    states,
    stored,
    transform,
)
from hypothesis import given
from hypothesis import strategies as st

from lie_picard.recording import clock, html, scoring
from lie_picard.recording.message_types import header_of, types
from lie_picard.recording.node_results import score_results

SECOND, HOUR, DAY = 10**9, 3600 * 10**9, 86_400 * 10**9


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    quicken(monkeypatch)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=200), st.integers(1, 60), st.integers(0, 10**12))
def test_parts_hold_each_image_once_and_are_no_more_than_images(times, most, longest):
    images = np.sort(np.array(times, np.int64))
    parts = list(clock.spans(images, most, longest))
    assert len(parts) <= len(images)
    inside = [int(((images >= start) & (images < stop)).sum()) for start, stop in parts]
    assert sum(inside) == len(images) and min(inside) > 0
    assert all(stop <= start for (_, stop), (start, _) in pairwise(parts))
    for (start, stop), count in zip(parts, inside, strict=True):
        assert stop - 1 - start <= longest
        assert count <= most or images[np.searchsorted(images, start) + most - 1] == stop - 1


@pytest.mark.parametrize("storage", ["mcap", "sqlite"])
@pytest.mark.parametrize(("early", "named"), [(0, "1970-01-01"), (T0 - HOUR, "3600 s before"), (T0 + DAY, "after"),
                                              (412 * SECOND, "1970-01-01 00:06:52")])  # fmt: skip
def test_a_stray_message_costs_nothing_and_is_named(tmp_path, storage, early, named):
    """F1: one message at time 0, an hour early, a day late, by the clock since boot."""
    messages = [stored("/tf", early, transform(early, "elsewhere", "nothing")), *scene()]
    report = score(record(tmp_path / "bag", messages, storage), tmp_path / "work")
    assert states(report) == ["scored"] * 6 and report["complete"]
    assert len(list((tmp_path / "work").glob("*/*.safetensors"))) == 1
    assert f"/tf at {early} ns" in problems(report) and named in problems(report)


@pytest.mark.parametrize(("at", "n"), [
    (lambda k: k * 30 * SECOND, 2), (lambda k: k * 1000 * SECOND, 4), (lambda k: k * 10**6, 50), (lambda k: 0, 5),
    (lambda k: k * STEP_NS + (k >= 3) * 600 * SECOND, 6), (lambda k: k * STEP_NS + (k >= 3) * DAY, 6),
    (lambda k: k * STEP_NS - (k >= 3) * 5 * SECOND, 6), (lambda k: k * STEP_NS - (k >= 3) * DAY, 6),
    (lambda k: k * STEP_NS - T0, 6), (lambda k: 0, 1),
])  # fmt: skip
def test_whatever_the_rate_every_image_is_scored_and_the_report_is_there(tmp_path, at, n):
    """F2: slow and fast cameras, pauses, gaps, clocks set back, all images at once, one alone."""
    report = score(record(tmp_path / "bag", scene(n, at)), tmp_path / "work")
    assert states(report) == ["scored"] * n and report["complete"]
    json.dumps(report, allow_nan=False)
    text = html.render(report, [])
    assert "cannot be drawn" not in text and text.count("data:image/png") == 4


def test_the_rate_is_that_of_most_images(tmp_path):
    report = score(record(tmp_path / "bag", scene(9, lambda k: k * STEP_NS + (k >= 5) * DAY)), tmp_path / "work")
    assert report["bags"][0]["camera_hz"] == pytest.approx(10)
    assert "a gap of 86400 s" in problems(report)


def test_a_report_without_any_image_is_drawn(tmp_path):
    messages = [one for one in scene(3) if one.topic != "/image"]
    messages.append(Stored("/image", "sensor_msgs/msg/Image", T0, b"\0\1\0\0rubbish"))
    report = score(record(tmp_path / "bag", messages), tmp_path / "work")
    assert states(report) == ["unusable"] and not report["complete"]
    assert "cannot be read" in report["frames"][0]["why"] and "cannot be read" in problems(report)
    assert "data:image/png" in html.render(report, [])


def test_figures_that_cannot_be_drawn_leave_the_tables(tmp_path):
    report = score(record(tmp_path / "bag", scene(3)), tmp_path / "work")
    report["frames"][0]["mean_deg"] = report["frames"][1]["translation_mm"] = None
    report["rows"][-1]["reliability"] = [{"modes": "many"}]
    text = html.render(report, [])
    assert "It cannot be drawn" in text and "Rotation" in text and text.count("data:image/png") == 3


def test_where_the_clock_was_set_back_poses_of_the_two_times_are_not_mixed(tmp_path):
    """Both times of the recording have the same stamps; between them the camera was carried by 200 mm."""
    messages = []
    for first, z, count in ((0, 0.9, 40), (50_000_000, 1.1, 40)):
        for k in range(count):
            log_ns, later = T0 + first + k * STEP_NS, T0 + first + k * STEP_NS + 20_000_000
            messages += [stored("/camera_info", log_ns, info(log_ns)), stored("/image", log_ns, image(log_ns)),
                         stored("/tf", later, transform(later, "camera", "truth/cube", (0, 0, z)))]  # fmt: skip
    report = score(record(tmp_path / "bag", messages), tmp_path / "work")
    assert "the clock was set back" in problems(report)
    unknown = [r for r in report["frames"] if r["state"] == "no truth"]
    assert len(unknown) >= 78 and any("twice" in r["why"] for r in unknown)


def test_log_times_that_are_none_are_counted_as_missing(tmp_path):
    messages = scene(4)
    messages[-1] = Stored("/image", "sensor_msgs/msg/Image", 2**64 - 2, messages[-1].data)
    report = score(record(tmp_path / "bag", messages), tmp_path / "work")
    assert states(report) == ["scored"] * 3 and report["bags"][0]["missing"] == 1 and not report["complete"]
    assert "is no time" in problems(report)


def test_images_without_stamps_are_named(tmp_path):
    """F12: their poses cannot be looked up."""
    report = score(record(tmp_path / "bag", scene(5, stamp=lambda k: 0)), tmp_path / "work", settings())
    assert "5 images have the stamp 0" in problems(report)


def test_answers_to_images_that_share_a_stamp_are_not_given_to_all(tmp_path):
    """Of a live node's answers, which belong to images by their stamps."""
    t = types()
    answer = t.PoseHypothesisArray(header=header_of(0, "camera"), object_id="cube")
    results = record(tmp_path / "results", [stored("/pose_node/hypotheses", T0, answer)])
    chosen = scoring.Options(settings(), device="cpu", workers=1, results=results)
    bag = record(tmp_path / "bag", scene(3, stamp=lambda _: 0))
    (recording,), _ = scoring.prepare([bag], chosen, tmp_path / "work")
    images = list(score_results(recording, chosen, tmp_path / "work"))
    assert [one.records[0]["state"] for one in images] == ["unusable"] * 3
    assert "3 images have the stamp 0" in images[0].records[0]["why"]
