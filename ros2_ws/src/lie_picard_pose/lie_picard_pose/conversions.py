"""This node's message classes and colour conversion, for `lie_picard.messages`, which knows neither."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import geometry_msgs.msg
import nav_msgs.msg
import numpy as np
import sensor_msgs.msg
import std_msgs.msg
import visualization_msgs.msg
from ament_index_python import PackageNotFoundError, get_package_prefix
from numpy.typing import NDArray

import lie_picard_msgs.msg
from lie_picard.messages import images
from lie_picard.messages.write import Writer

_PACKAGES = geometry_msgs.msg, lie_picard_msgs.msg, nav_msgs.msg, sensor_msgs.msg, std_msgs.msg, visualization_msgs.msg
WRITER = Writer(SimpleNamespace(**{name: kind for package in _PACKAGES for name, kind in vars(package).items()}))


def to_rgb(message: Any, bits: images.BitDepth | None = None) -> NDArray[np.uint8]:
    """`images.to_rgb`, by cv_bridge where a ROS is installed."""
    convert = _cv_bridge()
    return images.to_rgb(message, bits=bits) if convert is None else images.to_rgb(message, convert, bits)


def image_of(header: Any, pixels: NDArray[np.uint8]) -> Any:
    """An RGB picture (H, W, 3) as sensor_msgs/Image."""
    height, width, _ = pixels.shape
    message = sensor_msgs.msg.Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width)
    message.data.frombytes(np.ascontiguousarray(pixels))  # assigning bytes goes through a slow element-wise check
    return message


@functools.cache
def _cv_bridge() -> Callable[[Any], Any] | None:
    try:
        get_package_prefix("cv_bridge")  # PyPI's package of that name is ROS 1's: only a ROS install counts
    except PackageNotFoundError:
        return None
    from cv_bridge import CvBridge

    bridge = CvBridge()
    return lambda message: bridge.imgmsg_to_cv2(message, "rgb8")
