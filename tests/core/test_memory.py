"""A device whose memory runs out: fewer samples at a time, then the CPU, and the same results."""

import pytest
import torch

from lie_picard import PoseEstimator, SamplerOptions, so3
from lie_picard.estimation import estimator as module
from lie_picard.objects.symsol.solids import solid
from lie_picard.rendering.clean import render


@pytest.fixture
def fresh():
    """An estimator that a test may spoil."""
    return PoseEstimator.from_checkpoint("default", "cpu")


def pictures(generator):
    return list(render(solid("cube"), so3.uniform(2, generator=generator)).numpy())


def small_memory(monkeypatch, rows):
    """No more than so many samples fit; returns the sizes of all batches that did."""
    real, sizes = module.sample, []

    def sample(score, start, *arguments, **named):
        if len(start) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(start))
        return real(score, start, *arguments, **named)

    monkeypatch.setattr(module, "sample", sample)
    return sizes


@pytest.mark.parametrize("options", [SamplerOptions("ode"), SamplerOptions("newton", 20), SamplerOptions("walk", 20)],
                         ids=lambda options: options.method)  # fmt: skip
def test_samples_in_several_batches_are_the_same(fresh, monkeypatch, generator, options):
    images = pictures(generator)
    whole = fresh.estimate_batch(images, 60, 3, options)
    sizes = small_memory(monkeypatch, 50)
    parts = fresh.estimate_batch(images, 60, 3, options)
    assert sizes and max(sizes) <= 50 and sum(sizes) == 120
    assert "batches of 32" in fresh.reduced or "batches of 30" in fresh.reduced
    for one, other in zip(whole, parts, strict=True):
        assert torch.rad2deg(so3.angle(one.rotations, other.rotations)).max() < 0.1
        assert other.evaluations == pytest.approx(one.evaluations, rel=0.3)
    count = len(sizes)
    fresh.estimate_batch(images, 60, 3, options)
    assert len(sizes) == 2 * count  # what did not fit is not tried again


def test_where_nothing_fits_the_cpu_computes(fresh, monkeypatch, generator):
    images = pictures(generator)
    whole = fresh.estimate_batch(images, 20, 3, SamplerOptions("ode"))
    real = fresh._estimate_batch

    def without_memory(*arguments):
        if fresh.device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*arguments)

    monkeypatch.setattr(fresh, "_estimate_batch", without_memory)
    fresh.device = torch.device("cuda", 0)  # its tensors are not: nothing is computed before it gives up
    found = fresh.estimate_batch(images, 20, 3, SamplerOptions("ode"))
    assert fresh.device.type == "cpu" and "computing on the CPU" in fresh.reduced
    for one, other in zip(whole, found, strict=True):
        assert torch.rad2deg(so3.angle(one.rotations, other.rotations)).max() < 0.1
