"""Which poses look like the true one: they give the same picture, and distances end at them."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import examples

from lie_picard import so3
from lie_picard.objects.symsol.solids import SOLIDS, solid
from lie_picard.objects.symsol.true_poses import SEEN_SHARE, SolidPoses, seen_share, symmetry_seen
from lie_picard.rendering.buffers import ViewGeometry
from lie_picard.rendering.clean import Crop, quantised, shade
from lie_picard.rendering.randomisation import Randomisation, Rng, draw_views

CROP, SIZE = Crop(), 64
seeds = st.integers(0, 2**31)


def straight(count=1, cover=None):
    """The view of clean images."""
    centre = torch.tensor([0.0, 0.0, CROP.distance]).expand(count, 3)
    return ViewGeometry(centre, torch.full((count, 2), CROP.half_angle_tangent), cover)


def rotation(seed):
    return so3.uniform(1, generator=torch.Generator().manual_seed(seed))


def pictures(name, rotations, sight):
    """(N, 3, S, S) clean pictures of poses as the first image of `sight` was taken."""
    offsets = (torch.arange(2 * SIZE) + 0.5) / SIZE - 1
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1)
    views = [field[:1].expand(len(rotations), -1) for field in (sight.translations, sight.half_tangent)]
    colour = shade(solid(name).cast(rotations, views[0], rays, views[1])).unflatten(2, (2 * SIZE, 2 * SIZE))
    return quantised(F.avg_pool2d(colour, 2)).movedim(-1, 1).float()


def seen_as(name, seen, sight=None):
    """The first of the random poses whose picture shows just these markers."""
    rotations = so3.uniform(500, generator=torch.Generator().manual_seed(5))
    shares = [seen_share(straight(), marker, rotations, 0) for marker in solid(name).markers]
    clear = [share > 10 * SEEN_SHARE if shown else share == 0 for share, shown in zip(shares, seen, strict=True)]
    chosen = rotations[torch.stack(clear).all(0)][:1]
    poses = SolidPoses(solid(name), chosen, sight or straight())
    assert poses.seen(0) == seen
    return poses


@pytest.mark.parametrize("name", SOLIDS)
@examples(8)
@given(seed=seeds, plain=st.booleans())
def test_every_listed_pose_gives_the_same_picture(name, seed, plain):
    """Straight ahead and seen by a random camera; hidden markers may leave less than what counts as seen."""
    truth, draw = rotation(seed), Rng(torch.Generator().manual_seed(seed), torch.device("cpu"))
    views = draw_views(1, Randomisation(), draw)
    sight = straight() if plain else ViewGeometry(views.translations, views.half_tangent)
    listed = SolidPoses(solid(name), truth, sight).listed(0, step_deg=40.0)
    if listed is None:
        assert name == "sphereX"
        return
    shown = pictures(name, torch.cat([truth, listed[:30]]), sight)
    assert torch.equal(listed[0], truth[0])
    assert (shown[1:] - shown[:1]).abs().mean((1, 2, 3)).max() < 2 * SEEN_SHARE * 255


@examples(30)
@given(seed=seeds)
def test_symmetries_that_are_not_listed_give_another_picture(seed):
    truth, group = rotation(seed), torch.from_numpy(solid("tetX").bare.rotations).float()
    listed = SolidPoses(solid("tetX"), truth, straight()).listed(0)
    others = truth @ group
    others = others[so3.pairwise_angle(others, listed).amin(1) > 0.1]
    assert len(listed) + len(others) == 12
    if len(others):
        shown = pictures("tetX", torch.cat([truth, others]), straight())
        assert (shown[1:] - shown[:1]).abs().mean((1, 2, 3)).min() > 0.02


@pytest.mark.parametrize("name", SOLIDS)
@examples(8)
@given(seed=seeds)
def test_the_distance_is_zero_at_every_listed_pose(name, seed):
    poses = SolidPoses(solid(name), rotation(seed), straight())
    listed = poses.listed(0, step_deg=20.0)
    assert poses.distance(poses.truth if listed is None else listed, 0).max() < 3e-3


@pytest.mark.parametrize(("name", "seen"), [("cylO", (True,)), ("sphereX", (True, True))])
@examples(25)
@given(st.floats(0.01, math.pi), seeds)
def test_where_all_is_seen_the_distance_is_the_angle(name, seen, angle, seed):
    poses, axis = seen_as(name, seen), rotation(seed)[:, 0]
    assert len(poses.listed(0)) == 1 and poses.axis(0) is None
    turned = poses.truth @ so3.exp(angle * axis)
    torch.testing.assert_close(poses.distance(turned, 0), torch.tensor([angle]), atol=2e-3, rtol=0)


@examples(60)
@given(seed=seeds)
def test_a_tetrahedron_has_three_poses_a_face_that_may_be_the_red_one(seed):
    truth, planes = rotation(seed), solid("tetX").planes
    camera = truth[0].T @ -torch.tensor([0.0, 0.0, CROP.distance])
    beyond = planes[:, :3] @ camera - planes[:, 3]
    assume((beyond.abs() > 0.2).all())  # no face edge-on
    hidden = int((beyond < 0).sum())
    poses = SolidPoses(solid("tetX"), truth, straight())
    assert poses.seen(0) == (bool(beyond[0] > 0),)
    assert len(poses.listed(0)) == (3 if beyond[0] > 0 else 3 * hidden)


def _fine(poses, axis, group, step_deg=0.25):
    """Brute force: all turns on a fine grid that leave the hidden markers hidden."""
    turns = so3.about_axis(axis, torch.arange(round(360 / step_deg)) * math.radians(step_deg))
    candidates = (poses.truth[0] @ group[:, None] @ turns).flatten(0, 1)
    for marker, shown in zip(poses.solid.markers, poses.seen(0), strict=True):
        if not shown:
            candidates = candidates[seen_share(poses.view, marker, candidates, 0) < SEEN_SHARE]
    return candidates


@pytest.mark.parametrize(
    ("name", "seen", "axis", "group"),
    [
        ("cylO", (False,), [0.0, 0.0, 1.0], torch.stack([torch.eye(3), torch.diag(torch.tensor([1.0, -1, -1]))])),
        ("sphereX", (False, True), [math.sin(math.pi / 3), 0.0, 0.5], torch.eye(3)[None]),
    ],
    ids=["hidden dot", "hidden cross"],
)
def test_a_curve_of_poses_is_cut_where_a_marker_would_appear(name, seen, axis, group, generator):
    poses, samples = seen_as(name, seen), so3.uniform(300, generator=generator)
    torch.testing.assert_close(poses.axis(0), torch.tensor(axis))
    distance, fine = poses.distance(samples, 0), _fine(poses, torch.tensor(axis), group)
    assert 0 < len(fine) < 1440 * len(group)  # hidden somewhere, not everywhere
    assert (distance <= so3.pairwise_angle(samples, poses.listed(0, 1.0)).amin(1) + 1e-3).all()
    by_grid = so3.pairwise_angle(samples, fine).amin(1)
    torch.testing.assert_close(distance, by_grid, atol=math.radians(0.8), rtol=0)
    whole = so3.pairwise_angle(samples, _fine(SolidPoses(solid(name), poses.truth, straight(1, torch.ones(1, 8, 8))),
                                              torch.tensor(axis), group)).amin(1)  # fmt: skip
    assert (distance >= whole - 1e-2).all() and (distance > whole + 0.1).any()


def test_a_seen_cross_turns_in_quarters(generator):
    poses, samples = seen_as("sphereX", (True, False)), so3.uniform(50, generator=generator)
    listed = poses.listed(0)
    quarters = poses.truth @ so3.about_axis(torch.tensor([0.0, 0, 1]), torch.arange(4) * (math.pi / 2))
    dot = solid("sphereX").markers[1]
    hides = seen_share(straight(), dot, quarters, 0) < SEEN_SHARE
    assert poses.axis(0) is None and 1 <= len(listed) == hides.sum() <= 4
    expected = so3.angle(quarters[hides], samples[:, None]).amin(1)
    torch.testing.assert_close(poses.distance(samples, 0), expected, atol=2e-3, rtol=0)


def test_a_blank_sphere_may_have_any_pose_that_shows_nothing(generator):
    """Zero just where neither mark is seen; elsewhere as far as the nearest of many such poses, or a little less."""
    poses, samples = seen_as("sphereX", (False, False)), so3.uniform(40, generator=generator)
    blank = lambda rotations: torch.stack(  # noqa: E731
        [seen_share(straight(), marker, rotations, 0) < SEEN_SHARE for marker in solid("sphereX").markers]
    ).all(0)
    distance = poses.distance(samples, 0)
    assert poses.listed(0) is None
    assert torch.equal(distance == 0, blank(samples)) and 3 < int(blank(samples).sum()) < 37
    many = so3.uniform(10_000, generator=generator)
    nearest = torch.where(blank(samples), 0, so3.pairwise_angle(samples, many[blank(many)]).amin(1))
    assert (distance <= nearest + math.radians(2)).all()
    assert (distance >= nearest - math.radians(15)).all()


def test_an_occluder_that_hides_the_mark_widens_the_true_set():
    open_, truth = seen_as("cylO", (True,)), seen_as("cylO", (True,)).truth
    marker = solid("cylO").markers[0]
    _, points = marker.facing(truth, straight().translations)
    places = points[0, :, :2] / points[0, :, 2:] / CROP.half_angle_tangent
    pixels = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    grid = torch.stack(torch.meshgrid(pixels, pixels, indexing="xy"), -1)
    cover = (torch.cdist(grid.flatten(0, 1), places).amin(1) < 0.12).float().unflatten(0, (SIZE, SIZE))
    sight = straight(1, cover[None])
    poses = SolidPoses(solid("cylO"), truth, sight)
    assert poses.seen(0) == (False,) and open_.seen(0) == (True,)
    listed = poses.listed(0, 5.0)
    assert len(listed) > 10 and poses.axis(0) is not None
    # Where nothing is in front, pictures are still the same, though some of them hide the dot behind the occluder.
    shown = pictures("cylO", torch.cat([truth, listed]), sight)
    assert ((shown[1:] - shown[:1]).abs() * (1 - cover)).mean((1, 2, 3)).max() < 2 * SEEN_SHARE * 255
    assert (seen_share(straight(), marker, listed, 0) > 10 * SEEN_SHARE).sum() > 1


@pytest.mark.parametrize("name", SOLIDS)
def test_what_keeps_the_seen_marks_in_place_is_a_group(name):
    shape = solid(name)
    for seen in itertools.product((False, True), repeat=len(shape.markers)):
        symmetry = symmetry_seen(shape, seen)
        group, free = torch.from_numpy(symmetry.rotations).float(), symmetry.is_ball
        axis = torch.from_numpy(symmetry.axes[0]).float() if len(symmetry.axes) == 1 else None
        assert so3.angle(group[0], torch.eye(3)) < 1e-5
        products = (group[:, None] @ group).flatten(0, 1)
        assert so3.pairwise_angle(products, group).amin(1).max() < 2e-3
        assert free == (shape.ball and not any(seen))
        for marker in itertools.compress(shape.markers, seen):
            torch.testing.assert_close(group @ marker.centre, marker.centre.expand(len(group), 3), atol=1e-5, rtol=0)
        if axis is not None:  # turns and discrete symmetries together are a group: these turn the axis over, at most
            along = group @ axis
            torch.testing.assert_close((along @ axis).abs(), torch.ones(len(group)))


def test_a_marked_solid_needs_its_view(generator):
    with pytest.raises(TypeError, match="view"):
        SolidPoses(solid("tetX"), so3.uniform(1, generator=generator))


@pytest.mark.parametrize("name", ["tet", "cone", "cyl"])
def test_without_marks_the_solids_own_distance_holds(name, generator):
    truth, samples = so3.uniform(2, generator=generator), so3.uniform(20, generator=generator)
    poses, symmetry = SolidPoses(solid(name), truth, straight(2)), solid(name).symmetry
    torch.testing.assert_close(poses.distance(samples, 1), symmetry.distance(truth[1], samples))
    assert len(poses.listed(0, 10.0)) == len(symmetry.rotations) * (36 if symmetry.axes else 1)
