"""The demo recording: five solids turning in front of a camera, as a rosbag2 (mcap) with the true poses.

Topics: /image (sensor_msgs/Image), /camera_info, and /tf with the truth as `truth/<object>`.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lie_picard.data.scene import Placed, render_scene
from lie_picard.data.seeds import test_generator
from lie_picard.geometry.camera import Camera
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.recording import rendered
from lie_picard.recording.rendered import RATE_HZ

DIAMETER, _RANGE = 0.08, 0.80  # metres
_SEED = 2026

# A 640 x 480 camera with a long lens: the solids stand close to its axis, where light falls on them as in training.
CAMERA = Camera(
    matrix=np.array([[1815.0, 0.0, 319.5], [0.0, 1815.0, 239.5], [0.0, 0.0, 1.0]]),
    distortion=np.zeros(0),
    width=640,
    height=480,
)
# Azimuth and elevation of each solid's centre from the optical axis, degrees: three above, two below.
_DIRECTIONS = {"tet": (-6.3, -3.4), "cube": (0.0, -3.4), "icosa": (6.3, -3.4), "cone": (-3.2, 3.4), "cyl": (3.2, 3.4)}
OBJECTS = tuple(_DIRECTIONS)


def scene(frames: int) -> list[Placed]:
    """The five solids, each turning at 25 degrees a second about an axis that wanders."""
    generator = test_generator(_SEED)
    objects = []
    for name, angles in _DIRECTIONS.items():
        azimuth, elevation = (math.radians(a) for a in angles)
        direction = np.array([math.tan(azimuth), math.tan(elevation), 1.0])
        place = _RANGE * direction / np.linalg.norm(direction)
        objects.append(Placed(catalogue(BUILT_IN)[name], DIAMETER, place, rendered.turning(frames, generator)))
    return objects


def write(folder: Path, frames: int) -> None:
    """Write the recording; the folder appears only once it is complete."""
    objects = scene(frames)
    images = render_scene(CAMERA, objects)

    def take(frame: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float64]]]:
        poses = {}
        for placed in objects:
            poses[placed.name] = np.eye(4)
            poses[placed.name][:3, :3], poses[placed.name][:3, 3] = placed.rotations[frame].numpy(), placed.position
        return np.repeat(images[frame][..., None], 3, 2), poses

    rendered.write_images(folder, CAMERA, frames, take)


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
