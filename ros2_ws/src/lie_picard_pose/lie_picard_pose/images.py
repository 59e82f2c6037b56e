"""sensor_msgs/Image to RGB arrays: cv_bridge where a ROS is installed, rosbags-image elsewhere.

Both libraries ignore row padding and trust the header, so the message is checked and packed here first.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from lie_picard.estimator import ImageError

# Bytes a pixel of the encodings that can become RGB; a depth image cannot.
_BYTES = {
    "rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "mono16": 2, "8UC1": 1,
    "bayer_rggb8": 1, "bayer_bggr8": 1, "bayer_gbrg8": 1, "bayer_grbg8": 1, "yuv422": 2, "yuv422_yuy2": 2,
}  # fmt: skip
# A one-channel 8-bit matrix is grey; the libraries know that only under its colour name.
_ALIAS = {"8UC1": "mono8"}


@functools.cache
def _converter() -> Callable[[Image], Any]:
    """The library that this installation has, as a function to RGB."""
    from ament_index_python import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix("cv_bridge")  # PyPI's package of that name is ROS 1's: only a ROS install counts
    except PackageNotFoundError:
        from rosbags.image import message_to_cvimage

        return lambda message: message_to_cvimage(message, "rgb8")
    from cv_bridge import CvBridge

    bridge = CvBridge()
    return lambda message: bridge.imgmsg_to_cv2(message, "rgb8")


def to_rgb(message: Image) -> NDArray[np.uint8]:
    """The image as (H, W, 3) uint8 RGB.

    Raises:
        ImageError: unknown encoding, empty image, or data that does not fit its header; one line with the remedy.
    """
    packed = _packed(message)
    try:
        return np.ascontiguousarray(_converter()(packed))
    except Exception as error:  # whatever a conversion library raises, the frame is bad and the node lives
        raise ImageError(f"image of encoding '{message.encoding}' cannot be converted: {error}") from error


def _packed(message: Image) -> Image:
    """The message without row padding and in this machine's byte order, after checking that its numbers agree."""
    width, height, step = message.width, message.height, message.step
    if message.encoding not in _BYTES:
        raise ImageError(f"unknown image encoding '{message.encoding}': publish one of {', '.join(sorted(_BYTES))}")
    if width == 0 or height == 0:
        raise ImageError(f"the image is empty ({width} x {height}): check the camera driver")
    row = width * _BYTES[message.encoding]
    if step < row or len(message.data) != step * height:
        raise ImageError(
            f"image data does not fit its header ({len(message.data)} bytes; {height} rows of step {step}, "
            f"{width} pixels of '{message.encoding}' need {row}): fix width, height, step or encoding"
        )
    swap = message.encoding == "mono16" and bool(message.is_bigendian) != (sys.byteorder == "big")
    alias = _ALIAS.get(message.encoding, message.encoding)
    if step == row and not swap and alias == message.encoding:
        return message
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, :row]
    if swap:
        rows = np.ascontiguousarray(rows).view(np.uint16).byteswap().view(np.uint8)
    data = np.ascontiguousarray(rows).reshape(-1)
    packed = Image(header=message.header, height=height, width=width, encoding=alias, step=row)
    packed.is_bigendian = int(sys.byteorder == "big")
    packed.data.frombytes(data.tobytes())  # assigning bytes goes through a slow element-wise check
    return packed
