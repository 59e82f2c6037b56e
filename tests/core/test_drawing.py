"""Pictures: drawn where things are, as opaque as they are likely, and never in the way of what they are drawn for."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import tangents

from lie_picard import so3
from lie_picard.drawing import distribution as plots
from lie_picard.drawing import overlay
from lie_picard.drawing.overlay import Drawn, Outline, draw_overlay, enlarged
from lie_picard.geometry.camera import Camera
from lie_picard.geometry.mesh import Mesh, MeshError
from lie_picard.objects.symsol.solids import SOLIDS, solid

CAMERA = Camera(np.array([[600.0, 0, 159.5], [0, 600.0, 119.5], [0, 0, 1]]), np.zeros(0), 320, 240)
GREY = np.full((240, 320, 3), 40, np.uint8)
_POSITIONS = st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(-2, 4))


# --- meshes


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_meshes_are_closed_and_face_outwards(name):
    mesh = solid(name).mesh(0.2)
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

    mesh = solid("icosa").mesh(0.08)
    path = tmp_path / f"icosa.{form}"
    trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False).export(str(path))
    read = Mesh.read(path, 0.08)
    assert len(read.triangles) == 20 and read.diameter == pytest.approx(0.08, rel=1e-5)
    assert len(Outline.of(read).edges) == 30  # STL repeats every corner


@pytest.mark.parametrize("unit", [1.0, 0.001, 0.01, 0.0254])
def test_a_mesh_in_a_usual_unit_is_taken_in_metres(tmp_path, unit):
    mesh = solid("cube").mesh(0.08)
    read = Mesh.read(ply(tmp_path / "cube.ply", mesh.vertices / unit, mesh.triangles), 0.08)
    assert read.scale == unit and read.diameter == pytest.approx(0.08, rel=1e-4)
    assert np.linalg.norm(read.vertices, axis=1) == pytest.approx(0.04, rel=1e-4)


def test_a_wrong_size_or_origin_or_file_is_said_with_the_remedy(tmp_path):
    mesh = solid("cube").mesh(0.08)
    with pytest.raises(MeshError, match=r"off its middle: move it there"):
        Mesh.read(ply(tmp_path / "off.ply", mesh.vertices + 0.3, mesh.triangles), 0.08)
    with pytest.raises(MeshError, match=r"correct the object's diameter, or export the mesh in metres"):
        Mesh.read(ply(tmp_path / "double.ply", mesh.vertices * 2, mesh.triangles), 0.08)
    with pytest.raises(MeshError, match="no surface"):
        Mesh.read(ply(tmp_path / "points.ply", mesh.vertices, []))
    with pytest.raises(MeshError, match="no surface"):
        Mesh.read(ply(tmp_path / "line.ply", mesh.vertices, [[0, 1, 1]]))
    (tmp_path / "text.ply").write_text("not a mesh")
    (tmp_path / "beyond.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n")
    for path in (tmp_path / "none.ply", tmp_path / "text.ply", tmp_path / "beyond.obj"):
        with pytest.raises(MeshError, match="export it") as caught:
            Mesh.read(path)
        assert "\n" not in str(caught.value)


@given(turned=st.sets(st.integers(0, 19), min_size=1, max_size=20))
def test_triangles_that_face_the_wrong_way_are_turned(tmp_path_factory, turned):
    mesh = solid("icosa").mesh(0.08)
    triangles = mesh.triangles.copy()
    triangles[sorted(turned)] = triangles[sorted(turned), ::-1]
    read = Mesh.read(ply(tmp_path_factory.mktemp("mesh") / "icosa.ply", mesh.vertices, triangles), 0.08)
    corners = read.vertices[read.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("td,td->t", normals, corners.mean(1)) > 0).all()


# --- overlay


def drawn(name="cube", rotations=None, weights=(1.0,), position=(0.0, 0.0, 1.0), **more):
    rotations = np.eye(3)[None] if rotations is None else rotations
    outline = Outline.of(solid(name).mesh(0.3))
    places = np.broadcast_to(position, (len(rotations), 3))
    return Drawn(name, outline, (255, 160, 0), np.array(position), rotations, places, np.array(weights), **more)


@given(tangent=tangents(), name=st.sampled_from(["tet", "cube", "icosa", "cone", "cyl"]))
def test_the_silhouette_is_the_hull_of_the_projected_corners(tangent, name):
    rotation, position = so3.exp(tangent).numpy(), np.array([0.05, -0.02, 1.0])
    outline = Outline.of(solid(name).mesh(0.3))
    rim, _ = outline.lines(CAMERA, rotation, position[None])[0]
    pixels = CAMERA.project(outline.vertices @ rotation[0].T + position).astype(np.float32)
    hull = cv2.convexHull(pixels)[:, 0]
    distances = [abs(cv2.pointPolygonTest(hull, (float(x), float(y)), True)) for x, y in rim.reshape(-1, 2)]
    assert max(distances) < 0.05
    length = np.linalg.norm(rim[:, 0] - rim[:, 1], axis=1).sum()
    assert length == pytest.approx(cv2.arcLength(hull, True), rel=1e-3)


def test_the_image_given_is_left_as_it_is():
    before = GREY.copy()
    picture = draw_overlay(GREY, CAMERA, [drawn(best=np.eye(4), truth=np.eye(4), note="1 mode")])
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
    truth, best = np.eye(4), np.eye(4)
    truth[:3, :3], best[:3, :3] = rotations[1], rotations[0]
    truth[:3, 3] = best[:3, 3] = np.array(position) * scale
    one = drawn(rotations=rotations, weights=(0.5, 0.3, 0.2), position=np.array(position) * scale, best=best,
                truth=truth, note="3 modes")  # fmt: skip
    for camera in (CAMERA, Camera(CAMERA.matrix, np.array([-0.3, 0.1, 0.0, 0.0, 0.02]), 320, 240)):
        assert draw_overlay(GREY, camera, [one]).shape == GREY.shape


def test_without_modes_or_weights_only_what_there_is_is_drawn():
    named = draw_overlay(GREY, CAMERA, [drawn(rotations=np.zeros((0, 3, 3)), weights=())])
    assert not np.array_equal(named, GREY)
    for weights in ((0.0,), (float("nan"),)):
        faint = draw_overlay(GREY, CAMERA, [drawn(weights=weights)]).astype(int)
        assert 0 < np.abs(faint - GREY).sum() < np.abs(draw_overlay(GREY, CAMERA, [drawn()]).astype(int) - GREY).sum()


@given(tangent=tangents(), depth=st.floats(-0.2, 0.14), aside=st.floats(-0.3, 0.3))
def test_of_an_object_across_the_camera_every_point_in_view_is_drawn(tangent, depth, aside):
    rotation, position = so3.exp(tangent).numpy(), np.array([aside, 0.0, depth])
    outline = Outline.of(solid("cube").mesh(0.3))
    ends = (outline.vertices @ rotation[0].T + position)[outline.edges]
    every = overlay._pixels(CAMERA, ends, overlay._view_planes(CAMERA))
    points = (ends[:, :1] + np.linspace(0, 1, 200)[:, None] * (ends[:, 1:] - ends[:, :1])).reshape(-1, 3)
    points = points[points[:, 2] > 0.002]
    pixels = CAMERA.project(points) if len(points) else np.zeros((0, 2))
    for pixel in pixels[((pixels >= 0) & (pixels <= (319, 239))).all(1)]:
        along = every[:, 1] - every[:, 0]
        share = np.einsum("sd,sd->s", pixel - every[:, 0], along) / np.maximum((along**2).sum(1), 1e-12)
        nearest = every[:, 0] + share.clip(0, 1)[:, None] * along
        assert np.linalg.norm(nearest - pixel, axis=1).min() < 0.01


def test_an_object_beside_the_image_has_no_label_and_labels_do_not_cover_each_other():
    assert np.array_equal(draw_overlay(GREY, CAMERA, [drawn(position=(3.0, 0.0, 1.0))]), GREY)
    empty = [drawn(rotations=np.zeros((0, 3, 3)), weights=(), note=note) for note in ("first", "second", "third")]
    lit = [int((draw_overlay(GREY, CAMERA, empty[:k]) != GREY).any(2).sum()) for k in (1, 2, 3)]
    alone = [int((draw_overlay(GREY, CAMERA, [one]) != GREY).any(2).sum()) for one in empty]
    assert lit[2] == sum(alone)


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
