"""Results as tables and axes: columns with their headings, numbers with as many digits as they deserve."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axis import Axis

# Columns that a terminal has room for, with their headings; the JSON has them all.
BENCH_COLUMNS = {
    "steps": "steps",
    "samples": "samples",
    "plan": "plan",
    "eager_ms": "seq.\neager ms",
    "sequential_ms": "seq.\nms",
    "plan_ms": "plan\nms",
    "speedup": "speed-\nup",
    "rounds": "rounds",
    "evaluations": "evalu-\nations",
    "sequential_mean_deg": "D seq.\ndeg",
    "mean_deg": "D\ndeg",
    "angle_to_sequential_above_half_deg": "apart\n> 0.5",
}
EVALUATE_COLUMNS = {
    "solid": "solid",
    "images": "images",
    "mean_deg": "D mean\ndeg",
    "median_deg": "D median\ndeg",
    "within_2deg": "within\n2 deg",
    "within_5deg": "within\n5 deg",
    "recall_deg": "recall\ndeg",
    "modes_reached": "modes\nreached",
    "modes_reached_if_uniform": "if perfectly\nuniform",
}
LOCATING_COLUMNS = {
    "solid": "object",
    "instances": "instances",
    "recall": "recall",
    "precision": "precision",
    "proposed": "proposed",
    "false_empty": "false, an\nempty image",
    "search_ms": "search\nms",
}
VIDEO_COLUMNS = {
    "solid": "object",
    "images": "images",
    "recall": "recall",
    "precision": "precision",
    "returns": "returns",
    "refound_soon": "found again\nin 3",
    "departures": "depar-\ntures",
    "lost_soon": "lost\nin 3",
    "jumps": "jumps",
    "presence_auroc": "presence\nAUROC",
}
POSITION_COLUMNS = {
    "sideways_median_percent": "sideways\n% of d",
    "range_median_percent": "range\n%",
    "position_inside_95": "in 95%\nregion",
}
COMPARE_COLUMNS = {
    "solid": "solid",
    "mean_deg": "D mean\ndeg",
    "median_deg": "D median\ndeg",
    "within_5deg": "within\n5 deg",
    "rounds": "rounds",
    "evaluations": "evalu-\nations",
    "sequential_mean_deg": "D seq.\ndeg",
    "angle_to_sequential_above_half_deg": "apart\n> 0.5",
}


def with_positions(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The columns, and those of positions where the rows have them: where the model tells places."""
    told = any("position_inside_95" in row for row in rows)
    return {**columns, **(POSITION_COLUMNS if told else {})}


def cell(value: Any) -> str:
    """A number with as many digits as it deserves."""
    if value is None:
        return ""
    if isinstance(value, float):
        digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
        return f"{value:.{digits}f}"
    return str(value)


def markdown(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """A table of the rows' values under these headings."""
    headings = [heading.replace("-\n", "").replace("\n", " ") for heading in columns.values()]
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(_in_markdown(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _in_markdown(value: Any) -> str:
    """A cell; a name from a data set, which may hold HTML, stays text."""
    text = cell(value)
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|") if isinstance(value, str) else text


_SHORT = 5.0  # a logarithmic axis over less than this factor


def plain_ticks(axis: Axis) -> None:
    """Plain numbers along a logarithmic axis, at 1, 2 and 5, and at all digits where it is short."""
    from matplotlib.ticker import FuncFormatter

    def minor(value: float, _: object) -> str:
        low, high = axis.get_view_interval()
        return f"{value:g}" if f"{value:e}"[0] in "25" or high < _SHORT * low else ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(minor))
