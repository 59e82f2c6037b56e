"""Scenes for the locator: labels are where the objects are, and what a locator's maps should say follows from them."""

import numpy as np
import pytest
import torch

from lie_picard.data.scenes import Scene, SceneObject, SceneOptions, SceneStream
from lie_picard.data.seeds import test_generator
from lie_picard.model.locator import STRIDE, Locator, LocatorConfig, Maps, StoredLocator
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.training.locating import LocatorTrainer, LocatorTraining, loss, same_shapes, targets, turned

SMALL = SceneOptions(side=96, sizes=(16.0, 60.0), layer=32, kept=6, fresh=1, clutter=2, textured=0.3)
OBJECTS = [catalogue(BUILT_IN)[name] for name in ("cube", "tet", "tetX")]


@pytest.fixture(scope="module")
def stream():
    return SceneStream(OBJECTS, SMALL, test_generator(3), "test")


def test_objects_are_seen_far_enough_and_within_the_sizes(stream):
    shown = [one for _ in range(6) for scene in stream.batch(4) for one in scene.objects]
    assert shown and {one.label for one in shown} <= {0, 1, 2}
    for one in shown:
        assert 1 - SMALL.hidden <= one.visible <= 1 + 1e-6
        assert SMALL.sizes[0] - 1 <= one.side <= SMALL.sizes[1] + 1


def test_a_scene_without_clutter_differs_from_its_backdrop_at_its_objects_alone():
    still = SceneOptions(side=96, sizes=(30.0, 50.0), layer=32, kept=4, fresh=0, clutter=0, empty=0.0, most=1,
                         textured=0.0)  # fmt: skip
    stream = SceneStream(OBJECTS[:1], still, test_generator(4), "test")
    canvas = np.full((96, 96, 3), 2.0, np.float32)  # a brightness that no object has
    (one,) = stream._fill(canvas)
    rows, columns = np.nonzero((canvas != 2.0).any(-1))
    inside = np.hypot(columns + 0.5 - one.x, rows + 0.5 - one.y) <= one.side / 2 * 1.1 + 1
    assert len(rows) and inside.all()


def test_the_same_seed_gives_the_same_scenes():
    first, second = (SceneStream(OBJECTS[:1], SMALL, test_generator(5), "test").batch(2) for _ in range(2))
    assert all((a.image == b.image).all() and a.objects == b.objects for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("how", range(8))
def test_a_turned_scene_shows_its_objects_where_its_labels_say(how):
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:14, 40:44] = 255
    scene = turned(Scene(image, [SceneObject(0, 42.0, 12.0, 4.0, 1.0)]), how)
    (one,) = scene.objects
    rows, columns = np.nonzero(scene.image[..., 0])
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == (one.y, one.x)


def test_shapes_that_differ_in_marks_alone_are_the_same():
    assert same_shapes(OBJECTS) == [[], [2], [1]]


def test_maps_that_say_what_they_should_cost_nothing():
    scenes = [[SceneObject(0, 30.0, 50.0, 24.0, 1.0), SceneObject(1, 70.0, 20.0, 40.0, 1.0)], []]
    wanted = targets(scenes, 96, 3, same_shapes(OBJECTS))
    heat = torch.where(wanted.heat >= 1, 12.0, -12.0)
    right = loss(Maps(heat, wanted.box.clone()), wanted)
    assert float(right["box"]) == 0 and float(right["heat"]) < 1e-3
    wrong = loss(Maps(-heat, wanted.box + 1), wanted)
    assert float(wrong["heat"]) > 1 and float(wrong["box"]) > 1


def test_another_name_of_the_same_shape_may_be_shown_or_not():
    wanted = targets([[SceneObject(1, 48.0, 48.0, 30.0, 1.0)]], 96, 3, same_shapes(OBJECTS))
    low = torch.where(wanted.heat >= 1, 12.0, -12.0)
    high = low.clone()
    high[0, 2, 5:7, 5:7] = 12.0  # tetX, where a tet is
    assert float(loss(Maps(high, wanted.box), wanted)["heat"]) == pytest.approx(
        float(loss(Maps(low, wanted.box), wanted)["heat"]), abs=1e-3
    )


def test_a_training_goes_on_where_it_stood(tmp_path):
    options = LocatorTraining(minutes=60, batch=2, kept=4)
    trainer = LocatorTrainer(OBJECTS[:1], options, SMALL)
    stream = SceneStream(OBJECTS[:1], SMALL, test_generator(6), "test")
    before = None
    for _ in range(3):
        before = trainer._advance(stream.batch(2))
    trainer.save(tmp_path / "state")
    again = LocatorTrainer(OBJECTS[:1], options, SMALL)
    again.resume(tmp_path / "state")
    assert again.step == 3 and before is not None
    scenes = stream.batch(2)
    first, second = trainer._advance(scenes), again._advance(scenes)
    assert first == pytest.approx(second, rel=1e-3)


def test_a_training_whose_losses_are_not_finite_ends_and_says_so(tmp_path):
    trainer = LocatorTrainer(OBJECTS[:1], LocatorTraining(minutes=60, batch=2, kept=4), SMALL)
    with torch.no_grad():
        next(iter(trainer.model.parameters())).fill_(torch.nan)
    with pytest.raises(ValueError, match=r"not finite.*--resume"):
        trainer.run(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_training_refuses_a_state_of_other_objects(tmp_path):
    LocatorTrainer(OBJECTS[:1], LocatorTraining(minutes=1), SMALL).save(tmp_path / "state")
    with pytest.raises(ValueError, match="other settings"):
        LocatorTrainer(OBJECTS[1:], LocatorTraining(minutes=1), SMALL).resume(tmp_path / "state")


def test_a_new_object_begins_at_what_the_others_have_in_common():
    stored = StoredLocator.of(Locator(LocatorConfig(("a", "b"))))
    mine = Locator(LocatorConfig(("b", "c")))
    mine.begin(stored)
    theirs = stored.tensors["heat.weight"]
    assert torch.equal(mine.heat.weight[0], theirs[1])
    assert torch.allclose(mine.heat.weight[1], theirs.mean(0))


def test_the_maps_have_a_cell_for_each_eight_pixels():
    maps = Locator(LocatorConfig(("a",))).eval()(torch.zeros(1, 3, 64, 96))
    assert maps.heat.shape == (1, 1, 64 // STRIDE, 96 // STRIDE) and maps.box.shape == (
        1,
        3,
        64 // STRIDE,
        96 // STRIDE,
    )
