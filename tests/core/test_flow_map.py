"""The flow map: its sampler, what it shares with the score, its training, and what is refused."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from test_model import SMALL, images, small_model

from lie_picard import PoseEstimator, SamplerOptions, so3
from lie_picard.cli import main
from lie_picard.data.seeds import test_generator, train_generator
from lie_picard.model import checkpoint
from lie_picard.model.averaging import averaged
from lie_picard.model.flow_map import FlowMap, moved
from lie_picard.model.heads import EquivariantHead
from lie_picard.objects import BUILT_IN
from lie_picard.sampling import sample
from lie_picard.sampling.noise import few
from lie_picard.training.distillation import Distillation, DistillationOptions, solved

COLOUR = {"channels": 3, "objects": ("tet", "cone"), "named": True}
WIDTH = 0.05  # of the one pose of `exact_map`, radians


def exact_map(noise, pose):
    """v of a concentrated Gaussian about a pose: along its flow the offset shrinks as the noise with the width does."""
    taus = torch.cat([noise.sigmas[1:], noise.sigmas.new_zeros(1)])

    def velocity(rotations, step):
        sigma, tau = noise.sigmas[step].to(rotations), taus[step].to(rotations)
        shrinks = ((tau**2 + WIDTH**2) / (sigma**2 + WIDTH**2)).sqrt()
        return ((1 - shrinks) / (sigma - tau))[:, None] * so3.log(rotations.mT @ pose)

    return velocity


@examples(10)
@given(st.integers(1, 6), st.integers(0, 1000))
def test_the_exact_map_ends_where_the_flow_does_in_any_number_of_evaluations(steps, seed):
    options = SamplerOptions("map", steps)
    plan = options.plan(2.0, 0.01, torch.zeros(0, dtype=torch.float64))
    pose, start = so3.uniform(5, generator=test_generator(seed), dtype=torch.float64).split([1, 4])
    found = sample(exact_map(plan.noise, pose), start, plan, options)
    shrinks = WIDTH / (2.0**2 + WIDTH**2) ** 0.5
    expected = pose @ so3.exp(shrinks * so3.log(pose.mT @ start))
    assert (found.rotations - expected).abs().max() < 1e-5
    assert found.evaluations == found.rounds == steps == plan.noise.steps and found.converged


@given(st.integers(1, 50), st.floats(0.5, 3.0), st.floats(0.005, 0.2))
def test_levels_fall_from_the_first_to_no_less_than_the_last(steps, high, low):
    sigmas = few(steps, high, low).sigmas
    assert (
        len(sigmas) == steps and abs(float(sigmas[0]) - high) < 1e-6 and (steps == 1 or float(sigmas[-1]) >= low - 1e-6)
    )


def test_what_is_not_said_is_the_methods_own():
    assert SamplerOptions().steps == 8 and SamplerOptions("map").steps == 4
    assert dataclasses.replace(SamplerOptions("map", 2), restarts=0).steps == 2
    with pytest.raises(ValueError, match="steps"):
        SamplerOptions("ode", 1)


@pytest.mark.parametrize("head", ["equivariant", "fourier"])
def test_a_new_map_is_the_score_whatever_its_aim(head, generator):
    model = small_model(head)
    model.add_flow_map()
    terms = model.head.image_terms(torch.randn(4, SMALL.features, generator=generator))
    rotations = so3.uniform(4, generator=generator)
    sigmas, taus = torch.tensor([2.0, 1.0, 0.3, 0.05]), torch.tensor([0.0, 0.5, 0.1, 0.0])
    score = model.head(rotations, terms, model.head.time_terms(sigmas))
    velocity = model.flow_map(rotations, terms, model.flow_map.time_terms(sigmas, taus))
    torch.testing.assert_close(velocity, score)


def test_the_map_sees_only_the_relative_rotation(generator):
    """Turning camera and object together turns where the map leads alike."""
    config = dataclasses.replace(SMALL, degree=6)
    flow = FlowMap(config, EquivariantHead)
    for leave in (flow.head.mlp.leave, flow.towards[-1]):
        torch.nn.init.normal_(leave.weight)
    terms = flow.image_terms(torch.randn(4, config.features, generator=generator))
    rotations, turn = so3.uniform(4, generator=generator), so3.uniform(4, generator=generator)
    body_frame, (high, low) = flow.head.body_frame, torch.tensor([[0.5] * 4, [0.1] * 4])
    turned = dataclasses.replace(terms, coefficients=body_frame.prepared(body_frame(terms.coefficients, turn.mT).mT))
    time = flow.time_terms(high, low)
    there = moved(turn @ rotations, flow(turn @ rotations, turned, time), high, low)
    torch.testing.assert_close(
        there, turn @ moved(rotations, flow(rotations, terms, time), high, low), atol=2e-4, rtol=0
    )


def test_pairs_go_downwards_and_reach_every_level():
    training = Distillation(with_map(), DistillationOptions(1.0, steps=6))
    first, second = training.pairs(4000, train_generator("distillation", 0))
    assert (first < second).all() and first.unique().tolist() == list(range(7)) and second.max() == 7
    assert (first == 0).float().mean() > 0.3 and (second == 7).float().mean() > 0.4
    assert float(training.levels[0]) == SMALL.sigma_max and float(training.levels[-1]) == 0


def with_map():
    model = small_model(**COLOUR)
    model.add_flow_map()
    return model


def test_the_teachers_paths_are_those_of_the_sampler(generator):
    model = with_map()
    training = Distillation(model, DistillationOptions(1.0, steps=8))
    features = model.features(images(3, channels=3))
    start = so3.uniform(15, generator=generator)
    paths = solved(
        model.head, model.head.image_terms(features), start.unflatten(0, (3, 5)), training.scheme, training.sigmas
    )
    options = SamplerOptions("ode", 8, restarts=0)
    encoded = PoseEstimator(model).encode(images(3, channels=3), None, options)
    found = PoseEstimator(model).solve(encoded, start)
    assert so3.angle(paths.points[:, :, -1].flatten(0, 1), found.rotations).max() < 1e-3
    assert paths.points.shape[2] == len(training.levels) == 10


def test_a_training_mixes_no_devices():
    """The meta device computes shapes alone, and refuses tensors of another one as a GPU does."""
    model = with_map().to("meta").eval()
    training = Distillation(model, DistillationOptions(1.0, steps=8))
    features = model.features(torch.empty(2, SMALL.image_size, SMALL.image_size, 3, dtype=torch.uint8, device="meta"))
    start = torch.empty(2, 3, 3, 3, device="meta")
    paths = solved(model.head, model.head.image_terms(features), start, training.scheme, training.sigmas)
    loss = training.loss(training.map.image_terms(features), paths, train_generator("distillation", 0))
    assert loss.device.type == "meta" and loss.shape == ()


def test_a_single_evaluation_does_not_show_whether_a_pose_was_found():
    model = with_map()
    shown = images(1, channels=3)[0].numpy()
    found = {steps: PoseEstimator(model).estimate(shown, 4, 0, SamplerOptions("map", steps)) for steps in (1, 2)}
    assert not found[1].converged
    assert found[1].evaluations == 1


def test_training_brings_the_map_to_the_flow_and_leaves_the_score_alone():
    """Of the embedded score, on a few images: one evaluation comes nearer to where many lead."""
    model = checkpoint.load("default")
    if model.flow_map is not None:  # as it was before
        model.flow_map.begin_at(model.head)
        for part in (model.flow_map.towards[-1].weight, model.flow_map.towards[-1].bias):
            torch.nn.init.zeros_(part)
    model.add_flow_map()
    before = {name: one.clone() for name, one in model.state_dict().items() if not name.startswith("flow_map")}
    training = Distillation(model, DistillationOptions(1.0, images=4, starts=16, steps=8, warmup_steps=1, ema=0.8))
    batch = batch_of(model)
    losses = [training.advance(batch) for _ in range(30)]
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])
    assert all(torch.equal(model.state_dict()[name], one) for name, one in before.items())


def test_a_run_that_was_cut_goes_on_to_the_same_map(tmp_path):
    options, state = DistillationOptions(1.0, images=4, starts=8, steps=6), tmp_path / "m.safetensors.map"
    whole = Distillation(with_map(), options)
    batch = batch_of(whole.model)
    for step in range(4):
        whole.advance(batch)
        if step == 1:
            whole.save(state)
    resumed = Distillation(with_map(), dataclasses.replace(options, minutes=2.0))
    resumed.resume(state)
    assert resumed.step == 2
    resumed.seconds = 0.0  # the learning rate is that of the clock, which stands still here
    for _ in range(2):
        resumed.advance(batch)
    for mine, theirs in zip(resumed.average.parameters(), whole.average.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_state_of_another_run_or_model_is_refused(tmp_path):
    options, state = DistillationOptions(1.0, images=4, starts=8, steps=6), tmp_path / "m.safetensors.map"
    Distillation(with_map(), options).save(state)
    other = with_map()
    next(other.head.parameters()).data.add_(1.0)
    for model, settings in ((with_map(), dataclasses.replace(options, steps=8)), (other, options)):
        with pytest.raises(checkpoint.CheckpointError, match="other settings"):
            Distillation(model, settings).resume(state)
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(checkpoint.CheckpointError, match="start afresh"):
        Distillation(with_map(), options).resume(state)


def batch_of(model):
    from lie_picard.data.stream import Batch
    from lie_picard.objects.symsol.solids import solid
    from lie_picard.rendering.clean import render

    names = [name for name in ("tet", "cube", "cone", "cyl") if name in model.config.objects]
    rotations = so3.uniform(len(names), generator=test_generator(5))
    pictures = torch.cat(
        [render(solid(one), rotations[k : k + 1], model.config.image_size, channels=3) for k, one in enumerate(names)]
    )
    return Batch(pictures, rotations, torch.tensor([model.config.objects.index(one) for one in names]))


def test_a_checkpoint_keeps_its_map_and_runs_it_fast(tmp_path, generator):
    model = with_map()
    for leave in (model.flow_map.head.mlp.leave, model.flow_map.towards[-1]):
        torch.nn.init.normal_(leave.weight, std=0.3)
    checkpoint.save(model, tmp_path / "m.safetensors")
    fast = PoseEstimator.from_checkpoint(tmp_path / "m.safetensors", "cpu")
    eager, picture = PoseEstimator(model), images(1, channels=3)[0].numpy()
    assert fast.config.flow_map and fast.runtime == "onnx"
    for options in (SamplerOptions("map", 1, restarts=0), SamplerOptions("map", 4), SamplerOptions("ode")):
        slow, quick = (one.estimate(picture, 24, 0, options, "tet").rotations for one in (eager, fast))
        assert so3.angle(slow, quick).max() < 1e-3


def test_a_mean_of_models_has_no_map():
    mean = averaged([with_map(), small_model(**COLOUR)], [1.0, 1.0])
    assert mean.flow_map is None and not mean.config.flow_map


def test_a_model_without_a_map_says_how_to_make_one(tmp_path, capsys):
    model = small_model(**COLOUR)
    model.catalogue = BUILT_IN
    checkpoint.save(model, tmp_path / "plain.safetensors")
    assert (
        main(["evaluate", "--checkpoint", str(tmp_path / "plain.safetensors"), "--method", "map", "--images", "1"]) == 2
    )
    said = capsys.readouterr().err
    assert "lie-picard distil" in said and said.count("\n") == 1


@pytest.mark.parametrize("changes", [{"randomised": 0.5}, {"together": 2}])
def test_a_state_of_a_run_on_other_images_is_refused(tmp_path, changes):
    options, shown = DistillationOptions(1.0), {"randomised": 0.0, "together": 1}
    Distillation(with_map(), options, shown).save(tmp_path / "state")
    with pytest.raises(checkpoint.CheckpointError, match="other settings"):
        Distillation(with_map(), options, shown | changes).resume(tmp_path / "state")
    Distillation(with_map(), options, shown).resume(tmp_path / "state")


@pytest.mark.parametrize("command", ["distil", "locator"])
@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--minutes", "nan"], "above 0"),
        (["--minutes", "0"], "above 0"),
        (["--minutes", "inf"], "above 0"),
        (["--minutes", "-3"], "above 0"),
        (["--output", "{folder}"], "give a file"),
        (["--device", "abacus"], "use auto, cpu or cuda"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_done(command, words, remedy, tmp_path, capsys):
    words = [word.format(folder=tmp_path) for word in words]
    output = [] if "--output" in words else ["--output", str(tmp_path / "out.safetensors")]
    try:
        status = main([command, *output, *words])
    except SystemExit as ended:  # argparse
        status = ended.code
    said = capsys.readouterr().err
    assert status == 2 and remedy in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_whose_recipe_is_empty_asks_for_one(tmp_path, capsys):
    file = tmp_path / "mean.safetensors"
    checkpoint.save(small_model(**COLOUR), file, {"recipe": {}})
    assert main(["distil", "--checkpoint", str(file), "--output", str(tmp_path / "o"), "--minutes", "1"]) == 2
    assert "--recipe" in capsys.readouterr().err


def test_a_recipe_cannot_ask_for_a_map(tmp_path, capsys):
    words = ["train", "--output", str(tmp_path / "o.safetensors"), "--set", "model.flow_map=true"]
    assert main(words) == 2
    assert "lie-picard distil" in capsys.readouterr().err


def test_the_command_gives_a_checkpoint_a_map_and_keeps_the_rest(tmp_path, capsys):
    file, output = tmp_path / "plain.safetensors", tmp_path / "mapped.safetensors"
    checkpoint.save(small_model(**COLOUR), file)
    assert main(["distil", "--checkpoint", str(file), "--output", str(output), "--minutes", "0.02"]) == 2
    assert "--recipe" in capsys.readouterr().err
    recipe = tmp_path / "r.toml"
    recipe.write_text("[data]\nrandomised = 0.0\n")
    command = [
        "distil",
        "--checkpoint",
        str(file),
        "--output",
        str(output),
        "--minutes",
        "0.02",
        "--recipe",
        str(recipe),
    ]
    assert main(command) == 0
    before, after = checkpoint.load(file).state_dict(), checkpoint.load(output)
    assert after.config.flow_map and all(torch.equal(after.state_dict()[name], one) for name, one in before.items())
    assert main([*command, "--resume"]) == 0  # no time is left
    again = checkpoint.load(output).state_dict()
    assert all(torch.equal(again[name], one) for name, one in after.state_dict().items())
