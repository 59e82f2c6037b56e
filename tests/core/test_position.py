"""Position from depth: rendered scenes of known truth, with what depth cameras do wrong; distorted cameras."""

import math

import numpy as np
import pytest
import torch

from lie_picard import so3
from lie_picard.data.seeds import test_generator
from lie_picard.estimation.poses import Target, estimate_poses
from lie_picard.estimation.position import position_from_depth
from lie_picard.geometry.camera import Camera, Region, look_at, sphere_region
from lie_picard.objects.symsol.solids import solid
from lie_picard.rendering.clean import shade

MATRIX = np.array([[600.0, 0, 319.5], [0, 610.0, 239.5], [0, 0, 1]])
CAMERA = Camera(MATRIX, np.zeros(0), 640, 480)
DISTORTED = Camera(MATRIX, np.array([-0.3, 0.1, 0.001, -0.0005, 0.0]), 640, 480)
FISHEYE = Camera(MATRIX, np.array([0.02, -0.01, 0.003, -0.001]), 640, 480, fisheye=True)
NAMES = ("tet", "cube", "icosa", "cone", "cyl", "sphereX")
PLACES = ((0.0, 0.0), (0.42, 0.3), (-0.42, -0.3), (0.42, -0.3))  # the centre and corners of the image
RADIUS, DISTANCE = 0.05, 0.9


class Scene:
    """A solid in front of a wall: what the cameras see and where it is."""

    def __init__(self, name, seed, place=(0.0, 0.0), camera=CAMERA, wall=1.3):
        generator = test_generator(seed)
        self.camera, self.shape = camera, solid(name)
        self.rotation = so3.uniform(1, generator=generator, dtype=torch.float64)[0].numpy()
        ray = np.array([*place, 1.0])
        self.position = DISTANCE * ray / np.linalg.norm(ray)
        self.noise = np.random.default_rng(seed)
        outline = so3.uniform(4000, generator=generator, dtype=torch.float64)[:, :, 0].numpy()
        pixels = camera.project(self.position + RADIUS * outline) + 0.5
        low, high = pixels.min(0), pixels.max(0)
        if camera.distortion.size:
            self.region = Region(*low, *(high - low))
        else:
            self.region = sphere_region(camera, self.position, RADIUS)
        left, top = np.maximum(0, np.floor(low)).astype(int)
        right, bottom = np.minimum((640, 480), np.ceil(high)).astype(int)
        u, v = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
        rays = camera.rays(np.stack([u, v], -1).reshape(-1, 2).astype(float))
        centre = torch.from_numpy(self.position / RADIUS).float()[None]
        seen = self.shape.cast(torch.from_numpy(self.rotation).float()[None], centre, torch.from_numpy(rays).float())
        hit, size = seen.hit[0].numpy(), (bottom - top, right - left)
        z = np.where(hit, seen.depth[0].numpy() * RADIUS * rays[:, 2], wall)
        self.depth = np.full((480, 640), wall, np.float32)
        self.depth[top:bottom, left:right] = z.reshape(size)
        grey = (shade(seen)[0].mean(0).numpy() * 255).round().astype(np.uint8)
        self.image = np.full((480, 640), 10, np.uint8)
        self.image[top:bottom, left:right] = np.where(hit, grey, 10).reshape(size)

    def with_noise(self, share=0.01):
        self.depth = (self.depth * (1 + share * self.noise.standard_normal(self.depth.shape))).astype(np.float32)
        return self

    def with_holes(self, share=0.4):
        self.depth[self.noise.random(self.depth.shape) < share] = np.nan
        return self

    def with_occluder(self, side):
        """Something 5 to 30 cm nearer over a quarter of the region: a band at one side, or a corner."""
        r = self.region
        left, top, right, bottom = r.x, r.y, r.x + r.width, r.y + r.height
        boxes = [
            (left, top, left + r.width / 4, bottom),
            (right - r.width / 4, top, right, bottom),
            (left, top, right, top + r.height / 4),
            (left, top, left + r.width / 2, top + r.height / 2),
        ]
        x0, y0, x1, y1 = (max(0, round(value)) for value in boxes[side])
        self.depth[y0:y1, x0:x1] = self.position[2] - RADIUS - self.noise.uniform(0.0, 0.25)
        return self

    def with_region(self, scale=1.0, sigma=0.0):
        """A region of another size about the same centre, or with edges that are off by some pixels."""
        r, e = self.region, sigma * self.noise.standard_normal(4)
        x, y = r.x - (scale - 1) * r.width / 2 + e[0], r.y - (scale - 1) * r.height / 2 + e[1]
        self.region = Region(x, y, r.width * scale + e[2] - e[0], r.height * scale + e[3] - e[1])
        return self

    def look(self):
        return look_at(self.camera, self.region, 64, 0.9)

    def found(self, known):
        """Position and covariance, with the solid or without."""
        hypothesis = (self.rotation, self.shape) if known else ()
        return position_from_depth(self.depth, self.camera, self.look(), self.region, 2 * RADIUS, *hypothesis)

    def error(self, known):
        """Of the range, as a share of it."""
        position, _ = self.found(known)
        return float(np.linalg.norm(position - self.position)) / DISTANCE


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_a_clean_depth_image_tells_the_position(name, place):
    scene = Scene(name, 1, place)
    assert scene.error(known=True) < 0.001
    assert scene.error(known=False) < 0.04


@pytest.mark.parametrize("name", NAMES)
def test_noise_holes_background_and_an_occluder_are_borne(name):
    for seed in range(16):
        scene = Scene(name, seed, PLACES[seed % 4]).with_occluder((seed + seed // 4) % 4).with_noise().with_holes()
        assert scene.error(known=True) < 0.01
        assert scene.error(known=False) < 0.05


@pytest.mark.parametrize("known", [True, False])
def test_the_covariance_covers_the_errors(known):
    """Normalised squared errors of 3 dimensions: 3 on average if the covariance is right, less if it is careful."""
    squares = []
    for seed in range(72):
        scene = Scene(NAMES[seed % 6], seed, PLACES[seed % 4]).with_noise().with_region(sigma=1.0)
        position, covariance = scene.found(known)
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-15)
        error = position - scene.position
        squares.append(error @ np.linalg.solve(covariance, error))
    assert 0.5 < np.mean(squares) < 4.5
    assert np.mean(np.array(squares) > 7.81) < 0.15  # chi square of 3: 5 % lie beyond


@pytest.mark.parametrize("scale", [0.9, 1.1])
@pytest.mark.parametrize("name", NAMES)
def test_depth_is_better_than_a_region_of_the_wrong_size(name, scale):
    scene = Scene(name, 3, PLACES[1]).with_noise().with_region(scale)
    by_size = abs(float(np.linalg.norm(scene.look().position(2 * RADIUS))) - DISTANCE) / DISTANCE
    assert scene.error(known=True) < 0.1 * by_size
    assert scene.error(known=False) < 0.5 * by_size


def test_a_wrong_rotation_does_little_harm():
    for seed in range(12):
        scene = Scene(NAMES[seed % 5], seed).with_noise()
        scene.rotation = scene.rotation @ so3.exp(torch.tensor([0.2, -0.2, 0.2], dtype=torch.float64)).numpy()
        assert scene.error(known=True) < 0.005


@pytest.mark.parametrize("camera", [DISTORTED, FISHEYE], ids=["plumb_bob", "fisheye"])
@pytest.mark.parametrize("place", PLACES)
def test_depth_of_a_distorted_camera_is_used_where_it_lies(camera, place):
    assert Scene("cube", 5, place, camera).with_noise().error(known=True) < 0.01


@pytest.mark.parametrize("known", [True, False])
def test_no_position_without_enough_depth(known):
    scene = Scene("cube", 0)
    scene.depth[:] = np.nan
    assert scene.found(known) is None
    scene.depth[:] = 3.0  # a wall beyond, nothing else
    assert scene.found(known) is None
    scene.depth[:] = -np.inf
    assert scene.found(known) is None
    scene.region = Region(-59.6, 100, 60, 60)
    assert scene.found(known) is None


def test_depth_of_another_camera_is_refused():
    scene = Scene("cube", 0)
    scene.depth = scene.depth[::2, ::2]
    with pytest.raises(ValueError, match="320 x 240 pixels but the camera 640 x 480"):
        scene.found(True)


@pytest.mark.parametrize("camera", [DISTORTED, FISHEYE], ids=["plumb_bob", "fisheye"])
def test_a_distorted_image_gives_the_rotation_of_the_undistorted(camera, estimator):
    """Through `look_at` and back to the camera frame."""
    found = []
    for one in (CAMERA, camera):
        scene = Scene("cube", 2, (0.25, 0.2), one)
        targets = [Target("cube", 2 * RADIUS, scene.region)]
        found.append(estimate_poses(estimator, scene.image, one, targets, seed=0)[0].hypotheses.best.rotation)
    assert math.degrees(float(solid("cube").symmetry.distance(found[0].double(), found[1].double()))) < 2
