"""Image messages to RGB: every encoding, padded rows, both byte orders; and what is refused."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from lie_picard import ImageError
from lie_picard_pose.images import to_rgb

HEIGHT, WIDTH = 6, 8


def scene():
    """A smooth colour picture, so that bayer and yuv lose little."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([40 + 20 * x, 60 + 25 * y, 200 - 10 * x - 10 * y], -1).astype(np.uint8)


def message(pixels, encoding, padding=0, bigendian=False):
    rows = np.ascontiguousarray(pixels).reshape(HEIGHT, -1)
    if bigendian:
        rows = rows.byteswap()
    rows = rows.view(np.uint8).reshape(HEIGHT, -1)
    rows = np.concatenate([rows, np.full((HEIGHT, padding), 77, np.uint8)], 1)
    made = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=rows.shape[1], is_bigendian=int(bigendian))
    made.data.frombytes(rows.tobytes())
    return made


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "code"),
    [("rgb8", None), ("bgr8", cv2.COLOR_RGB2BGR), ("rgba8", cv2.COLOR_RGB2RGBA), ("bgra8", cv2.COLOR_RGB2BGRA)],
)
def test_colour_comes_through_exactly(encoding, code, padding):
    pixels = scene() if code is None else cv2.cvtColor(scene(), code)
    np.testing.assert_array_equal(to_rgb(message(pixels, encoding, padding)), scene())


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_becomes_equal_channels(encoding, padding):
    grey = scene()[..., 0]
    np.testing.assert_array_equal(to_rgb(message(grey, encoding, padding)), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("bigendian", [False, True])
def test_sixteen_bit_grey_keeps_its_high_byte(bigendian):
    grey = scene()[..., 0].astype(np.uint16) * 257
    rgb = to_rgb(message(grey, "mono16", bigendian=bigendian))
    assert np.abs(rgb[..., 1].astype(int) - scene()[..., 0]).max() <= 1


def test_bayer_is_interpolated():
    colour = np.full((HEIGHT, WIDTH, 3), (200, 100, 50), np.uint8)
    mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
    for (row, column), channel in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        mosaic[row::2, column::2] = colour[row::2, column::2, channel]
    inner = to_rgb(message(mosaic, "bayer_rggb8"))[2:-2, 2:-2]
    np.testing.assert_allclose(inner, colour[2:-2, 2:-2], atol=2)


@pytest.mark.parametrize("encoding", ["yuv422", "yuv422_yuy2"])
def test_yuv_is_converted(encoding):
    grey = np.full((HEIGHT, WIDTH), 120, np.uint8)
    chroma = np.full_like(grey, 128)
    pair = (chroma, grey) if encoding == "yuv422" else (grey, chroma)
    rgb = to_rgb(message(np.stack(pair, -1), encoding))
    assert np.ptp(rgb.astype(int)) <= 2 and abs(int(rgb.mean()) - 120) <= 10


@pytest.mark.parametrize("encoding", ["", "16UC1", "32FC1", "8UC3", "rgb9", "jpeg"])
def test_an_unknown_encoding_names_the_known_ones(encoding):
    with pytest.raises(ImageError, match=r"unknown image encoding .* publish one of .*rgb8"):
        to_rgb(message(scene(), encoding))


def test_an_empty_image_is_refused():
    with pytest.raises(ImageError, match=r"empty \(0 x 0\)"):
        to_rgb(Image(encoding="rgb8"))


@settings(max_examples=200)
@given(
    st.sampled_from(["rgb8", "mono8", "mono16", "bayer_rggb8", "yuv422", "rgba8"]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 200),
)
def test_numbers_that_do_not_agree_are_one_clear_error(encoding, height, width, step, size):
    made = Image(height=height, width=width, encoding=encoding, step=step)
    made.data.frombytes(bytes(size))
    try:
        rgb = to_rgb(made)
    except ImageError as error:
        assert "\n" not in str(error) or "cannot be converted" in str(error)
    else:
        assert rgb.shape == (height, width, 3)
