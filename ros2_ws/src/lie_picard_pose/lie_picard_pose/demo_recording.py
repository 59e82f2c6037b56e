"""The demo recording: five solids turning in front of a camera, as a rosbag2 (mcap) with the true poses.

Topics: /image (sensor_msgs/Image), /camera_info, and /tf with the truth as `truth/<object>`.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lie_picard import so3
from lie_picard.data.scene import Placed, render_scene
from lie_picard.data.seeds import test_generator
from lie_picard.geometry.camera import Camera
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.recording.message_types import header_of, types, writer
from lie_picard.recording.recorder import Recorder

RATE_HZ = 10.0
CAMERA_FRAME = "camera_optical_frame"
_START_NS = 1_790_000_000_000_000_000
DIAMETER, _RANGE = 0.08, 0.80  # metres
_SEED = 2026

# A 640 x 480 camera with a long lens: the solids stand close to its axis, where light falls on them as in training.
CAMERA = Camera(
    matrix=np.array([[1815.0, 0.0, 319.5], [0.0, 1815.0, 239.5], [0.0, 0.0, 1.0]]),
    distortion=np.zeros(0),
    width=640,
    height=480,
)
_TOPICS = {
    "/image": "sensor_msgs/msg/Image",
    "/camera_info": "sensor_msgs/msg/CameraInfo",
    "/tf": "tf2_msgs/msg/TFMessage",
}
# Azimuth and elevation of each solid's centre from the optical axis, degrees: three above, two below.
_DIRECTIONS = {"tet": (-6.3, -3.4), "cube": (0.0, -3.4), "icosa": (6.3, -3.4), "cone": (-3.2, 3.4), "cyl": (3.2, 3.4)}
OBJECTS = tuple(_DIRECTIONS)


def scene(frames: int) -> list[Placed]:
    """The five solids, each turning at 25 degrees a second about an axis that wanders."""
    generator = test_generator(_SEED)
    time = torch.arange(frames, dtype=torch.float64) / RATE_HZ
    objects = []
    for name, angles in _DIRECTIONS.items():
        azimuth, elevation = (math.radians(a) for a in angles)
        direction = np.array([math.tan(azimuth), math.tan(elevation), 1.0])
        first = so3.uniform(1, generator=generator, dtype=torch.float64)
        axes = torch.nn.functional.normalize(torch.randn(2, 3, generator=generator, dtype=torch.float64), dim=1)
        turns = so3.about_axis(axes[0], time * math.radians(20)) @ so3.about_axis(axes[1], time * math.radians(9))
        objects.append(
            Placed(catalogue(BUILT_IN)[name], DIAMETER, _RANGE * direction / np.linalg.norm(direction), first @ turns)
        )
    return objects


def write(folder: Path, frames: int) -> None:
    """Write the recording; the folder appears only once it is complete."""
    objects = scene(frames)
    images = render_scene(CAMERA, objects)
    t = types()
    with Recorder(folder, _TOPICS) as recording:
        for frame in range(frames):
            stamp_ns = _START_NS + round(frame / RATE_HZ * 1e9)
            header = header_of(stamp_ns, CAMERA_FRAME)
            rgb = np.repeat(images[frame][..., None], 3, 2)
            image = t.Image(header=header, height=CAMERA.height, width=CAMERA.width, encoding="rgb8",
                            step=CAMERA.width * 3, data=rgb.reshape(-1))  # fmt: skip
            truth = [_truth(header, placed, frame) for placed in objects]
            recording.write("/camera_info", stamp_ns, _camera_info(header))
            recording.write("/tf", stamp_ns, t.TFMessage(transforms=truth))
            recording.write("/image", stamp_ns, image)


def _camera_info(header: Any) -> Any:
    matrix = CAMERA.matrix
    return types().CameraInfo(
        header=header,
        height=CAMERA.height,
        width=CAMERA.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=matrix.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([matrix, np.zeros((3, 1))]).reshape(-1),
    )


def _truth(header: Any, placed: Placed, frame: int) -> Any:
    pose = writer().pose_of(placed.rotations[frame].numpy(), placed.position)
    return writer().transform_stamped(header, f"truth/{placed.name}", pose)


def main() -> int:
    """Entry point of the executable `demo_recording`."""
    parser = argparse.ArgumentParser(prog="demo_recording", description=__doc__)
    parser.add_argument("folder", type=Path, help="rosbag2 folder to write")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of the recording (default %(default)s)")
    parser.add_argument("--force", action="store_true", help="write it anew where it exists")
    args, _ = parser.parse_known_args()
    if args.folder.exists() and not args.force:
        return 0
    if args.seconds <= 0:
        parser.error("--seconds must be positive")
    args.folder.parent.mkdir(parents=True, exist_ok=True)
    write(args.folder, max(1, round(args.seconds * RATE_HZ)))
    size = sum(file.stat().st_size for file in args.folder.iterdir())
    print(f"wrote {args.folder} ({size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
