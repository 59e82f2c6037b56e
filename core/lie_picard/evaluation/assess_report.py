"""An assessment for people: evaluation.json, tables in Markdown, plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lie_picard import machine
from lie_picard.evaluation import assess
from lie_picard.evaluation.tables import EVALUATE_COLUMNS, markdown, with_positions

_PRECISION = {
    key: EVALUATE_COLUMNS[key] for key in ("solid", "images", "mean_deg", "median_deg", "within_2deg", "within_5deg")
}
_PRECISION |= {"within_10deg": "within\n10 deg"}
_RECALL = {
    "solid": "solid", "modes": "modes", "recall_deg": "recall deg",
    "modes_reached_of_10_samples": "reached with 10", "modes_reached_if_uniform_of_10_samples": "if uniform",
    "modes_reached_of_50_samples": "with 50", "modes_reached_if_uniform_of_50_samples": "if uniform",
    "modes_reached": "with all", "modes_reached_if_uniform": "if uniform",
    "chi2_per_freedom": "chi2 / freedom", "not_uniform_at_5_percent": "p < 5%",
}  # fmt: skip
_SAMPLERS = {
    "solid": "solid", "mean_deg": "D Picard", "sequential_mean_deg": "D sequential", "rounds": "rounds",
    "angle_to_sequential_above_half_deg": "apart > 0.5 deg",
}  # fmt: skip
_PRESENCE = {
    "absent": "instead of a known object", "images": "images", "auroc": "AUROC",
    "known_above_half": "known above 0.5", "absent_above_half": "absent above 0.5",
}  # fmt: skip
_RELIABILITY = {"mean_weight": "mean weight", "frequency": "how often true", "modes": "modes"}


def write_assessment(folder: Path, result: Mapping[str, Any]) -> None:
    """Write evaluation.json, evaluation.md, calibration.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    options = result["options"]
    parts = [f"{machine.one_line(result['machine'])}, checkpoint {result['checkpoint']}, seed {options['seed']}"]
    for kind in (kind for kind in assess.KINDS if kind in result):
        parts += [
            f"## {kind.capitalize()} images: {options['images']} of each solid, {options['samples']} samples each",
            markdown(result[kind], with_positions(_PRECISION, result[kind])),
            markdown([row for row in result[kind] if "modes" in row], _RECALL),
            "The model not asked for the object by name:",
            markdown(result[f"{kind}, not named"], _PRECISION),
            "100 Euler steps, by Picard and one after another:",
            markdown(result[f"{kind}, picard"], _SAMPLERS),
        ]
    if "presence" in result:
        parts += ["## Presence", markdown(result["presence"], _PRESENCE)]
    rows = result["calibration"]["rows"]
    parts += ["## Calibration", markdown(calibration_rows(rows), calibration_columns(calibration_rows(rows)))]
    parts += [markdown(row["reliability"], _RELIABILITY) for row in _most(rows).values()]
    (folder / "evaluation.md").write_text("\n\n".join(parts) + "\n")
    plot_calibration(rows, folder / "calibration.png")


def calibration_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Columns of a table of `calibration_rows`."""
    inside = {key: f"in {key.split('_')[1]}" for key in rows[0] if key.startswith("inside")}
    weights = {"expected_calibration_error_of_weights": "error of weights"}
    part = {"part": "of the"} if "part" in rows[0] else {}
    return {"kind": "images", "samples": "samples"} | part | inside | weights


def calibration_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `assess.calibrate`; where the model tells positions one for rotation, position and whole pose each."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if not any(key.startswith("pose_inside") for key in row):
            found.append(dict(row))
            continue
        bare = {key: value for key, value in row.items() if "inside" not in key}
        for part, prefix in (("rotation", ""), ("position", "position_"), ("pose", "pose_")):
            regions = {
                key.removeprefix(prefix): value for key, value in row.items() if key.startswith(f"{prefix}inside")
            }
            found.append(bare | {"part": part} | regions)
            bare = {"kind": row["kind"], "samples": row["samples"]}  # the weights once
    return found


def _most(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Of each kind of images the row of most samples: the finest weights."""
    return {row["kind"]: row for row in sorted(rows, key=lambda row: row["samples"])}


def plot_calibration(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Whether regions hold the truth, and weights are probabilities, as often as they say."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    regions, weights = figure.subplots(1, 2)
    colours = {kind: f"C{k}" for k, kind in enumerate(_most(rows))}
    markers = dict(zip(sorted({row["samples"] for row in rows}), "v^os", strict=False))
    for row in rows:
        inside = {float(k.split("_")[1][:-1]): 100 * v for k, v in row.items() if k.startswith("inside")}
        regions.plot(list(inside), list(inside.values()), color=colours[row["kind"]], marker=markers[row["samples"]],
                     linewidth=1, label=f"{row['kind']}, {row['samples']} samples")  # fmt: skip
    for kind, row in _most(rows).items():
        bins = row["reliability"]
        weights.plot([b["mean_weight"] for b in bins], [b["frequency"] for b in bins], color=colours[kind],
                     marker=markers[row["samples"]], label=f"{kind}, {row['samples']} samples")  # fmt: skip
    regions.plot([50, 100], [50, 100], "k--", linewidth=0.8, label="calibrated")
    regions.set_xlabel("confidence of the region [%]")
    regions.set_ylabel("images whose true pose lies inside [%]")
    weights.plot([0.01, 1], [0.01, 1], "k--", linewidth=0.8, label="calibrated")
    weights.set_xscale("log")
    weights.set_yscale("log")
    weights.set_xlabel("weight of a mode")
    weights.set_ylabel("how often it is the rendered pose")
    for axes in (regions, weights):
        axes.grid(which="both", alpha=0.3)
        axes.legend()
    figure.suptitle("Calibration of the hypotheses")
    figure.savefig(path, dpi=130)
