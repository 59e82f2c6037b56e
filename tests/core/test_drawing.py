"""Pictures: drawn where things are, as opaque as they are likely, and never in the way of what they are drawn for."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import tangents

from lie_picard import plots, so3
from lie_picard.camera import Camera
from lie_picard.mesh import Mesh, MeshError
from lie_picard.overlay import Drawn, Outline, draw_overlay, enlarged
from lie_picard.symsol.solids import SOLIDS, solid

CAMERA = Camera(np.array([[600.0, 0, 159.5], [0, 600.0, 119.5], [0, 0, 1]]), np.zeros(0), 320, 240)
GREY = np.full((240, 320, 3), 40, np.uint8)
_POSITIONS = st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(-2, 4))


# --- meshes


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_meshes_are_closed_and_face_outwards(name):
    mesh = Mesh.of_solid(name, 0.2)
    assert mesh.diameter == pytest.approx(0.2, rel=1e-6)
    corners = mesh.vertices[mesh.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("td,td->t", normals, corners.mean(1)) > 0).all()
    edges = np.sort(
        np.concatenate([mesh.triangles[:, [0, 1]], mesh.triangles[:, [1, 2]], mesh.triangles[:, [2, 0]]]), 1
    )
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    # Points lie on the surface: inside all planes, on one of them or on the round wall.
    points = torch.from_numpy(mesh.points(500, seed=0) / 0.1)
    assert float(points.norm(dim=1).max()) <= 1 + 1e-6
    planes = solid(name).planes
    if len(planes):
        assert float((points @ planes[:, :3].double().T - planes[:, 3].double()).max()) < 1e-6


def ply(path, vertices, triangles):
    lines = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}", "property float x", "property float y",
             "property float z", f"element face {len(triangles)}", "property list uchar int vertex_indices",
             "end_header"]  # fmt: skip
    lines += [" ".join(map(str, v)) for v in vertices] + ["3 " + " ".join(map(str, t)) for t in triangles]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("form", ["ply", "stl", "obj"])
def test_a_mesh_is_read_as_it_was_written(tmp_path, form):
    import trimesh

    mesh = Mesh.of_solid("icosa", 0.08)
    path = tmp_path / f"icosa.{form}"
    trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False).export(str(path))
    read = Mesh.read(path, 0.08)
    assert len(read.triangles) == 20 and read.diameter == pytest.approx(0.08, rel=1e-5)
    assert len(Outline.of(read).edges) == 30  # STL repeats every corner


def test_wrong_units_and_origins_are_said_with_the_remedy(tmp_path):
    mesh = Mesh.of_solid("cube", 0.08)
    large = ply(tmp_path / "mm.ply", mesh.vertices * 1000, mesh.triangles)
    with pytest.raises(MeshError, match=r"in millimetres, export it in metres \(or give scale 0\.001\)"):
        Mesh.read(large, 0.08)
    assert Mesh.read(large, 0.08, scale=0.001).diameter == pytest.approx(0.08, rel=1e-4)
    with pytest.raises(MeshError, match="off its middle"):
        Mesh.read(ply(tmp_path / "off.ply", mesh.vertices + 0.3, mesh.triangles), 0.08)
    with pytest.raises(MeshError, match="correct the object's diameter"):
        Mesh.read(ply(tmp_path / "double.ply", mesh.vertices * 2, mesh.triangles), 0.08)
    with pytest.raises(MeshError, match="no triangles"):
        Mesh.read(ply(tmp_path / "points.ply", mesh.vertices, []))
    (tmp_path / "text.ply").write_text("not a mesh")
    for path in (tmp_path / "none.ply", tmp_path / "text.ply"):
        with pytest.raises(MeshError) as caught:
            Mesh.read(path)
        assert "\n" not in str(caught.value)


# --- overlay


def drawn(name="cube", rotations=None, weights=(1.0,), position=(0.0, 0.0, 1.0), **more):
    rotations = np.eye(3)[None] if rotations is None else rotations
    outline = Outline.of(Mesh.of_solid(name, 0.3))
    return Drawn(name, outline, (255, 160, 0), np.array(position), rotations, np.array(weights), **more)


@given(tangent=tangents(), name=st.sampled_from(["tet", "cube", "icosa", "cone", "cyl"]))
def test_the_silhouette_is_the_hull_of_the_projected_corners(tangent, name):
    rotation, position = so3.exp(tangent).numpy(), np.array([0.05, -0.02, 1.0])
    outline = Outline.of(Mesh.of_solid(name, 0.3))
    rim, _ = outline.lines(CAMERA, rotation, position)[0]
    pixels = CAMERA.project(outline.vertices @ rotation[0].T + position).astype(np.float32)
    hull = cv2.convexHull(pixels)[:, 0]
    distances = [abs(cv2.pointPolygonTest(hull, (float(x), float(y)), True)) for x, y in rim.reshape(-1, 2)]
    assert max(distances) < 0.05
    length = np.linalg.norm(rim[:, 0] - rim[:, 1], axis=1).sum()
    assert length == pytest.approx(cv2.arcLength(hull, True), rel=1e-3)


def test_the_image_given_is_left_as_it_is():
    before = GREY.copy()
    picture = draw_overlay(GREY, CAMERA, [drawn(best=np.eye(3), truth=np.eye(4), note="1 mode")])
    assert np.array_equal(GREY, before) and picture.shape == GREY.shape and not np.array_equal(picture, GREY)


def test_a_mode_is_as_opaque_as_its_weight():
    tilted = so3.exp(torch.tensor([[0.5, 0.4, 0.3]], dtype=torch.float64)).numpy()
    rotations = np.concatenate([np.eye(3)[None], tilted])

    def shown(weight):
        light = draw_overlay(GREY, CAMERA, [drawn(rotations=rotations, weights=(1 - weight, weight))]).astype(int)
        alone = draw_overlay(GREY, CAMERA, [drawn(weights=(1.0,))]).astype(int)
        return np.abs(light - alone).sum()

    strengths = [shown(weight) for weight in (0.05, 0.2, 0.35, 0.45)]
    assert strengths[0] > 0 and strengths == sorted(strengths) and strengths[0] < strengths[-1]


@given(position=_POSITIONS, tangent=tangents(3), scale=st.floats(1e-4, 100))
def test_nothing_raises_wherever_the_object_is(position, tangent, scale):
    rotations = so3.exp(tangent).numpy()
    truth = np.eye(4)
    truth[:3, :3], truth[:3, 3] = rotations[1], np.array(position) * scale
    one = drawn(rotations=rotations, weights=(0.5, 0.3, 0.2), position=np.array(position) * scale, best=rotations[0],
                truth=truth, note="3 modes")  # fmt: skip
    for camera in (CAMERA, Camera(CAMERA.matrix, np.array([-0.3, 0.1, 0.0, 0.0, 0.02]), 320, 240)):
        assert draw_overlay(GREY, camera, [one]).shape == GREY.shape


def test_an_enlarged_image_shows_the_same_point_in_the_same_place():
    image, camera = enlarged(GREY, CAMERA, 3)
    point = np.array([[0.03, -0.02, 1.0]])
    small, large = CAMERA.project(point)[0], camera.project(point)[0]
    np.testing.assert_allclose((large + 0.5) / 3, small + 0.5, atol=1e-9)
    assert image.shape == (720, 960, 3) and (camera.width, camera.height) == (960, 720)


# --- distributions


@given(tangent=tangents())
def test_place_and_hue_tell_the_rotation(tangent):
    """R P = Rz(longitude) Ry(-latitude) Rx(turn), and P is fixed: nothing of R is lost."""
    rotation = so3.exp(tangent)
    longitude, latitude, turn = (float(angle[0]) for angle in plots.rotation_coordinates(rotation))
    axes = torch.eye(3, dtype=torch.float64)
    about = lambda k, angle: so3.exp(axes[k : k + 1] * angle)[0]  # noqa: E731
    again = about(2, longitude) @ about(1, -latitude) @ about(0, turn) @ plots._POINTER.T
    assert float(so3.angle(again, rotation[0])) < 1e-5


def test_hues_go_around_once_without_a_step_and_in_nearly_one_lightness():
    colours = plots.hues(np.linspace(0, 2 * np.pi, 361))
    assert np.allclose(colours[0], colours[-1], atol=1e-9) and (colours >= 0).all() and (colours <= 1).all()
    assert np.abs(np.diff(colours, axis=0)).max() < 0.04
    assert np.ptp(colours @ [0.2126, 0.7152, 0.0722]) < 0.45
    assert min(np.abs(colours[k] - colours[(k + 180) % 360]).max() for k in range(360)) > 0.25


def test_the_fast_picture_puts_everything_where_matplotlib_does():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rotation = so3.exp(torch.tensor([[0.4, -0.3, 0.9]], dtype=torch.float64))
    size = 720, 480
    picture = plots.distribution_image(rotation, rotation, [1.0], size=size)
    empty = plots._globe(*size, False).background
    rows, columns = np.nonzero(np.abs(picture.astype(int) - empty).sum(2))
    figure = Figure(figsize=(size[0] / 110, size[1] / 110), dpi=110)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.05, 0.24, 0.9, 0.68), projection="mollweide")
    canvas.draw()
    longitude, latitude, _ = plots.rotation_coordinates(rotation)
    x, y = axes.transData.transform((longitude[0], latitude[0]))
    assert columns.mean() == pytest.approx(x - 0.5, abs=1) and rows.mean() == pytest.approx(size[1] - y - 0.5, abs=1)


@given(tangent=tangents(5), size=st.tuples(st.integers(320, 900), st.integers(240, 700)))
def test_a_picture_has_the_size_that_was_asked_for(tangent, size):
    rotations = so3.exp(tangent)
    size = (size[0] // 60 * 60, size[1] // 60 * 60)  # few sizes: their backgrounds take time
    picture = plots.distribution_image(rotations, rotations[:2], [0.6, 0.4], truth=rotations, title="five", size=size)
    assert picture.shape == (size[1], size[0], 3) and picture.dtype == np.uint8
