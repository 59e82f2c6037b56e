"""Domain randomisation: in range, repeatable, and each step does what its name says and no more."""

import dataclasses
import math
import sys

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from lie_picard import so3
from lie_picard.data.stream import bodies, cast_randomly
from lie_picard.objects.symsol.solids import SOLIDS, solid
from lie_picard.rendering.buffers import Buffers
from lie_picard.rendering.randomisation import (
    PhotographsError,
    Randomisation,
    Rng,
    World,
    draw_views,
    photograph,
    sensor,
)
from lie_picard.rendering.randomisation import photograph_crops as crops_of
from lie_picard.rendering.randomisation.lighting import Lighting, light
from lie_picard.rendering.randomisation.surroundings import _PHOTOGRAPHS, backdrop, over, scatter

SIZE = 32
NEUTRAL = Randomisation(
    distance=(10.0, 10.0), fill=(0.9, 0.9), shift=0.0, aspect=0.0, lights=(0.0, 0.0), ambient=(0.6, 0.6), tinted=0.0,
    gloss=0.0, photographs=0.0, clutter=0.0, occluder=0.0, exposure=0.0, gamma=(1.0, 1.0), colour=0.0, grey=0.0,
    blur=0.0, motion=0.0, noise=0.0, jpeg=95.0,
)  # fmt: skip
seeds = st.integers(0, 2**31)


def drawing(seed):
    return Rng(torch.Generator().manual_seed(seed), torch.device("cpu"))


class Lowest(Rng):
    """Draws the low end of every range, so that all that may happen does."""

    def uniform(self, *shape, between=(0.0, 1.0)):
        return torch.full(shape, between[0])


@pytest.fixture(scope="module")
def crops():
    return crops_of("test", SIZE, torch.Generator().manual_seed(0), count=14)


@pytest.fixture(scope="module")
def pictures():
    """(14, 3, 64, 64) photographs in [0, 1]."""
    return crops_of("test", 64, torch.Generator().manual_seed(0), count=14).float() / 255


def taken(name, world, seed, count=4, others=True):
    """Images of a solid, which share of each pixel is hidden, and which of it the solid fills."""
    draw = drawing(seed)
    rotations = so3.uniform(count, generator=draw.generator)
    buffers, _ = cast_randomly([(solid(name), rotations)], world, draw)
    images, cover = photograph(buffers, world, draw, bodies(world, draw) if others else None)
    alpha = F.avg_pool2d(buffers.hit.float().unflatten(1, (2 * SIZE, 2 * SIZE)), 2)
    return images, cover, alpha


@pytest.mark.parametrize("name", SOLIDS)
@examples(4)
@given(seed=seeds)
def test_images_are_in_range_and_a_seed_fixes_them(name, crops, seed):
    world = World(Randomisation(gloss=2.0), crops)
    images, cover, _ = taken(name, world, seed)
    again, covered, _ = taken(name, world, seed)
    other, _, _ = taken(name, world, seed + 1)
    assert images.shape == (4, 3, SIZE, SIZE) and cover.shape == (4, SIZE, SIZE)
    assert torch.equal(images, again) and torch.equal(cover, covered) and not torch.equal(images, other)
    for tensor in (images, cover):  # a comparison with NaN fails
        assert ((tensor >= 0) & (tensor <= 1)).all()


@examples(15)
@given(seed=seeds, hidden=st.floats(0, 0.6))
def test_an_occluder_hides_no_more_than_it_may(crops, seed, hidden):
    world = World(dataclasses.replace(NEUTRAL, occluder=1.0, hidden=hidden), crops)
    _, cover, alpha = taken("cube", world, seed)
    assert ((cover * alpha).sum((1, 2)) / alpha.sum((1, 2)) <= hidden + 1e-5).all()


def test_some_occluders_hide_something(crops):
    world = World(dataclasses.replace(NEUTRAL, occluder=1.0), crops)
    _, cover, alpha = taken("cube", world, 0, count=30)
    assert ((cover * alpha).sum((1, 2)) > 0.05 * alpha.sum((1, 2))).sum() > 5


@examples(10)
@given(seed=seeds)
def test_clutter_stands_behind_and_hides_nothing(crops, seed):
    plain, _, alpha = taken("icosa", World(NEUTRAL, crops), seed)
    cluttered, cover, _ = taken("icosa", World(dataclasses.replace(NEUTRAL, clutter=1.0), crops), seed)
    inside = F.max_pool2d(1 - alpha, 3, 1, 1)[:, None].expand_as(plain) == 0
    # Blocks of compressed images that reach beyond the object change a little.
    assert (plain - cluttered).abs()[inside].mean() < 0.01
    assert (plain - cluttered).abs().mean() > 1e-3 and (cover == 0).all()


@examples(10)
@given(seed=seeds)
def test_without_randomisation_light_is_even_and_grey(crops, seed):
    """Ambient light on a grey solid: the brightness depends on how far a surface looks up, times one factor."""
    draw = drawing(seed)
    world = World(NEUTRAL, crops)
    buffers, _ = cast_randomly([(solid("cube"), so3.uniform(8, generator=draw.generator))], world, draw)
    images, cover = photograph(buffers, world, draw)
    expected = F.avg_pool2d((0.6 * (1 - 0.3 * buffers.normal[:, 1])).unflatten(1, (2 * SIZE, 2 * SIZE)), 2)
    # Away from the outline, where compression lets the background's colour in.
    inside = F.max_pool2d(1 - buffers.hit.float().unflatten(1, (2 * SIZE, 2 * SIZE)), 10, 2, 4) == 0
    assert (cover == 0).all()
    for image, wanted, within in zip(images, expected, inside, strict=True):
        ratio = image[:, within] / wanted[within]
        factor = ratio.mean()
        assert 0.49 < factor < 1.01
        torch.testing.assert_close(ratio, factor.expand_as(ratio), atol=0.12, rtol=0)  # compressed, half of them
        assert (ratio - factor).abs().mean() < 0.02


@examples(20)
@given(
    seed=seeds, near=st.floats(2, 20), far=st.floats(1, 4), small=st.floats(0.3, 1), large=st.floats(0, 0.5),
    shift=st.floats(0, 0.4), aspect=st.floats(0, 0.2),
)  # fmt: skip
def test_the_sphere_is_where_shift_and_fill_say(seed, near, far, small, large, shift, aspect):
    options = Randomisation(distance=(near, near * far), fill=(small, small + large), shift=shift, aspect=aspect)
    views = draw_views(20, options, drawing(seed))
    distance = views.translations[:, 2]
    place = views.translations[:, :2] / distance[:, None] / views.half_tangent
    assert (place.abs() <= shift + 1e-4).all()
    assert ((distance >= near * 0.999) & (distance <= near * far * 1.001)).all()
    fill = torch.tan(torch.asin(1 / distance)) / views.half_tangent.prod(1).sqrt()
    assert ((fill >= small - 1e-3) & (fill <= small + large + 1e-3)).all()
    ratio = views.half_tangent[:, 0] / views.half_tangent[:, 1]
    assert ((ratio.sqrt() - 1).abs() <= aspect / 2 + 1e-4).all()


@examples(10)
@given(seed=seeds, fill=st.floats(0.4, 0.9), shift=st.floats(0, 0.1))
def test_the_pictures_show_the_sphere_there(seed, fill, shift):
    """Counted in a mask: its centre and its diameter."""
    options = Randomisation(distance=(12.0, 20.0), fill=(fill, fill), shift=shift, aspect=0.0)
    views = draw_views(3, options, drawing(seed))
    offsets = (torch.arange(128) + 0.5) / 64 - 1
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1)
    hit = solid("sphereX").cast(torch.eye(3).expand(3, 3, 3), views.translations, rays, views.half_tangent).hit
    for mask, translation, half in zip(hit, views.translations, views.half_tangent, strict=True):
        inside = rays[mask, :2]
        torch.testing.assert_close(inside.mean(0), translation[:2] / translation[2] / half, atol=0.02, rtol=0)
        assert math.sqrt(4 * len(inside) / len(rays) / math.pi) == pytest.approx(fill, abs=0.02)


def test_jpeg_does_what_opencvs_does(pictures):
    """At the same quality: the loss is of the same size, and most of it is the same loss."""
    losses = []
    for quality in (40, 70, 95):
        options = Randomisation(jpeg=float(quality))
        ours = sensor.compress(pictures, options, Lowest(torch.Generator(), torch.device("cpu"))) * 255
        theirs = []
        for picture in (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy():
            coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            theirs.append(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
        other = torch.from_numpy(np.stack(theirs)).permute(0, 3, 1, 2).float()
        loss, others_loss = ((result - pictures * 255).abs().mean() for result in (ours, other))
        assert float(loss) == pytest.approx(float(others_loss), rel=0.1)
        assert (ours - other).abs().mean() < min(2.0, loss)
        losses.append(float(loss))
    assert losses[0] > losses[1] > losses[2] and losses[2] < 2.5 and losses[0] > 2 * losses[2]


def test_half_the_images_are_compressed(pictures):
    many = pictures[:1].expand(200, -1, -1, -1)
    changed = (sensor.compress(many, Randomisation(), drawing(0)) != many).flatten(1).any(1)
    assert 70 < changed.sum() < 130


@examples(15)
@given(seed=seeds)
def test_blur_keeps_the_light_and_takes_contrast(seed, pictures):
    framed = F.pad(pictures[:, :, 8:-8, 8:-8], (8,) * 4)  # nothing leaves the image
    blurred = sensor.blur(framed, Randomisation(), drawing(seed))
    torch.testing.assert_close(blurred.mean((1, 2, 3)), framed.mean((1, 2, 3)), atol=1e-5, rtol=1e-4)
    assert (blurred.var((1, 2, 3)) <= framed.var((1, 2, 3)) + 1e-6).all()
    sharp = ((blurred - framed).abs().amax((1, 2, 3)) < 1e-3).sum()
    assert 0 <= sharp < 14


def test_noise_has_the_strength_that_is_asked_for():
    grey = torch.full((400, 3, 16, 16), 0.5)
    spread = (sensor.add_noise(grey, Randomisation(noise=0.1), drawing(0)) - grey).flatten(1).std(1)
    limit = 0.1 * math.sqrt(0.2 + 0.8 * 0.5)
    assert spread.max() < limit * 1.1 and float(spread.mean()) == pytest.approx(limit / 2, rel=0.1)


@examples(10)
@given(seed=seeds, share=st.sampled_from([0.0, 1.0]))
def test_colour_is_lost_as_often_as_asked(seed, share, pictures):
    exposed = sensor.expose(pictures, Randomisation(grey=share), drawing(seed))
    spread = (exposed.amax(1) - exposed.amin(1)).amax((1, 2))
    assert (spread < 1e-5).all() if share else (spread > 1e-3).any()


def test_light_is_lamberts_and_its_highlight_blinn_and_phongs():
    """One light, 60 degrees off a surface that faces the camera, and one that lies in its shadow."""
    normal = torch.tensor([[[0.0, 0], [0, 0], [-1, 1]]])
    buffers = Buffers(torch.tensor([[True, True]]), torch.ones(1, 2), normal, torch.full((1, 3, 2), 0.5))
    directions = torch.tensor([[[math.sin(math.pi / 3), 0.0, -0.5]]])
    one = torch.ones(1, 3)
    dull = Lighting(directions, torch.ones(1, 1, 3), 0.2 * one, one, torch.zeros(1), torch.tensor([8.0]))
    torch.testing.assert_close(light(buffers, dull)[0, 0], torch.tensor([0.5 * (0.2 + 0.5), 0.5 * 0.2]))
    shiny = dataclasses.replace(dull, gloss=torch.tensor([0.4]))
    gain = (light(buffers, shiny) - light(buffers, dull))[0, 0]
    torch.testing.assert_close(gain, torch.tensor([0.4 * math.cos(math.pi / 6) ** 8, 0.0]), atol=1e-5, rtol=1e-4)


def test_buffers_of_another_renderer_will_do(crops):
    """A red square that fills the middle, made by hand, with normals of no length where nothing is hit."""
    square = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    square[8:24, 8:24] = True
    hit = square.flatten().expand(6, -1)
    normal = torch.where(hit[:, None], torch.tensor([0.0, 0, -1])[:, None], torch.inf)
    albedo = torch.tensor([0.9, 0.1, 0.1])[:, None].expand(6, 3, SIZE * SIZE)
    buffers = Buffers(hit, torch.ones(6, SIZE * SIZE), normal, albedo)
    images, _ = photograph(buffers, World(NEUTRAL, crops, supersample=1), drawing(3))
    assert images.isfinite().all()
    assert (images[:, 0, 9:23, 9:23] > images[:, 1:, 9:23, 9:23].amax(1) + 0.1).all()
    wild, _ = photograph(buffers, World(Randomisation(gloss=1.0), crops, supersample=1), drawing(3))
    assert wild.isfinite().all()


def test_what_is_in_front_covers_what_is_behind():
    back = torch.full((1, 3, 2, 2), 0.5)
    front = torch.zeros(1, 4, 2, 2)
    front[..., 0, 0] = torch.tensor([1.0, 0, 0, 1.0])
    front[..., 0, 1] = torch.tensor([0.5, 0, 0, 0.5])
    result = over(front, back)[0]
    assert result[:, 0, 0].tolist() == [1, 0, 0] and result[:, 1, 1].tolist() == [0.5] * 3
    assert result[:, 0, 1].tolist() == [0.75, 0.25, 0.25]


def test_scattered_bodies_leave_the_middle_and_come_as_often_as_asked():
    body = torch.ones(2, 4, SIZE, SIZE)
    clutter, occluders = scatter(body, 500, Randomisation(clutter=0.5, occluder=0.3), drawing(0))
    for layer, expected in ((clutter, 0.5), (occluders, 0.3)):
        there = layer[:, 3].flatten(1).amax(1) > 0
        assert float(layer.min()) >= 0 and float(layer.max()) <= 1 + 1e-5
        assert 0.85 * expected < float(there.float().mean()) < expected + 0.07  # some fall beside the image
        weight = layer[:, 3].sum(0)
        assert weight[:4].mean() > 0 and weight[-4:].mean() > 0


def test_backdrops_are_photographs_as_often_as_asked(crops):
    """Gradients are smooth, photographs are not."""
    roughness = lambda images: (images.diff(dim=-1).diff(dim=-1)).abs().amax((1, 2, 3))  # noqa: E731
    smooth = roughness(backdrop(60, crops, Randomisation(photographs=0.0), drawing(0)))
    rough = roughness(backdrop(60, crops, Randomisation(photographs=1.0), drawing(0)))
    assert smooth.max() < 0.1 and rough.median() > 0.1


def test_what_is_tested_shows_no_photograph_of_training():
    assert not set(_PHOTOGRAPHS["train"]) & set(_PHOTOGRAPHS["test"])
    train, test = (crops_of(split, 16, torch.Generator().manual_seed(0), count=77).flatten(1) for split in _PHOTOGRAPHS)
    again = crops_of("train", 16, torch.Generator().manual_seed(0), count=77).flatten(1)
    assert torch.equal(train, again) and train.shape == (77, 3 * 16 * 16) and train.dtype == torch.uint8
    same = (train[:, None] == test[None]).float().mean(-1)
    assert same.max() < 0.99 or not train.float().std(1)[(same > 0.99).any(1)].any()  # but for flat ones


def test_missing_photographs_are_named_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(PhotographsError, match="pip install scikit-image") as raised:
        crops_of("train", 64, torch.Generator())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"blur": -1.0}, "blur"), ({"fill": (0.9, 0.8)}, "fill"), ({"distance": (0.5, 3.0)}, "inside the object")],
)
def test_bad_ranges_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Randomisation(**change)


def test_lists_as_toml_gives_them_are_ranges():
    assert Randomisation(fill=[0.5, 0.6]) == Randomisation(fill=(0.5, 0.6))
