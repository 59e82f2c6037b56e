"""Faster ways to run a model give what the eager one gives."""

import dataclasses

import pytest
import torch
from test_model import SMALL, images, small_model

from lie_picard import PoseEstimator, SamplerOptions, so3
from lie_picard.data.seeds import test_generator
from lie_picard.model import checkpoint
from lie_picard.model.runtimes.graphs import Graphed, Recording
from lie_picard.model.score_model import SolvedScore
from lie_picard.objects.symsol.solids import SOLIDS, solid
from lie_picard.rendering.clean import render
from lie_picard.sampling import euler, multistep, sample_ode
from lie_picard.sampling.noise import power_law


def picture(name, seed):
    return render(solid(name), so3.uniform(1, generator=test_generator(seed)), channels=3)


@pytest.fixture(scope="module")
def pair():
    """The embedded model, eager and by ONNX Runtime."""
    eager = PoseEstimator(checkpoint.load("default"))
    fast = PoseEstimator.from_checkpoint("default", device="cpu")
    assert (eager.runtime, fast.runtime) == ("eager", "onnx")
    return eager, fast


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 300])
def test_the_fast_score_is_the_eager_one_within_a_ten_thousandth_of_a_radian(pair, rows, generator):
    noise = power_law(50, 2.0, 0.01)
    pictures = torch.cat([picture(name, 3) for name in SOLIDS])
    rotations = so3.uniform(rows, generator=generator)
    step = torch.randint(0, 50, (rows,), generator=generator)
    index = torch.randint(0, len(SOLIDS), (rows,), generator=generator)
    several = [estimator.model.condition(pictures, noise)(rotations, step, index) for estimator in pair]
    one = [estimator.model.condition(pictures[:1], noise)(rotations, step) for estimator in pair]
    level = [estimator.model.condition(pictures[:1], noise)(rotations, step[:1].expand(rows)) for estimator in pair]
    for eager, fast in (several, one, level):
        assert (noise.sigmas[step, None] * (eager - fast)).abs().max() < 1e-4


@pytest.mark.parametrize(
    "options", [SamplerOptions("ode"), SamplerOptions.published("ode", 100)], ids=lambda o: o.integrator
)
def test_the_fast_sampler_ends_where_the_eager_one_does(pair, options):
    for name in SOLIDS:
        image = picture(name, 4)[0].numpy()
        eager, fast = (estimator.estimate(image, 32, seed=0, options=options).rotations for estimator in pair)
        assert so3.angle(eager, fast).max() < 1e-4


def test_the_papers_head_and_colour_run_fast_too(generator):
    model = small_model("fourier", channels=3)
    noise, pictures = power_law(5), images(2, channels=3)
    rotations, step = so3.uniform(6, generator=generator), torch.arange(6) % 5
    index = torch.tensor([0, 1, 1, 0, 0, 1])
    eager = model.condition(pictures, noise)(rotations, step, index)
    assert model.accelerate() == "onnx"
    torch.testing.assert_close(model.condition(pictures, noise)(rotations, step, index), eager, atol=1e-5, rtol=1e-4)


def test_a_fast_model_keeps_its_state_and_still_trains():
    model = small_model()
    names = set(model.state_dict())
    model.accelerate()
    assert set(model.state_dict()) == names
    model.train()
    model(images(2), so3.uniform(2, 3), torch.full((2, 3), 0.5)).sum().backward()
    assert model.head.mlp.leave.weight.grad is not None


# CUDA graphs cannot be recorded here; what surrounds them can be run with a recording that computes when replayed.
class Rerun:
    """Records like a CUDA graph: fixed inputs and outputs, nothing else moves in or out."""

    def __init__(self):
        self.shapes = []

    def __call__(self, function, inputs):
        self.shapes.append([tuple(tensor.shape) for tensor in inputs])
        outputs = tuple(torch.empty_like(tensor) for tensor in function(*inputs))

        def replay():
            for output, result in zip(outputs, function(*inputs), strict=True):
                output.copy_(result)

        return Recording(inputs, outputs, replay)


def test_a_recording_serves_every_batch_up_to_its_size():
    record = Rerun()
    graphed = Graphed(lambda x, y: (x + y, x * y), record)
    kept = []
    for rows in (1, 2, 3, 4, 5, 8, 7, 1, 6):
        x, y = torch.randn(rows, 3), torch.randn(rows, 3)
        found = graphed(x, y)
        kept.append((found, (x + y, x * y)))
        one = torch.randn(1, 3)  # a table of one row goes with any number
        torch.testing.assert_close(graphed(x, one)[0], x + one)
    for found, expected in kept:  # later calls do not write into earlier results
        torch.testing.assert_close(found, expected)
    assert len(record.shapes) == 4 + 3  # 1, 2, 4, 8 rows; beside a table of one row 2, 4, 8 more


@pytest.mark.parametrize("head", ["equivariant", "fourier"])
@pytest.mark.parametrize("scheme", [euler, multistep])
def test_a_recorded_model_samples_what_the_eager_one_samples(head, scheme, generator):
    model, noise, record = small_model(head), power_law(6), Rerun()
    table = scheme(noise).to(torch.zeros(0))
    eager = [model.condition(images(1, seed=k), noise) for k in range(3)]
    starts = [so3.uniform(count, generator=generator) for count in (5, 8, 3)]
    expected = [sample_ode(score, start, noise, scheme=table) for score, start in zip(eager, starts, strict=True)]
    model.runtime = model.recorded(record)
    for k, (start, wanted) in enumerate(zip(starts, expected, strict=True)):
        score = model.condition(images(1, seed=k), noise)
        assert isinstance(score, SolvedScore)
        found = sample_ode(score, start, noise, scheme=table)
        torch.testing.assert_close(found.rotations, wanted.rotations, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.score_slope, wanted.score_slope, atol=1e-2, rtol=1e-2)
    # The image's part, and the whole sampler for up to 8 and up to 4 samples.
    assert len(record.shapes) == 3


def test_several_images_are_recorded_call_by_call(generator):
    model, noise = small_model(), power_law(6)
    pictures, index = images(2), torch.tensor([0, 1, 1])
    start = so3.uniform(3, generator=generator)
    wanted = sample_ode(model.condition(pictures, noise), start, noise, condition=index)
    model.runtime = model.recorded(Rerun())
    found = sample_ode(model.condition(pictures, noise), start, noise, condition=index)
    torch.testing.assert_close(found.rotations, wanted.rotations, atol=1e-3, rtol=0)


def test_without_onnx_runtime_the_model_runs_eagerly(monkeypatch):
    monkeypatch.setattr("lie_picard.model.runtimes.onnx.onnxruntime", None)
    model = small_model()
    assert model.accelerate() == "eager" and model.runtime is None
    assert dataclasses.asdict(model.config) == dataclasses.asdict(SMALL)
