"""What a warm start saves on a recording: rounds of the parallel samplers, cold and from the image before.

Needs no running ROS. The recording is one of `demo_recording`: images, camera_info, and the truth in TF.
"""

from __future__ import annotations

import argparse
import json
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

from lie_picard import PoseEstimator, machine
from lie_picard.evaluation.warm_start import Frame, measure
from lie_picard.messages.read import camera_of, rotation_of, vector_of
from lie_picard_pose.demo_recording import DIAMETER

_TRUTH = "truth/"


def frames(bag: Path) -> Iterator[Frame]:
    """The images of a recording of `demo_recording`, each with the truth before it."""
    with AnyReader([bag]) as reader:
        camera, truth = None, {}
        for connection, _, data in reader.messages():
            message: Any = reader.deserialize(data, connection.msgtype)
            if connection.topic == "/camera_info":
                camera = camera_of(message, rectified=False)
            elif connection.topic == "/tf":
                for t in message.transforms:
                    place, rotation = vector_of(t.transform.translation), rotation_of(t.transform.rotation)
                    truth[t.child_frame_id.removeprefix(_TRUTH)] = torch.from_numpy(rotation), place
            elif connection.topic == "/image" and camera is not None and truth:
                image: np.ndarray = message.data.reshape(message.height, message.width, 3)
                yield Frame(image, camera, dict(truth))


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
    estimator = PoseEstimator.from_checkpoint("default", "cpu")
    rows = measure(estimator, list(frames(args.bag)), DIAMETER, args.samples, args.seed, args.cut)
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
