"""Recordings that are rendered: objects that turn or move in front of a camera, as a rosbag2 (mcap) with true poses.

Topics: /image (sensor_msgs/Image) or /image/compressed, /camera_info, and /tf with the truth as `truth/<object>`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from lie_picard import so3
from lie_picard.data.bop.render import Placement, render
from lie_picard.data.seeds import test_generator
from lie_picard.files import atomic_write
from lie_picard.geometry.camera import Camera, sphere_region
from lie_picard.node.pictures import jpeg
from lie_picard.objects import Object
from lie_picard.recording.message_types import header_of, types, writer
from lie_picard.recording.recorder import Recorder
from lie_picard.rendering.clean import BACKGROUND
from lie_picard.rendering.randomisation import photograph_of

RATE_HZ = 10.0
CAMERA_FRAME = "camera_optical_frame"
DIAMETER = 0.08  # metres, of objects of any size
TOPICS = {
    "/image": "sensor_msgs/msg/Image",
    "/camera_info": "sensor_msgs/msg/CameraInfo",
    "/tf": "tf2_msgs/msg/TFMessage",
}
_JPEG = 80  # quality
_START_NS = 1_790_000_000_000_000_000
_FOCAL = 2.5  # focal length over the image's width: a long lens, as in training
_FILL = 0.75  # an object's diameter over its share of the image
_PAD = 1.05  # side of a region over the object's
_PERIODS_S = 9.0, 13.0  # of the movement to the side and up, of the first object; others are slower, by a part each
_REACH = 0.75, 0.3  # of the movement, in image widths and heights; the first object leaves the image
_NEARER = 0.2  # share by which the distance changes
_AWAY = 1.6  # times as far as those that turn in place


def turning(frames: int, generator: torch.Generator) -> Tensor:
    """Rotations that turn at 20 to 29 degrees a second about an axis that wanders. -> (frames, 3, 3) float64."""
    time = torch.arange(frames, dtype=torch.float64) / RATE_HZ
    first = so3.uniform(1, generator=generator, dtype=torch.float64)
    axes = torch.nn.functional.normalize(torch.randn(2, 3, generator=generator, dtype=torch.float64), dim=1)
    turns = so3.about_axis(axes[0], time * math.radians(20)) @ so3.about_axis(axes[1], time * math.radians(9))
    return first @ turns


def write_images(
    folder: Path,
    camera: Camera,
    frames: int,
    take: Callable[[int], tuple[NDArray[np.uint8], dict[str, Any]]],
    compressed: bool = False,
) -> None:
    """Write a recording; the folder appears only once it is complete.

    Args:
        take: a frame's (H, W, 3) RGB image, and the true pose (4, 4) camera_from_object of each object, metres.
        compressed: as JPEG, on /image/compressed.
    """
    t = types()
    topics = dict(TOPICS)
    if compressed:
        del topics["/image"]
        topics["/image/compressed"] = "sensor_msgs/msg/CompressedImage"
    with Recorder(folder, topics) as recording:
        for frame in range(frames):
            rgb, poses = take(frame)
            stamp_ns = _START_NS + round(frame / RATE_HZ * 1e9)
            header = header_of(stamp_ns, CAMERA_FRAME)
            topic = "/image"
            if compressed:
                topic = "/image/compressed"
                image = t.CompressedImage(header=header, format="jpeg", data=jpeg(rgb, _JPEG))
            else:
                image = t.Image(header=header, height=camera.height, width=camera.width, encoding="rgb8",
                                step=camera.width * 3, data=np.ascontiguousarray(rgb).reshape(-1))  # fmt: skip
            truth = [
                writer().transform_stamped(header, f"truth/{name}", writer().pose_of(pose[:3, :3], pose[:3, 3]))
                for name, pose in poses.items()
            ]
            recording.write("/camera_info", stamp_ns, camera_info(header, camera))
            recording.write("/tf", stamp_ns, t.TFMessage(transforms=truth))
            recording.write(topic, stamp_ns, image)


def camera_info(header: Any, camera: Camera) -> Any:
    """The CameraInfo of an ideal camera: its distortion is left out."""
    matrix = camera.matrix
    return types().CameraInfo(
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=matrix.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([matrix, np.zeros((3, 1))]).reshape(-1),
    )


@dataclass(frozen=True)
class Turning:
    """What is recorded: objects side by side that turn in place.

    Attributes:
        objects: that appear, each once. frames: number of images, ten a second.
        width, height: of the images, pixels. background: one of `data.bop.write.BACKGROUNDS`.
        moving: they move freely, the first one out of the image and back, instead of turning in place.
        compressed: the images are JPEGs.
    """

    objects: Sequence[Object]
    frames: int
    width: int = 640
    height: int = 480
    background: str = "dark"
    moving: bool = False
    compressed: bool = False

    @property
    def camera(self) -> Camera:
        """That takes the images."""
        focal = _FOCAL * self.width
        matrix = np.array([[focal, 0, (self.width - 1) / 2], [0, focal, (self.height - 1) / 2], [0, 0, 1]])
        return Camera(matrix, np.zeros(0), self.width, self.height)

    def positions(self) -> list[NDArray[np.float64]]:
        """Centre (3,) of each object in the camera's frame, metres: in the middle of its share of the image."""
        count, aspect = len(self.objects), self.width / self.height
        rows = min(range(1, count + 1), key=lambda n: -min(aspect / math.ceil(count / n), 1 / n))
        columns = math.ceil(count / rows)
        side = min(self.width / columns, self.height / rows)
        found = []
        for index, shape in enumerate(self.objects):
            row, column = divmod(index, columns)
            there = min(columns, count - row * columns)  # in this row: its objects are in the middle
            pixel = np.array([self.width * (column + 0.5) / there, self.height * (row + 0.5) / rows])
            ray = self.camera.rays(pixel[None])[0]
            distance = _FOCAL * self.width * (shape.diameter or DIAMETER) / (_FILL * side)
            found.append(distance * ray / np.linalg.norm(ray))
        return found

    def paths(self) -> list[NDArray[np.float64]]:
        """Centres (frames, 3) of each object in the camera's frame, metres, by `positions` or on their ways."""
        time = np.arange(self.frames) / RATE_HZ
        found = []
        for index, place in enumerate(self.positions()):
            if not self.moving:
                found.append(np.repeat(place[None], self.frames, 0))
                continue
            slower = 1 + index / max(1, len(self.objects))
            phase = 2 * math.pi * index / len(self.objects)
            across, up = (np.sin(2 * math.pi * time / (period * slower) + phase) for period in _PERIODS_S)
            reach = _REACH[0] if index == 0 else 0.5 * _REACH[0]
            pixels = np.stack([self.width * (0.5 + reach * across), self.height * (0.5 + _REACH[1] * up)], 1)
            rays = self.camera.rays(pixels)
            away = _AWAY * np.linalg.norm(place) * (1 + _NEARER * np.sin(2 * math.pi * time / 7.0 + phase))
            found.append(away[:, None] * rays / np.linalg.norm(rays, axis=1, keepdims=True))
        return found


def write(folder: Path, what: Turning, seed: int = 0, on_image: Callable[[], object] = lambda: None) -> Path:
    """Render a recording. -> the parameters file beside it, which says what the node is to look for, and where.

    Raises:
        FileExistsError: the folder is there already. ValueError: no objects, or an image of no use.
        PhotographsError: no backgrounds.
    """
    parameters = folder.with_name(folder.name + ".yaml")
    for place in (folder, parameters):
        if place.exists():
            raise FileExistsError(f"{place} exists already: remove it, or choose another name")
    if not what.objects or min(what.width, what.height) < 32 or max(what.width, what.height) > 8192:
        raise ValueError("a recording needs an object, and images 32 to 8192 pixels wide and high")
    generator = test_generator(seed)
    radii = [(shape.diameter or DIAMETER) / 2 for shape in what.objects]
    rotations = [turning(what.frames, generator) for _ in what.objects]
    paths = what.paths()
    backdrop: NDArray[np.float32] = np.full((what.height, what.width, 3), BACKGROUND, np.float32)
    if what.background == "photographs":
        backdrop = photograph_of("test", what.width, what.height, generator)

    def take(frame: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        placements = []
        for number, (shape, radius, turns, path) in enumerate(
            zip(what.objects, radii, rotations, paths, strict=True), 1
        ):
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = turns[frame].numpy(), path[frame]
            placements.append(Placement(shape, number, radius, pose))
        picture = render(what.camera, placements, backdrop).picture
        on_image()
        return picture, {one.shape.name: one.pose for one in placements}

    write_images(folder, what.camera, what.frames, take, what.compressed)
    regions = []
    for position, radius in zip(what.positions(), radii, strict=True):
        region = sphere_region(what.camera, position, radius * _PAD)
        regions += [round(value, 1) for value in (region.x, region.y, region.width, region.height)]
    values: dict[str, Any] = {
        "objects": [shape.name for shape in what.objects],
        "diameters": [round(2 * radius, 6) for radius in radii],
    }
    if not what.moving:  # else they are found, and followed
        values["regions"] = regions
    if what.compressed:
        values["transport"] = "compressed"
    with atomic_write(parameters) as partial:
        text = yaml.safe_dump({"/**": {"ros__parameters": values}}, default_flow_style=None, sort_keys=False)
        partial.write_text(f"# What to look for in the recording {folder.name}, and where.\n{text}")
    return parameters
