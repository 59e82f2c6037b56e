"""The driver of `scripts/gpu_report.sh`: stages that fail, hang or are interrupted, and weights in parts."""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from lie_picard import PoseEstimator
from lie_picard.model import checkpoint

ROOT = Path(__file__).parents[2]
MOST_FILES, MOST_BYTES = 8, 16_000_000


@pytest.fixture(scope="module")
def driver():
    spec = importlib.util.spec_from_file_location("gpu_report", ROOT / "scripts" / "gpu_report.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_report"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_report"]


def python(code):
    return [sys.executable, "-c", code]


def gone(number):
    """Whether a process has ended, or waits only for its parent to hear of it."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def ended(number, patience=20.0):
    """Whether a process ends before patience does."""
    until = time.monotonic() + patience
    while not gone(number) and time.monotonic() < until:
        time.sleep(0.05)
    return gone(number)


def arguments(output, **changes):
    given = {"device": "cpu", "minutes": 0.1, "recipe": "compact", "set": [], "stages": ["smoke"], "output": output}
    return argparse.Namespace(**given | changes)


def test_a_stage_says_how_it_ended(driver, tmp_path):
    good, bad = driver.Stage("good", python("print('all well')"), 60), driver.Stage("bad", python("exit(3)"), 60)
    late = driver.Stage("late", python("pass"), 60, optional=True)
    idle = driver.Stage("idle", python("pass"), 60, needs=tmp_path / "nothing")
    for stage in (good, bad):
        stage.run(tmp_path)
    late.run(tmp_path, 30.0)
    idle.run(tmp_path)
    assert [s.status for s in (good, bad)] == ["passed", "failed (3)"]
    assert late.status.startswith("skipped") and idle.status.startswith("skipped")
    driver.summarise(good, tmp_path)
    assert good.line == "all well"


@pytest.mark.parametrize("first", ["import time; time.sleep(600)", "pass"], ids=["hangs", "ends before its child"])
def test_nothing_of_a_stage_is_left_behind(driver, tmp_path, first):
    """Not even a child that will not hear of SIGTERM."""
    child = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    code = (f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=-1); "
            f"p.stdout.readline(); print(p.pid, flush=True); {first}")  # fmt: skip
    stage = driver.Stage("hangs", python(code), 5)
    stage.run(tmp_path)
    assert stage.status == ("passed" if first == "pass" else "timed out")
    assert ended(int(stage.log.read_text()))


def test_a_run_that_is_ended_reports_what_it_has(tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, ROOT / "scripts" / "gpu_report.py", "--device", "cpu", "--minutes", "10", "--output",
               output, "--stages", "train,evaluate"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stdout.readline().startswith("== train")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    report = json.loads((output / "report.json").read_text())
    assert process.returncode == 130
    assert [stage["status"] for stage in report["stages"]] == ["interrupted", "not run", "not run", "not run"]


def test_files_cut_while_they_were_written_do_not_stop_the_report(driver, tmp_path):
    work, output = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    args = arguments(output, stages=["smoke", "tests", "bench", "train", "evaluate"])
    planned = driver.stages(args, work)
    for stage in planned:
        stage.log, stage.status, stage.seconds = work / f"{stage.name}.log", "timed out", 1.0
        stage.log.write_text(f"{work}/some | thing in {driver.ROOT}/core\n" * 100_000)
        (work / f"{stage.name.split()[-1]}.json").write_text('{"rows": [{"so')
    (work / "windows.png").write_bytes(b"a picture")
    (work / "trained.safetensors").write_bytes(os.urandom(driver.PART * driver.MAX_PARTS))
    driver.write(args, planned, work, time.monotonic())
    written = list(output.iterdir())
    assert len(written) < MOST_FILES  # a README may stand beside them
    assert all(path.stat().st_size <= MOST_BYTES for path in written)
    assert str(driver.ROOT) not in "".join((output / name).read_text() for name in ("report.md", "report.json"))
    driver.write(args, planned, work, time.monotonic())
    assert sorted(output.iterdir()) == sorted(written)


def test_every_stage_has_its_place_and_time(driver, tmp_path):
    args = arguments(tmp_path, device="cuda", minutes=5.0, stages=["smoke", "tests", "bench", "train", "evaluate"])
    planned = driver.stages(args, tmp_path)
    assert [s.name.split()[0] for s in planned] == ["smoke", "tests", "bench", "train"] + 3 * ["evaluate"]
    assert driver.BESIDE_TRAINING_S + 60 * args.minutes < 9 * 60
    # Each has a limit with room; what keeps the whole within nine minutes is `left_s`.
    assert sum(s.limit_s for s in planned[:4]) <= 8.5 * 60


def test_weights_put_together_are_what_they_were(driver, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(driver, "PART", 5_000_000)
    monkeypatch.setattr(driver, "MAX_PARTS", 20)
    assert "single" in driver.split(checkpoint.DEFAULT, tmp_path)
    driver.join(tmp_path, tmp_path / "whole.safetensors")
    assert (tmp_path / "whole.safetensors").read_bytes() == checkpoint.DEFAULT.read_bytes()
    assert "parts" in capsys.readouterr().out


def test_many_weights_are_kept_in_half_precision(driver, tmp_path, monkeypatch):
    single, whole = tmp_path / "single.safetensors", tmp_path / "whole.safetensors"
    model = PoseEstimator.from_checkpoint("default", "cpu").model.float()
    model.auxiliary = {}  # they are stored as they were loaded, in half precision
    checkpoint.save(model, single)
    size = single.stat().st_size
    monkeypatch.setattr(driver, "PART", size // driver.MAX_PARTS - 1)
    assert "half" in driver.split(single, tmp_path)
    driver.join(tmp_path, whole)
    assert whole.stat().st_size < 0.51 * size
    with safe_open(str(single), "pt") as one, safe_open(str(whole), "pt") as other:
        assert one.metadata() == other.metadata() and one.keys() == other.keys()
        for name in one.keys():  # noqa: SIM118 (not a dict)
            torch.testing.assert_close(other.get_tensor(name).float(), one.get_tensor(name).float(), rtol=1e-3,
                                       atol=1e-4)  # fmt: skip
    assert PoseEstimator.from_checkpoint(whole, "cpu").config == checkpoint.read_metadata("default")[0]


def test_no_parts_are_an_error(driver, tmp_path):
    with pytest.raises(SystemExit, match="no parts"):
        driver.join(tmp_path, tmp_path / "whole.safetensors")
