"""`lie-picard bench`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lie_picard import machine
from lie_picard.cli.common import add_model_arguments, at_least_none, positive, report
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import frontier, render_speed, speed_report, tables
from lie_picard.evaluation.speed import PLANS, benchmark, windows
from lie_picard.sampling import SamplerOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    p = parser
    add_model_arguments(p)
    p.add_argument("--steps", type=positive, nargs="+", default=[100, 50], help="denoising steps")
    p.add_argument("--samples", type=positive, nargs="+", default=[1, 10, 50, 100, 2000], help="samples an image")
    p.add_argument("--plans", nargs="+", choices=PLANS, default=["picard", "newton", "best", "map"], help="compared "
                   "with the sequential sampler; best: what is done where nothing is asked for; map: where the model "
                   "has a flow map")  # fmt: skip
    p.add_argument("--windows", type=positive, nargs="*", default=[], help="windows of an ablation with one sample")
    p.add_argument("--frontier-images", type=at_least_none, default=0, help="test images of each solid for quality "
                   "against time; 0: none")  # fmt: skip
    p.add_argument("--repeats", type=positive, default=20, help="timed images a setting")
    p.add_argument("--render", action="store_true", help="time no samplers but the rendering of meshes, by their "
                   "number of triangles and with each engine that is installed")  # fmt: skip
    p.add_argument("--faces", type=positive, nargs="+", default=list(render_speed.FACES), help="--render: triangles")
    p.add_argument("--output", type=Path, metavar="FOLDER", help="write bench.json, bench.md and plots there")


def run(args: argparse.Namespace) -> None:
    """Measure, and write what was asked for."""
    if args.render:
        _render(args)
        return
    estimator = PoseEstimator.from_checkpoint(args.checkpoint, args.device)
    sampler = SamplerOptions(window=args.window, tolerance=args.tolerance)
    common: dict[str, Any] = {"sampler": sampler, "repeats": args.repeats, "seed": args.seed}
    images = args.frontier_images
    total = (
        len(args.steps) * len(args.samples)
        + len(args.windows)
        + (len(frontier.plans(estimator.config.flow_map)) if images else 0)
    )
    result: dict[str, Any] = {
        "machine": machine.describe(estimator.device),
        "runtime": estimator.runtime,
        "checkpoint": str(args.checkpoint),
        "seed": args.seed,
        **{part: [] for part in ("rows", "windows", "frontier")},
    }
    with tqdm(total=total, unit="setting", disable=None) as bar:

        def keep(part: str) -> Callable[[list[dict[str, Any]]], None]:
            """What is done when rows of that part are there: they are written at once, as the run may be cut."""

            def on_row(rows: list[dict[str, Any]]) -> None:
                bar.update()
                result[part] = rows
                if args.output is not None:
                    speed_report.write_benchmark(args.output, result)

            return on_row

        benchmark(estimator, args.steps, args.samples, args.plans, on_row=keep("rows"), **common)
        windows(estimator, args.windows, max(args.steps), on_row=keep("windows"), **common)
        if images:
            frontier.frontier(estimator, images, args.repeats, args.seed, keep("frontier"))
    report(args, result, tables.BENCH_COLUMNS)


def _render(args: argparse.Namespace) -> None:
    """Time the rendering of meshes."""
    device = machine.pick_device(args.device)
    result: dict[str, Any] = {"machine": machine.describe(device), "seed": args.seed, "rows": []}
    total = len(args.faces) * len(render_speed.BODIES) * len(render_speed.engines(device))
    with tqdm(total=total, unit="mesh", disable=None) as bar:
        result["rows"] = render_speed.render_speed(
            device, args.faces, repeats=args.repeats, seed=args.seed, on_row=lambda rows: bar.update()
        )
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "render.json").write_text(json.dumps(result, indent=1) + "\n")
        (args.output / "render.md").write_text(
            f"{machine.one_line(result['machine'])}\n\n{tables.markdown(result['rows'], render_speed.COLUMNS)}\n"
        )
    report(args, result, render_speed.COLUMNS)
