"""The virtual camera: geometry of regions, distortion, and the way back to the camera frame."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from lie_picard import so3
from lie_picard.data.scene import Placed, render_scene
from lie_picard.geometry.camera import Camera, CameraError, Region, look_at, sphere_region
from lie_picard.objects.symsol.solids import solid
from lie_picard.rendering.clean import Crop, render

MATRIX = np.array([[600.0, 0, 319.5], [0, 610.0, 239.5], [0, 0, 1]])
CAMERA = Camera(MATRIX, np.zeros(0), 640, 480)
DISTORTED = Camera(MATRIX, np.array([-0.25, 0.08, 0.001, -0.0005, 0.0]), 640, 480)
FISHEYE = Camera(MATRIX, np.array([0.02, -0.01, 0.003, -0.001]), 640, 480, fisheye=True)


@given(st.floats(-0.35, 0.35), st.floats(-0.25, 0.25), st.floats(0.4, 3.0), st.floats(0.03, 0.12))
def test_the_region_of_a_sphere_gives_its_position_back(x, y, z, radius):
    centre = np.array([x * z, y * z, z])
    assume(radius / np.linalg.norm(centre) < 0.2)
    view = look_at(CAMERA, sphere_region(CAMERA, centre, radius), 64, 0.9)
    assert np.linalg.norm(view.position(2 * radius) - centre) < 1e-6


@given(st.floats(-0.4, 0.4), st.floats(-0.3, 0.3))
def test_the_region_touches_the_sphere(x, y):
    centre, radius = np.array([x, y, 1.0]), 0.08
    region = sphere_region(CAMERA, centre, radius)
    points = centre + radius * so3.uniform(4000, generator=torch.Generator().manual_seed(0)).numpy()[:, :, 0]
    pixels = CAMERA.project(points.astype(np.float64)) + 0.5
    assert pixels.min(0) == pytest.approx((region.x, region.y), abs=0.7)
    assert pixels.max(0) == pytest.approx((region.x + region.width, region.y + region.height), abs=0.7)


@pytest.mark.parametrize("camera", [CAMERA, DISTORTED, FISHEYE], ids=["pinhole", "plumb_bob", "fisheye"])
def test_rays_invert_projection(camera):
    pixels = np.random.default_rng(0).uniform((40, 40), (600, 440), (50, 2))
    np.testing.assert_allclose(camera.project(camera.rays(pixels)), pixels, atol=0.02)


@given(st.floats(0, 560), st.floats(0, 400), st.floats(20, 80))
def test_the_turn_of_a_view_is_a_rotation_that_looks_at_the_region(x, y, side):
    view = look_at(CAMERA, Region(x, y, side, side), 64, 0.9)
    turn = view.camera_from_view
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    pixel = CAMERA.project(turn[:, 2:].T)[0] + 0.5
    assert np.abs(pixel - (x + side / 2, y + side / 2)).max() < 0.05 * side


@pytest.mark.parametrize("direction", [(0, 0), (0.3, 0), (-0.35, 0.25), (0.1, -0.28)])
def test_a_cut_is_the_training_image_wherever_the_object_stands(direction, generator):
    """The same rotation relative to the viewing ray gives the same cut, in the centre and in the corners."""
    ray = np.array([*direction, 1.0])
    ray /= np.linalg.norm(ray)
    centre = 0.8 * ray
    rotation = so3.uniform(1, generator=generator, dtype=torch.float64)
    camera = Camera(np.array([[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]]), np.zeros(0), 640, 480)
    region = sphere_region(camera, centre, 0.08)
    view = look_at(camera, region, 64, 0.9)
    allocentric = torch.from_numpy(view.camera_from_view.T) @ rotation
    image = render_scene(camera, [Placed(solid("cube"), 0.16, centre, rotation)])[0]
    # Lights stand still when the camera turns: compare outlines, not shades.
    cut = view.cut(image) > 25
    ideal = render(solid("cube"), allocentric.float(), 64, Crop(fill=0.9))[0].numpy() > 25
    assert (cut & ideal).sum() / (cut | ideal).sum() > 0.97


def test_a_cut_undoes_distortion():
    """A straight line, distorted by OpenCV's own maps, is straight again in the cut."""
    camera = DISTORTED
    grid = np.stack(np.meshgrid(np.linspace(-0.2, 0.2, 401), [0.18]), -1).reshape(-1, 2)
    points = np.concatenate([grid, np.ones((len(grid), 1))], 1)
    image = np.zeros((480, 640), np.uint8)
    cv2.polylines(image, [np.round(camera.project(points)).astype(np.int32)], False, 255, 3)
    view = look_at(camera, Region(220, 260, 200, 200), 128, 0.9)
    rows, columns = np.nonzero(view.cut(image) > 100)
    straight = np.polyfit(columns, rows, 1)
    assert np.abs(np.polyval(straight, columns) - rows).max() < 2.0


@pytest.mark.parametrize(
    ("matrix", "message"),
    [(np.zeros((3, 3)), r"K\[0\] = 0"), (np.full((3, 3), math.nan), "not calibrated"), (-MATRIX, "not calibrated")],
)
def test_an_uncalibrated_camera_is_refused(matrix, message):
    with pytest.raises(CameraError, match=message):
        Camera(matrix, np.zeros(0), 640, 480)


@pytest.mark.parametrize(
    "region", [Region(700, 10, 50, 50), Region(-60, 10, 50, 50), Region(10, 10, 0, 50), Region(math.nan, 0, 9, 9)]
)
def test_a_region_outside_or_empty_is_refused(region):
    with pytest.raises(CameraError, match="region"):
        look_at(CAMERA, region, 64, 0.9)


# --- lenses: rays and projection are inverses wherever the lens is invertible, and errors elsewhere

SKEWED = np.array([[400.0, 9, 315.0], [0, 410.0, 243.0], [0, 0, 1]])
WIDE = np.array([[300.0, 0, 319.5], [0, 300.0, 239.5], [0, 0, 1]])
LENSES = {
    "none": (SKEWED, [], False),
    "plumb_bob": (SKEWED, [-0.25, 0.08, 0.001, -0.0005, 0.0], False),
    "barrel": (WIDE, [-0.3, 0.09, 0.001, 0.001, -0.01], False),
    "pincushion": (WIDE, [0.5, 0.3, 0, 0, 0.2], False),
    "rational": (SKEWED, [5.2, 2.1, 0.0005, -0.0003, 0.1, 5.5, 3.6, 0.5], False),
    "thin prism": (SKEWED, [0.1, -0.1, 0.001, 0.002, 0.01, 0, 0, 0, 0.003, 0.002, -0.001, 0.002], False),
    "tilt": (SKEWED, [0.1, -0.1, 0.001, 0.002, 0.01, 0, 0, 0, 0.003, 0.002, -0.001, 0.002, 0.05, -0.04], False),
    "fisheye": (SKEWED, [0.02, -0.01, 0.003, -0.001], True),
    "wide fisheye": (np.array([[150.0, 0, 319.5], [0, 150.0, 239.5], [0, 0, 1]]), [0.01, 0.001, 0.0, 0.0], True),
}
EVERYWHERE = np.stack(np.meshgrid(np.linspace(-0.5, 639.5, 33), np.linspace(-0.5, 479.5, 25)), -1).reshape(-1, 2)


def camera_with(name):
    matrix, distortion, fisheye = LENSES[name]
    return Camera(matrix, np.array(distortion), 640, 480, fisheye)


@pytest.mark.parametrize("name", LENSES)
def test_every_pixel_of_every_lens_has_a_ray_that_comes_back_to_it(name):
    camera = camera_with(name)
    rays = camera.rays_or_nan(EVERYWHERE)
    seen = ~np.isnan(rays).any(1)
    assert seen.all() or (name == "barrel" and seen.mean() > 0.9)
    np.testing.assert_allclose(np.linalg.norm(rays[seen], axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(camera.project(camera.rays(EVERYWHERE[seen])), EVERYWHERE[seen], atol=0.01)


@pytest.mark.parametrize("name", LENSES)
def test_every_direction_that_is_seen_comes_back_from_its_pixel(name, generator):
    camera = camera_with(name)
    points = so3.uniform(2000, generator=generator).double().numpy()[:, :, 2]
    pixels = camera.project_or_nan(points)
    seen = ~np.isnan(pixels).any(1)
    assert (seen.sum() > 100 and not (seen & (points[:, 2] < 0)).any()) or LENSES[name][2]
    np.testing.assert_allclose(camera.rays(pixels[seen]), points[seen], atol=1e-4)


@pytest.mark.parametrize("name", [name for name, (_, _, fisheye) in LENSES.items() if not fisheye])
def test_without_skew_projection_is_opencvs(name):
    camera = camera_with(name)
    matrix = np.array(camera.matrix)
    matrix[0, 1] = 0
    straight = Camera(matrix, camera.distortion, 640, 480)
    points = np.array([[0.1, -0.2, 1.0], [0.3, 0.25, 0.9], [-0.2, 0.1, 2.0]])
    wanted = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, camera.distortion)[0][:, 0]
    np.testing.assert_allclose(straight.project(points), wanted, atol=1e-9)
    skewed = wanted + np.outer((wanted[:, 1] - matrix[1, 2]) / matrix[1, 1] * camera.matrix[0, 1], [1, 0])
    np.testing.assert_allclose(camera.project(points), skewed, atol=1e-9)


@given(st.floats(-0.45, -0.05), st.floats(0, 2 * math.pi), st.floats(0.5, 1.5))
def test_where_a_lens_turns_back_there_is_an_error(k1, angle, share):
    """r (1 + k1 r^2) is largest at r = 1 / sqrt(-3 k1), where it is 2 r / 3."""
    camera = Camera(WIDE, np.array([k1, 0, 0, 0, 0]), 640, 480)
    last = 1 / math.sqrt(-3 * k1)
    assume(abs(share - 1) > 1e-3)
    towards = np.array([math.cos(angle), math.sin(angle)])
    pixel = (WIDE[:2, 2] + 300 * share * last * 2 / 3 * towards)[None]
    point = np.append(share * last * towards, 1)[None]
    if share < 1:
        np.testing.assert_allclose(camera.project(camera.rays(pixel)), pixel, atol=0.01)
        np.testing.assert_allclose(camera.rays(camera.project(point)), point / np.linalg.norm(point), atol=1e-3)
        return
    with pytest.raises(CameraError, match=r"no direction is seen at pixel .*not invertible there; calibrate"):
        camera.rays(pixel)
    with pytest.raises(CameraError, match=r"does not see the point .*beyond where the lens"):
        camera.project(point)


def test_what_is_behind_a_camera_is_not_seen():
    for camera in (CAMERA, DISTORTED):
        with pytest.raises(CameraError, match="does not see the point"):
            camera.project(np.array([[0.1, 0, -1.0]]))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=14, max_size=14), st.booleans())
def test_whatever_the_coefficients_say_rays_come_back_or_are_an_error(numbers, fisheye):
    camera = Camera(WIDE, np.array(numbers[:4] if fisheye else numbers), 640, 480, fisheye)
    rays = camera.rays_or_nan(EVERYWHERE[::9])
    seen = ~np.isnan(rays).any(1)
    np.testing.assert_allclose(camera.project(rays[seen]), EVERYWHERE[::9][seen], atol=0.01)


def test_a_region_in_the_blind_corner_of_a_lens_is_one_line():
    camera = Camera(WIDE, np.array([-0.3, 0, 0, 0, 0]), 640, 480)
    with pytest.raises(CameraError, match="not invertible there"):
        look_at(camera, Region(560, 400, 60, 60), 64, 0.9)
    wide = camera_with("wide fisheye")
    with pytest.raises(CameraError, match="90 degrees off"):
        look_at(wide, Region(570, 200, 60, 60), 64, 0.9)
