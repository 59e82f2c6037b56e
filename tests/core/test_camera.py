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
