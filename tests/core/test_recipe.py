"""Recipes: what ships reads, what is wrong is named, and the learning rate has its shape."""

import dataclasses
import itertools
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lie_picard.data.seeds import HALF
from lie_picard.model.config import ModelConfig
from lie_picard.objects.symsol.solids import SOLIDS
from lie_picard.rendering.randomisation import Randomisation
from lie_picard.training.recipe import RECIPES, DataOptions, Recipe, RecipeError, TrainingOptions, read

rates = st.builds(
    TrainingOptions, images=st.integers(1, 100_000), batch=st.integers(1, 200), warmup_steps=st.integers(0, 50),
    decay=st.floats(0, 1), learning_rate=st.floats(1e-6, 1),
)  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_that_ships_reads(name):
    recipe = read(name)
    assert set(recipe.model.objects) <= set(SOLIDS) and recipe.training.steps > 1000
    assert recipe.model.named or recipe.data.absent == 0
    assert recipe.training.warmup_steps < recipe.training.steps * (1 - recipe.training.decay) or name == "paper"


def test_the_shipped_recipes_are_these():
    assert RECIPES == ("compact", "own", "paper", "resnet34-224")
    assert read("compact").model.objects == SOLIDS and read("paper").model.objects == SOLIDS[:5]


def test_a_file_of_ones_own_reads(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[model]\nobjects = ["cone"]\n[data.randomisation]\nfill = [0.5, 0.6]\n')
    recipe = read(path)
    assert recipe == Recipe(
        ModelConfig(objects=("cone",)), DataOptions(randomisation=Randomisation(fill=(0.5, 0.6))), TrainingOptions()
    )


def test_assignments_change_a_recipe():
    recipe = read(
        "compact",
        ["training.images=1000", "model.encoder=resnet34", "model.objects=['tet', \"cube\"]", "data.symsol=/some/where",
         "data.randomisation.fill=[0.5, 0.6]", "training.bfloat16=false", " training.learning_rate = 1e-4"],
    )  # fmt: skip
    assert recipe.training.images == 1000 and recipe.training.bfloat16 is False
    assert recipe.training.learning_rate == 1e-4 and recipe.training.batch == read("compact").training.batch
    assert recipe.model.encoder == "resnet34" and recipe.model.objects == ("tet", "cube")
    assert recipe.data.symsol == "/some/where" and recipe.data.randomisation.fill == (0.5, 0.6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.imagse=3", r"unknown key training\.imagse; known are training\.images"),
        ("trianing.images=3", "unknown key trianing; known are model, data, training"),
        ("data.randomisation.blurr=1", r"unknown key data\.randomisation\.blurr"),
        ("training.images=many", "training"),
        ("training.images=0", "images must be at least 1"),
        ("training.seed=-1", "training seeds"),
        ("model.head=round", "unknown head 'round'"),
        ("data.absent=1.5", r"data\.absent is a share"),
        ("data.randomisation.fill=[0.9, 0.1]", "fill must be ordered"),
        ("data.randomisation.fill=[0.9]", "randomisation"),
        ("data.randomisation.fill=0.9", "fill is a pair"),
        ("data.randomisation.blur=[0, 1]", "blur is one number"),
        ("model=3", "model is a section"),
        ("data.randomisation=3", "randomisation is a section"),
        ("training.images.more=3", "images is a value, not a section"),
        ("training.images", "no assignment"),
    ],
)
def test_a_bad_assignment_is_named_in_one_line(change, message):
    with pytest.raises(RecipeError, match=message) as raised:
        read("compact", [change])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[model\n", "mine.toml"),
        (b"\xff\xfe\x00", "mine.toml"),
        (b"[models]\n", "unknown key models"),
        (None, "mine.toml"),
    ],
)
def test_a_bad_file_is_named_in_one_line(tmp_path, content, message):
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=message) as raised:
        read(path)
    assert "\n" not in str(raised.value)


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(RecipeError, match="compact, own, paper, resnet34-224"):
        read("banana")


@given(training=rates, randomised=st.floats(0, 1), low=st.floats(0, 1), seed=st.integers(0, HALF - 1))
def test_a_recipe_survives_json(training, randomised, low, seed):
    recipe = Recipe(
        ModelConfig(objects=("cone", "sphereX"), named=True),
        DataOptions(randomised, 0.2, "~/symsol", Randomisation(fill=(low, 1.0))),
        dataclasses.replace(training, seed=seed),
    )
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert Recipe.from_dict({}) == Recipe() and Recipe().model.objects == SOLIDS


@given(options=rates)
def test_the_rate_warms_up_stays_and_falls_to_zero(options):
    values = [options.rate(step) for step in range(min(options.steps, 400))]
    begin = options.steps * (1 - options.decay)
    assert all(0 <= value <= options.learning_rate for value in values)
    for step, (value, following) in enumerate(itertools.pairwise(values)):
        if step + 1 < min(begin, options.warmup_steps):
            assert following > value
        elif options.warmup_steps <= step + 1 <= begin:
            assert following == options.learning_rate
        elif step + 1 > max(begin, options.warmup_steps):
            assert following <= value
    if options.decay:
        assert options.rate(options.steps) == pytest.approx(0, abs=1e-12) or options.steps * options.decay < 1
        assert options.decayed(options.steps) == 1 or options.steps * options.decay < 1


@given(steps=st.integers(10, 1000))
def test_a_decay_over_the_whole_run_is_half_a_cosine(steps):
    options = TrainingOptions(images=steps, batch=1, warmup_steps=0, decay=1.0, learning_rate=2.0)
    assert options.steps == steps and options.rate(0) == 2
    for step in range(0, steps + 1, 7):  # mirrored about its middle, where it is half the highest
        assert options.rate(step) + options.rate(steps - step) == pytest.approx(2)
    third = dataclasses.replace(options, images=3 * steps)
    assert third.rate(steps) == pytest.approx(1.5)  # cos 60 degrees


def test_training_seeds_cannot_reach_the_test_seeds():
    with pytest.raises(ValueError, match="training seeds"):
        TrainingOptions(seed=HALF)


@given(power=st.floats(0.05, 4), seed=st.integers(0, 1000))
def test_noise_levels_keep_their_range_and_a_power_moves_them_up(power, seed):
    uniform = torch.rand(2000, generator=torch.Generator().manual_seed(seed))
    levels = TrainingOptions(noise_power=power).noise_levels(uniform, 0.01, 2.0)
    assert float(levels.min()) >= 0.0099 and float(levels.max()) <= 2.001
    assert (levels >= TrainingOptions().noise_levels(uniform, 0.01, 2.0) * 0.999).all()
