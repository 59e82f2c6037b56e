"""Paint on the solids: what is counted in pictures agrees with what is computed from samples of the paint."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from lie_picard import so3
from lie_picard.objects.symsol.solids import SOLIDS, solid
from lie_picard.objects.symsol.true_poses import SEEN_SHARE, seen_share
from lie_picard.rendering.buffers import ViewGeometry
from lie_picard.rendering.clean import Crop, render

MARKED = [(name, index) for name in SOLIDS for index in range(len(solid(name).markers))]
CROP = Crop()
each_marker = pytest.mark.parametrize(("name", "index"), MARKED)


def sight(crop=CROP):
    return crop.view(1)


def painted(name, marker, rotations, size, crop=CROP):
    """Share of each image's rays that meet the marker's colour."""
    translations = torch.tensor([0.0, 0.0, crop.distance]).expand(len(rotations), 3)
    buffers = solid(name).cast(rotations, translations, crop.rays(size))
    coloured = (buffers.albedo - torch.tensor(marker.colour)[:, None]).abs().amax(1) < 1e-6
    return (coloured & buffers.hit).float().mean(1)


def test_the_marked_solids_are_those_of_symsol_ii():
    assert MARKED == [("tetX", 0), ("cylO", 0), ("sphereX", 0), ("sphereX", 1)]


def _area(name, index):
    if name == "tetX":
        return math.sqrt(3) / 4 * 8 / 3  # the edge of a tetrahedron in the unit sphere squares to 8 / 3
    if (name, index) == ("sphereX", 1):
        return 2 * math.pi * (1 - math.cos(math.asin(0.22)))  # a cap
    steps = (torch.arange(2000, dtype=torch.float64) + 0.5) / 1000 - 1
    right, up = torch.meshgrid(steps, steps, indexing="ij")
    if name == "cylO":  # a disc unrolled from a wall of radius 0.6
        across = 0.25 * right
        inside = torch.hypot(across, 0.25 * up) <= 0.25
        return float((inside / (1 - (across / 0.6).square()).sqrt()).sum() * (0.25 / 1000) ** 2)
    first, second = 0.5 * right.abs(), 0.5 * up.abs()  # along the bars
    inside = (torch.minimum(first, second) <= 0.10) & (torch.maximum(first, second) <= 0.45)
    bend = (1 - first.square() - second.square()).clamp_min(1e-9).sqrt()
    return float((inside / bend).sum() * (0.5 / 1000) ** 2)


@each_marker
def test_the_samples_stand_for_the_whole_area(name, index):
    assert float(solid(name).markers[index].area.sum()) == pytest.approx(_area(name, index), rel=0.05)


@each_marker
def test_the_samples_lie_on_the_surface_and_in_the_paint(name, index):
    shape, marker = solid(name), solid(name).markers[index]
    points, normals = marker.points, marker.normals
    height = (points @ shape.planes[:, :3].T - shape.planes[:, 3]).amax(1) if len(shape.planes) else -torch.ones(1)
    if shape.ball:
        height = points.norm(dim=1) - 1
    elif shape.radius is not None:
        assert (height < 0).all()  # on the wall, clear of the caps
        height = points[:, :2].norm(dim=1) - shape.radius
    torch.testing.assert_close(height, torch.zeros(len(points)), atol=1e-5, rtol=0)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(len(points)))
    assert marker.covers(points.T[None]).all()
    assert not marker.covers(-points.T[None]).any()  # the far side is not painted through


@each_marker
def test_the_paint_in_a_picture_has_the_area_that_its_samples_say(name, index, generator):
    """Counted rays against the integral over the samples, seen from near (perspective) and far."""
    marker, rotations = solid(name).markers[index], so3.uniform(60, generator=generator)
    for distance in (4.0, 15.0):
        crop = Crop(distance)
        share = seen_share(sight(crop), marker, rotations, 0)
        counted = painted(name, marker, rotations, 128, crop)
        visible = share > 0.012
        assert visible.sum() >= 5
        torch.testing.assert_close(counted[visible], share[visible], atol=0.0005, rtol=0.06)


@each_marker
def test_hidden_paint_has_no_pixel(name, index, generator):
    """But for slivers of a face's edge, thinner than a ray's width, that count for less than a marker that is seen."""
    marker, rotations = solid(name).markers[index], so3.uniform(80, generator=generator)
    hidden = seen_share(sight(), marker, rotations, 0) == 0
    assert hidden.sum() >= 20
    counted = painted(name, marker, rotations[hidden], 128)
    assert counted.max() < (1.5e-4 if name == "tetX" else 1e-9)  # two rays of 16,384


@each_marker
@examples(20)
@given(seed=st.integers(0, 2**31))
def test_paint_beyond_the_picture_and_behind_a_cover_does_not_count(name, index, seed):
    marker, rotation = solid(name).markers[index], so3.uniform(1, generator=torch.Generator().manual_seed(seed))
    plain = sight()
    halves = torch.zeros(2, 16, 16)
    halves[0, :, :8], halves[1, :, 8:] = 1, 1
    left, right = (ViewGeometry(plain.translations, plain.half_tangent, half[None]) for half in halves)
    parts = [seen_share(one, marker, rotation, 0) for one in (left, right)]
    torch.testing.assert_close(sum(parts), seen_share(plain, marker, rotation, 0), atol=1e-6, rtol=1e-4)
    aside = ViewGeometry(plain.translations + torch.tensor([2.5, 0.0, 0.0]), plain.half_tangent)
    assert float(seen_share(aside, marker, rotation, 0)) == 0


@pytest.mark.parametrize("name", ["tetX", "cylO", "sphereX"])
def test_paint_is_all_that_differs_from_the_bare_solid(name, generator):
    bare = {"tetX": "tet", "cylO": "cyl"}.get(name)
    rotations = so3.uniform(12, generator=generator)
    pictures = render(solid(name), rotations, 64, channels=3)
    if bare:
        changed = (pictures != render(solid(bare), rotations, 64, channels=3)).any(-1)
        share = seen_share(sight(), solid(name).markers[0], rotations, 0)
        assert (changed.flatten(1).any(1) | (share < SEEN_SHARE)).all()
        assert not (changed.flatten(1).float().mean(1) > share + 0.02).any()  # its edge's pixels are mixed
    assert (pictures[..., 0] >= pictures[..., 2]).all()  # paint is red or black, the rest grey
