"""`lie-picard compare`: what got better or worse between two reports of `evaluate-bag`, image by image.

The same images were scored twice, so differences are taken image by image, and a bootstrap over whole seconds of a
recording tells how sure they are: images of the same second show nearly the same and count as one.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lie_picard.recording.summary import FLIP_DEG

_BLOCK_NS = 1_000_000_000
_DRAWS, _AT_ONCE = 20_000, 500
_LEVEL = 0.95

COLUMNS = {
    "object": "object", "metric": "metric", "images": "images", "before": "A", "after": "B", "difference": "B - A",
    "low": "95% from", "high": "to", "verdict": "verdict",
}  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """A figure of an image, and whether more of it is better."""

    name: str
    more_is_better: bool = False


METRICS = (
    Metric("mean_deg"),
    Metric("best_deg"),
    Metric("within_5deg", more_is_better=True),
    Metric("recall_deg"),
    Metric("modes_reached", more_is_better=True),
    Metric("translation_mm"),
    Metric("adds_mm"),
    Metric("inside_95", more_is_better=True),
    Metric("answered", more_is_better=True),
    Metric("flip"),
)


class ReportError(ValueError):
    """A report that cannot be compared; the message says why and what to do."""


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    p.add_argument("before", type=Path, metavar="A.json", help="report.json of evaluate-bag")
    p.add_argument("after", type=Path, metavar="B.json", help="another one, of the same recordings")
    p.add_argument("--tolerance", type=float, default=0.01, metavar="SHARE", help="changes of a metric up to this "
                   "share of its value in A are no verdict")  # fmt: skip
    p.add_argument("--metrics", nargs="+", choices=[m.name for m in METRICS], default=[m.name for m in METRICS],
                   help="which may fail the comparison")  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The comparison as the JSON has it; `worse`: how many of the metrics asked for are surely worse."""
    before, after = read(args.before), read(args.after)
    seed = args.seed or 0
    result = compare(before, after, args.tolerance, seed)
    result["worse"] = sum(row["verdict"] == "worse" and row["metric"] in args.metrics for row in result["rows"])
    return result | {"machine": after["machine"], "before": str(args.before), "after": str(args.after), "seed": seed}


def read(path: Path) -> dict[str, Any]:
    """A report.

    Raises:
        ReportError: it is none of `evaluate-bag`.
    """
    try:
        report = json.loads(path.read_text())
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ReportError(f"{path} is not JSON: {error}") from None
    if not isinstance(report, dict) or "frames" not in report:
        raise ReportError(f"{path} holds no single images: give report.json of `lie-picard evaluate-bag`")
    return report


def compare(before: Mapping[str, Any], after: Mapping[str, Any], tolerance: float, seed: int) -> dict[str, Any]:
    """Rows of every object and metric, over the images that both have.

    Raises:
        ReportError: they have none in common.
    """
    first, second = (_by_image(report["frames"]) for report in (before, after))
    shared = [key for key in first if key in second]
    if not shared:
        raise ReportError("the reports have no image of an object in common: score the same recordings twice")
    compared = []
    for name in [*dict.fromkeys(key[2] for key in shared), "all"]:
        keys = [key for key in shared if name in (key[2], "all")]
        for metric in METRICS:
            pairs = [(key, a, b) for key in keys
                     if (a := value(first[key], metric.name)) is not None
                     and (b := value(second[key], metric.name)) is not None]  # fmt: skip
            if pairs:
                compared.append((name, metric, pairs))
    # Of many true 95% intervals one in twenty misses: a verdict needs one that holds for all at once (Bonferroni).
    sure = 1 - (1 - _LEVEL) / len(compared)
    rows = [{"object": name} | _row(metric, pairs, tolerance, sure, seed) for name, metric, pairs in compared]
    alone = {"only_in_a": len(first) - len(shared), "only_in_b": len(second) - len(shared)}
    return {"images_in_both": len(shared)} | alone | {"rows": rows}


_Key = tuple[str, int, str, int]  # recording, stamp, object; the how manieth of these


def _by_image(frames: Sequence[Mapping[str, Any]]) -> dict[_Key, Mapping[str, Any]]:
    # Images without a stamp, or of a clock that was set back, share theirs: they are told apart by their order.
    seen: Counter[tuple[str, int, str]] = Counter()
    found = {}
    for record in frames:
        key = record["bag"], record["stamp_ns"], record["object"]
        found[(*key, seen[key])] = record
        seen[key] += 1
    return found


def value(record: Mapping[str, Any], metric: str) -> float | None:
    """A figure of an image; None where it has none, such as an error of a lost object."""
    state = record["state"]
    if metric == "answered":
        return None if state == "no truth" else float(state == "scored")
    if state != "scored":
        return None
    if metric == "inside_95":
        inside = record.get("rotation_confidence")
        return None if inside is None else float(inside <= _LEVEL)
    if metric == "flip":
        jump = record.get("jump_deg")
        return None if jump is None else float(jump > FLIP_DEG)
    found = record.get(metric)
    return None if found is None or not math.isfinite(found) else float(found)


def _row(
    metric: Metric, pairs: Sequence[tuple[_Key, float, float]], tolerance: float, sure: float, seed: int
) -> dict[str, Any]:
    a, b = np.array([one for _, one, _ in pairs]), np.array([two for _, _, two in pairs])
    means = bootstrap(b - a, [(bag, stamp // _BLOCK_NS) for (bag, stamp, *_), _, _ in pairs], seed)
    low, high = interval(means, _LEVEL)
    least, most = interval(means, sure)
    difference = float((b - a).mean())
    slack = tolerance * abs(float(a.mean()))
    gain = 1 if metric.more_is_better else -1
    verdict = "same"
    if least > slack or most < -slack:
        verdict = "better" if gain * difference > 0 else "worse"
    return {"metric": metric.name, "images": len(pairs), "before": float(a.mean()), "after": float(b.mean()),
            "difference": difference, "low": low, "high": high, "verdict": verdict}  # fmt: skip


def bootstrap(differences: NDArray[np.float64], blocks: Sequence[Any], seed: int) -> NDArray[np.float64]:
    """Means of paired differences (N,) over blocks drawn anew, sorted. -> (draws,).

    Args:
        blocks: (N,) what each belongs to; those of one block are drawn together.
    """
    index = {name: k for k, name in enumerate(dict.fromkeys(blocks))}
    owner = np.array([index[name] for name in blocks])
    sums, counts = np.bincount(owner, differences), np.bincount(owner)
    generator, means = np.random.default_rng(seed), []
    for _ in range(_DRAWS // _AT_ONCE):
        drawn = generator.integers(len(index), size=(_AT_ONCE, len(index)))
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    return np.sort(np.concatenate(means))


def interval(means: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Confidence interval from sorted bootstrap means (draws,)."""
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
