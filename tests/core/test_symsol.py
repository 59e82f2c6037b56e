"""The solids, their pictures, and the data set on disk."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from strategies import BARE, examples

from lie_picard import so3
from lie_picard.data import symsol_files
from lie_picard.data.scene import Placed, render_scene
from lie_picard.geometry.camera import Camera
from lie_picard.objects.symsol.distractors import polyhedra, unseen_shapes
from lie_picard.objects.symsol.solids import SOLIDS, solid
from lie_picard.rendering.clean import Crop, render
from lie_picard.rendering.randomisation import Rng

ORDERS = {"tet": 12, "cube": 24, "icosa": 60, "cone": 1, "cyl": 2, "tetX": 12, "cylO": 2, "sphereX": 1}


@pytest.mark.parametrize("name", SOLIDS)
def test_symmetries_form_a_group_of_the_right_order(name):
    symmetry = solid(name).bare
    group = torch.from_numpy(symmetry.rotations).float()
    assert len(group) == ORDERS[name]
    products = (group[:, None] @ group[None]).flatten(0, 1)
    assert so3.pairwise_angle(products, group).amin(1).max() < 2e-3
    assert so3.angle(group[0], torch.eye(3)) < 1e-5


@pytest.mark.parametrize(("name", "scipys"), [("tet", "T"), ("cube", "O"), ("icosa", "I")])
def test_polyhedral_angles_agree_with_scipys_groups(name, scipys):
    ours = so3.log(torch.from_numpy(solid(name).bare.rotations)).norm(dim=1).sort().values
    theirs = np.sort(Rotation.create_group(scipys).magnitude())
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", BARE)  # test_true_poses.py has poses of the marked ones
@examples(5)
@given(seed=st.integers(0, 2**31))
def test_indistinguishable_poses_give_equal_images(name, seed):
    generator = torch.Generator().manual_seed(seed)
    rotation = so3.uniform(1, generator=generator)
    equivalents = solid(name).symmetry.equivalents(rotation, 40.0)[0]
    images = render(solid(name), equivalents, 32).int()
    # An edge may fall on either side of a ray.
    assert (images - images[:1]).abs().float().mean() < 0.05


@pytest.mark.parametrize("name", BARE)  # test_true_poses.py has poses of the marked ones
def test_distance_is_zero_on_equivalents_and_grows_with_a_tilt(name, generator):
    shape, truth = solid(name).symmetry, so3.uniform(4, generator=generator, dtype=torch.float64)
    equivalents = shape.equivalents(truth, 1.0)
    assert shape.distance(equivalents, truth[:, None]).max() < 1e-5
    tilt = so3.exp(torch.tensor([0.1, 0.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(
        shape.distance(truth @ tilt, truth), torch.full((4,), 0.1, dtype=torch.float64), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", ["cone", "cyl"])
def test_axial_distance_is_the_limit_of_a_fine_grid(name, generator):
    shape = solid(name).symmetry
    truth, other = so3.uniform(5, generator=generator), so3.uniform(5, generator=generator)
    grid = shape.equivalents(truth, 0.5)
    by_grid = so3.angle(grid, other[:, None]).amin(1)
    assert (shape.distance(other, truth) <= by_grid + 1e-4).all()
    torch.testing.assert_close(shape.distance(other, truth), by_grid, atol=math.radians(0.1), rtol=0)


@pytest.mark.parametrize("name", SOLIDS)
def test_every_solid_fills_the_unit_sphere(name):
    assert solid(name).corners.norm(dim=-1).max() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in SOLIDS if not solid(name).ball])
def test_the_silhouette_is_the_convex_hull_of_the_projected_outline(name, generator):
    """OpenCV fills the hull of the projected edges: an independent way to the same mask."""
    size, crop, rotation = 256, Crop(), so3.uniform(1, generator=generator)
    translation = torch.tensor([[0.0, 0.0, crop.distance]])
    hit = solid(name).cast(rotation, translation, crop.rays(size)).hit[0].unflatten(0, (size, size)).numpy()
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
    buffers = shape.cast(rotations, translation.expand(3, 3), rays)
    for k in range(3):
        hit = buffers.hit[k]
        points = (rays[hit] * buffers.depth[k][hit][:, None] - translation) @ rotations[k]
        inside_planes = points @ shape.planes[:, :3].T - shape.planes[:, 3]
        slack = [inside_planes]
        if shape.ball:
            slack.append(points.norm(dim=1, keepdim=True) - 1)
        if shape.radius is not None:
            slack.append((points[:, :2].norm(dim=1) + shape.slope * points[:, 2] - shape.radius)[:, None])
        # A point on the surface is inside every bound and on one of them.
        torch.testing.assert_close(torch.cat(slack, 1).amax(1), torch.zeros(len(points)), atol=1e-3, rtol=0)
        normals = buffers.normal[k][:, hit]
        torch.testing.assert_close(normals.norm(dim=0), torch.ones(len(points)), atol=1e-4, rtol=0)
        assert ((normals * rays[hit].T).sum(0) < 1e-4).all()


def test_the_sphere_fills_the_disc_that_the_crop_says(generator):
    size, crop = 128, Crop(fill=0.8)
    rays, translation = crop.rays(size), torch.tensor([[0.0, 0.0, crop.distance]])
    hit = solid("sphereX").cast(so3.uniform(1, generator=generator), translation, rays).hit[0]
    away = rays[:, :2].norm(dim=1) / crop.half_angle_tangent
    assert torch.equal(hit, away < 0.8) or (hit ^ (away < 0.8)).sum() <= 4


@examples(20)
@given(seed=st.integers(0, 2**31))
@example(seed=41)  # a ray through the very apex
def test_normals_are_unit_vectors_up_to_the_apex_of_the_cone(seed):
    """And beside it, where lights are computed too before the mask is put on."""
    shape, rotation = solid("cone"), so3.uniform(1, generator=torch.Generator().manual_seed(seed))
    translation = torch.tensor([[0.0, 0.0, 10.0]])
    apex = rotation[0, :, 2] + translation[0]
    steps = torch.linspace(-1e-3, 1e-3, 41)
    rays = torch.cat([torch.cartesian_prod(steps, steps) + apex[:2] / apex[2], torch.ones(41 * 41, 1)], 1)
    normal = shape.cast(rotation, translation, rays).normal[0]
    torch.testing.assert_close(normal.norm(dim=0), torch.ones(41 * 41), atol=1e-4, rtol=0)


@examples(10)
@given(st.sampled_from(SOLIDS), st.floats(0.05, 0.3), st.floats(0.05, 0.3), st.integers(0, 2**31))
def test_a_zoom_stretches_the_rays(name, x, y, seed):
    rotation = so3.uniform(1, generator=torch.Generator().manual_seed(seed))
    translation, zoom = torch.tensor([[0.1, -0.2, 6.0]]), torch.tensor([[x, y]])
    rays = torch.cat(
        [torch.cartesian_prod(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24)), torch.ones(576, 1)], 1
    )
    zoomed = solid(name).cast(rotation, translation, rays, zoom)
    plain = solid(name).cast(rotation, translation, rays * torch.tensor([x, y, 1.0]))
    assert (zoomed.hit ^ plain.hit).sum() <= 2  # an edge may fall on either side of a ray
    both = (zoomed.hit & plain.hit)[0]
    torch.testing.assert_close(zoomed.depth[0, both], plain.depth[0, both], atol=2e-3, rtol=0)
    same = (zoomed.normal - plain.normal).abs().amax(1) < 1e-2
    assert (same | ~both).float().mean() > 0.99


@pytest.mark.parametrize("name", SOLIDS)
def test_grey_pictures_are_the_luminance_of_the_coloured_ones(name, generator):
    rotations = so3.uniform(4, generator=generator)
    colour, grey = (render(solid(name), rotations, 32, channels=channels) for channels in (3, 1))
    assert colour.shape == (4, 32, 32, 3) and grey.shape == (4, 32, 32)
    for rgb, expected in zip(colour.numpy(), grey.numpy(), strict=True):
        assert np.abs(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(int) - expected).max() <= 1


def _vertices(planes):
    """Corners of a convex body: where three of its planes meet inside all the others."""
    triples = torch.combinations(torch.arange(len(planes)), 3)
    matrices, heights = planes[triples, :3].double(), planes[triples, 3].double()
    meets = torch.linalg.det(matrices).abs() > 1e-4
    corners = torch.linalg.solve(matrices[meets], heights[meets])
    return corners[(corners @ planes[:, :3].T.double() <= planes[:, 3] + 1e-5).all(1)]


@examples(20)
@given(seed=st.integers(0, 2**31))
def test_foreign_bodies_are_closed_and_reach_to_the_unit_sphere(seed):
    draw = Rng(torch.Generator().manual_seed(seed), torch.device("cpu"))
    planes = polyhedra(4, draw).planes
    assert planes.shape[0] == 4 and (planes[..., 3] > 0.05).all()  # the centre is well inside
    torch.testing.assert_close(planes[..., :3].norm(dim=-1), torch.ones(planes.shape[:2]))
    for body in planes:
        reach = _vertices(body).norm(dim=1).max()
        assert reach == pytest.approx(1, abs=1e-4)


def test_foreign_bodies_differ_from_one_another(generator):
    planes = polyhedra(20, Rng(generator, torch.device("cpu"))).planes.flatten(1)
    assert (torch.cdist(planes, planes) + torch.eye(20) > 0.05).all()


@pytest.mark.parametrize("name", unseen_shapes())
def test_the_bodies_held_out_are_closed_and_none_of_the_known_solids(name, generator):
    body, rotations = unseen_shapes()[name], so3.uniform(30, generator=generator)
    corners = _vertices(body.planes)
    assert 0.9 < corners.norm(dim=1).max() < 1 + 1e-4
    crop = Crop()
    hit = body.cast(rotations, torch.tensor([0.0, 0.0, crop.distance]).expand(30, 3), crop.rays(32)).hit
    assert (hit.float().mean(1) > 0.05).all()  # nearly a quarter of the smallest cross-section
    hull = cv2.convexHull((corners @ rotations[0].double().T)[:, :2].float().numpy())
    silhouette = body.cast(rotations[:1], torch.tensor([[0.0, 0.0, 500.0]]), Crop(500.0).rays(200)).hit.float().mean()
    assert float(silhouette) * (2 / 0.9) ** 2 == pytest.approx(cv2.contourArea(hull), rel=0.03)
    for other in SOLIDS:
        planes = solid(other).planes
        assert (
            len(planes) != len(body.planes) or (planes[:, 3].sort()[0] - body.planes[:, 3].sort()[0]).abs().max() > 0.05
        )


def test_a_scene_shows_what_the_crop_shows(generator):
    """A solid straight ahead of a camera with the crop's field of view: both renderers give the same image."""
    size, crop, rotation = 64, Crop(), so3.uniform(1, generator=generator)
    focal = size / 2 / crop.half_angle_tangent
    matrix = np.array([[focal, 0, size / 2 - 0.5], [0, focal, size / 2 - 0.5], [0, 0, 1]])
    camera = Camera(matrix, np.zeros(0), size, size)
    placed = Placed(solid("icosa"), 0.2, np.array([0, 0, 0.1 * crop.distance]), rotation)
    difference = render_scene(camera, [placed])[0].astype(int) - render(solid("icosa"), rotation, size)[0].numpy()
    assert np.abs(difference).mean() < 0.5


def test_an_unknown_solid_names_the_known_ones():
    with pytest.raises(ValueError, match="tet, cube, icosa, cone, cyl"):
        solid("banana")


def test_a_written_data_set_reads_back(tmp_path):
    symsol_files.write(tmp_path, "test", [solid("cube"), solid("cone")], images=3, size=64, seed=5)
    cube, cone = symsol_files.read(tmp_path, "test")
    assert (cube.shape, len(cube.images), tuple(cube.rotations.shape)) == ("cube", 3, (3, 24, 3, 3))
    assert tuple(cone.rotations.shape) == (3, 360, 3, 3)
    again = render(solid("cube"), cube.rotations[:, 0], 64).numpy()
    for k in range(3):
        np.testing.assert_array_equal(cube.image(k)[..., 0], again[k])
    assert solid("cube").symmetry.distance(cube.rotations, cube.rotations[:, :1]).max() < 1e-3


def test_the_splits_share_no_rotation(tmp_path):
    for split in symsol_files.SPLITS:
        symsol_files.write(tmp_path, split, [solid("tet")], images=4, size=32)
    train, test = (symsol_files.read(tmp_path, split)[0].rotations[:, 0] for split in symsol_files.SPLITS)
    assert so3.pairwise_angle(train, test).min() > 1e-2


def test_a_broken_data_set_is_named(tmp_path):
    with pytest.raises(symsol_files.DatasetError, match=r"rotations\.npz: no such file"):
        symsol_files.read(tmp_path, "test")
    symsol_files.write(tmp_path, "test", [solid("cube")], images=2, size=64)
    with pytest.raises(symsol_files.DatasetError, match="exists already"):
        symsol_files.write(tmp_path, "test", [solid("cube")], images=2, size=64)
    with pytest.raises(symsol_files.DatasetError, match="no shape 'tet'"):
        symsol_files.read(tmp_path, "test", ["tet"])
    (tmp_path / "test" / "images" / "cube_00001.png").unlink()
    with pytest.raises(symsol_files.DatasetError, match="cube_1"):
        symsol_files.read(tmp_path, "test")
