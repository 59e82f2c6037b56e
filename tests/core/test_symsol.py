"""The solids, their pictures, and the data set on disk."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lie_picard import so3
from lie_picard.camera import Camera
from lie_picard.symsol import dataset
from lie_picard.symsol.renderer import Crop, cast, render
from lie_picard.symsol.scene import Placed, render_scene
from lie_picard.symsol.solids import SOLIDS, solid

ORDERS = {"tet": 12, "cube": 24, "icosa": 60, "cone": 1, "cyl": 2}


@pytest.mark.parametrize("name", SOLIDS)
def test_symmetries_form_a_group_of_the_right_order(name):
    group = solid(name).group
    assert len(group) == ORDERS[name]
    products = (group[:, None] @ group[None]).flatten(0, 1)
    assert so3.pairwise_angle(products, group).amin(1).max() < 2e-3
    assert so3.angle(group[0], torch.eye(3)) < 1e-5


@pytest.mark.parametrize(("name", "scipys"), [("tet", "T"), ("cube", "O"), ("icosa", "I")])
def test_polyhedral_angles_agree_with_scipys_groups(name, scipys):
    ours = so3.log(solid(name).group.double()).norm(dim=1).sort().values
    theirs = np.sort(Rotation.create_group(scipys).magnitude())
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", SOLIDS)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_indistinguishable_poses_give_equal_images(name, seed):
    generator = torch.Generator().manual_seed(seed)
    rotation = so3.uniform(1, generator=generator)
    equivalents = solid(name).equivalents(rotation, axial_step_deg=40.0)[0]
    images = render(solid(name), equivalents, 32).int()
    # An edge may fall on either side of a ray.
    assert (images - images[:1]).abs().float().mean() < 0.1


@pytest.mark.parametrize("name", SOLIDS)
def test_distance_is_zero_on_equivalents_and_grows_with_a_tilt(name, generator):
    shape, truth = solid(name), so3.uniform(4, generator=generator, dtype=torch.float64)
    equivalents = shape.equivalents(truth)
    assert shape.distance(equivalents, truth[:, None]).max() < 1e-5
    tilt = so3.exp(torch.tensor([0.1, 0.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(
        shape.distance(truth @ tilt, truth), torch.full((4,), 0.1, dtype=torch.float64), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", ["cone", "cyl"])
def test_axial_distance_is_the_limit_of_a_fine_grid(name, generator):
    shape = solid(name)
    truth, other = so3.uniform(5, generator=generator), so3.uniform(5, generator=generator)
    grid = shape.equivalents(truth, axial_step_deg=0.5)
    by_grid = so3.angle(grid, other[:, None]).amin(1)
    assert (shape.distance(other, truth) <= by_grid + 1e-4).all()
    torch.testing.assert_close(shape.distance(other, truth), by_grid, atol=math.radians(0.1), rtol=0)


@pytest.mark.parametrize("name", SOLIDS)
def test_every_solid_fills_the_unit_sphere(name):
    assert solid(name).corners.norm(dim=-1).max() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", SOLIDS)
def test_the_silhouette_is_the_convex_hull_of_the_projected_outline(name, generator):
    """OpenCV fills the hull of the projected edges: an independent way to the same mask."""
    size, crop, rotation = 256, Crop(), so3.uniform(1, generator=generator)
    translation = torch.tensor([[0.0, 0.0, crop.distance]])
    hit = cast(solid(name), rotation, translation, crop.rays(size)).hit[0].unflatten(0, (size, size)).numpy()
    points = solid(name).corners.flatten(0, 1) @ rotation[0].T + translation
    pixels = (points[:, :2] / points[:, 2:] / crop.half_angle_tangent + 1) / 2 * size - 0.5
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(pixels.numpy()).astype(np.int32)), 1)
    union = (hit | (mask > 0)).sum()
    assert (hit & (mask > 0)).sum() / union > 0.96


@pytest.mark.parametrize("name", SOLIDS)
def test_depth_and_normals_are_those_of_the_surface(name, generator):
    shape, crop, rotations = solid(name), Crop(), so3.uniform(3, generator=generator)
    rays, translation = crop.rays(48), torch.tensor([0.0, 0.0, crop.distance])
    buffers = cast(shape, rotations, translation.expand(3, 3), rays)
    for k in range(3):
        hit = buffers.hit[k]
        points = (rays[hit] * buffers.depth[k][hit][:, None] - translation) @ rotations[k]
        inside_planes = points @ shape.planes[:, :3].T - shape.planes[:, 3]
        slack = [inside_planes]
        if shape.radius is not None:
            slack.append((points[:, :2].norm(dim=1) + shape.slope * points[:, 2] - shape.radius)[:, None])
        # A point on the surface is inside every bound and on one of them.
        torch.testing.assert_close(torch.cat(slack, 1).amax(1), torch.zeros(len(points)), atol=1e-3, rtol=0)
        normals = buffers.normal[k][:, hit]
        torch.testing.assert_close(normals.norm(dim=0), torch.ones(len(points)), atol=1e-4, rtol=0)
        assert ((normals * rays[hit].T).sum(0) < 1e-4).all()


def test_a_scene_shows_what_the_crop_shows(generator):
    """A solid straight ahead of a camera with the crop's field of view: both renderers give the same image."""
    size, crop, rotation = 64, Crop(), so3.uniform(1, generator=generator)
    focal = size / 2 / crop.half_angle_tangent
    matrix = np.array([[focal, 0, size / 2 - 0.5], [0, focal, size / 2 - 0.5], [0, 0, 1]])
    camera = Camera(matrix, np.zeros(0), size, size)
    placed = Placed("icosa", 0.2, np.array([0, 0, 0.1 * crop.distance]), rotation)
    difference = render_scene(camera, [placed])[0].astype(int) - render(solid("icosa"), rotation, size)[0].numpy()
    assert np.abs(difference).mean() < 0.5


def test_an_unknown_solid_names_the_known_ones():
    with pytest.raises(ValueError, match="tet, cube, icosa, cone, cyl"):
        solid("banana")


def test_a_written_data_set_reads_back(tmp_path):
    dataset.write(tmp_path, "test", ["cube", "cone"], images=3, size=64, seed=5)
    cube, cone = dataset.read(tmp_path, "test")
    assert (cube.shape, len(cube.images), tuple(cube.rotations.shape)) == ("cube", 3, (3, 24, 3, 3))
    assert tuple(cone.rotations.shape) == (3, 360, 3, 3)
    again = render(solid("cube"), cube.rotations[:, 0], 64).numpy()
    for k in range(3):
        np.testing.assert_array_equal(cube.image(k)[..., 0], again[k])
    assert solid("cube").distance(cube.rotations, cube.rotations[:, :1]).max() < 1e-3


def test_the_splits_share_no_rotation(tmp_path):
    for split in dataset.SPLITS:
        dataset.write(tmp_path, split, ["tet"], images=4, size=32)
    train, test = (dataset.read(tmp_path, split)[0].rotations[:, 0] for split in dataset.SPLITS)
    assert so3.pairwise_angle(train, test).min() > 1e-2


def test_a_broken_data_set_is_named(tmp_path):
    with pytest.raises(dataset.DatasetError, match=r"rotations\.npz: no such file"):
        dataset.read(tmp_path, "test")
    dataset.write(tmp_path, "test", ["cube"], images=2, size=64)
    with pytest.raises(dataset.DatasetError, match="exists already"):
        dataset.write(tmp_path, "test", ["cube"], images=2, size=64)
    with pytest.raises(dataset.DatasetError, match="no shape 'tet'"):
        dataset.read(tmp_path, "test", ["tet"])
    (tmp_path / "test" / "images" / "cube_00001.png").unlink()
    with pytest.raises(dataset.DatasetError, match="cube_1"):
        dataset.read(tmp_path, "test")
