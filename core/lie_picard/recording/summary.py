"""From records of single images to what a reader wants to know of each object, and of all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lie_picard.evaluation.calibration import calibration_error, covered, reliability

Record = dict[str, Any]
FLIP_DEG = 15.0
_MAX_REASONS = 3
_TENTH = 0.1  # of the diameter: BOP's usual bound for ADD-S

# What a terminal has room for, with headings; the JSON has all.
COLUMNS = {
    "object": "object",
    "scored": "images",
    "mean_deg": "D mean\ndeg",
    "within_5deg": "within\n5 deg",
    "best_median_deg": "follow-\ned deg",
    "recall_deg": "recall\ndeg",
    "modes_reached": "modes\nfound",
    "translation_median_mm": "place\nmm",
    "rotation_inside_95": "in 95%\nregion",
    "flips": "flips",
    "lost": "lost",
}


def rows(records: Sequence[Record], diameters: dict[str, float]) -> list[dict[str, Any]]:
    """One row an object, and one for all.

    Args:
        records: of `evaluate`, one an image and object. diameters: metres, for ADD-S and MSSD as shares of it.
    """
    names = list(dict.fromkeys(record["object"] for record in records))
    found = [_row(name, [r for r in records if r["object"] == name], diameters) for name in names]
    return [*found, _row("all", records, diameters)]


def _row(name: str, records: Sequence[Record], diameters: dict[str, float]) -> dict[str, Any]:
    scored = [_with_percent(r, diameters) for r in records if r["state"] == "scored"]
    row: dict[str, Any] = {"object": name, "images": len(records), "scored": len(scored)}
    row |= {
        key.replace(" ", "_"): sum(r["state"] == key for r in records)
        for key in ("lost", "no truth", "unusable", "dropped")
    }
    for key in ("mean_deg", "median_deg", "within_2deg", "within_5deg", "within_10deg", "recall_deg", "modes_reached",
                "modes_reached_if_uniform", "translation_percent", "presence"):  # fmt: skip
        row[key] = mean(_column(scored, key))
    for key, name_of in (("best_deg", "best_{}_deg"), ("translation_mm", "translation_{}_mm"),
                         ("sideways_mm", "sideways_{}_mm"), ("sideways_percent", "sideways_{}_percent"),
                         ("range_mm", "range_{}_mm"), ("range_percent", "range_{}_percent"),
                         ("adds_mm", "adds_{}_mm"), ("mssd_mm", "mssd_{}_mm")):  # fmt: skip
        values = _column(scored, key)
        for word, share in (("median", 0.5), ("p95", 0.95)):
            row[name_of.format(word)] = float(np.quantile(values, share)) if values else None
    for key in ("adds", "mssd"):
        near = [r[f"{key}_mm"] <= 1e3 * _TENTH * diameters[r["object"]] for r in scored if f"{key}_mm" in r]
        row[f"{key}_within_tenth_of_diameter"] = mean([float(one) for one in near])
    row["flips"] = sum(jump > FLIP_DEG for jump in _column(scored, "jump_deg"))
    row["largest_jump_deg"] = max(_column(scored, "jump_deg"), default=None)
    for kind in ("rotation", "position", "pose"):
        inside = _column(scored, f"{kind}_confidence")
        for level, share in covered(torch.tensor(inside)).items() if inside else ():
            row[f"{kind}_inside_{level * 100:.0f}"] = share
    row["reliability"] = weights = _reliability(scored)
    row["calibration_error_of_weights"] = calibration_error(weights) if weights else None
    return row


def _with_percent(record: Record, diameters: Mapping[str, float]) -> Record:
    """With the error sideways as a share of the object's diameter, where it is known."""
    if "sideways_mm" not in record:
        return record
    return record | {"sideways_percent": record["sideways_mm"] / (10 * diameters[record["object"]])}


def _reliability(records: Iterable[Record]) -> list[dict[str, float]]:
    """Frequency over weight, of images whose true mode can be told apart."""
    weights, hits = [], []
    for record in records:
        for index, weight in enumerate(record.get("weights", ())):
            weights.append(weight)
            hits.append(index == record["true_mode"])
    return reliability(torch.tensor(weights), torch.tensor(hits)) if weights else []


def warnings(result: Mapping[str, Any]) -> list[str]:
    """What is wrong with the recordings of a report, one line each."""
    lines = []
    for bag in result["bags"]:
        name = bag.get("name", bag["bag"])
        lines += [f"{name}: {problem}" for problem in bag.get("problems", [])]
        lines += [bag["problem"]] if "problem" in bag else []
    return lines


def nothing(result: Mapping[str, Any]) -> str:
    """Why a report scores nothing, one line; empty where it does."""
    records = result["frames"]
    if any(record["state"] == "scored" for record in records):
        return ""
    reasons = Counter(f"{r['state']}{': ' if r.get('why') else ''}{r.get('why') or ''}" for r in records)
    told = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(_MAX_REASONS))
    more = "; and other reasons" if len(reasons) > _MAX_REASONS else ""
    return f"nothing was scored ({told or 'there is no image that can be read'}{more})"


def mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return sum(values) / len(values) if values else None


def _column(records: Iterable[Record], key: str) -> list[float]:
    return [r[key] for r in records if r.get(key) is not None and math.isfinite(r[key])]
