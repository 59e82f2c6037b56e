"""Mesh files of every kind become one surface: places, paint, what is left out and what is refused."""

import zipfile

import numpy as np
import pytest
import trimesh
from PIL import Image

from lie_picard.geometry.mesh_export import write_glb
from lie_picard.geometry.mesh_files import MeshError
from lie_picard.geometry.mesh_import import load
from lie_picard.geometry.mesh_repair import mended
from lie_picard.geometry.surface import Surface

RED, GREEN = (255, 0, 0), (0, 255, 0)


def brick():
    """A box of 1 x 2 x 3 whose upper half of faces is red, the other green."""
    box = trimesh.creation.box((1, 2, 3))
    box.visual.face_colors = [[*RED, 255] if n[2] > 0.5 else [*GREEN, 255] for n in box.face_normals]
    return box


def written(folder, kind, scene):
    data = scene.export(file_type=kind)
    file = folder / f"part.{kind}"
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return file


def colour_towards(surface, direction):
    """Mean colour of the triangles that look a way."""
    corners = surface.corners
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    chosen = normal @ direction > 0.9 * np.linalg.norm(normal, axis=1)
    return surface.colours[chosen].mean((0, 1))


@pytest.mark.parametrize(("kind", "unit"), [("glb", 1.0), ("3mf", 1e-3), ("ply", None), ("obj", None), ("stl", None)])
def test_every_kind_gives_the_same_shape_and_the_unit_that_its_format_says(tmp_path, kind, unit):
    found = load(written(tmp_path, kind, trimesh.Scene(brick())))
    surface, _ = mended(found.surface)
    assert (len(surface.vertices), len(surface.triangles)) == (8, 12)
    assert np.allclose(np.ptp(surface.vertices, axis=0), (1, 2, 3))
    assert found.unit == (None if unit is None else pytest.approx(unit))
    if kind == "ply":  # the only of them that holds the colours of faces
        assert np.allclose(colour_towards(surface, (0, 0, 1)), (1, 0, 0))
        assert np.allclose(colour_towards(surface, (0, 0, -1)), (0, 1, 0))


def test_a_scene_s_instances_are_in_their_places_and_mirrored_ones_face_outwards(tmp_path):
    scene = trimesh.Scene()
    box = trimesh.creation.box((1, 1, 1))
    scene.add_geometry(box, geom_name="box", node_name="one")
    mirrored = np.diag([-1.0, 1, 1, 1])
    mirrored[0, 3] = 5
    scene.graph.update(frame_to="two", geometry="box", matrix=mirrored)
    surface, said = mended(load(written(tmp_path, "glb", scene)).surface)
    assert np.allclose(surface.vertices.min(0), -0.5) and np.allclose(surface.vertices.max(0), (5.5, 0.5, 0.5))
    assert any("2 bodies" in line for line in said)
    corners = surface.corners
    assert np.einsum("td,td->t", np.cross(corners[:, 0], corners[:, 1]), corners[:, 2]).sum() / 6 == pytest.approx(2)


def textured_obj(folder, picture=True, material=True):
    """A square of two triangles, its left half red and its right half green by a picture."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4], pixels[:, 4:] = RED, GREEN
    if picture:
        Image.fromarray(pixels).save(folder / "paint.png")
    if material:
        (folder / "part.mtl").write_text("newmtl paint\nKd 0 0 0\nmap_Kd paint.png\n")
    file = folder / "part.obj"
    file.write_text("mtllib part.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
                    "usemtl paint\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\n")  # fmt: skip
    return file


def colour_of_place(surface, x, y):
    """Of the triangle in the plane z = 0 that holds a place."""
    for index, corner in enumerate(surface.corners):
        matrix = np.vstack([corner[:, :2].T, np.ones(3)])
        shares = np.linalg.solve(matrix, (x, y, 1))
        if (shares >= -1e-9).all():
            return surface.colour_at(np.array([index]), shares[None])[0]
    raise AssertionError("no triangle there")


def test_a_texture_lands_where_it_belongs_and_survives_being_written(tmp_path):
    found = load(textured_obj(tmp_path))
    assert not found.said
    write_glb(tmp_path / "again.glb", found.surface)
    for surface in (found.surface, load(tmp_path / "again.glb").surface):
        assert np.allclose(colour_of_place(surface, 0.2, 0.7), (1, 0, 0), atol=0.01)
        assert np.allclose(colour_of_place(surface, 0.8, 0.3), (0, 1, 0), atol=0.01)


@pytest.mark.parametrize(("picture", "material", "named"), [(False, True, "paint.png"), (True, False, "part.mtl")])
def test_paint_that_is_not_there_is_said(tmp_path, picture, material, named):
    found = load(textured_obj(tmp_path, picture, material))
    assert any(named in line for line in found.said)


def test_files_beside_the_folder_are_not_read(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    file = textured_obj(inner, picture=False, material=False)
    (tmp_path / "part.mtl").write_text("newmtl paint\nKd 1 0 0\n")
    file.write_text(file.read_text().replace("part.mtl", "../part.mtl"))
    found = load(file)
    assert found.surface.colours is None and any("part.mtl" in line for line in found.said)


def test_an_archive_of_an_obj_with_its_material_is_read(tmp_path):
    textured_obj(tmp_path)
    with zipfile.ZipFile(tmp_path / "part.zip", "w") as archive:
        for name in ("part.obj", "part.mtl", "paint.png"):
            archive.write(tmp_path / name, name)
    assert np.allclose(colour_of_place(load(tmp_path / "part.zip").surface, 0.2, 0.7), (1, 0, 0), atol=0.01)


def bomb(folder):
    with zipfile.ZipFile(folder / "part.3mf", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3D/3dmodel.model", b"0" * (600 << 20))
    return folder / "part.3mf"


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path):
    with pytest.raises(MeshError, match="unpacks to 600 MiB"):
        load(bomb(tmp_path))


@pytest.mark.parametrize(("name", "content", "why"), [
    ("part.step", b"ISO-10303-21;", "none of stl, ply"),
    ("part.glb", brick().export(file_type="glb")[:-200], "truncated"),
    ("part.glb", b"glTF\x02\0\0\0" + (20).to_bytes(4, "little") + b"\0" * 8, "cannot be read"),
    ("part.3mf", b"PK\x03\x04 nothing", "no whole archive"),
    ("part.dae", b"<COLLADA>", "cannot be read"),
    ("part.off", b"OFF\n8 12 0\n0 0", "cannot be read"),
    ("part.ply", trimesh.PointCloud(np.zeros((3, 3))).export(file_type="ply"), "no triangles"),
    ("part.gltf", b"{", "cannot be read"),
])  # fmt: skip
def test_what_is_no_mesh_is_refused_in_one_line_with_the_remedy(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MeshError, match=why) as refused:
        load(tmp_path / name)
    assert "\n" not in str(refused.value) and "part" in str(refused.value)


def test_xml_entities_are_not_expanded(tmp_path):
    (tmp_path / "secret").write_text("0 0 0 1 0 0 0 1 0")
    text = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "secret">]><COLLADA><asset>&e;</asset></COLLADA>'
    (tmp_path / "part.dae").write_text(text)
    with pytest.raises(MeshError):
        load(tmp_path / "part.dae")


def test_a_surface_that_is_written_is_read_back_to_8_bits_a_colour(tmp_path):
    ball = trimesh.creation.icosphere(2)
    corners = np.random.default_rng(0).random((len(ball.faces), 3, 3)).astype(np.float32)
    before = Surface(np.asarray(ball.vertices), np.asarray(ball.faces), corners)
    write_glb(tmp_path / "ball.glb", before)
    after, said = mended(load(tmp_path / "ball.glb").surface)
    assert not said and len(after.vertices) == len(before.vertices)
    key = lambda s: np.lexsort(s.corners.mean(1).round(5).T)  # noqa: E731
    mean = lambda s: s.colours.mean(1)[key(s)]  # noqa: E731
    assert np.abs(mean(before) - mean(after)).max() < 1 / 255
