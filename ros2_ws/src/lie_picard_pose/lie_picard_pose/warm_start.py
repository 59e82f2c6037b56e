"""What a warm start saves on a recording: rounds of the parallel samplers, cold and from the image before.

Needs no running ROS. The recording is one of `demo_recording`: images, camera_info, and the truth in TF.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ament_index_python.packages import get_package_share_directory
from rich.console import Console
from rich.table import Table
from rosbags.highlevel import AnyReader

from lie_picard import PoseEstimator, SamplerOptions, machine, so3
from lie_picard.estimation.poses import Target, ViewCache, estimate_poses
from lie_picard.geometry.camera import Camera, sphere_region
from lie_picard.messages.read import camera_of, rotation_of
from lie_picard.objects.symsol.solids import solid
from lie_picard.sampling import WarmStart
from lie_picard_pose.demo_recording import DIAMETER

PLANS = {
    "picard, 100 euler steps": SamplerOptions.published("picard", 100, window=100),
    "newton, 100 euler steps": SamplerOptions.published("newton", 100),
    "newton, 8 multistep steps": SamplerOptions("newton"),
}
_TRUTH = "truth/"


def frames(bag: Path) -> Iterator[tuple[np.ndarray, Camera, dict[str, tuple[torch.Tensor, np.ndarray]]]]:
    """RGB image, camera and true poses (rotation, position [m]) of each image."""
    with AnyReader([bag]) as reader:
        camera, truth = None, {}
        for connection, _, data in reader.messages():
            message: Any = reader.deserialize(data, connection.msgtype)
            if connection.topic == "/camera_info":
                camera = camera_of(message, rectified=False)
            elif connection.topic == "/tf":
                for t in message.transforms:
                    p, rotation = t.transform.translation, torch.from_numpy(rotation_of(t.transform.rotation))
                    truth[t.child_frame_id.removeprefix(_TRUTH)] = rotation, np.array([p.x, p.y, p.z])
            elif connection.topic == "/image" and camera is not None and truth:
                yield message.data.reshape(message.height, message.width, 3), camera, dict(truth)


def measure(bag: Path, samples: int, seed: int, cut: int) -> list[dict[str, Any]]:
    """One row a plan and start. The warm one also crosses a cut: `cut` images are left out once, halfway."""
    estimator = PoseEstimator.from_checkpoint("default", "cpu")
    recorded = list(frames(bag))
    middle = len(recorded) // 2
    played = recorded[:middle] + recorded[middle + cut :]
    rows = []
    for plan, options in PLANS.items():
        for start in ("cold", "warm"):
            views, warm = ViewCache(), {name: WarmStart() for name in played[0][2]}
            rounds: list[int] = []
            at_cut: list[int] = []
            evaluations, errors, found = [], [], []
            for number, (image, camera, truth) in enumerate(played):
                for name, (rotation, position) in truth.items():
                    target = Target(name, DIAMETER, sphere_region(camera, position, DIAMETER / 2))
                    state = warm[name] if start == "warm" else None
                    (poses,) = estimate_poses(estimator, image, camera, [target], samples, seed, options, views, state)
                    result = poses.hypotheses
                    (at_cut if number == middle else rounds).append(result.rounds)
                    evaluations.append(result.evaluations)
                    errors.append(so3.degrees(solid(name).distance(result.rotations, rotation.float())))
                    found.append(_reached(name, result.rotations, rotation.float()))
            error = torch.cat(errors)
            rows.append(
                {
                    "plan": plan,
                    "start": start,
                    "rounds": statistics.mean(rounds[len(played[0][2]) :]),  # without the very first image
                    "rounds_at_cut": statistics.mean(at_cut),
                    "evaluations": statistics.mean(evaluations),
                    "mean_deg": float(error.mean()),
                    "median_deg": float(error.median()),
                    "modes_reached": statistics.mean(found),
                }
            )
    return rows


def _reached(name: str, samples: torch.Tensor, truth: torch.Tensor) -> float:
    """Share of the true poses (about an axis: each 10 degrees) with a sample within 5 degrees."""
    every = solid(name).equivalents(truth[None], 10.0)[0]
    return float((so3.degrees(so3.pairwise_angle(every, samples).amin(1)) <= 5).float().mean())


def main() -> int:
    """Entry point of the executable `warm_start`."""
    parser = argparse.ArgumentParser(prog="warm_start", description=__doc__)
    default = Path(get_package_share_directory("lie_picard_pose")) / "demo" / "turning_solids"
    parser.add_argument("bag", type=Path, nargs="?", default=default, help="recording (default: the demo's)")
    parser.add_argument("--samples", type=int, default=16, help="samples an object (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of every image's start")
    parser.add_argument("--cut", type=int, default=30, help="images left out at the scene cut (default %(default)s)")
    parser.add_argument("--json", type=Path, help="write the result as JSON")
    args = parser.parse_args()
    rows = measure(args.bag, args.samples, args.seed, args.cut)
    result = {"machine": machine.describe(), "seed": args.seed, "samples": args.samples, "rows": rows}
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    table = Table(box=None)
    for key in rows[0]:
        table.add_column(key, justify="right")
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    console = Console(width=120)
    console.print(table)
    console.print(machine.one_line(result["machine"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
