"""Damaged files and messages of strangers: read, or refused in one line; never a traceback, never what is not there."""

import json
import math
import tracemalloc
import warnings

import numpy as np
import pytest
import trimesh
import yaml
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from lie_picard import ImageError
from lie_picard.geometry.camera import CameraError, Region, look_at
from lie_picard.geometry.mesh import Mesh, MeshError
from lie_picard.geometry.symmetry import Symmetry, SymmetryError
from lie_picard.messages.images import COLOUR, DEPTH, MASK, Raw, scaled, to_depth, to_mask, to_rgb
from lie_picard.messages.read import camera_of, check_size
from lie_picard.node import settings, table
from lie_picard.recording.message_types import types

_OPERATIONS = "flip", "cut", "drop", "insert", "repeat"
_TOKENS = [
    b"\0",
    b"\xff",
    b"\n",
    b" ",
    b"-",
    b"1e999",
    b"nan",
    b"99999999999",
    b"{",
    b"[",
    b"*",
    b"&a",
    b"!!python/name:os",
]


@st.composite
def damaged(draw, contents):
    """A file with up to five damages anywhere."""
    data = draw(st.sampled_from(contents))
    for _ in range(draw(st.integers(1, 5))):
        at, length = draw(st.integers(0, max(0, len(data) - 1))), draw(st.integers(1, 40))
        match draw(st.sampled_from(_OPERATIONS)):
            case "flip":
                data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
            case "cut":
                data = data[:at]
            case "drop":
                data = data[:at] + data[at + length :]
            case "insert":
                data = data[:at] + draw(st.one_of(st.sampled_from(_TOKENS), st.binary(max_size=8))) + data[at:]
            case "repeat":
                data = data[:at] + data[at : at + length] * 3 + data[at + length :]
    return data


def one_line(error):
    assert str(error) and "\n" not in str(error) and len(str(error)) < 900


BALL = trimesh.creation.icosphere(subdivisions=1, radius=0.05)
MESHES = {
    "ply": [BALL.export(file_type="ply"), BALL.export(file_type="ply", encoding="ascii")],
    "stl": [BALL.export(file_type="stl"), BALL.export(file_type="stl_ascii").encode()],
    "obj": [BALL.export(file_type="obj").encode()],
}


@pytest.mark.parametrize("kind", MESHES)
def test_a_damaged_mesh_is_a_mesh_or_one_line(tmp_path_factory, kind):
    path = tmp_path_factory.mktemp("mesh") / f"ball.{kind}"

    @given(damaged(MESHES[kind]))
    @examples(40)
    def check(content):
        path.write_bytes(content)
        try:
            mesh = Mesh.read(path)
        except MeshError as error:
            one_line(error)
        else:
            assert np.isfinite(mesh.vertices).all() and mesh.diameter > 0
            assert mesh.triangles.min() >= 0 and mesh.triangles.max() < len(mesh.vertices)

    check()


INFOS = [
    json.dumps({"1": {"diameter": 90.5, "symmetries_discrete": [[-1, 0, 0, 2, 0, -1, 0, 3, 0, 0, 1, 0, 0, 0, 0, 1]]},
                "obj_000002": {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [1, 2, 0]}], "min_x": -4.0}}),
]  # fmt: skip
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=17), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=20,
)
_ENTRY = st.dictionaries(st.sampled_from(["diameter", "symmetries_discrete", "symmetries_continuous", "min_x"]), _JSON)


@given(st.one_of(damaged([text.encode() for text in INFOS]), _ENTRY.map(lambda one: json.dumps({"1": one}).encode())))
@examples(100)
def test_a_damaged_models_info_is_a_group_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "models_info.json"
    path.write_bytes(content)
    for name in ("1", "obj_2"):
        try:
            found = Symmetry.from_models_info(path, name, 0.1)
        except SymmetryError as error:
            one_line(error)
        else:
            assert np.isfinite(found.centre).all() and np.linalg.norm(found.centre) <= 0.1
            np.testing.assert_allclose(
                found.rotations @ np.swapaxes(found.rotations, -1, -2), np.eye(3) + 0 * found.rotations, atol=1e-9
            )
            entry = json.loads(content.decode("utf-8-sig"))
            said = json.dumps(entry).lower()
            assert found.is_trivial or "symmetries" in said  # nothing that is not in the file


_BOTH = (
    "camera: {ros__parameters: {fps: 30}}\n"
    "r1:\n  pose_node:\n    ros__parameters:\n      objects: [mug]\n      samples: 0x10\n"
)
PARAMETERS = [
    yaml.safe_dump({"/**": {"ros__parameters": {
        "objects": ["mug", "cup"], "diameters": [0.1, 0.2], "regions": [0.0] * 8, "seed": 3, "depth": True,
        "qos_overrides": {"/tf": {"publisher": {"depth": 5}}}}}}),
    _BOTH,
]  # fmt: skip


@given(damaged([text.encode() for text in PARAMETERS]), st.sampled_from(["", "pose_node", "/r1/pose_node"]))
@examples(100)
def test_a_damaged_parameters_file_is_settings_or_one_line(tmp_path_factory, content, node):
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    path.write_bytes(content)
    try:
        chosen = settings.settings_of(table.checked(settings.read_values(path, node)))
    except ValueError as error:
        one_line(error)
    else:
        assert all(math.isfinite(target.diameter) and target.diameter > 0 for target in chosen.targets)


_NUMBER = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e-300, 1e300]),
    st.floats(0.1, 5000),
    st.sampled_from([320.0, 240.0, 600.0]),
)
_MODELS = [
    "plumb_bob",
    "rational_polynomial",
    "equidistant",
    "fisheye",
    "kannala_brandt4",
    "none",
    "",
    "magic",
    "PLUMB_BOB",
]
_SIZES = st.one_of(st.sampled_from([640, 480, 320, 240, 0, 1, 2**32 - 1]), st.integers(0, 2**32 - 1))


@st.composite
def calibrations(draw):
    """A camera_info, right but for some numbers."""
    info = types().CameraInfo(width=640, height=480, distortion_model=draw(st.sampled_from(_MODELS)))
    info.k = np.array([600.0, 0, 320, 0, 610, 240, 0, 0, 1])
    info.p = np.array([600.0, 0, 320, 0, 0, 610, 240, 0, 0, 0, 1, 0])
    info.d = draw(st.lists(st.one_of(st.floats(-1, 1), _NUMBER), max_size=14))
    for values, size in ((info.k, 9), (info.p, 12)):
        for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
            values[draw(st.integers(0, size - 1))] = draw(_NUMBER)
    if draw(st.booleans()):
        info.width, info.height = draw(_SIZES), draw(_SIZES)
    if draw(st.booleans()):
        info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = (draw(_SIZES) for _ in range(4))
    info.binning_x, info.binning_y = (draw(st.sampled_from([0, 0, 1, 2, 2**32 - 1])) for _ in range(2))
    return info


@given(calibrations(), st.booleans(), st.tuples(*[st.floats(-100, 700)] * 2, *[st.floats(-1, 400)] * 2))
@examples(150)
def test_whatever_a_calibration_says_there_is_a_view_or_one_line(info, rectified, box):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            camera = camera_of(info, rectified)
            check_size(info, 640, 480)
            view = look_at(camera, Region(*box), 32, 0.9)
        except CameraError as error:
            one_line(error)
            return
    assert (camera.width, camera.height) == (640, 480)
    np.testing.assert_allclose(view.camera_from_view @ view.camera_from_view.T, np.eye(3), atol=1e-9)
    assert 0 < view.angular_radius < math.pi / 2
    assert np.isfinite(view.map_x).all() and np.isfinite(view.map_y).all()
    pixels = np.array([[box[0] + box[2] / 2, box[1] + box[3] / 2]])
    rays = camera.rays_or_nan(pixels)
    if not np.isnan(rays).any():
        np.testing.assert_allclose(camera.project(rays), pixels, atol=0.01)


@st.composite
def pictures(draw):
    """An image whose header and content agree by chance; mostly in the sizes of companions."""
    width, height = draw(st.integers(0, 12)), draw(st.integers(0, 12))
    encoding = draw(st.sampled_from([*COLOUR, *DEPTH, *MASK, "NV12", "", "8UC2"]))
    step = width * draw(st.integers(1, 8)) + draw(st.sampled_from([0, 0, 1, 4]))
    size = draw(st.sampled_from([height * step, height * step * 3 // 2, height * step * 3, height * step + 1, 0]))
    return Raw(height, width, encoding, draw(st.integers(0, 1)), step, draw(st.binary(min_size=size, max_size=size)))


@given(pictures(), st.integers(1, 96), st.integers(1, 96))
@examples(150)
def test_whatever_a_companion_image_holds_it_fits_its_image_or_is_one_line(picture, width, height):
    for read, kind in ((to_mask, np.int32), (to_depth, np.float32)):
        try:
            found = scaled(read(picture), width, height, "mask")
        except ImageError as error:
            one_line(error)
        else:
            assert found.shape == (height, width) and found.dtype == kind
            assert picture.width * height == picture.height * width
            assert not (found < 0).any() and not np.isinf(found).any()
    try:
        rgb = to_rgb(picture)
    except ImageError as error:
        one_line(error)
    else:
        assert rgb.shape == (picture.height, picture.width, 3)


def test_reading_takes_no_more_memory_than_a_file_of_its_size_may(tmp_path):
    """Promises in a head are not believed: 4,000,000,000 vertices are not allocated."""
    files = {
        "a.ply": b"ply\nformat binary_little_endian 1.0\nelement vertex 4000000000\nproperty float x\nend_header\n123",
        "b.ply": b"ply\nformat ascii 1.0\nelement vertex 4000000000\nproperty float x\nend_header\n1\n",
        "c.ply": b"ply\nformat binary_big_endian 1.0\nelement face 4000000000\nproperty list uint int i\nend_header\n"
        + b"\xff" * 99,
        "d.stl": bytes(80) + b"\xff\xff\xff\xff" + bytes(99),
    }
    tracemalloc.start()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MeshError, match="is truncated"):
            Mesh.read(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
