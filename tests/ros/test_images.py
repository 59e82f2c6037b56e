"""Image messages to RGB, depth and labels: every encoding, padded rows, both byte orders; and what is refused."""

import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image

from lie_picard import ImageError
from lie_picard.messages.images import COLOUR, DEPTH, MASK, BitDepth, scaled, to_depth, to_mask, to_rgb

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
    [("rgb8", None), ("bgr8", cv2.COLOR_RGB2BGR), ("8UC3", cv2.COLOR_RGB2BGR), ("rgba8", cv2.COLOR_RGB2RGBA),
     ("bgra8", cv2.COLOR_RGB2BGRA)],
)  # fmt: skip
def test_colour_comes_through_exactly(encoding, code, padding):
    pixels = scene() if code is None else cv2.cvtColor(scene(), code)
    np.testing.assert_array_equal(to_rgb(message(pixels, encoding, padding)), scene())


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize(
    ("encoding", "code"),
    [("rgb16", None), ("bgr16", cv2.COLOR_RGB2BGR), ("rgba16", cv2.COLOR_RGB2RGBA), ("bgra16", cv2.COLOR_RGB2BGRA)],
)
def test_sixteen_bit_colour_keeps_its_high_byte(encoding, code, bigendian):
    pixels = (scene() if code is None else cv2.cvtColor(scene(), code)).astype(np.uint16) * 257
    np.testing.assert_allclose(to_rgb(message(pixels, encoding, 6, bigendian)).astype(int), scene(), atol=1)


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


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_is_interpolated(pattern, bits):
    colour = np.full((HEIGHT, WIDTH, 3), (200, 100, 50), np.uint8)
    mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
    for index, letter in enumerate(pattern):
        row, column = divmod(index, 2)
        mosaic[row::2, column::2] = colour[row::2, column::2, "rgb".index(letter)]
    pixels = mosaic if bits == 8 else mosaic.astype(np.uint16) * 257
    inner = to_rgb(message(pixels, f"bayer_{pattern}{bits}")).astype(int)[2:-2, 2:-2]
    np.testing.assert_allclose(inner, colour[2:-2, 2:-2], atol=2)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_yuv_is_converted(encoding):
    grey = np.full((HEIGHT, WIDTH), 120, np.uint8)
    chroma = np.full_like(grey, 128)
    pair = (chroma, grey) if encoding in ("yuv422", "uyvy") else (grey, chroma)
    rgb = to_rgb(message(np.stack(pair, -1), encoding))
    assert np.ptp(rgb.astype(int)) <= 2 and abs(int(rgb.mean()) - 120) <= 10


def planes(rgb, lines, columns, v_first, padding=0):
    """A semi-planar image by the definition of BT.601, limited range: luma, then one colour for so many pixels."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    y = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
    u, v = 128 + (-37.797 * r - 74.203 * g + 112 * b) / 255, 128 + (112 * r - 93.786 * g - 18.214 * b) / 255
    pairs = np.stack((v, u) if v_first else (u, v), -1)
    height, width = y.shape
    pairs = np.pad(pairs, ((0, -height % lines), (0, -width % columns), (0, 0)), "edge")
    pairs = (
        pairs.reshape(len(pairs) // lines, lines, -1, columns, 2)
        .mean((1, 3))
        .reshape(-1, pairs.shape[1] // columns * 2)
    )
    y = np.pad(y, ((0, 0), (0, padding)), constant_values=77)
    pairs = np.pad(pairs, ((0, 0), (0, y.shape[1] * 2 // columns - pairs.shape[1])), constant_values=77)
    return np.concatenate([y.ravel(), pairs.ravel()]).round().astype(np.uint8), y.shape[1]


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("size", [(6, 8), (7, 8), (480, 640)])
@pytest.mark.parametrize(
    ("encoding", "lines", "columns", "v_first"),
    [("nv12", 2, 2, False), ("NV12", 2, 2, False), ("nv21", 2, 2, True), ("nv24", 1, 1, False), ("nv42", 1, 1, True),
     ("nv16", 1, 2, False), ("nv61", 1, 2, True)],
)  # fmt: skip
def test_planes_of_luma_and_colour_give_the_colours_back(encoding, lines, columns, v_first, size, padding):
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    wanted = np.stack([40 + 150 * x / width, 60 + 120 * y / height, 200 - 60 * x / width - 60 * y / height], -1)
    if size[1] < 100:  # so small that a colour of four pixels is none of theirs: one everywhere
        wanted[:] = 200, 100, 50
    data, step = planes(wanted, lines, columns, v_first, padding)
    made = Image(height=height, width=width, encoding=encoding, step=step)
    made.data.frombytes(data.tobytes())
    np.testing.assert_allclose(to_rgb(made).astype(float), wanted, atol=3)
    if not padding and height % lines == 0:  # the other reading of `step`: a pixel's share of all planes
        made.step = len(data) // height
        np.testing.assert_allclose(to_rgb(made).astype(float), wanted, atol=3)
    made.data = made.data[:-1]
    with pytest.raises(ImageError, match="does not fit its header"):
        to_rgb(made)


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "rgb16", "bayer_rggb16"])
def test_of_sixteen_bits_those_count_that_are_used(encoding, bits, bigendian):
    """A camera that uses few gives the picture of one that uses all."""
    grey = np.full((HEIGHT, WIDTH), 128, np.uint8)
    grey[:, WIDTH // 2 :] = 250
    pixels = np.repeat(grey[..., None], 3, 2) if encoding == "rgb16" else grey
    used = (pixels.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    found = to_rgb(message(used, encoding, 4, bigendian)).astype(int)[:, [0, -1], 1]
    np.testing.assert_allclose(found, [[128, 250]] * HEIGHT, atol=2)


def test_the_bits_of_a_stream_are_those_of_its_brightest_image_whatever_few_pixels_say():
    bits = BitDepth()
    big = np.full((480, 640), 3000, np.uint16)
    assert bits("a", big) == 12
    assert bits("a", big // 100) == 12 and bits("b", big // 100) == 8
    big[0, :5] = 65535  # broken
    assert bits("a", big) == 12
    assert bits("a", big * 4) == 14 and bits("a", big) == 12  # one image may be torn: it alone is taken so
    assert [bits("a", big * 4) for _ in range(3)] == [14, 14, 14]
    assert bits("a", big) == 14
    assert BitDepth(10)("a", big) == 10


def test_a_companion_image_is_scaled_where_its_shape_is_the_images():
    labels = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(scaled(labels, 8, 6, "mask"), labels.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(scaled(labels.repeat(3, 0).repeat(3, 1), 4, 3, "mask"), labels)
    for width, height in ((8, 5), (4, 4), (40, 30), (3, 4)):
        with pytest.raises(ImageError, match=rf"the mask is 4 x 3 pixels, the image {width} x {height}: .*registered"):
            scaled(labels, width, height, "mask")


@pytest.mark.parametrize("encoding", ["", "32FC1", "32SC1", "8UC2", "rgb9", "jpeg"])
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


def compressed(pixels, description, extension=".jpg"):
    """What image_transport writes: a file of BGR pixels, and a description of it."""
    made = CompressedImage(format=description)
    made.data.frombytes(cv2.imencode(extension, pixels)[1].tobytes())
    return made


BIG = cv2.resize(scene(), (64, 48), interpolation=cv2.INTER_LINEAR)
BIG_BGR = cv2.cvtColor(BIG, cv2.COLOR_RGB2BGR)


@pytest.mark.parametrize("description", ["rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8", "jpeg", "jpg", ""])
def test_a_jpeg_is_read(description):
    np.testing.assert_allclose(to_rgb(compressed(BIG_BGR, description)).astype(int), BIG, atol=12)


@pytest.mark.parametrize("description", ["rgb8; png compressed bgr8", "bgra8; png compressed bgr8", "png"])
def test_a_png_is_read_exactly(description):
    np.testing.assert_array_equal(to_rgb(compressed(BIG_BGR, description, ".png")), BIG)


def test_a_file_that_was_not_turned_to_bgr_keeps_the_order_of_the_original():
    np.testing.assert_array_equal(to_rgb(compressed(BIG, "rgb8; png compressed ", ".png")), BIG)


def test_sixteen_bit_and_transparent_pngs_are_read():
    high = BIG_BGR.astype(np.uint16) * 257
    np.testing.assert_allclose(to_rgb(compressed(high, "rgb16; png compressed bgr16", ".png")).astype(int), BIG, atol=1)
    grey = to_rgb(compressed(high[..., 0], "mono16; png compressed ", ".png"))
    np.testing.assert_allclose(grey[..., 1].astype(int), BIG_BGR[..., 0], atol=1)
    clear = cv2.cvtColor(BIG_BGR, cv2.COLOR_BGR2BGRA)
    np.testing.assert_array_equal(to_rgb(compressed(clear, "png", ".png")), BIG)


def test_a_mosaic_is_a_mosaic_until_it_is_compressed_as_grey():
    mosaic = np.zeros((48, 64), np.uint8)
    mosaic[::2, ::2] = 200  # red only
    red = to_rgb(compressed(mosaic, "bayer_rggb8; png compressed ", ".png"))[8:-8, 8:-8]
    assert red[..., 0].min() > 190 and not red[..., 1:].any()
    grey = np.full((48, 64), 90, np.uint8)
    assert np.ptp(to_rgb(compressed(grey, "bayer_rggb8; jpeg compressed mono8")).astype(int)) <= 2


def test_exif_does_not_turn_an_image():
    plain = compressed(BIG_BGR, "jpeg")
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation: a quarter turn
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    turned = CompressedImage(format="jpeg")
    data = plain.data.tobytes()
    turned.data.frombytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert cv2.imdecode(np.frombuffer(turned.data, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)
    np.testing.assert_array_equal(to_rgb(turned), to_rgb(plain))


def png_of(width, height):
    """A PNG that claims a size and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_of(width, height):
    """A JPEG that claims a size."""
    data = cv2.imencode(".jpg", BIG_BGR)[1].tobytes()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(extension, share):
    whole = compressed(BIG_BGR, extension[1:], extension)
    cut = CompressedImage(format=whole.format)
    cut.data.frombytes(whole.data.tobytes()[: int(share * len(whole.data))])
    with pytest.raises(ImageError, match="no complete JPEG or PNG"):
        to_rgb(cut)


@pytest.mark.parametrize("size", [(60000, 60000), (2**31 - 1, 2**31 - 1), (0, 5)])
def test_a_size_that_no_camera_has_is_refused_before_it_is_allocated(size):
    for data in (png_of(*size), jpeg_of(*(min(n, 65535) for n in size))):
        claim = CompressedImage(format="png")
        claim.data.frombytes(data)
        with pytest.raises(ImageError, match=r"claims \d+ x \d+ pixels"):
            to_rgb(claim)


@pytest.mark.parametrize("bigendian", [False, True])
def test_depth_is_in_metres_and_unknown_is_nan(bigendian):
    metres = np.linspace(0.3, 4.0, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    wanted = metres.copy()
    wanted[0, :4] = np.nan
    holes = metres.copy()
    holes[0, :4] = np.nan, np.inf, -1, 0
    found = to_depth(message(holes, "32FC1", 4, bigendian))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)
    millimetres = np.nan_to_num(wanted * 1000).round().astype(np.uint16)
    for encoding in ("16UC1", "mono16"):
        np.testing.assert_allclose(to_depth(message(millimetres, encoding, 3, bigendian)), wanted, atol=6e-4)
    as_png = compressed(millimetres, "16UC1; png compressed ", ".png")
    np.testing.assert_allclose(to_depth(as_png), wanted, atol=6e-4)


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [("mono8", np.uint8), ("8UC1", np.uint8), ("mono16", np.uint16), ("16UC1", np.uint16), ("32SC1", np.int32)],
)
def test_labels_come_through_exactly(encoding, dtype, bigendian):
    labels = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(to_mask(message(labels.astype(dtype), encoding, 8, bigendian)), labels)
    if dtype == np.int32:
        assert not to_mask(message(-labels.astype(dtype), encoding)).any()


def test_labels_and_depths_are_not_read_from_a_lossy_file_or_colours():
    with pytest.raises(ImageError, match="send the depth raw"):
        to_depth(CompressedImage(format="16UC1; compressedDepth png"))
    labels = np.ones((48, 64), np.uint8)
    np.testing.assert_array_equal(to_mask(compressed(labels, "mono8; png compressed ", ".png")), labels)
    for convert in (to_mask, to_depth):
        with pytest.raises(ImageError, match="loses"):
            convert(compressed(labels, "mono8; jpeg compressed mono8"))
        with pytest.raises(ImageError, match="unknown image encoding"):
            convert(message(scene(), "rgb8"))


def malformed(random):
    """An image whose header, length and content agree by chance."""
    names = [*COLOUR, *DEPTH, *MASK, "", "rgb", "8UC2", "64FC1", "\N{SNOWMAN}" * 3]
    wild = int(random.choice([0, 1, 3, 7, 40, 2**16, 2**31, 2**32 - 1]))
    height, width = (int(n) for n in random.integers(0, 12, 2))
    bytes_a_pixel = int(random.integers(1, 9))
    step = width * bytes_a_pixel + int(random.integers(0, 4))
    size = max(0, height * step + int(random.choice([0, 0, 0, -1, 1, 17])))
    height, width, step = (wild if random.random() < 0.08 else n for n in (height, width, step))
    made = Image(height=height, width=width, step=step, encoding=names[random.integers(len(names))])
    made.is_bigendian = int(random.integers(0, 256))
    made.data.frombytes(b"\xff" * size if random.random() < 0.1 else random.bytes(size))  # 0xFF everywhere is NaN
    return made


def damaged(random, files):
    """A compressed image with some wrong bytes, a wrong length or a wrong description."""
    data = bytearray(files[random.integers(len(files))])
    for _ in range(random.integers(0, 6)):
        reach = len(data) if random.random() < 0.5 else 64  # headers matter most
        data[random.integers(0, reach)] = random.integers(0, 256)
    end = len(data) if random.random() < 0.7 else int(random.integers(0, len(data)))
    descriptions = ["jpeg", "png", "", ";", "rgb8; jpeg compressed bgr8", "16UC1; png compressed ", "bayer_rggb8; png"]
    made = CompressedImage(format=descriptions[random.integers(len(descriptions))])
    made.data.frombytes(bytes(data[:end]))
    return made


def test_ten_thousand_bad_images_are_arrays_or_one_line_each(capfd):
    random = np.random.default_rng(0)
    small = BIG_BGR[:16, :16]
    files = [cv2.imencode(kind, one)[1].tobytes() for kind in (".jpg", ".png") for one in (small, small[..., 0])]
    before, arrays = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for index in range(10_000):
        bad = damaged(random, files) if index % 4 == 0 else malformed(random)
        for convert, shape in ((to_rgb, 3), (to_depth, 2), (to_mask, 2)):
            try:
                found = convert(bad)
            except ImageError as error:
                assert "\n" not in str(error) and len(str(error)) < 500
            else:
                arrays += 1
                assert found.ndim == shape
    assert arrays > 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # kilobytes
    capfd.readouterr()  # libpng and libjpeg complain on stderr
