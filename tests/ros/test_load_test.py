"""The load test itself: it ends with figures, and they are of what happened."""

import json
import subprocess

from helpers import PROGRAMS


def test_a_short_run_ends_with_figures_that_agree(tmp_path, domain):
    figures = tmp_path / "load.json"
    command = [PROGRAMS / "load_test", "--seconds", "3", "--rate", "10", "--samples", "4", "--floor", "1"]
    command += ["--json", figures]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(figures.read_text())
    assert 0 < result["images_answered"] <= result["images_sent"] <= 35
    assert {"age_ms", "processing_ms", "service_ms", "memory_mb", "memory_slope_mb_per_hour"} <= result.keys()
    assert len(result["floors"]) == 2 and all(floor["images_answered"] for floor in result["floors"].values())
    for name, values in result.items():
        if isinstance(values, dict) and {"p50", "p95", "p99"} <= values.keys():
            assert values["p50"] <= values["p95"] <= values["p99"], name
    assert "image stamp to result" in done.stdout
