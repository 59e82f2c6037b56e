"""The report as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lie_picard import machine
from lie_picard.evaluation.calibration import LEVELS
from lie_picard.evaluation.tables import cell, plain_ticks
from lie_picard.node.pictures import jpeg
from lie_picard.recording.worst import Picture
from lie_picard.view import page

_TABLES = {
    "Rotation": {
        "object": "object", "scored": "images scored", "mean_deg": "D mean [deg]", "median_deg": "D median [deg]",
        "within_2deg": "within 2 deg", "within_5deg": "within 5 deg", "within_10deg": "within 10 deg",
        "recall_deg": "recall [deg]", "modes_reached": "modes reached",
        "modes_reached_if_uniform": "by a perfect sampler",
    },
    "Followed pose": {
        "object": "object", "best_median_deg": "median [deg]", "best_p95_deg": "p95 [deg]", "flips": "flips",
        "largest_jump_deg": "largest jump [deg]", "lost": "images lost", "dropped": "dropped",
        "no_truth": "without truth",
        "unusable": "unusable", "presence": "presence, mean",
    },
    "Position and surface": {
        "object": "object", "translation_median_mm": "position, median [mm]", "translation_p95_mm": "p95 [mm]",
        "translation_percent": "of the range [%]", "sideways_median_percent": "sideways, median [% of d]",
        "sideways_p95_percent": "p95 [% of d]", "range_median_percent": "range, median [%]",
        "range_p95_percent": "p95 [%]", "adds_median_mm": "ADD-S, median [mm]", "adds_p95_mm": "p95 [mm]",
        "adds_within_tenth_of_diameter": "ADD-S < 0.1 d", "mssd_median_mm": "MSSD, median [mm]",
        "mssd_within_tenth_of_diameter": "MSSD < 0.1 d",
    },
    "Calibration": {
        "object": "object", "rotation_inside_50": "rotation in 50%", "rotation_inside_90": "90%",
        "rotation_inside_95": "95% region", "rotation_inside_99": "99%", "position_inside_50": "position in 50%",
        "position_inside_95": "95% region", "pose_inside_50": "pose in 50%", "pose_inside_95": "95% region",
        "calibration_error_of_weights": "calibration error of weights",
    },
}  # fmt: skip
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_EMPTY = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEAAAAALAAAAAABAAEAAAI="
_MAX_POINTS = 4000  # of a line in a plot


@matplotlib.rc_context({"text.parse_math": False})  # a name with $ is no formula
def render(result: Mapping[str, Any], worst: Sequence[Picture]) -> str:
    """The report's text.

    Args:
        result: what `evaluate.conclude` gives.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        finalize=_printable,
    )  # fmt: skip
    template = environment.get_template("report.html.jinja")
    scored = [r | {"object": _label(r["object"])} for r in result["frames"] if r["state"] == "scored"]
    return template.render(
        result=result,
        machine=machine.one_line(result["machine"]),
        tables=_TABLES,
        cell=cell,
        plots=[(title, *_drawn(note, draw)) for title, note, draw in _plots(result, scored)],
        worst=[
            (one, _jpeg(one.overlay), _jpeg(one.distribution), page.scenes_json([one.scene] if one.scene else []))
            for one in worst
        ],
        style=Markup(page.style()),
        script=Markup(page.script()),
        policy=Markup(page.policy()),
    )


def _printable(value: Any) -> Any:
    """Text that UTF-8 and HTML can hold: names of files may be any bytes, and those of objects any characters."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value) if type(value) is str else value


def _label(name: str) -> str:
    """An object's name in a plot; matplotlib leaves out what begins with "_"."""
    text = str(_printable(name))
    return f" {text}" if text.startswith("_") else text


def _drawn(note: str, draw: Callable[[], Figure]) -> tuple[str, str]:
    """A plot with its note; without a picture where figures that nobody thought of cannot be drawn."""
    try:
        return note, _inline(draw())
    except Exception as error:  # whatever a plot makes of them, the tables are there
        return f"{note} It cannot be drawn: {type(error).__name__}: {error}", _EMPTY


def _plots(result: Mapping[str, Any], scored: list[dict[str, Any]]) -> list[tuple[str, str, Callable[[], Figure]]]:
    where = result["processes"]
    measured = f"measured with {where} process{'es' if where != 1 else ''} at once" if isinstance(where, int) else where
    plots: list[tuple[str, str, Callable[[], Figure]]] = [
        ("Latency", f"What one image takes ({measured}).", lambda: _latency(result))
    ]
    if not scored:
        return plots
    return [
        ("Error over time", "Mean angle of an image's samples to the nearest true pose, and of the followed pose.",
         lambda: _over_time(scored)),
        ("Quality", "Share of images below an error: rotation (mean over samples) and position.",
         lambda: _cumulated(scored)),
        ("Calibration", "Left: how often a region of the heaviest mode holds the truth. Right: how often a mode of a "
         "weight is the recorded pose's; area: number of modes. On the diagonal the model means what it says.",
         lambda: _calibration(result)),
        *plots,
    ]  # fmt: skip


def _names(scored: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(record["object"] for record in scored))


def _over_time(scored: list[dict[str, Any]]) -> Figure:
    names = _names(scored)
    figure = Figure(figsize=(10, 0.6 + 1.35 * len(names)), layout="constrained")
    first = {bag: min(r["stamp_ns"] for r in scored if r["bag"] == bag) for bag in {r["bag"] for r in scored}}
    offsets, total = {}, 0.0
    for bag in dict.fromkeys(record["bag"] for record in scored):  # one after the other
        offsets[bag] = total
        total += (max(r["stamp_ns"] for r in scored if r["bag"] == bag) - first[bag]) * 1e-9 + 1
    for axes, name in zip(figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0], names, strict=True):
        chosen = [r for r in scored if r["object"] == name]
        chosen = chosen[:: max(1, len(chosen) // _MAX_POINTS)]
        seconds = [offsets[r["bag"]] + (r["stamp_ns"] - first[r["bag"]]) * 1e-9 for r in chosen]
        axes.plot(seconds, _values(chosen, "mean_deg"), ".", markersize=3, label="samples, mean")
        axes.plot(seconds, _values(chosen, "best_deg"), ".", markersize=3, label="followed pose")
        axes.set_yscale("log")
        _plain(axes.yaxis)
        axes.set_ylabel(f"{name}\n[deg]", fontsize=8)
        axes.grid(alpha=0.3)
        for offset in list(offsets.values())[1:]:
            axes.axvline(offset, color="0.6", linewidth=0.8)
    axes.set_xlabel("time [s]" + ("; recordings one after the other" if len(offsets) > 1 else ""))
    figure.axes[0].legend(loc="upper right", fontsize=7, ncols=2)
    return figure


def _cumulated(scored: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    panels = (("mean_deg", "rotation error [deg]"), ("translation_mm", "position error [mm]"))
    for axes, (key, label) in zip(figure.subplots(1, 2), panels, strict=True):
        for name in _names(scored):
            values = _values([r for r in scored if r["object"] == name], key)
            values = np.sort(values[np.isfinite(values)])
            axes.plot(values, np.arange(1, len(values) + 1) / max(1, len(values)) * 100, label=name)
        axes.set_xscale("log")
        _plain(axes.xaxis)
        axes.set_xlabel(label)
        axes.set_ylabel("images below it [%]")
        axes.set_ylim(0, 101)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    return figure


def _calibration(result: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    regions, weights = figure.subplots(1, 2)
    rows = [row | {"object": _label(row["object"])} for row in result["rows"]]
    for row in rows:
        bold = {"linewidth": 2.2, "color": "black"} if row["object"] == "all" else {"linewidth": 1.0}
        shares = [row.get(f"rotation_inside_{level * 100:.0f}") for level in LEVELS]
        if None not in shares:
            regions.plot([level * 100 for level in LEVELS], [100 * s for s in shares], marker="o", markersize=3,
                         label=row["object"], **bold)  # fmt: skip
    total = rows[-1]["reliability"]
    if total:
        areas = 400 * np.array([row["modes"] for row in total]) / max(row["modes"] for row in total)
        weights.scatter(
            [row["mean_weight"] for row in total], [row["frequency"] for row in total], s=8 + areas, alpha=0.7
        )
    top = 1.3 * max((max(row["mean_weight"], row["frequency"]) for row in total), default=1.0)
    for axes, high, across, up in ((regions, 100, "confidence of the region [%]", "images whose truth is inside [%]"),
                                   (weights, top, "weight of the mode", "how often it is the true one")):  # fmt: skip
        axes.plot([0, high], [0, high], color="0.6", linewidth=0.8, linestyle="--")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(alpha=0.3)
    regions.set_xlim(45, 101)
    regions.legend(fontsize=7)
    return figure


def _latency(result: Mapping[str, Any]) -> Figure:
    stages = {name: values for name, values in result["milliseconds"].items() if values}
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    axes = figure.subplots()
    for index, values in enumerate(stages.values()):
        axes.plot([values["p50"], values["p99"]], [index, index], color=f"C{index}", linewidth=3, alpha=0.5)
        for key, marker in (("p50", "o"), ("p95", "s"), ("p99", "D")):
            axes.plot(values[key], index, marker, color=f"C{index}")
    labels = [f"{name}\n{v['p50']:.1f} / {v['p95']:.1f} / {v['p99']:.1f}" for name, v in stages.items()]
    axes.set_yticks(range(len(stages)), labels)
    axes.set_ylim(-0.6, len(stages) - 0.3)
    axes.set_xscale("log")
    _plain(axes.xaxis)
    axes.set_xlabel("milliseconds an image: median (o), 95th (square) and 99th percentile (diamond)")
    for rate in sorted({float(f"{bag['camera_hz']:.3g}") for bag in result["bags"] if bag.get("camera_hz")}):
        axes.axvline(1e3 / rate, color="crimson", linewidth=1, linestyle="--")
        axes.annotate(f"camera: {rate:g} Hz", (1e3 / rate, len(stages) - 0.5), (3, 0), textcoords="offset points",
                      fontsize=7, color="crimson")  # fmt: skip
    axes.grid(alpha=0.3, which="both", axis="x")
    return figure


def _values(records: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    """A figure of each record, (N,); NaN where there is none."""
    return np.array([np.nan if (value := record.get(key)) is None else value for record in records], float)


def _plain(axis: Any) -> None:
    plain_ticks(axis)
    axis.set_tick_params(which="both", labelsize=8)


def _inline(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _jpeg(image: NDArray[np.uint8]) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image, quality=88).tobytes()).decode()
