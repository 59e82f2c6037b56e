"""Images in, scenes for `lie-picard view` out, by the node's own code: image files, and recordings."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from lie_picard.estimation.estimator import ImageError
from lie_picard.estimation.several import estimator_of
from lie_picard.files import read_at_most
from lie_picard.geometry.camera import Camera, CameraError
from lie_picard.node.pipeline import Frame, Pipeline
from lie_picard.node.settings import Settings
from lie_picard.recording.bag import find
from lie_picard.recording.frames import Topics, frames, resolve
from lie_picard.recording.message_types import header_of, types, writer
from lie_picard.recording.rendered import camera_info
from lie_picard.rendering.clean import Crop
from lie_picard.view.scene import Scene, scene

_MAX_BYTES = 1 << 20  # of a calibration


@dataclass(frozen=True)
class Lens:
    """The camera of image files.

    Attributes:
        file: its calibration as ROS's camera_calibration writes it (YAML); None: an ideal lens.
        opening_deg: field of view along the image's shorter side, where there is no file; None: the model's own.
    """

    file: Path | None = None
    opening_deg: float | None = None

    def info(self, width: int, height: int, crop: Crop) -> Any:
        """The CameraInfo of images of this size.

        Raises:
            ValueError: it does not fit them, or cannot be read.
        """
        if self.file is not None:
            return _calibrated(self.file, width, height)
        tangent = crop.half_angle_tangent
        if self.opening_deg is not None:
            if not 0 < self.opening_deg < 170:
                raise ValueError(f"--fov {self.opening_deg:g}: give degrees between 0 and 170")
            tangent = math.tan(math.radians(self.opening_deg) / 2)
        focal = min(width, height) / 2 / tangent
        matrix = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        return camera_info(types().Header(), Camera(matrix, np.zeros(0), width, height))


def of_images(files: Sequence[Path], settings: Settings, lens: Lens, device: str = "auto") -> Iterator[Scene]:
    """Image files, each on its own.

    Raises:
        ValueError: one cannot be read, or used.
    """
    pipeline = Pipeline(estimator_of(settings.checkpoint, device), writer())
    config = pipeline.estimator.config
    for file in files:
        image = read_image(file)
        height, width = image.shape[:2]
        info = lens.info(width, height, Crop(config.distance, config.fill))
        message = types().Image(
            header=header_of(0, "camera"), height=height, width=width, encoding="rgb8", step=3 * width,
            data=image.reshape(-1),
        )  # fmt: skip
        try:
            result = pipeline(Frame(message, info), settings, follow=False)
        except (ImageError, CameraError) as error:
            raise ValueError(f"{file}: {error}") from None
        assert result.shot is not None
        yield scene(result.shot, result, settings.targets, settings.meshes, caption=file.name)


def of_recording(
    path: Path,
    settings: Settings,
    topics: Topics,
    most: int,
    device: str = "auto",
    on_image: Callable[[int, int], object] = lambda done, of: None,
    on_problem: Callable[[str], object] = lambda text: None,
) -> Iterator[Scene]:
    """At most so many images of a recording, evenly spread; those between are estimated too, as objects are followed.

    Args:
        on_image: called after each image with how many are done, of how many.
        on_problem: called with what is wrong with an image that is left out.

    Raises:
        BagError: there is no recording, or what is needed is not in it.
    """
    pipeline = Pipeline(estimator_of(settings.checkpoint, device), writer())
    with tempfile.TemporaryDirectory() as folder, find(path, Path(folder)).opened() as reader:
        topics = resolve(reader, topics, settings)
        count = sum(one.msgcount for one in reader.connections if one.topic == topics.image)
        step, first = max(1, math.ceil(count / most)), None
        for index, seen in enumerate(frames(reader, topics, settings)):
            first = seen.log_ns if first is None else first
            if seen.frame is not None:
                caption = f"{path.name}, {(seen.log_ns - first) * 1e-9:.2f} s"
                try:
                    result = pipeline(seen.frame, settings)
                except (ImageError, CameraError) as error:  # as the node: the others are shown
                    on_problem(f"{caption}: {error}")
                    result = None
                if result is not None and index % step == 0 and result.shot is not None:
                    yield scene(result.shot, result, settings.targets, settings.meshes, caption=caption)
            on_image(index + 1, count)


def read_image(file: Path) -> NDArray[np.uint8]:
    """An image file as (H, W, 3) RGB.

    Raises:
        ValueError: it is none.
    """
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file")
    try:
        pixels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR) if file.stat().st_size else None
    except cv2.error:  # larger than it reads
        pixels = None
    if pixels is None:
        raise ValueError(f"{file} is no image that can be read: give PNG or JPEG, or a recording (rosbag2)")
    return np.ascontiguousarray(pixels[..., ::-1])


def _calibrated(file: Path, width: int, height: int) -> Any:
    try:
        given = yaml.safe_load(read_at_most(file, _MAX_BYTES))
        parts = {name: [float(value) for value in given[key]["data"]]
                 for name, key in (("d", "distortion_coefficients"), ("k", "camera_matrix"))}  # fmt: skip
        size = int(given["image_width"]), int(given["image_height"])
        model = str(given.get("distortion_model") or given.get("camera_model") or "plumb_bob")
    except OSError as error:
        raise ValueError(
            f"{file} cannot be read ({error.strerror}): give the YAML that camera_calibration writes"
        ) from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ValueError(
            f"{file} is no calibration ({type(error).__name__}): give the YAML that ROS's camera_calibration writes, "
            "with image_width, image_height, camera_matrix and distortion_coefficients"
        ) from None
    if size != (width, height):
        raise ValueError(f"{file} is of {size[0]} x {size[1]} pixels, the image has {width} x {height}")
    info = types().CameraInfo(width=width, height=height, distortion_model=model)
    info.d, info.k = np.array(parts["d"]), np.array(parts["k"])
    if info.k.size != 9:
        raise ValueError(f"{file}: camera_matrix has {info.k.size} numbers, not 9")
    return info
