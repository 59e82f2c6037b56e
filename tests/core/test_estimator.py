"""The embedded checkpoint on images that it has never seen: accuracy, coverage, and the same answer every time."""

import dataclasses

import numpy as np
import pytest
import torch
from strategies import BARE, MARKED

from lie_picard import ImageError, PoseEstimator, SamplerOptions, so3
from lie_picard.data.seeds import test_generator
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.model import checkpoint
from lie_picard.objects.symsol.solids import SOLIDS, solid
from lie_picard.posterior.hypotheses import Ambiguity
from lie_picard.rendering.clean import render
from lie_picard.rendering.randomisation import Randomisation
from lie_picard.training.recipe import Recipe


def picture(name, seed):
    generator = test_generator(seed)
    truth = so3.uniform(1, generator=generator)
    return render(solid(name), truth)[0].numpy(), truth[0]


def test_the_embedded_checkpoint_is_small_and_says_how_it_was_made():
    assert checkpoint.DEFAULT.stat().st_size < 20e6
    config, note = checkpoint.read_metadata("default")
    assert config.objects == SOLIDS
    assert len(note["average_of"]) > 1 and Recipe.from_dict(note["recipe"]).model == dataclasses.replace(
        config, flow_map=False
    )


@pytest.mark.parametrize(
    ("shapes", "steps", "randomisation", "mean", "median"),
    [
        (BARE, 8, None, 1.0, 1.0),
        (BARE, 20, None, 0.9, 0.9),
        (MARKED, 8, None, 18.0, 2.2),
        (BARE, 8, Randomisation(), 5.0, 5.0),
    ],
    ids=["bare", "bare, 20 steps", "marked", "randomised"],
)
def test_the_embedded_checkpoint_is_as_good_as_the_documentation_says(
    estimator, shapes, steps, randomisation, mean, median
):
    """A small draw of what `lie-picard evaluate` measures at length (docs/results.md), with room for its chance."""
    options = EvaluationOptions(20, 16, recall_images=5, recall_samples=200, seed=77, randomisation=randomisation)
    rows = {row["solid"]: row for row in evaluate(estimator, shapes, SamplerOptions("ode", steps), options)}
    assert rows["all"]["mean_deg"] <= mean
    assert all(rows[name]["median_deg"] <= median for name in shapes)
    if randomisation is None:  # even a perfect sampler leaves out a mode now and then
        for name in shapes:
            assert rows[name]["modes_reached"] > rows[name]["modes_reached_if_uniform"] - 0.03


def test_all_24_poses_of_a_cube_are_found_equally_often(estimator):
    image, truth = picture("cube", 0)
    found = estimator.estimate(image, samples=200, seed=0).rotations
    equal = solid("cube").symmetry.equivalents(truth, 1.0)
    distances = torch.rad2deg(so3.angle(equal, found[:, None]))
    assert (distances.amin(0) < 5).all()
    many = estimator.estimate(image, samples=1200, seed=1, options=SamplerOptions("ode")).rotations
    counts = torch.bincount(so3.angle(equal, many[:, None]).argmin(1), minlength=24)
    # Chi-square with 23 degrees of freedom: 49.7 is exceeded by chance once in a thousand.
    assert ((counts - 50.0).square() / 50).sum() < 49.7


@pytest.mark.parametrize(
    ("name", "kind"),
    [("tet", "DISCRETE"), ("cube", "DISCRETE"), ("icosa", "DISCRETE"), ("cone", "AXIAL"), ("cyl", "AXIAL")],
)
def test_each_solids_ambiguity_is_recognised(estimator, name, kind):
    image, truth = picture(name, 5)
    found = estimator.estimate(image, samples=100, seed=0, options=SamplerOptions("ode"))
    assert found.ambiguity is Ambiguity[kind]
    assert sum(mode.weight for mode in found.modes) == pytest.approx(1)
    assert torch.rad2deg(solid(name).bare.distance(found.best.rotation, truth)) < 5


@pytest.mark.parametrize("method", ["picard", "newton", "ode", "walk"])
def test_a_seed_fixes_the_result_alone_and_in_a_batch(estimator, method):
    options = SamplerOptions(method, 20)
    images = [picture(name, k)[0] for k, name in enumerate(SOLIDS)]
    together = estimator.estimate_batch(images, samples=8, seed=3, options=options)
    alone = estimator.estimate(images[2], samples=8, seed=3, options=options)
    assert so3.angle(together[2].rotations, alone.rotations).max() < 2e-3
    again = estimator.estimate(images[2], samples=8, seed=3, options=options)
    assert torch.equal(again.rotations, alone.rotations)
    other = estimator.estimate(images[2], samples=8, seed=4, options=options)
    assert not torch.allclose(other.rotations, alone.rotations)


def test_auto_reads_no_file_once_it_is_resolved(monkeypatch):
    estimator, image = PoseEstimator.from_checkpoint("default", device="cpu"), picture("cube", 2)[0]
    first = estimator.estimate(image, samples=10, seed=0)

    def read(path, *arguments, **keywords):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("pathlib.Path.read_text", read)
    monkeypatch.setattr("builtins.open", read)
    again = estimator.estimate(image, samples=11, seed=0)  # about as many
    assert again.method == first.method
    with pytest.raises(AssertionError, match="was read"):
        estimator.estimate(image, samples=100, seed=0)  # of another size: looked up


def test_colour_and_size_are_adapted(estimator):
    image, truth = picture("cube", 9)
    large = np.repeat(np.repeat(image, 3, 0), 3, 1)
    colour = np.repeat(large[..., None], 3, 2)
    for shown in (large, colour):
        found = estimator.estimate(shown, samples=16, seed=0, options=SamplerOptions("ode"))
        assert torch.rad2deg(solid("cube").bare.distance(found.rotations, truth)).median() < 3


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 64, 3), np.uint8), "empty"),
        (np.zeros((64, 64, 4), np.uint8), "expected a uint8 image"),
        (np.zeros((64, 64)), "expected a uint8 image"),
        (np.zeros((2, 64, 64, 3), np.uint8), "expected a uint8 image"),
    ],
)
def test_a_bad_image_is_refused(estimator, image, message):
    with pytest.raises(ImageError, match=message):
        estimator.estimate(image)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="unknown device"):
        PoseEstimator.from_checkpoint(device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no GPU"):
            PoseEstimator.from_checkpoint(device="cuda")


def test_too_few_steps_without_restarts_are_not_called_converged(estimator):
    """Samples caught between two poses are counted; with the default's restarts there are next to none."""
    images = [picture(name, 4)[0] for name in ("cube", "icosa", "cyl")]
    few = estimator.estimate_batch(images, 64, 0, SamplerOptions("ode", 3, restarts=0))
    assert not any(found.converged for found in few)
    assert all(found.converged for found in estimator.estimate_batch(images, 64, 0, SamplerOptions("ode")))
