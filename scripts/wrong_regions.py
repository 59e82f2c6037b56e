"""The demo recording with regions that are wrong in place and size: `python scripts/wrong_regions.py [--share 0.15]`.

Each of several draws shifts every region by up to a share of its side, in both directions, and scales it by up to the
same share; then `lie-picard evaluate-bag` scores the recording.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lie_picard.cli import main as command

PACKAGE = Path(__file__).parents[1] / "ros2_ws" / "src" / "lie_picard_pose"
KEYS = ("mean_deg", "median_deg", "within_5deg", "sideways_median_percent", "sideways_p95_percent",
        "range_median_percent", "range_p95_percent", "position_inside_95", "pose_inside_95")  # fmt: skip


def scored(regions: list[float], folder: Path, values: dict[str, Any]) -> dict[str, float]:
    """The report's row of all objects."""
    file, result = folder / "params.yaml", folder / "result.json"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": {**values, "regions": regions}}}))
    words = ["evaluate-bag", str(PACKAGE / "demo" / "turning_solids"), "--params", str(file), "--no-annotate"]
    if command([*words, "--output", str(folder / "report"), "--json", str(result)]) != 0:
        raise SystemExit("evaluate-bag failed")
    row = json.loads(result.read_text())["rows"][-1]
    return {key: float(row[key]) for key in KEYS}


def main() -> None:
    """Print the mean of the draws beside the exact regions' row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.15, help="of a region's side, at most (default %(default)s)")
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    values = yaml.safe_load((PACKAGE / "config" / "demo.yaml").read_text())["/**"]["ros__parameters"]
    exact = np.array(values["regions"]).reshape(-1, 4)
    rng, rows = np.random.default_rng(args.seed), []
    for draw in range(args.draws + 1):
        shift, scale = (
            rng.uniform(-args.share, args.share, (len(exact), 2)),
            1 + rng.uniform(-args.share, args.share, (len(exact), 1)),
        )
        size = exact[:, 2:] * (scale if draw else 1)
        middle = exact[:, :2] + exact[:, 2:] / 2 + (exact[:, 2:] * shift if draw else 0)
        regions = np.concatenate([middle - size / 2, size], 1)
        with tempfile.TemporaryDirectory() as folder:
            rows.append(scored(regions.ravel().round(1).tolist(), Path(folder), values))
    print(f"\nof all objects, {args.draws} draws up to {args.share:.0%}, seed {args.seed}")
    for key in KEYS:
        wrong = np.array([row[key] for row in rows[1:]])
        print(f"{key:26} exact {rows[0][key]:.3f}  wrong {wrong.mean():.3f} ({wrong.min():.3f} to {wrong.max():.3f})")


if __name__ == "__main__":
    main()
