"""What is written of a scored BOP data set: BOP's results file, weighted hypotheses, and tables of scores."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lie_picard.evaluation import tables
from lie_picard.evaluation.bop import Outcome
from lie_picard.evaluation.bop_scores import average_recall
from lie_picard.files import atomic_write, finite

HEAD = "scene_id,im_id,obj_id,score,R,t,time"
COLUMNS = {
    "object": "object",
    "targets": "targets",
    "ar": "AR",
    "ar_vsd": "AR\nVSD",
    "ar_mssd": "AR\nMSSD",
    "ar_mspd": "AR\nMSPD",
    "add_within_tenth": "ADD(-S)\n< .1 d",
    "translation_median_mm": "place\nmm",
    "within_5deg": "within\n5 deg",
    "recall_deg": "recall\ndeg",
    "modes_reached": "modes\nreached",
}
_MEANS = ("mean_deg", "median_deg", "within_2deg", "within_5deg", "within_10deg", "recall_deg", "modes_reached",
          "modes_reached_if_uniform")  # fmt: skip
_MAX_REASONS = 4


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    """One row an object, and one for all: recall over all targets, means over what was scored."""
    names = {record["obj_id"]: record["object"] for record in outcome.records if "obj_id" in record}
    found = []
    for number in sorted(names):
        cases = [case for case in outcome.cases if case.object_id == number]
        mine = [record for record in outcome.records if record.get("obj_id") == number]
        found.append({"object": names[number], "obj_id": number} | _row(cases, mine))
    return [*found, {"object": "all", "obj_id": None} | _row(outcome.cases, outcome.records)]


def _row(cases: Sequence[Any], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scored = [record for record in records if record["state"] == "scored"]
    row: dict[str, Any] = {"targets": sum(len(case.targets) for case in cases), "scored": len(scored)}
    row |= {f"{state.replace(' ', '_')}": count for state, count in Counter(r["state"] for r in records).items()
            if state != "scored"}  # fmt: skip
    row |= average_recall(cases)
    row["add_within_tenth"] = _mean([
        float(r["adds_mm" if r["symmetric"] else "add_mm"] < 0.1 * r["diameter_mm"]) for r in scored
    ])  # fmt: skip
    for key in _MEANS:
        row[key] = _mean([r[key] for r in scored if key in r])
    for key, name in (("mssd_mm", "mssd_median_mm"), ("mspd_px", "mspd_median_px"), ("add_mm", "add_median_mm"),
                      ("adds_mm", "adds_median_mm"), ("translation_mm", "translation_median_mm"),
                      ("sideways_mm", "sideways_median_mm"), ("range_mm", "range_median_mm")):  # fmt: skip
        row[name] = float(np.median([r[key] for r in scored])) if scored else None
    return row


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def file_stem(method: str, dataset: str, split: str) -> str:
    """Name of a results file as the challenge has it, METHOD_DATASET-SPLIT[-TYPE], without its ending.

    Raises:
        ValueError: the method's name would be taken apart.
    """
    if not re.fullmatch("[A-Za-z0-9.+-]+", method):
        raise ValueError(f"--method {method[:60]}: a name of letters, digits, . + and -, as results files carry it")
    return f"{method}_{re.sub('[^A-Za-z0-9.]', '', dataset) or 'data'}-{re.sub('[^A-Za-z0-9.]', '-', split)}"


def write(folder: Path, stem: str, outcome: Outcome, about: Mapping[str, Any]) -> None:
    """BOP's results (.csv), weighted hypotheses (-distributions.json), scores.json and scores.md.

    Args:
        about: what else scores.json is to hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / f"{stem}.csv") as partial:
        partial.write_text("\n".join([HEAD, *map(_line, outcome.estimates)]) + "\n")
    frame = {
        "frames": "R, t: camera_from_model; rotation_covariance: of Log(R^T R_true), model's axes; centre: of the "
        "object's smallest ball in the model's frame; centre_covariance: of its place in the camera's frame; "
        "centre_pose_covariance: of (x, y, z, rotation about X, Y, Z) of a mode whose position is that centre's, about "
        "the camera's fixed axes",
        "units": "mm, rad",
        "estimates": outcome.distributions,
    }
    with atomic_write(folder / f"{stem}-distributions.json") as partial:
        partial.write_text(json.dumps(finite(frame), allow_nan=False) + "\n")
    with atomic_write(folder / "scores.json") as partial:
        partial.write_text(json.dumps(finite({**about, "records": outcome.records}), allow_nan=False) + "\n")
    with atomic_write(folder / "scores.md") as partial:
        partial.write_text(tables.markdown(about["rows"], COLUMNS) + "\n")


def _line(one: Mapping[str, Any]) -> str:
    """One estimate; numbers such that they are read back as they are."""
    turn, place = (" ".join(repr(float(value)) for value in one[key].reshape(-1)) for key in ("R", "t"))
    head = f"{one['scene_id']},{one['im_id']},{one['obj_id']},{float(one['score'])!r}"
    return f"{head},{turn},{place},{one['time']:.6f}"


def reasons(outcome: Outcome) -> list[str]:
    """What was not scored and why, one line a reason with how often it occurs; and what else is wrong."""
    counted = Counter((r["state"], r["why"]) for r in outcome.records if r["state"] != "scored")
    lines = [f"{count} x {state}: {why}" for (state, why), count in counted.most_common(_MAX_REASONS)]
    if len(counted) > _MAX_REASONS:
        lines.append(f"and {len(counted) - _MAX_REASONS} other reasons; scores.json has them all")
    return [*lines, *dict.fromkeys(outcome.problems)]


def nothing(outcome: Outcome) -> str:
    """Why nothing was scored, one line; empty where something was."""
    if any(record["state"] == "scored" for record in outcome.records):
        return ""
    return f"nothing was scored ({'; '.join(reasons(outcome)) or 'there is no image'})"
