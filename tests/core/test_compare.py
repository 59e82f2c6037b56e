"""`lie-picard compare`: sure of what is, silent about what may be chance."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lie_picard import cli
from lie_picard.recording.compare import METRICS, bootstrap, compare, interval

MACHINE = {"cpu": "none"}


def report(errors, state="scored", name="cube", bag="one"):
    """A report of one image a tenth of a second."""
    frames = [
        {"bag": bag, "stamp_ns": k * 100_000_000, "object": name, "state": state, "mean_deg": float(error),
         "best_deg": float(error), "within_5deg": float(error <= 5)}
        for k, error in enumerate(errors)
    ]  # fmt: skip
    return {"frames": frames, "machine": {"processor": "none", "threads": 1, "device": "cpu", "torch": "", "date": ""}}


def verdicts(before, after, **options):
    rows = compare(before, after, options.get("tolerance", 0.0), 0)["rows"]
    return {(row["object"], row["metric"]): row["verdict"] for row in rows}


def noise(seed, count=300, mean=2.0):
    return np.random.default_rng(seed).gamma(4.0, mean / 4, count)


@given(seed=st.integers(0, 10_000))
def test_a_report_equals_itself(seed):
    errors = noise(seed)
    assert set(verdicts(report(errors), report(errors)).values()) == {"same"}


def test_a_shift_of_every_image_is_found_in_both_directions():
    errors = noise(1)
    assert verdicts(report(errors), report(errors + 0.2))["cube", "mean_deg"] == "worse"
    assert verdicts(report(errors + 0.2), report(errors))["cube", "mean_deg"] == "better"
    assert verdicts(report(errors), report(errors + 0.2), tolerance=0.2)["cube", "mean_deg"] == "same"


def test_chance_alone_is_hardly_ever_called_worse():
    """Two runs that differ by their seeds: with ten figures compared at once, 1 in 20 may be wrong, not each."""
    called = ["worse" in verdicts(report(noise(2 * k)), report(noise(2 * k + 1))).values() for k in range(40)]
    assert sum(called) <= 6


def test_images_of_one_second_are_not_taken_for_ten():
    """Errors that last a second: without blocks, the interval of their mean would be three times too narrow."""
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        differences = np.repeat(generator.normal(size=60), 10)
        low, high = interval(bootstrap(differences, np.repeat(np.arange(60), 10).tolist(), 0), 0.95)
        inside += low <= 0 <= high
    assert inside >= 88


def test_a_lost_object_counts_as_unanswered_not_as_exact():
    errors = noise(3)
    found = verdicts(report(errors), report(errors, state="lost"))
    assert found["cube", "answered"] == "worse" and ("cube", "mean_deg") not in found


def test_only_shared_images_count():
    errors = noise(4)
    result = compare(report(errors), report(errors[:100]), 0.0, 0)
    assert (result["images_in_both"], result["only_in_a"], result["only_in_b"]) == (100, 200, 0)


def test_images_that_share_a_stamp_are_told_apart_by_their_order():
    """Without stamps, or of a clock that was set back: none of them stands for all."""
    first, second = report(noise(8)), report(noise(8) + 1)
    for one in (first, second):
        for record in one["frames"]:
            record["stamp_ns"] = 0
    result = compare(first, second, 0.0, 0)
    assert (result["images_in_both"], result["only_in_a"]) == (300, 0)
    row = next(row for row in result["rows"] if (row["object"], row["metric"]) == ("cube", "mean_deg"))
    assert row["images"] == 300 and row["difference"] == pytest.approx(1)


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


def test_the_exit_status_tells_continuous_integration(tmp_path, estimator, capsys):
    from lie_picard import machine

    errors = noise(5)
    good, bad = report(errors), report(errors + 1)
    for one in (good, bad):
        one["machine"] = machine.describe()
    a, b = write(tmp_path / "a.json", good), write(tmp_path / "b.json", bad)
    assert cli.main(["compare", a, b]) == 1
    assert "mean_deg" in capsys.readouterr().out
    assert cli.main(["compare", b, a]) == cli.main(["compare", a, a]) == 0
    assert cli.main(["compare", a, b, "--metrics", "recall_deg"]) == 0
    assert cli.main(["compare", a, b, "--json", "-"]) == 1
    assert len(METRICS) > 5


@pytest.mark.parametrize(("content", "message"), [
    ({"rows": []}, "holds no single images"), ({"frames": [], "machine": {}}, "no image of an object in common"),
])  # fmt: skip
def test_what_cannot_be_compared_is_said_in_one_line(tmp_path, capsys, content, message):
    a = write(tmp_path / "a.json", report(noise(6)))
    assert cli.main(["compare", a, write(tmp_path / "b.json", content)]) == 2
    assert message in capsys.readouterr().err
    assert cli.main(["compare", a, str(tmp_path / "none.json")]) == 2
