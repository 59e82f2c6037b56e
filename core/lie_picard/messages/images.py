"""sensor_msgs/Image and CompressedImage to RGB, depth and label arrays.

Colours are converted by cv_bridge where the caller brings it, by rosbags-image elsewhere. Both ignore row padding and
trust the header, so every message is checked and packed here first: a bad one is an `ImageError`, whatever is in it.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.image import message_to_cvimage

from lie_picard.estimation.estimator import ImageError

# Type and number of the values of a pixel.
_LAYOUT = {
    "rgb8": ("u1", 3), "bgr8": ("u1", 3), "rgba8": ("u1", 4), "bgra8": ("u1", 4),
    "rgb16": ("u2", 3), "bgr16": ("u2", 3), "rgba16": ("u2", 4), "bgra16": ("u2", 4),
    "mono8": ("u1", 1), "mono16": ("u2", 1), "8UC1": ("u1", 1), "8UC3": ("u1", 3),
    "bayer_rggb8": ("u1", 1), "bayer_bggr8": ("u1", 1), "bayer_gbrg8": ("u1", 1), "bayer_grbg8": ("u1", 1),
    "bayer_rggb16": ("u2", 1), "bayer_bggr16": ("u2", 1), "bayer_gbrg16": ("u2", 1), "bayer_grbg16": ("u2", 1),
    "yuv422": ("u1", 2), "uyvy": ("u1", 2), "yuv422_yuy2": ("u1", 2), "yuyv": ("u1", 2),
    "16UC1": ("u2", 1), "32SC1": ("i4", 1), "32FC1": ("f4", 1),
}  # fmt: skip
DEPTH = ("16UC1", "32FC1", "mono16")
MASK = ("16UC1", "32SC1", "8UC1", "mono16", "mono8")
COLOUR = tuple(sorted(_LAYOUT.keys() - {"16UC1", "32SC1", "32FC1"}))
# What both libraries know under one of its names only; a plain 8-bit matrix is grey or, as in OpenCV, BGR.
_ALIAS = {"8UC1": "mono8", "8UC3": "bgr8", "uyvy": "yuv422", "yuyv": "yuv422_yuy2"}
# More than any camera has; a file of some bytes can promise gigabytes.
MAX_COMPRESSED_PIXELS = 1 << 26
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


@dataclass(frozen=True)
class Raw:
    """The fields of a sensor_msgs/Image that conversion libraries read."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: bytes


def _by_rosbags(message: Any) -> Any:
    return message_to_cvimage(message, "rgb8")


def to_rgb(message: Any, convert: Callable[[Any], Any] = _by_rosbags) -> NDArray[np.uint8]:
    """The image as (H, W, 3) uint8 RGB; JPEG and PNG as stored, whatever orientation their EXIF asks for.

    Args:
        convert: from a checked raw image to RGB.

    Raises:
        ImageError: unknown encoding, empty image, or data that does not fit its header; one line with the remedy.
    """
    message = _raw(message, lossless=False)
    packed = _packed(message, _pixels(message, COLOUR))
    try:
        rgb = np.ascontiguousarray(convert(packed))
    except Exception as error:  # whatever a conversion library raises, the frame is bad and the node lives
        raise ImageError(
            f"image of encoding '{message.encoding}' cannot be converted: {' '.join(str(error).split())}"
        ) from error
    if rgb.shape != (message.height, message.width, 3) or rgb.dtype != np.uint8:
        raise ImageError(f"image of encoding '{message.encoding}' became {rgb.dtype} {rgb.shape}: publish rgb8")
    return rgb


def to_depth(message: Any) -> NDArray[np.float32]:
    """Distances along the optical axis, (H, W) float32 metres; NaN where unknown (0, negative or not finite).

    32FC1 holds metres, 16UC1 and mono16 millimetres (REP-118).

    Raises:
        ImageError: as `to_rgb`.
    """
    message = _raw(message, lossless=True)
    pixels = _pixels(message, DEPTH)[..., 0]
    depth = pixels.astype(np.float32)
    if pixels.dtype == np.uint16:
        depth /= 1000
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


def to_mask(message: Any) -> NDArray[np.int32]:
    """Labels (H, W), 0 where there is no object (negative ones, too).

    Raises:
        ImageError: as `to_rgb`.
    """
    message = _raw(message, lossless=True)
    return np.maximum(_pixels(message, MASK)[..., 0].astype(np.int32), 0)


def _pixels(message: Any, known: Collection[str]) -> NDArray[Any]:
    """(H, W, C) in this machine's byte order, without row padding, after checking that the numbers agree."""
    width, height, step, encoding = message.width, message.height, message.step, message.encoding
    if encoding not in known:
        raise ImageError(f"unknown image encoding '{encoding[:40]}': publish one of {', '.join(known)}")
    if width == 0 or height == 0:
        raise ImageError(f"the image is empty ({width} x {height}): check the camera driver")
    kind, channels = _LAYOUT[encoding]
    dtype = np.dtype(kind)
    row = width * channels * dtype.itemsize
    if step < row or len(message.data) != step * height:
        raise ImageError(
            f"image data does not fit its header ({len(message.data)} bytes; {height} rows of step {step}, "
            f"{width} pixels of '{encoding}' need {row}): fix width, height, step or encoding"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, :row]
    pixels = np.ascontiguousarray(rows).view(dtype).reshape(height, width, channels)
    foreign = bool(message.is_bigendian) != (sys.byteorder == "big") and dtype.itemsize > 1
    return pixels.byteswap() if foreign else pixels


def _packed(message: Any, pixels: NDArray[Any]) -> Any:
    """The message with these pixels of it, under an encoding that both libraries know."""
    encoding, row = _ALIAS.get(message.encoding, message.encoding), pixels[0].nbytes
    native = sys.byteorder == "big"
    if (encoding, row, native) == (message.encoding, message.step, bool(message.is_bigendian)):
        return message
    return Raw(message.height, message.width, encoding, int(native), row, pixels.tobytes())


def _raw(message: Any, lossless: bool) -> Any:
    """The message itself, or what its JPEG or PNG holds.

    Args:
        lossless: refuse JPEG, which invents depths and labels.
    """
    if hasattr(message, "encoding"):
        return message
    data = bytes(message.data)
    if "compressedDepth" in message.format:
        raise ImageError("compressedDepth is not understood: subscribe through image_transport, or send the depth raw")
    if lossless and not data.startswith(_PNG):
        raise ImageError(f"'{message.format[:60]}' loses what a depth or label image means: send it raw or as PNG")
    width, height = _promised_size(data)
    if not 0 < width * height <= MAX_COMPRESSED_PIXELS:
        raise ImageError(f"compressed image claims {width} x {height} pixels: at most {MAX_COMPRESSED_PIXELS} are read")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)  # unchanged: no EXIF turn either
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (height, width):
        raise ImageError(f"compressed image of {len(data)} bytes cannot be decoded: check the camera and the network")
    pixels = pixels.reshape(height, width, -1)
    encoding, native = _encoding(message.format, pixels), int(sys.byteorder == "big")
    return Raw(height, width, encoding, native, pixels[0].nbytes, pixels.tobytes())


def _encoding(description: str, pixels: NDArray[Any]) -> str:
    """What decoded pixels (H, W, C) mean, by a description such as "rgb8; jpeg compressed bgr8" or "png".

    image_transport turns colours to BGR before it compresses, and says so; where it does not, the file holds the
    original's order. A mosaic or a depth image that was not turned into anything keeps its meaning.
    """
    original, _, how = (part.strip() for part in description.partition(";"))
    became = re.search(r"compressed\s+(\w+)", how)
    depth, channels = 8 * pixels.dtype.itemsize, pixels.shape[2]
    if channels == 1:
        kept = not became and _LAYOUT.get(original) == (pixels.dtype.str[1:], 1)
        return original if kept else f"mono{depth}"
    swapped = how and original in COLOUR and not (became and became[1].startswith("bgr"))
    return f"{'rgb' if swapped else 'bgr'}{'a' if channels == 4 else ''}{depth}"


def _promised_size(data: bytes) -> tuple[int, int]:
    """Width and height that a complete JPEG or PNG promises, before anything of that size is allocated."""
    if data.startswith(_PNG) and data[12:16] == b"IHDR":
        at = len(_PNG)
        # OpenCV allocates what a chunk claims before it reads it: all must fit.
        while (end := at + 12 + int.from_bytes(data[at : at + 4], "big")) <= len(data):
            if data[at + 4 : at + 8] == b"IEND":
                width, height = struct.unpack_from(">II", data, 16)
                return width, height
            at = end
    # Old decoders fill the rest of a truncated JPEG with grey instead of refusing it: look for its end marker.
    elif data.startswith(_JPEG) and data.rfind(b"\xff\xd9") > 0:
        at = 2
        while at + 9 <= len(data) and data[at] == 0xFF:
            marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                height, width = struct.unpack_from(">HH", data, at + 5)
                return width, height
            at += 1 if marker == 0xFF else 2 + length
    raise ImageError(
        f"compressed image of {len(data)} bytes is no complete JPEG or PNG: check its format and the network"
    )
