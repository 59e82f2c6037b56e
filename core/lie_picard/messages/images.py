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
# Semi-planar YUV: lines and columns of one value of colour, and whether it is V before U. A plane of 8-bit luma comes
# before one of colour; `step` is the luma's.
_PLANES = {
    "nv12": (2, 2, False), "nv21": (2, 2, True), "nv16": (1, 2, False), "nv61": (1, 2, True),
    "nv24": (1, 1, False), "nv42": (1, 1, True),
}  # fmt: skip
DEPTH = ("16UC1", "32FC1", "mono16")
MASK = ("16UC1", "32SC1", "8UC1", "mono16", "mono8")
COLOUR = tuple(sorted((_LAYOUT.keys() | _PLANES.keys()) - {"32SC1", "32FC1"}))  # 16UC1: infrared
# What both libraries know under one of its names only; a plain 8-bit matrix is grey or, as in OpenCV, BGR.
_ALIAS = {"8UC1": "mono8", "16UC1": "mono16", "8UC3": "bgr8", "uyvy": "yuv422", "yuyv": "yuv422_yuy2"}
# More than any camera has; a file of some bytes can promise gigabytes.
MAX_COMPRESSED_PIXELS = 1 << 26
MAX_SCALE = 8  # of a mask or depth image to its image; beyond, a pixel is larger than what it should tell
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


class BitDepth:
    """How many bits of 16 a camera uses, from its images: 12, say, where (nearly) all values are below 4096.

    It only grows, so that a stream keeps its brightness, and only where three images in a row agree: one may be torn.
    Few brighter pixels are broken ones.
    """

    _STEPS = 8, 10, 12, 14, 16
    _BROKEN = 50_000  # one pixel of so many
    _AGREED = 3

    def __init__(self, fixed: int = 0) -> None:
        """`fixed`: the number of bits, where it is known."""
        self._fixed, self._seen, self._more = fixed, dict[str, int](), dict[str, int]()

    def __call__(self, camera: str, pixels: NDArray[Any]) -> int:
        """Bits used by a camera, of which this is an image more."""
        if self._fixed:
            return self._fixed
        broken = pixels.size // self._BROKEN
        found = next(bits for bits in self._STEPS if np.count_nonzero(pixels >> np.uint16(bits - 1) > 1) <= broken)
        seen = self._seen.get(camera, 0)
        self._more[camera] = self._more.get(camera, 0) + 1 if found > seen else 0
        if not seen or self._more[camera] >= self._AGREED:
            self._seen[camera] = found if found > seen else seen
        return max(found, seen)


def _by_rosbags(message: Any) -> Any:
    return message_to_cvimage(message, "rgb8")


def to_rgb(
    message: Any, convert: Callable[[Any], Any] = _by_rosbags, bits: BitDepth | None = None
) -> NDArray[np.uint8]:
    """The image as (H, W, 3) uint8 RGB; JPEG and PNG as stored, whatever orientation their EXIF asks for.

    Args:
        convert: from a checked raw image to RGB.
        bits: what is known of the camera's 16-bit images, of those that use fewer; None: this one alone tells.

    Raises:
        ImageError: unknown encoding, empty image, or data that does not fit its header; one line with the remedy.
    """
    camera = message.header.frame_id if hasattr(message, "header") else ""
    message = _raw(message, lossless=False)
    if message.encoding.lower() in _PLANES:
        return _from_planes(message)
    pixels = _pixels(message, COLOUR)
    if pixels.dtype == np.uint16:
        largest = (1 << (bits or BitDepth())(f"{camera} {message.encoding}", pixels)) - 1
        if largest < 0xFFFF:
            spread = np.minimum(pixels, largest).astype(np.float32) * (0xFFFF / largest)
            pixels = spread.astype(np.uint16)
            message = Raw(message.height, message.width, message.encoding, -1, 0, b"")  # to be packed anew
    packed = _packed(message, pixels)
    try:
        rgb = np.ascontiguousarray(convert(packed))
    except Exception as error:  # whatever a conversion library raises, the frame is bad and the node lives
        raise ImageError(
            f"image of encoding '{message.encoding}' cannot be converted: {' '.join(str(error).split())}"
        ) from error
    if rgb.shape != (message.height, message.width, 3) or rgb.dtype != np.uint8:
        raise ImageError(f"image of encoding '{message.encoding}' became {rgb.dtype} {rgb.shape}: publish rgb8")
    return rgb


def _from_planes(message: Any) -> NDArray[np.uint8]:
    """RGB of a semi-planar YUV image (BT.601, as OpenCV converts NV12), each value of colour repeated."""
    lines, columns, v_first = _PLANES[message.encoding.lower()]
    width, height, step, size = message.width, message.height, message.step, len(message.data)
    if width == 0 or height == 0:
        raise ImageError(f"the image is empty ({width} x {height}): check the camera driver")
    per_line, pairs = -(-height // lines), -(-width // columns)
    if step * height == size and step * 2 == width * (2 + 4 // (lines * columns)):
        step = width  # all planes' share of a row, as the definition of `step` may be understood
    # The colour's rows are as long as the luma's, or 2 / columns times where both are padded alike.
    colour = step * 2 // columns
    if step < width or colour < 2 * pairs or size != step * height + colour * per_line:
        raise ImageError(
            f"image data does not fit its header ({size} bytes; {height} rows of luma of step {step} for {width} "
            f"pixels and {per_line} of colour of '{message.encoding}' need {step * height + colour * per_line}): fix "
            "width, height, step or encoding"
        )
    data = np.frombuffer(message.data, np.uint8)
    luma = data[: step * height].reshape(height, step)[:, :width]
    chroma = data[step * height :].reshape(per_line, colour)[:, : 2 * pairs].reshape(per_line, pairs, 2)
    # OpenCV knows two by two pixels a colour: repeat the luma where there are fewer, or half of them at an odd border.
    luma = luma.repeat(2 // lines, 0).repeat(2 // columns, 1)
    luma = np.pad(luma, ((0, 2 * per_line - len(luma)), (0, 2 * pairs - luma.shape[1])), "edge")
    code = cv2.COLOR_YUV2RGB_NV21 if v_first else cv2.COLOR_YUV2RGB_NV12
    rgb = cv2.cvtColor(np.concatenate([luma, chroma.reshape(per_line, 2 * pairs)]), code)
    return np.ascontiguousarray(rgb[:: 2 // lines, :: 2 // columns][:height, :width])


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


def scaled(pixels: NDArray[Any], width: int, height: int, what: str) -> NDArray[Any]:
    """A label or depth image (H, W) in the size of the image that it belongs to: each pixel has the nearest's value.

    Args:
        what: to be named in the error.

    Raises:
        ImageError: it is of another shape than the image, and so shows something else; or far larger or smaller.
    """
    rows, columns = pixels.shape
    if columns * height != rows * width or not 1 / MAX_SCALE <= width / columns <= MAX_SCALE:
        raise ImageError(
            f"the {what} is {columns} x {rows} pixels, the image {width} x {height}: publish one that is registered to "
            f"the image, in its size or in the same shape and up to {MAX_SCALE} times larger or smaller"
        )
    return pixels[((np.arange(height) + 0.5) * rows / height).astype(int)[:, None],
                  ((np.arange(width) + 0.5) * columns / width).astype(int)]  # fmt: skip


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
