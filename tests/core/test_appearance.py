"""Textured images: without them nothing changes; prints turn with the object and hide no mark; each step is alone."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from lie_picard import so3
from lie_picard.data.stream import Stream, batches, bodies, cast_randomly
from lie_picard.objects.symsol.solids import solid
from lie_picard.rendering.buffers import Buffers
from lie_picard.rendering.clean import Crop
from lie_picard.rendering.randomisation import (
    TEXTURED,
    Randomisation,
    Rng,
    World,
    draw_views,
    photograph,
    photograph_crops,
)
from lie_picard.rendering.randomisation.hands import draw_hands
from lie_picard.rendering.randomisation.lighting import draw_lighting
from lie_picard.rendering.randomisation.options import SHARES
from lie_picard.rendering.randomisation.pictures import draw_pictures
from lie_picard.rendering.randomisation.points import PlacementError, Points, in_object
from lie_picard.rendering.randomisation.surfaces import FAINT, Dresser
from lie_picard.training.recipe import DataOptions, Recipe

SIZE = 32
SEEN = Randomisation(distance=(6.0, 6.0), shift=0.0, clutter=0.0, occluder=0.0)
seeds = st.integers(0, 2**31)


def drawing(seed):
    return Rng(torch.Generator().manual_seed(seed), torch.device("cpu"))


@pytest.fixture(scope="module")
def crops():
    return photograph_crops("test", SIZE, torch.Generator().manual_seed(0), count=14)


@pytest.fixture(scope="module")
def pictures(crops):
    return draw_pictures(crops, torch.Generator().manual_seed(1))


def cast(name, rotations, world, seed=0):
    return cast_randomly([(solid(name), rotations)], world, drawing(seed))[0]


def dressed(buffers, pictures, options, seed):
    """Albedo with prints, and the tints of the materials."""
    draw = drawing(seed)
    lighting = draw_lighting(len(buffers.depth), options, draw)
    return Dresser(pictures, options, draw, 2).dress(buffers, lighting)[0].albedo, lighting.tint


def on_surface(buffers):
    """(M,) points, and their places and normals in the object's frame, (M, 3)."""
    every = torch.arange(len(buffers.hit))
    points = Points.of(buffers.hit, every, 1)
    found = torch.stack(in_object(buffers, points, every, torch.eye(3).expand(len(every), 3, 3)), 1)
    return points, found[:, :3], found[:, 3:]


def test_the_defaults_draw_and_show_what_they_did_before_there_were_textures(crops):
    """Sums and the next number that is drawn, of the code before."""
    world, draw = World(Randomisation(), crops), drawing(5)
    parts = [(solid(n), so3.uniform(4, generator=draw.generator)) for n in ("cube", "cylO", "sphereX", "tetX")]
    buffers, _ = cast_randomly(parts, world, draw)
    images, _ = photograph(buffers, world, draw, bodies(world, draw))
    assert float(images.double().sum()) == pytest.approx(14095.6847, rel=1e-5)
    assert float(draw.uniform(1)) == pytest.approx(0.9086216688, abs=1e-7)
    stream = Stream((solid("cube"), solid("cylO")), 32, 3, Crop(), 24, randomised=0.67, absent=0.1)
    batch = next(batches(stream, 3, 2, torch.device("cpu")))
    assert int(batch.images.long().sum()) == pytest.approx(5007005, rel=1e-5)


@examples(8)
@given(seed=seeds)
def test_places_and_normals_come_back_to_the_objects_frame(crops, seed):
    world = World(dataclasses.replace(TEXTURED, fill=(0.8, 0.9), shift=0.2), crops, pictures=object())
    rotations = so3.uniform(3, generator=torch.Generator().manual_seed(seed))
    _, place, normal = on_surface(cast("cube", rotations, world, seed))
    half = torch.full((len(place),), 1 / math.sqrt(3))
    torch.testing.assert_close(place.abs().amax(1), half, atol=1e-3, rtol=0)
    torch.testing.assert_close((place * normal).sum(1), half, atol=1e-3, rtol=0)
    _, place, normal = on_surface(cast("sphereX", rotations, world, seed))
    torch.testing.assert_close(place, normal, atol=2e-3, rtol=0)
    torch.testing.assert_close(place.norm(dim=1), torch.ones(len(place)), atol=2e-3, rtol=0)


@examples(6)
@given(seed=seeds)
def test_prints_turn_with_the_object_and_know_nothing_of_its_pose(crops, pictures, seed):
    """The same numbers drawn at two poses: where both show a point of the surface, both show the same print."""
    world, options = World(SEEN, crops), dataclasses.replace(SEEN, prints=1.0, tinted=0.0)
    first = so3.uniform(4, generator=torch.Generator().manual_seed(seed))
    second = first @ so3.exp(0.3 * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed + 1)))
    shown = []
    for rotations in (first, second):
        buffers = cast("cube", rotations, world, seed)
        albedo, _ = dressed(buffers, pictures, options, seed)
        points, place, normal = on_surface(buffers)
        shown.append((points.image, torch.cat([place, normal], 1), torch.stack(points.taken(albedo), 1)))
    gaps, others = [], []
    for k in range(4):
        (_, here, colour), (_, there, other) = ((image, p[image == k], c[image == k]) for image, p, c in shown)
        distance, nearest = torch.cdist(here[::7], there).min(1)
        same = distance < 0.01
        assert same.sum() > 10
        gaps.append((colour[::7] - other[nearest])[same].abs().amax(1))
        others.append((colour[::7] - other[nearest.roll(len(nearest) // 2)]).abs().amax(1))
    gap, apart = torch.cat(gaps), torch.cat(others)
    assert (gap < 0.25).float().mean() > 0.75  # but at edges of what is printed
    assert gap.mean() < 0.5 * apart.mean()


@examples(6)
@given(seed=seeds, name=st.sampled_from(["tetX", "cylO", "sphereX"]))
def test_marks_stay_what_they_are_and_nothing_looks_like_them(crops, pictures, seed, name):
    options = dataclasses.replace(SEEN, prints=1.0, wear=1.0, vivid=1.0)
    buffers = cast(name, so3.uniform(8, generator=torch.Generator().manual_seed(seed)), World(SEEN, crops), seed)
    albedo, tint = dressed(buffers, pictures, options, seed)
    plain = buffers.albedo * tint[..., None]
    marked = (buffers.albedo.amin(1) < 0.9) & buffers.hit
    bare = (buffers.albedo.amin(1) >= 0.9) & buffers.hit
    torch.testing.assert_close(albedo.mT[marked], plain.mT[marked])
    ratio = albedo.mT[bare] / plain.mT[bare]
    assert (ratio <= 1 + 1e-5).all() and (ratio >= 1 - FAINT - 1e-5).all()
    for k in range(8):
        if marked[k].any() and bare[k].any():
            apart = albedo[k].mT[bare[k]].amin(0) - albedo[k].mT[marked[k]].mean(0)
            assert apart.amax() > 0.3 * tint[k].amin()


def test_coloured_objects_carry_prints_as_well(crops, pictures):
    buffers = cast("tetX", so3.uniform(30, generator=torch.Generator().manual_seed(0)), World(SEEN, crops))
    albedo, tint = dressed(buffers, pictures, dataclasses.replace(SEEN, prints=1.0), 0)
    changed = (albedo - buffers.albedo * tint[..., None]).abs().amax((1, 2)) > 0.02
    assert 5 < changed.sum() < 22


def test_plain_objects_carry_prints_as_often_as_asked(crops, pictures):
    world = World(SEEN, crops)
    buffers = cast("cube", so3.uniform(60, generator=torch.Generator().manual_seed(0)), world)
    albedo, tint = dressed(buffers, pictures, dataclasses.replace(SEEN, prints=0.5), 0)
    changed = (albedo - buffers.albedo * tint[..., None]).abs().amax((1, 2)) > 0.05
    assert 18 < changed.sum() < 42


@pytest.mark.parametrize("share", [name for name in SHARES if name != "centred"])
def test_each_feature_alone_changes_images_and_keeps_them_in_range(crops, pictures, share):
    options = dataclasses.replace(Randomisation(noise=0.0), **{share: 1.0})
    world = World(options, crops, pictures=pictures)
    images = []
    for one in (world, dataclasses.replace(world, options=dataclasses.replace(options, **{share: 0.0}))):
        draw = drawing(3)
        buffers, _ = cast_randomly([(solid("icosa"), so3.uniform(6, generator=draw.generator))], one, draw)
        images.append(photograph(buffers, one, draw, bodies(one, draw))[0])
    assert images[0].isfinite().all() and (images[0] >= 0).all() and (images[0] <= 1).all()
    assert ((images[0] - images[1]).abs().mean((1, 2, 3)) > 1e-3).sum() >= 4


@examples(8)
@given(seed=seeds)
def test_textured_images_are_in_range_and_a_seed_fixes_them(crops, pictures, seed):
    world, images = World(TEXTURED, crops, pictures=pictures), []
    for _ in range(2):
        draw = drawing(seed)
        buffers, _ = cast_randomly([(solid("tetX"), so3.uniform(5, generator=draw.generator))], world, draw)
        images.append(photograph(buffers, world, draw, bodies(world, draw))[0])
    assert torch.equal(*images) and ((images[0] >= 0) & (images[0] <= 1)).all()


def test_one_image_is_enough(crops, pictures):
    """Of features that some images have, it has many of none."""
    world = World(TEXTURED, crops, pictures=pictures)
    for seed in range(12):
        draw = drawing(seed)
        buffers, _ = cast_randomly([(solid("cyl"), so3.uniform(1, generator=draw.generator))], world, draw)
        image, _ = photograph(buffers, world, draw, bodies(world, draw))
        assert image.shape == (1, 3, SIZE, SIZE) and ((image >= 0) & (image <= 1)).all()


@examples(10)
@given(seed=seeds, hidden=st.floats(0, 0.6))
def test_hands_hide_no_more_than_they_may_with_occluders(crops, seed, hidden):
    world = World(dataclasses.replace(SEEN, hands=1.0, occluder=0.5, hidden=hidden), crops)
    draw = drawing(seed)
    buffers, _ = cast_randomly([(solid("cube"), so3.uniform(6, generator=draw.generator))], world, draw)
    _, cover = photograph(buffers, world, draw, bodies(world, draw))
    alpha = F.avg_pool2d(buffers.hit.float().unflatten(1, (2 * SIZE, 2 * SIZE)), 2)
    assert ((cover * alpha).sum((1, 2)) / alpha.sum((1, 2)) <= hidden + 1e-5).all()
    assert ((cover >= 0) & (cover <= 1)).all()


def test_hands_come_from_outside_are_opaque_and_of_all_sizes():
    layer = draw_hands(200, 48, drawing(0))
    alpha = layer[:, 3]
    assert (layer[:, :3] <= layer[:, 3:] + 1e-6).all() and float(alpha.max()) == 1.0
    there = alpha.flatten(1).amax(1) > 0.9
    assert there.float().mean() > 0.8
    rim = torch.cat([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], 1).amax(1)
    assert (rim[there] > 0.5).float().mean() > 0.9
    share = alpha.mean((1, 2))[there]
    assert share.min() < 0.05 and share.max() > 0.2


@examples(8)
@given(seed=seeds)
def test_some_images_are_centred_and_fill_as_the_defaults_do(seed):
    options = dataclasses.replace(TEXTURED, aspect=0.0, centred=0.5)
    views = draw_views(400, options, drawing(seed))
    distance = views.translations[:, 2]
    place = (views.translations[:, :2] / distance[:, None] / views.half_tangent).abs().amax(1)
    fill = torch.tan(torch.asin(1 / distance)) / views.half_tangent[:, 0]
    assert place.max() <= options.shift + 1e-4 and 0.4 < (place <= 0.0801).float().mean() < 0.65
    assert fill.min() >= 0.6 - 1e-3 and fill.max() <= 1.05 + 1e-3
    assert 0.6 < ((fill >= 0.799) & (fill <= 1.001)).float().mean() < 0.85


def test_training_and_tests_share_no_picture(crops, pictures):
    other = draw_pictures(
        photograph_crops("train", SIZE, torch.Generator().manual_seed(0), count=22), drawing(2).generator
    )
    for mine, theirs in ((pictures.prints, other.prints), (pictures.worn, other.worn)):
        same = (mine.flatten(1)[:, None, ::97] == theirs.flatten(1)[None, :, ::97]).all(2)
        flat = mine.flatten(1).float().std(1) < 2
        assert not same[~flat].any()


def test_a_stream_shows_as_many_textured_images_as_asked_and_the_truth_goes_with_them():
    solids = tuple(solid(name) for name in ("cube", "cylO"))
    stream = Stream(solids, 32, 3, Crop(), 24, randomised=1.0, absent=0.25)
    plain, mixed, whole = (
        next(batches(dataclasses.replace(stream, textured=share), 1, 0, torch.device("cpu")))
        for share in (0.0, 0.5, 1.0)
    )
    for batch in (plain, mixed, whole):
        assert batch.images.shape == (24, 32, 32, 3) and batch.rotations.shape == (24, 3, 3)
        assert batch.labels.bincount(minlength=3).tolist() == [9, 9, 6]
    together = dataclasses.replace(stream, textured=0.5, together=2)
    assert next(batches(together, 1, 0, torch.device("cpu"))).images.shape == (24, 32, 32, 3)


def test_recipes_without_textures_are_written_as_before():
    plain = Recipe().to_dict()["data"]
    assert "textured" not in plain and not set(SHARES) & set(plain["randomisation"])
    recipe = Recipe(data=DataOptions(randomised=0.5, textured=0.4, randomisation=Randomisation(prints=0.2)))
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(ValueError, match="textured is a share"):
        DataOptions(textured=1.5)


def test_what_is_missing_is_said_in_one_line(crops, pictures):
    with pytest.raises(ValueError, match=r"World\.of"):
        World(TEXTURED, crops)
    with pytest.raises(ValueError, match="prints is a share"):
        Randomisation(prints=1.2)
    rays = SIZE * SIZE
    buffers = Buffers(torch.ones(2, rays, dtype=torch.bool), torch.ones(2, rays), torch.zeros(2, 3, rays),
                      torch.ones(2, 3, rays))  # fmt: skip
    with pytest.raises(PlacementError, match="cast_randomly"):
        photograph(buffers, World(Randomisation(prints=1.0), crops, 1, pictures), drawing(0))
