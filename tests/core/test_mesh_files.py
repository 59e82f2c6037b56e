"""Mesh files as they come: text in any encoding, and files that were cut off, which say by how much."""

import struct

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from lie_picard.geometry.mesh import Mesh, MeshError

BALL = trimesh.creation.icosphere(subdivisions=1, radius=0.05)
COUNT = len(BALL.faces)


def exported(kind):
    """A ball as a file's content; every export ends with a line or a row."""
    more = {"encoding": "ascii"} if kind == "ply ascii" else {}
    made = BALL.export(file_type="stl_ascii" if kind == "stl ascii" else kind[:3], **more)
    return made.encode() if isinstance(made, str) else made


KINDS = ["ply ascii", "ply binary", "stl binary", "stl ascii", "obj"]
CONTENT = {kind: exported(kind) for kind in KINDS}


def written(folder, kind, content):
    path = folder / f"ball.{kind[:3]}"
    path.write_bytes(content)
    return path


NAME = "Größe café".encode("latin-1")


def named(kind):
    """The same with a name that is no UTF-8 in it."""
    content = CONTENT[kind]
    if kind == "obj":
        return b"# " + NAME + b"\no " + NAME + b"\ng " + NAME + b"\nusemtl " + NAME + b"\n" + content
    if kind == "stl ascii":
        return b"solid " + NAME + b"\n" + content.partition(b"\n")[2]
    if kind == "stl binary":
        return (b"solid " + NAME).ljust(80, b" ") + content[80:]
    head, end, rest = content.partition(b"\nelement")
    return head + b"\ncomment " + NAME + end + rest


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_are_not_utf8_do_not_matter(tmp_path, kind):
    plain, other = (Mesh.read(written(tmp_path, kind, one), 0.1) for one in (CONTENT[kind], named(kind)))
    assert len(other.triangles) == COUNT
    np.testing.assert_allclose(other.vertices, plain.vertices)
    assert other.diameter == pytest.approx(0.1, rel=1e-3)


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path):
    for kind in ("obj", "ply ascii", "stl ascii"):
        content = CONTENT[kind].replace(b"\n", b"\r\n")
        assert len(Mesh.read(written(tmp_path, kind, content)).triangles) == COUNT
    assert len(Mesh.read(written(tmp_path, "obj", b"\xef\xbb\xbf" + CONTENT["obj"])).triangles) == COUNT


@given(st.floats(0, 1))
@pytest.mark.parametrize("kind", ["ply ascii", "ply binary", "stl binary", "stl ascii"])
def test_a_file_that_is_cut_anywhere_is_called_truncated(tmp_path_factory, kind, share):
    content = CONTENT[kind]
    last = len(content.rstrip()) - (4 if kind == "ply ascii" else 8)  # of the last number nothing tells its digits
    cut = content[: 3 + int(share * (last - 3))]
    with pytest.raises(MeshError, match="is truncated") as caught:
        Mesh.read(written(tmp_path_factory.mktemp("cut"), kind, cut))
    assert "\n" not in str(caught.value)


def test_it_is_said_how_much_is_missing(tmp_path):
    stl, ply = CONTENT["stl binary"], CONTENT["ply binary"]
    for kind, content, message in (
        ("stl", stl[: 84 + 50 * 30 + 7], rf"promises {COUNT} triangles \({len(stl)} bytes\), 30 are there"),
        ("ply", ply[: -13 * 20 - 1], rf"promises {COUNT} of face, {COUNT - 21} are there"),
        (
            "ply",
            ply[: ply.index(b"end_header") + 11 + 12 * 10 + 3],
            rf"promises {len(BALL.vertices)} of vertex, 10 are",
        ),
        ("obj", b"# Vertices: 42\n# Faces: 80\n" + CONTENT["obj"][:900], r"promises 42 vertices, \d+ are there"),
        ("obj", CONTENT["obj"].rstrip().rpartition(b" ")[0], "ends in the line 'f "),
        ("stl", b"solid ball\nfacet normal 0 0 1\n", "no endsolid after its 0 triangles"),
    ):
        with pytest.raises(MeshError, match=message):
            Mesh.read(written(tmp_path, kind, content))


def test_polygons_of_several_lengths_are_counted(tmp_path):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]], "<f4").tobytes()
    faces = struct.pack("<B4i", 4, 3, 2, 1, 0) + b"".join(
        struct.pack("<B3i", 3, a, b, 4) for a, b in ((0, 1), (1, 2), (2, 3), (3, 0))
    )
    head = (b"ply\nformat binary_little_endian 1.0\nelement vertex 5\nproperty float x\nproperty float y\n"
            b"property float z\nelement face 5\nproperty list uchar int vertex_indices\nend_header\n")  # fmt: skip
    with pytest.raises(MeshError, match="lists of different lengths in face: triangulate it"):
        Mesh.read(written(tmp_path, "ply", head + vertices + faces))
    with pytest.raises(MeshError, match="promises 5 of face, 4 are there"):
        Mesh.read(written(tmp_path, "ply", head + vertices + faces[:-1]))
