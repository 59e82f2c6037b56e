"""Benchmark results for people: a Markdown file and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lie_picard import machine
from lie_picard.evaluation.tables import BENCH_COLUMNS, markdown, plain_ticks

_WINDOW_COLUMNS = {
    "plan": "plan", "window": "window", "speedup": "speed-up", "rounds": "rounds", "inefficiency": "inefficiency",
}  # fmt: skip
_FRONTIER_COLUMNS = {
    "plan": "plan", "evaluations": "evaluations", "mean_deg": "D mean", "median_deg": "D median",
    "beyond_5deg": "beyond 5 deg", "modes_reached": "recall", "chi2_per_freedom": "chi-square / freedom",
    "ms_of_1": "ms of 1", "ms_of_16": "16", "ms_of_100": "100", "ms_of_2000": "2,000 samples",
}  # fmt: skip
_EXTRA = {
    "inefficiency": "inefficiency", "angle_to_sequential_median_deg": "apart, median deg",
    "sequential_recall_deg": "recall seq. deg", "recall_deg": "recall deg", "encoder_eager_ms": "encoder eager ms",
    "encoder_ms": "encoder ms", "encoder_share": "its share, seq.", "plan_encoder_share": "its share, plan",
    "head_eager_ms": "head eager ms", "head_ms": "head ms",
}  # fmt: skip


# "Parallel Sampling of Diffusion Models on SO(3)", RTX 4070, SYMSOL I at 224 px, ResNet-34: Tables 1 and 2.
_PAPER_PASS: dict[str, Any] = {"encoder_ms": 1.98, "sequential_ms": 138.60}
_PAPER: dict[tuple[int, int], tuple[float, float, float | None, float | None]] = {
    # (steps, samples): sequential ms, parallel ms, D sequential, D parallel
    (100, 1): (142.0, 29.0, 1.48, 1.40),
    (50, 1): (72.6, 25.3, 1.42, 1.39),
    (100, 10): (138.0, 17.3, None, None),
    (100, 50): (140.0, 20.5, None, None),
    (100, 100): (139.0, 20.6, None, None),
    (100, 2000): (173.0, 131.7, None, None),
}
_PAPER_COLUMNS = {
    "steps": "steps",
    "samples": "samples",
    "plan": "sampler",
    "paper_sequential_ms": "paper: sequential ms",
    "paper_ms": "parallel ms",
    "paper_speedup": "speed-up",
    "paper_sequential_deg": "D sequential",
    "paper_deg": "D",
    "sequential_ms": "here: sequential ms",
    "plan_ms": "ms",
    "speedup": "speed-up",
    "sequential_mean_deg": "D sequential",
    "mean_deg": "D",
}


def write_benchmark(folder: Path, result: Mapping[str, Any]) -> None:
    """Write bench.json, bench.md and, where measured, windows.png and frontier.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    rows = [
        row
        | {
            "encoder_share": row["encoder_ms"] / (row["encoder_ms"] + row["sequential_ms"]),
            "plan_encoder_share": row["encoder_ms"] / (row["encoder_ms"] + row["plan_ms"]),
        }
        for row in result["rows"]
    ]
    parts = [
        f"{machine.one_line(result['machine'])}, runtime {result['runtime']}, seed {result['seed']}",
        markdown(rows, BENCH_COLUMNS | _EXTRA),
    ]
    parts += ["Beside the paper's Tables 1 and 2 (RTX 4070, other images, another model):", *_beside_the_paper(rows)]
    if result["windows"]:
        parts.append(markdown(result["windows"], _WINDOW_COLUMNS))
        _plot_windows(result["windows"], folder / "windows.png")
    if result["frontier"]:
        parts.append(markdown(result["frontier"], _FRONTIER_COLUMNS))
        _plot_frontier(result["frontier"], result["machine"], folder / "frontier.png")
    (folder / "bench.md").write_text("\n\n".join(parts) + "\n")


def _beside_the_paper(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The paper's time of a pass and of samplers, next to the rows with the same steps and samples."""
    beside = []
    for row in rows:
        published = _PAPER.get((row["steps"], row["samples"]))
        if published is not None:
            sequential, parallel, d_sequential, d_parallel = published
            extra: dict[str, Any] = {"paper_sequential_ms": sequential, "paper_ms": parallel}
            extra |= {"paper_speedup": sequential / parallel}
            extra |= {"paper_sequential_deg": d_sequential, "paper_deg": d_parallel}
            beside.append({**row, **extra})
    single = next((row for row in rows if (row["steps"], row["samples"]) == (100, 1)), None)
    parts = [markdown(beside, _PAPER_COLUMNS)] if beside else []
    if single is not None:
        passes: list[dict[str, Any]] = [{"where": "paper"} | _PAPER_PASS]
        passes.append({"where": "here"} | {key: single[key] for key in _PAPER_PASS})
        for one in passes:
            one["encoder_share"] = one["encoder_ms"] / (one["encoder_ms"] + one["sequential_ms"])
        columns = {"where": "", "encoder_ms": "encoder ms", "sequential_ms": "head, 100 steps ms"}
        parts.append(markdown(passes, columns | {"encoder_share": "encoder's share"}))
    return parts


def _plot_windows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 3), ("speedup", "rounds", "inefficiency"),
        ("speed-up over sequential", "network rounds", "algorithm inefficiency"), strict=True,
    ):  # fmt: skip
        for plan, marker in (("picard", "o"), ("newton", "s")):
            chosen = [row for row in rows if row["plan"] == plan]
            axes.plot([r["window"] for r in chosen], [r[key] for r in chosen], marker=marker, label=plan)
        axes.set_xlabel("window [evaluations in flight]")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.4)
        axes.legend()
    figure.suptitle(f"{rows[0]['steps']} steps, one sample")
    figure.savefig(path, dpi=130)


def _plot_frontier(rows: Sequence[Mapping[str, Any]], where: Mapping[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 11), layout="constrained")  # below each other: legible at a page's width
    panels = (
        ("mean_deg", "mean angle to the nearest true pose [deg]"),
        ("beyond_5deg", "share beyond 5 deg [%]"),
        ("missed", "true poses missed by 200 samples [%]"),
    )
    rows = [{**row, "missed": max(1 - row["modes_reached"], 1e-4)} for row in rows]
    for axes, (key, label) in zip(figure.subplots(3, 1), panels, strict=True):
        families: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            name, _, rest = row["plan"].partition(" ")
            families.setdefault(name + (", restarts" if "restarts" in rest else ""), []).append(row)
        for (name, members), marker in zip(families.items(), "ovs*PdX^<", strict=False):
            scale = 1 if key == "mean_deg" else 100
            x, y = [row["ms"] for row in members], [scale * row[key] for row in members]
            (line,) = axes.plot(x, y, marker=marker, markersize=9 if marker == "*" else 6, label=name)
            for row, across, up in zip(members, x, y, strict=True):
                steps = row["plan"].split()[1].rstrip(",")
                axes.annotate(steps, (across, up), (4, 4), textcoords="offset points", fontsize=7,
                              color=line.get_color())  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        plain_ticks(axes.xaxis)
        plain_ticks(axes.yaxis)
        axes.set_xlabel(f"time for {rows[0]['samples']} samples [ms]; numbers: steps")
        axes.set_ylabel(label)
        axes.grid(which="both", alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(f"Quality against time ({machine.one_line(dict(where))})", fontsize=9)
    figure.savefig(path, dpi=130)
