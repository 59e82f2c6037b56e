"""Measure on a GPU, stage by stage; each has a time limit, a log and an exit status, and a later one runs although an
earlier one failed. This driver needs the standard library alone: see docs/gpu/README.md.

    scripts/gpu_report.sh --output docs/gpu
    scripts/gpu_report.sh join docs/gpu trained.safetensors     # the weights from their parts
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PART = 15_000_000  # bytes of a file of weights
MAX_PARTS = 3
MAX_LOG = 4_000_000  # bytes of all logs together
CLI = [sys.executable, "-m", "lie_picard.cli"]


@dataclass
class Stage:
    """A stage and what became of it.

    Attributes:
        name: in the report. command: argument list; empty: it cannot run here. limit_s: after which it is ended.
        status: "passed", "failed (n)", "timed out", "skipped: ...". line: one line of what it found.
    """

    name: str
    command: list[str]
    limit_s: float
    status: str = "not run"
    seconds: float = 0.0
    line: str = ""
    log: Path = field(default_factory=Path)

    def run(self, folder: Path) -> None:
        """Run it as a process group of its own, which is ended as a whole."""
        self.log = folder / f"{self.name.replace(' ', '_')}.log"
        if not self.command:
            return
        print(f"== {self.name} (at most {self.limit_s:.0f} s): {' '.join(self.command)}", flush=True)
        began = time.monotonic()
        with self.log.open("w") as log:
            process = subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                                       start_new_session=True)  # fmt: skip
            try:
                code = process.wait(self.limit_s)
                self.status = "passed" if code == 0 else f"failed ({code})"
            except subprocess.TimeoutExpired:
                self.status = "timed out"
            finally:
                _end(process)
                self.seconds = round(time.monotonic() - began, 1)
        print(f"   {self.status} after {self.seconds} s", flush=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process group: asked first, then killed."""
    for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            break
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def stages(args: argparse.Namespace, work: Path) -> list[Stage]:
    """All stages in their order, with what each is to do on this device."""
    gpu = args.device == "cuda"
    place = ["--device", args.device]
    model = str(work / "trained.safetensors")
    tests: list[str] = []
    if importlib.util.find_spec("pytest") is not None:
        tests = [sys.executable, "-m", "pytest", "tests/core/test_gpu.py", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    sizes = ["--samples", "1", "10", "50", "100", "2000", "--windows", "4", "8", "16", "32", "64", "100",
             "--repeats", "10"] if gpu else ["--samples", "1", "4", "--steps", "20", "--windows", "4", "20",
                                             "--repeats", "2"]  # fmt: skip
    # Small batches are bound by the launch of kernels, nine of ten of them rendering's. The learning rate grows with
    # the root of the batch.
    batch = ["--set", "training.batch=512", "--set", "training.learning_rate=3e-3", "--set", "data.together=8"]
    batch = batch if gpu else []
    images = ["--images", "100", "--recall-images", "20"] if gpu else ["--images", "4", "--recall-images", "1"]
    own = [word for change in args.set for word in ("--set", change)]
    ways = {"clean": [], "randomised": ["--randomised"]}
    found = [
        Stage("smoke", [sys.executable, __file__, "smoke", *place], 25 if gpu else 60),
        Stage("tests", tests, 60, status="not run" if tests else "skipped: pytest is missing"),
        Stage("bench", [*CLI, "bench", *place, *sizes, "--output", str(work)], 85 if gpu else 120),
        Stage("train", [*CLI, "train", "--recipe", args.recipe, "--minutes", str(args.minutes), *place, *batch, *own,
                        "--validate-every", "0", "--progress-s", "15", "--output", model,
                        "--json", str(work / "train.json")], 60 * args.minutes + (25 if gpu else 90)),
        *(Stage(f"evaluate {kind}", [*CLI, "evaluate", "--checkpoint", model, *place, *images, *way,
                                     "--json", str(work / f"{kind}.json")], 25 if gpu else 90)
          for kind, way in ways.items()),
    ]  # fmt: skip
    return [stage for stage in found if stage.name.split()[0] in args.stages]


def summarise(stage: Stage, work: Path) -> None:
    """One line of what a stage found, from the files that it wrote."""
    text = stage.log.read_text(errors="replace") if stage.log.is_file() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    if stage.name == "train" and (work / "train.json").is_file():
        note = json.loads((work / "train.json").read_text())
        stage.line = f"{note['images']} images, {note['steps']} steps, {note['images_per_s']} images a second"
    elif stage.name.startswith("evaluate") and (work / f"{stage.name.split()[1]}.json").is_file():
        rows = json.loads((work / f"{stage.name.split()[1]}.json").read_text())["rows"]
        total = next(row for row in rows if row["solid"] == "all")
        stage.line = f"mean {total['mean_deg']:.2f}, median {total['median_deg']:.2f} deg over all objects"
    elif stage.name == "bench" and (work / "bench.json").is_file():
        rows = json.loads((work / "bench.json").read_text())["rows"]
        best = [f"{row['samples']}: {row['plan_ms']:.2f}" for row in rows
                if row["plan"] == "best" and row["steps"] == rows[0]["steps"]]  # fmt: skip
        stage.line = f"the default, ms by samples: {', '.join(best)}"
    elif lines:
        stage.line = lines[-1][:200]


def write(args: argparse.Namespace, done: list[Stage], work: Path, began: float) -> None:
    """The output folder: at most eight files of at most 16 MB."""
    args.output.mkdir(parents=True, exist_ok=True)
    for old in (*args.output.glob("trained.*"), *(args.output / name for name in _NAMES)):
        old.unlink(missing_ok=True)
    for stage in done:
        summarise(stage, work)
    table = ["| stage | status | seconds | limit | |", "|---|---|---|---|---|"]
    table += [f"| {s.name} | {s.status} | {s.seconds:g} | {s.limit_s:g} | {s.line} |" for s in done]
    total = time.monotonic() - began
    parts = [f"# GPU report\n\n`scripts/gpu_report.sh {' '.join(sys.argv[1:])}`, {time.strftime('%Y-%m-%d')}, "
             f"{total:.0f} s in all.", "\n".join(table)]  # fmt: skip
    if (work / "bench.md").is_file():
        parts += ["## bench", (work / "bench.md").read_text()]
    results = {kind: json.loads((work / f"{kind}.json").read_text()) for kind in ("train", "clean", "randomised")
               if (work / f"{kind}.json").is_file()}  # fmt: skip
    for kind in ("clean", "randomised"):
        if kind in results:
            parts += [f"## trained for {args.minutes:g} minutes: {kind} images", _table(results[kind]["rows"])]
    (args.output / "report.md").write_text("\n\n".join(parts) + "\n")
    report = {"seconds": total, "stages": [vars(s) | {"log": s.log.name} for s in done], **results}
    (args.output / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    for name in ("bench.json", "windows.png"):
        if (work / name).is_file():
            (args.output / name).write_bytes((work / name).read_bytes())
    with (args.output / "logs.txt").open("w") as logs:
        for stage in done:
            text = stage.log.read_text(errors="replace") if stage.log.is_file() else ""
            share = MAX_LOG // len(done)
            logs.write(f"===== {stage.name}: {stage.status}\n{text[-share:]}\n")
    if (work / "trained.safetensors").is_file():
        print(split(work / "trained.safetensors", args.output))
    print("\n".join(table))


_NAMES = "report.md", "report.json", "bench.json", "windows.png", "logs.txt"


def _table(rows: list[dict[str, Any]]) -> str:
    columns = ["solid", "mean_deg", "median_deg", "within_5deg", "within_10deg", "recall_deg", "modes_reached",
               "modes_reached_if_uniform"]  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        lines.append("| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    return "\n".join(lines)


def split(weights: Path, folder: Path) -> str:
    """Cut a checkpoint into parts; in half precision where they would be too many. Returns what was done."""
    data, how = weights.read_bytes(), "single precision"
    if len(data) > PART * MAX_PARTS:
        data, how = _halved(weights), "half precision"
    if len(data) > PART * MAX_PARTS:
        return f"weights of {len(data) / 1e6:.0f} MB are too large to be kept"
    for number, start in enumerate(range(0, len(data), PART)):
        (folder / f"trained.safetensors.{number}").write_bytes(data[start : start + PART])
    return f"weights in {how}: `scripts/gpu_report.sh join {folder} trained.safetensors` puts them together"


def _halved(weights: Path) -> bytes:
    from safetensors import safe_open
    from safetensors.torch import save

    with safe_open(str(weights), "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
        metadata = opened.metadata()
    return save({name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}, metadata)


def join(folder: Path, output: Path) -> None:
    """Put the parts of a checkpoint together again."""
    parts = sorted(folder.glob("trained.safetensors.*"), key=lambda path: int(path.suffix[1:]))
    if not parts:
        sys.exit(f"{folder} holds no parts of weights (trained.safetensors.0, ...)")
    output.write_bytes(b"".join(part.read_bytes() for part in parts))
    print(f"wrote {output} from {len(parts)} parts")


def smoke(device: str) -> None:
    """Load, one estimate eager, the same by the fastest runtime, the difference in radians."""
    import torch

    from lie_picard import PoseEstimator, SamplerOptions, machine, so3
    from lie_picard.data.seeds import test_generator
    from lie_picard.model import checkpoint
    from lie_picard.objects import BUILT_IN, catalogue
    from lie_picard.rendering.clean import render

    print(machine.one_line(machine.describe(device)), torch.version.cuda)
    began = time.monotonic()
    eager = PoseEstimator(checkpoint.load("default", device), device)
    fast = PoseEstimator.from_checkpoint("default", device)
    print(f"loaded in {time.monotonic() - began:.1f} s")
    image = render(catalogue(BUILT_IN)["cube"], so3.uniform(1, generator=test_generator(1)), channels=3)[0].numpy()
    one, other = (e.estimate(image, 100, 0, SamplerOptions("ode")).rotations for e in (eager, fast))
    apart = so3.angle(one, other)
    times = []
    for estimator in (eager, fast):
        estimator.estimate(image, 100, 0, SamplerOptions("ode"))
        took = [machine.timed(torch.device(device), estimator.estimate, image, 100, 0, SamplerOptions("ode"))[1]
                for _ in range(10)]  # fmt: skip
        times.append(f"{sorted(took)[5]:.2f} ms")
    print(f"100 samples: eager {times[0]}, {fast.runtime} {times[1]}; apart: median {float(apart.median()):.2g}, "
          f"largest {float(apart.max()):.2g} rad")  # fmt: skip
    if not float(apart.median()) < 1e-4:
        sys.exit("the fastest runtime gives other samples than the eager model")


def main() -> int:
    """Entry point. Returns 0 if no stage failed."""
    if sys.argv[1:2] == ["join"] and len(sys.argv) == 4:
        join(Path(sys.argv[2]), Path(sys.argv[3]))
        return 0
    parser = argparse.ArgumentParser(prog="gpu_report.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--minutes", type=float, default=5.0, help="of training (default %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "gpu", help="folder (default docs/gpu)")
    every = ["smoke", "tests", "bench", "train", "evaluate"]
    parser.add_argument("--stages", nargs="+", choices=every, default=every)
    parser.add_argument("--recipe", default="compact", help="of the training (default %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    if sys.argv[1:2] == ["smoke"]:
        smoke(parser.parse_args(sys.argv[2:]).device)
        return 0
    args = parser.parse_args()
    began, done, interrupted = time.monotonic(), [], False
    with tempfile.TemporaryDirectory(prefix="gpu_report_") as name:
        work = Path(name)
        try:
            for stage in stages(args, work):
                done.append(stage)
                stage.run(work)
        except KeyboardInterrupt:
            interrupted = True
        write(args, done, work, began)
    if interrupted:
        return 130
    return 0 if all(s.status.startswith(("passed", "skipped")) for s in done) else 1


if __name__ == "__main__":
    sys.exit(main())
