"""Images, depth images and masks of BOP data sets, from files' bytes; what claims too many pixels is not decoded."""

from __future__ import annotations

import io
import warnings
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lie_picard.data.bop.annotations import MAX_PIXELS, BopError

MAX_BYTES = 1 << 28  # of an image file: three times as many pixels, uncompressed, are a larger one
_REMEDY = "download or write it again"
_ENDS, _TAIL = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}, 1 << 12


def picture(content: bytes, where: str) -> NDArray[np.uint8]:
    """An 8-bit image: (H, W, 3) RGB, or (H, W) where it is grey. 16 bits are reduced to 8.

    Raises:
        BopError: it is none.
    """
    image = _decoded(content, where)
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise BopError(f"{where} holds {image.dtype} values: images have 8 or 16 bits a colour")
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return np.ascontiguousarray(image[..., 0])
    codes = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    if image.shape[2] not in codes:
        raise BopError(f"{where} has {image.shape[2]} channels: give a grey or an RGB image")
    return np.asarray(cv2.cvtColor(image, codes[image.shape[2]]), np.uint8)


def depth(content: bytes, where: str, scale: float) -> NDArray[np.float32]:
    """A depth image (H, W), metres along the optical axis, NaN where unknown.

    Args:
        scale: metres of one unit.

    Raises:
        BopError: it is none, or in colour.
    """
    image = _decoded(content, where)
    if image.ndim != 2 or image.dtype not in (np.uint16, np.uint8, np.float32, np.float64):
        raise BopError(f"{where} is no depth image ({image.dtype}, shape {image.shape}): 16 bits or float, one channel")
    metres = image.astype(np.float32) * np.float32(scale)
    metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
    return metres


def mask(content: bytes, where: str) -> NDArray[np.bool_]:
    """Which pixels belong to the object: those that are not 0. -> (H, W).

    Raises:
        BopError: it is no image.
    """
    image = _decoded(content, where)
    return np.asarray(image != 0 if image.ndim == 2 else (image[..., : min(3, image.shape[2])] != 0).any(-1))


def _decoded(content: bytes, where: str) -> NDArray[Any]:
    from PIL import Image  # reads heads of all kinds of files; matplotlib needs it anyway

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, which are refused below
            with Image.open(io.BytesIO(content)) as head:
                (width, height), kind = head.size, str(head.format)
    except Exception as error:  # whatever it raises, warnings of bombs included, the head is bad
        if isinstance(error, Image.DecompressionBombError):
            raise BopError(f"{where} claims more pixels than the {MAX_PIXELS} that are read: {_REMEDY}") from None
        raise BopError(f"{where} is no readable image ({len(content)} bytes): {_REMEDY}") from None
    if not 0 < width * height <= MAX_PIXELS:
        raise BopError(f"{where} claims {width} x {height} pixels: at most {MAX_PIXELS} are read")
    if kind in _ENDS and _ENDS[kind] not in content[-_TAIL:]:  # OpenCV would fill the rest with grey
        raise BopError(f"{where} is truncated, after {len(content)} bytes: {_REMEDY}")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.shape[:2] != (height, width):
        raise BopError(f"{where} is damaged: its head says {width} x {height} pixels, they cannot be read; {_REMEDY}")
    return image
