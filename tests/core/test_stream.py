"""Training's endless images: repeatable from any batch on, shared without overlap, labelled as asked."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from lie_picard import so3
from lie_picard.data import symsol_files
from lie_picard.data.stream import Shown, Stream, batches, cast_randomly, randomised_images, stored_batches
from lie_picard.geometry.camera import fit
from lie_picard.model.config import ModelConfig
from lie_picard.objects.symsol.solids import SOLIDS, solid
from lie_picard.rendering.clean import Crop, render
from lie_picard.rendering.randomisation import Randomisation, Rng, World, photograph_crops

CPU = torch.device("cpu")
CLEAN = Stream((solid("cone"), solid("tetX")), 32, 3, Crop(), 6)
WILD = dataclasses.replace(CLEAN, randomised=0.6, absent=0.3, batch=10)


def take(stream, seed, start, count, stride=1):
    return list(itertools.islice(batches(stream, seed, start, CPU, stride), count))


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first[:3], second[:3], strict=True)) and (
        first.view is None or torch.equal(first.view.places(), second.view.places())
    )


@pytest.mark.parametrize("stream", [CLEAN, WILD], ids=["clean", "wild"])
@examples(5)
@given(seed=st.integers(0, 2000), start=st.integers(0, 3))
def test_a_batch_depends_on_seed_and_number_alone(stream, seed, start):
    whole = take(stream, seed, 0, 5)
    assert same(next(iter(take(stream, seed, start, 1))), whole[start])
    assert not same(whole[0], whole[1]) and not same(whole[0], take(stream, seed + 1, 0, 1)[0])


@pytest.mark.parametrize("stream", [CLEAN, WILD], ids=["clean", "wild"])
def test_strides_share_the_batches_out(stream):
    whole = take(stream, 1, 4, 6)
    shares = [take(stream, 1, 4 + rank, 2, stride=3) for rank in range(3)]
    for number, batch in enumerate(whole):
        assert same(batch, shares[number % 3][number // 3])


def test_batches_rendered_together_are_mixed_and_begin_anywhere():
    stream = dataclasses.replace(WILD, together=3)
    whole = take(stream, 2, 0, 6)
    assert all(batch.images.shape == (10, 32, 32, 3) for batch in whole)
    assert all(same(batch, take(stream, 2, number, 1)[0]) for number, batch in enumerate(whole))
    assert not any(same(one, other) for one, other in itertools.combinations(whole, 2))
    counts = torch.bincount(torch.cat([batch.labels for batch in whole[:3]]), minlength=3)
    assert counts.tolist() == [11, 10, 9] or sorted(counts.tolist()) == [9, 10, 11]
    shares = [take(stream, 2, rank, 4, stride=2) for rank in range(2)]
    assert not any(same(one, other) for one in shares[0] for other in shares[1])
    for image, rotation, label in zip(*take(dataclasses.replace(CLEAN, together=2), 3, 1, 1)[0][:3], strict=True):
        assert torch.equal(image, render(CLEAN.objects[label], rotation[None], 32, channels=3)[0])


@examples(20)
@given(
    objects=st.lists(st.sampled_from(SOLIDS), min_size=1, max_size=8, unique=True), batch=st.integers(1, 24),
    absent=st.floats(0, 1), step=st.integers(0, 50),
)  # fmt: skip
def test_labels_are_shared_as_evenly_as_can_be(objects, batch, absent, step):
    stream = Stream(tuple(map(solid, objects)), 32, 1, Crop(), batch, absent=absent)
    images, rotations, labels, *_ = take(stream, 0, step, 1)[0]
    counts = torch.bincount(labels, minlength=len(objects) + 1)
    assert images.shape == (batch, 32, 32) and images.dtype == torch.uint8
    assert rotations.shape == (batch, 3, 3) and labels.shape == (batch,)
    assert counts[-1] == round(absent * batch) and counts[:-1].max() - counts[:-1].min() <= 1


def test_over_many_batches_all_objects_come_as_often():
    stream = dataclasses.replace(CLEAN, objects=tuple(map(solid, SOLIDS)), batch=3, channels=1)
    counts = torch.bincount(torch.cat([batch.labels for batch in take(stream, 0, 0, 16)]))
    assert counts.tolist() == [6] * 8


def test_clean_images_show_the_labelled_solid_at_its_rotation():
    images, rotations, labels, *_ = take(CLEAN, 3, 0, 1)[0]
    for image, rotation, label in zip(images, rotations, labels, strict=True):
        assert torch.equal(image, render(CLEAN.objects[label], rotation[None], 32, channels=3)[0])


@examples(4)
@given(seed=st.integers(0, 1000), channels=st.sampled_from([1, 3]))
def test_randomised_images_have_the_labelled_solid_where_it_stands(seed, channels):
    """With even light and a dark backdrop: each image's bright part is the silhouette at its own rotation."""
    even = Randomisation(
        distance=(10.0, 10.0), fill=(0.9, 0.9), shift=0.0, aspect=0.0, lights=(0.0, 0.0), ambient=(0.9, 0.9),
        tinted=0.0, gloss=0.0, photographs=1.0, clutter=0.0, occluder=0.0, exposure=0.0, gamma=(1.0, 1.0), colour=0.0,
        grey=0.0, blur=0.0, motion=0.0, noise=0.0,
    )  # fmt: skip
    world = World(even, torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    draw = Rng(torch.Generator().manual_seed(seed), CPU)
    parts = [Shown(solid(name), so3.uniform(3, generator=draw.generator), k) for k, name in enumerate(("cone", "cube"))]
    images = randomised_images(parts, world, draw, channels)[0].float()
    assert images.shape == ((6, 32, 32) if channels == 1 else (6, 32, 32, 3))
    bright = (images if channels == 1 else images.mean(-1)) > 45
    expected = torch.cat([render(one.shape, one.rotations, 32) for one in parts]) > 20
    assert ((bright & expected).sum((1, 2)) / (bright | expected).sum((1, 2)) > 0.85).all()


def test_half_of_the_absent_wild_images_show_no_body():
    """Counted against a dark backdrop, where only bodies are bright; known objects are never taken away."""
    lit = Randomisation(
        photographs=1.0, clutter=0.0, occluder=0.0, exposure=0.0, noise=0.0, ambient=(0.9, 0.9), gamma=(1.0, 1.0)
    )
    world = World(lit, torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    draw = Rng(torch.Generator().manual_seed(0), CPU)
    parts = [
        Shown(solid("cube"), so3.uniform(n, generator=draw.generator), k, blank=0.5 * k) for k, n in enumerate((20, 60))
    ]
    shown = randomised_images(parts, world, draw, 3)[0].float().mean((1, 2, 3)) > 5
    assert shown[:20].all() and 18 <= shown[20:].sum() <= 42


def test_no_known_object_is_taken_from_its_image():
    """With one absent image a batch, the last randomised image is often a known object's: smooth if it were blank."""
    lit = Randomisation(
        photographs=0.0, clutter=0.0, occluder=0.0, exposure=0.0, colour=0.0, grey=0.0, blur=0.0, motion=0.0,
        noise=0.0, jpeg=95.0, lights=(0.9, 0.9), ambient=(0.05, 0.05), tinted=0.0, gamma=(0.7, 0.7), gloss=0.0,
    )  # fmt: skip
    stream = Stream((solid("cube"),), 32, 3, Crop(), 6, randomised=0.6, absent=1 / 6, randomisation=lit)
    known, absent = [], []
    for batch in take(stream, 0, 0, 60):
        rough = batch.images.float().mean(-1).diff(dim=2).diff(dim=2).abs().amax((1, 2))
        known.append(rough[batch.labels == 0] < 6)
        absent.append(rough[batch.labels == 1] < 6)
    # One in a hundred may have the brightness of what is behind it; the absent ones are blank now and then.
    assert torch.cat(known).float().mean() < 0.02 < 0.1 < torch.cat(absent).float().mean()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_of_any_size_and_colour_is_fed(channels):
    stream = Stream((solid("cylO"),), 64, channels, Crop(), 4, randomised=1.0)
    images = take(stream, 0, 0, 1)[0].images
    assert images.shape == ((4, 64, 64) if channels == 1 else (4, 64, 64, 3)) and images.is_contiguous()


def test_random_cameras_cast_what_each_of_them_sees(generator):
    """Solids together in one call are what they are alone."""
    crops = photograph_crops("test", 32, generator, count=7)
    world = World(Randomisation(), crops)
    parts = [(solid(name), so3.uniform(2, generator=generator)) for name in ("cone", "sphereX", "icosa")]
    buffers, views = cast_randomly(parts, world, Rng(torch.Generator().manual_seed(1), CPU))
    assert (
        len(views.translations) == 6 and buffers.hit.shape == (6, 64 * 64) and buffers.normal.shape == (6, 3, 64 * 64)
    )
    alone, _ = cast_randomly(parts[:1], world, Rng(torch.Generator().manual_seed(1), CPU))
    assert alone.hit.shape == (2, 64 * 64)
    assert (buffers.hit.float().mean(1) > 0.1).all()


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A data set in SYMSOL's layout with all of its shapes."""
    root = tmp_path_factory.mktemp("symsol")
    for split in symsol_files.SPLITS:
        symsol_files.write(root, split, list(map(solid, SOLIDS)), images=3, size=64)
    return root


def test_all_eight_shapes_of_symsol_are_read(stored):
    for split in symsol_files.SPLITS:
        found = symsol_files.read(stored, split)
        assert [shape.shape for shape in found] == list(SOLIDS)
        for shape in found:
            assert len(shape.images) == 3 and shape.rotations.shape[0] == 3
            expected = render(solid(shape.shape), shape.rotations[:, 0], 64, channels=3).numpy()
            np.testing.assert_array_equal(np.stack([shape.image(k) for k in range(3)]), expected)


def test_stored_batches_hold_its_images_and_rotations(stored):
    config = ModelConfig(image_size=64, channels=3, objects=("sphereX", "cube", "cylO"))
    shapes = symsol_files.read(stored, "train", config.objects)
    draw = lambda start, stride: list(  # noqa: E731
        itertools.islice(stored_batches(stored, config, 8, 5, start, stride, CPU), 4)
    )
    taken = draw(0, 1)
    assert {int(label) for batch in taken for label in batch.labels} == {0, 1, 2}
    for images, rotations, labels, *_ in taken:
        assert images.shape == (8, 64, 64, 3) and images.dtype == torch.uint8
        for image, rotation, label in zip(images, rotations, labels, strict=True):
            index = int((shapes[label].rotations[:, 0] - rotation).abs().amax((1, 2)).argmin())
            assert torch.equal(rotation, shapes[label].rotations[index, 0])
            np.testing.assert_array_equal(image.numpy(), shapes[label].image(index))
    assert all(same(a, b) for a, b in zip(draw(2, 1)[:2], taken[2:], strict=True))
    assert all(same(a, b) for a, b in zip(draw(1, 2)[:2], taken[1::2], strict=True))
    assert not same(taken[0], taken[1])


def test_stored_images_are_fitted_to_the_model(stored):
    small = ModelConfig(image_size=32, channels=1, objects=("tetX",))
    images, _, labels, *_ = next(stored_batches(stored, small, 4, 0, 0, 1, CPU))
    assert images.shape == (4, 32, 32) and (labels == 0).all()
    with pytest.raises(symsol_files.DatasetError, match="no shape 'banana'"):
        next(stored_batches(stored, dataclasses.replace(small, objects=("banana",)), 4, 0, 0, 1, CPU))


@examples(25)
@given(side=st.integers(16, 130), size=st.sampled_from([32, 64, 96]), channels=st.sampled_from([1, 3]),
       colour=st.booleans(), value=st.integers(0, 255))  # fmt: skip
def test_fit_gives_the_models_size_and_colours(side, size, channels, colour, value):
    image = np.full((side, side, 3) if colour else (side, side), value, np.uint8)
    result = fit(image, size, channels)
    assert result.shape == ((size, size, 3) if channels == 3 else (size, size)) and result.dtype == np.uint8
    assert np.abs(result.astype(int) - value).max() <= 1  # the weights of the colours are rounded


def test_fit_leaves_what_fits_and_averages_what_shrinks():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert np.array_equal(fit(image, 64, 3), image)
    expected = image.reshape(32, 2, 32, 2, 3).astype(float).mean((1, 3))
    assert np.abs(fit(image, 32, 3) - expected).max() <= 1
    assert np.array_equal(fit(image, 64, 1), cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def test_each_view_says_where_its_object_is():
    """Off-centre crops: the silhouette of a ball lies where the place says, as large as it says."""
    stream = dataclasses.replace(CLEAN, objects=(solid("sphereX"),), off=1.0, batch=12)
    images, _, _, view, _ = take(stream, 1, 0, 1)[0]
    x, y, size = view.places().T
    assert float(x.abs().max()) > 0.15 and float(size.exp().min()) < 0.75
    offsets = (torch.arange(32) + 0.5) / 16 - 1
    bright = images.float().mean(-1) > 14
    for k in range(len(images)):
        away = torch.hypot(offsets[None] - x[k], offsets[:, None] - y[k])
        assert (bright[k] == (away < size[k].exp())).float().mean() > 0.93


def test_repeated_images_come_in_other_company():
    """Four batches of two batches' images: those two as they are, then all of them once more, mixed."""
    stream = dataclasses.replace(CLEAN, together=4, repeats=2)
    taken = take(stream, 0, 0, 5)
    shown = torch.cat([batch.rotations for batch in taken[:4]])
    distinct, counts = shown.flatten(1).unique(dim=0, return_counts=True)
    assert len(distinct) == 2 * CLEAN.batch and (counts == 2).all()
    first, second = shown[: len(distinct)], shown[len(distinct) :]
    assert len(first.flatten(1).unique(dim=0)) == len(distinct) and not torch.equal(first, second)
    assert len(torch.cat([shown, taken[4].rotations]).flatten(1).unique(dim=0)) == len(distinct) + CLEAN.batch
    assert all(same(take(stream, 0, k, 1)[0], taken[k]) for k in range(5))  # wherever a run is resumed
    shares = [take(stream, rank, rank, 4, stride=2) for rank in range(2)]
    assert not same(shares[0][0], shares[1][0])
