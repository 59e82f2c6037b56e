"""Measure on a GPU, stage by stage; each has a time limit, a log and an exit status, and a later one runs although an
earlier one failed. This driver needs the standard library alone: see docs/gpu/README.md.

    scripts/gpu_report.sh --output docs/gpu
    scripts/gpu_report.sh join docs/gpu trained.safetensors     # the weights from their parts
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import shlex
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
MAX_PARTS = 3  # with the four files of `write` and a README beside them: eight
MAX_LOG = 4_000_000  # bytes of all logs together
BESIDE_TRAINING_S = 235.0  # that all stages may take on a GPU; with 5 minutes of training, 9 minutes are not exceeded
CLI = [sys.executable, "-m", "lie_picard.cli"]


@dataclass
class Stage:
    """A stage and what became of it.

    Attributes:
        name: in the report. command: argument list; empty: it cannot run here. limit_s: after which it is ended.
        optional: left out where the time that is left is less than its limit.
        needs: a file without which there is nothing for it to do.
        status: "passed", "failed (n)", "timed out", "interrupted", "skipped: ...". line: one line of what it found.
    """

    name: str
    command: list[str]
    limit_s: float
    optional: bool = False
    needs: Path | None = None
    status: str = "not run"
    seconds: float = 0.0
    line: str = ""
    log: Path = field(default_factory=Path)

    def run(self, folder: Path, left_s: float = math.inf) -> None:
        """Run it as a process group of its own, which is ended as a whole, after `left_s` at the latest.

        Raises:
            KeyboardInterrupt: the driver was told to end; so was the stage.
        """
        self.log = folder / f"{self.name.replace(' ', '_')}.log"
        if not self.command:
            return
        if left_s < (self.limit_s if self.optional else 1):
            self.status = "skipped: no time was left"
            return
        if self.needs is not None and not self.needs.is_file():
            self.status = "skipped: nothing was trained"
            return
        began, self.status = time.monotonic(), "interrupted"  # unless it comes to an end
        self.limit_s = min(self.limit_s, round(left_s, 1)) if left_s < math.inf else self.limit_s
        print(f"== {self.name} (at most {self.limit_s:.0f} s): {shlex.join(self.command)}", flush=True)
        with self.log.open("w") as log:
            process = subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
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
    """End a process group: its first process is asked, then all that is left is killed, whoever has ended before."""
    try:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(3)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    except (ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
        pass


def stages(args: argparse.Namespace, work: Path) -> list[Stage]:
    """All stages in their order, with what each is to do on this device."""
    gpu = args.device == "cuda"
    place = ["--device", args.device]
    model = work / "trained.safetensors"
    tests: list[str] = []
    if importlib.util.find_spec("pytest") is not None:
        tests = [sys.executable, "-m", "pytest", "tests/core/test_gpu.py", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    sizes = ["--samples", "1", "10", "50", "100", "2000", "--windows", "4", "8", "16", "32", "64", "100",
             "--repeats", "10"] if gpu else ["--samples", "1", "4", "--steps", "20", "--windows", "4", "20",
                                             "--repeats", "2"]  # fmt: skip
    # Small batches are bound by the launch of kernels. Recipes of larger images have batches for a GPU, and would not
    # fit so many of them.
    batch = ["--set", "training.batch=4096", "--set", "training.rotations=32", "--set", "training.learning_rate=3e-3",
             "--set", "training.ema=0.997", "--set", "training.warmup_steps=100", "--set", "data.together=2",
             "--set", "data.repeats=1"]  # fmt: skip
    batch = batch if gpu and args.recipe == "compact" else []
    needed = ["manifold3d", "warp" if gpu else "embreex"]
    if not all(importlib.util.find_spec(name) for name in needed):
        batch += ["--set", "data.parts=0"]  # cannot be made, or not be rendered
    images = ["--images", "100", "--recall-images", "20"] if gpu else ["--images", "4", "--recall-images", "1"]
    own = [word for change in args.set for word in ("--set", change)]
    ways = {"clean": [], "randomised": ["--randomised"], "embedded": ["--randomised"]}
    limit = 45 if gpu else 90  # the CPU makes the test images
    found = [
        Stage("smoke", [sys.executable, __file__, "smoke", *place], 25 if gpu else 60),
        Stage("tests", tests, 60, status="not run" if tests else "skipped: pytest is missing"),
        Stage("bench", [*CLI, "bench", *place, *sizes, "--output", str(work)], 85 if gpu else 120),
        Stage("train", [*CLI, "train", "--recipe", args.recipe, "--minutes", str(args.minutes), *place, *batch, *own,
                        "--validate-every", "0", "--progress-s", "15", "--output", str(model),
                        "--json", str(work / "train.json")], 60 * args.minutes + (25 if gpu else 90)),
        *(Stage(f"evaluate {kind}", [*CLI, "evaluate", "--checkpoint", "default" if kind == "embedded" else str(model),
                                     *place, *images, *way, "--json", str(work / f"{kind}.json")], limit,
                optional=kind == "embedded", needs=None if kind == "embedded" else model)
          for kind, way in ways.items()),
    ]  # fmt: skip
    return [stage for stage in found if stage.name.split()[0] in args.stages]


def _read(path: Path) -> Any:
    """What a stage wrote as JSON; None where it wrote nothing, or was ended while it wrote."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _tail(log: Path, size: int) -> str:
    """The end of a log."""
    if not log.is_file():
        return ""
    with log.open("rb") as opened:
        opened.seek(max(0, log.stat().st_size - size))
        return opened.read().decode(errors="replace")


def _shown(text: str, work: Path) -> str:
    """Without the paths of the machine that measured."""
    interpreter = {sys.executable: "python3", sys.prefix: "PYTHON", sys.base_prefix: "PYTHON"}
    for path, name in ({f"{work}/": "", str(work): ".", f"{ROOT}/": ""} | interpreter).items():
        text = text.replace(path, name)
    return text


def summarise(stage: Stage, work: Path) -> None:
    """One line of what a stage found, from the files that it wrote."""
    kind = stage.name.split()[-1]
    note = _read(work / f"{kind}.json") if stage.seconds else None
    if stage.name == "train" and note:
        stage.line = f"{note['images']} images, {note['steps']} steps, {note['images_per_s']} images a second"
    elif stage.name.startswith("evaluate") and note:
        total = next(row for row in note["rows"] if row["solid"] == "all")
        stage.line = f"mean {total['mean_deg']:.2f}, median {total['median_deg']:.2f} deg over all objects"
    elif stage.name == "bench" and note and note["rows"]:
        best = [f"{row['samples']}: {row['plan_ms']:.2f}" for row in note["rows"]
                if row["plan"] == "best" and row["steps"] == note["rows"][0]["steps"]]  # fmt: skip
        stage.line = f"the default, ms by samples: {', '.join(best)}"
    else:
        lines = [line for line in _tail(stage.log, 10_000).splitlines() if line.strip()]
        stage.line = _shown(lines[-1][:200], work).replace("|", "/") if lines else ""


def write(args: argparse.Namespace, done: list[Stage], work: Path, began: float) -> None:
    """The output folder: at most eight files of at most 16 MB, a README among them counted."""
    args.output.mkdir(parents=True, exist_ok=True)
    for old in (*args.output.glob("trained.safetensors.*"), *(args.output / name for name in _NAMES)):
        old.unlink(missing_ok=True)
    for stage in done:
        summarise(stage, work)
    table = ["| stage | status | seconds | limit | |", "|---|---|---|---|---|"]
    table += [f"| {s.name} | {s.status} | {s.seconds:g} | {s.limit_s:g} | {s.line} |" for s in done]
    total = time.monotonic() - began
    command = shlex.join(["scripts/gpu_report.sh", *sys.argv[1:]])
    parts = [f"# GPU report\n\n`{command}`, {time.strftime('%Y-%m-%d')}, {total:.0f} s in all.", "\n".join(table)]
    if (work / "bench.md").is_file():
        parts += ["## bench", (work / "bench.md").read_text()]
    results = {kind: found for kind in ("bench", "train", *_EVALUATED) if (found := _read(work / f"{kind}.json"))}
    for kind, title in _EVALUATED.items():
        if kind in results:
            parts += [f"## {title}", _table(results[kind]["rows"])]
    (args.output / "report.md").write_text(_shown("\n\n".join(parts), work) + "\n")
    listed = [vars(s) | {"log": s.log.name, "command": shlex.join(s.command), "needs": str(s.needs)} for s in done]
    report = {"seconds": round(total, 1), "stages": listed, **results}
    (args.output / "report.json").write_text(_shown(json.dumps(report, indent=1), work) + "\n")
    if (work / "windows.png").is_file():
        (args.output / "windows.png").write_bytes((work / "windows.png").read_bytes())
    logs = [f"===== {s.name}: {s.status}\n{_shown(_tail(s.log, MAX_LOG // len(done)), work)}\n" for s in done]
    (args.output / "logs.txt").write_text("\n".join(logs))
    if (work / "trained.safetensors").is_file():
        print(split(work / "trained.safetensors", args.output))
    print("\n".join(table))


_NAMES = "report.md", "report.json", "bench.json", "windows.png", "logs.txt"  # bench.json: of before
_EVALUATED = {
    "clean": "What was trained: clean images",
    "randomised": "What was trained: randomised images",
    "embedded": "The embedded checkpoint: randomised images",
}


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
    # A variance may be beyond 65504, half precision's largest number.
    return save({name: t.half() if t.is_floating_point() and bool(t.half().isfinite().all()) else t
                 for name, t in tensors.items()}, metadata)  # fmt: skip


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
    parser.add_argument("--stages", nargs="+", type=_words, default=[every], metavar="STAGE",
                        help=f"of {', '.join(every)}; apart by commas or spaces")  # fmt: skip
    parser.add_argument("--recipe", default="compact", help="of the training (default %(default)s)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change the recipe")
    if sys.argv[1:2] == ["smoke"]:
        smoke(parser.parse_args(sys.argv[2:]).device)
        return 0
    args = parser.parse_args()
    args.stages = [word for words in args.stages for word in words]
    if unknown := set(args.stages) - set(every):
        parser.error(f"no stage is called {', '.join(sorted(unknown))}: there are {', '.join(every)}")
    if not args.minutes > 0:
        parser.error(f"--minutes must be above 0, got {args.minutes:g}")
    # Who ends the whole run, by Ctrl-C or otherwise, still gets what was found until then.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began, interrupted = time.monotonic(), False
    whole = BESIDE_TRAINING_S + 60 * args.minutes if args.device == "cuda" else math.inf
    with tempfile.TemporaryDirectory(prefix="gpu_report_") as name:
        work = Path(name)
        planned = stages(args, work)
        try:
            for stage in planned:
                stage.run(work, began + whole - time.monotonic())
        except KeyboardInterrupt:
            interrupted = True
        write(args, planned, work, began)
    if interrupted:
        return 130
    return 0 if all(s.status.startswith(("passed", "skipped")) for s in planned) else 1


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main())
