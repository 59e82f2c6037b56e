"""What only a GPU can show: graphs against the eager model, memory that runs out, training and rendering there.

The tests need nothing but pytest and the package, so that they run on a bare machine (`scripts/gpu_report.sh`).
"""

import numpy as np
import pytest
import torch

from lie_picard import PoseEstimator, SamplerOptions, so3
from lie_picard.data.seeds import test_generator
from lie_picard.data.stream import Stream, batches
from lie_picard.geometry.surface import Surface
from lie_picard.model import checkpoint
from lie_picard.objects import MeshObject
from lie_picard.objects.symsol.solids import SOLIDS, solid
from lie_picard.rendering.clean import Crop, render
from lie_picard.rendering.meshes import MeshCaster
from lie_picard.sampling import INTEGRATORS, METHODS
from lie_picard.training.fabric import make_fabric
from lie_picard.training.recipe import read
from lie_picard.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]
NEAR = 1e-4  # radians
# Rounding errors of 1e-7 grow to more than NEAR where a sample stands at the watershed between two poses.
_UNDECIDED = 0.02
STEPS = 12


def options(method, integrator, **changes):
    """The same equations for every method; the parallel ones solve them nearly to the end, to be comparable."""
    return SamplerOptions(method, STEPS, integrator=integrator, tolerance=1e-5, **{"restarts": 0} | changes)


WAYS = [(method, integrator) for method in METHODS if method != "auto" for integrator in sorted(INTEGRATORS)
        if method != "walk" or integrator == "euler"]  # fmt: skip


def pictures(count, seed=0):
    """Images of the solids in turn."""
    generator = test_generator(seed)
    return [render(solid(SOLIDS[k % len(SOLIDS)]), so3.uniform(1, generator=generator), channels=3)[0].numpy()
            for k in range(count)]  # fmt: skip


def apart(one, other):
    """(N,) angles between the samples of two estimates, radians, on the CPU."""
    return so3.angle(one.rotations, other.rotations)


def assert_same(one, other):
    angle = apart(one, other)
    assert (angle > NEAR).float().mean() <= _UNDECIDED, f"median {angle.median():.2g}, largest {angle.max():.2g} rad"
    assert angle.median() < NEAR / 10


@pytest.fixture(scope="module")
def eager():
    return PoseEstimator(checkpoint.load("default", "cuda"), "cuda")


@pytest.fixture(scope="module")
def graphed():
    estimator = PoseEstimator.from_checkpoint("default", "cuda")
    assert estimator.runtime == "cuda-graphs"
    return estimator


@pytest.mark.parametrize(("method", "integrator"), WAYS)
def test_graphs_sample_what_the_eager_model_samples(eager, graphed, method, integrator):
    for seed, image in enumerate(pictures(2)):
        for count in (32, 50):
            one, other = (e.estimate(image, count, seed, options(method, integrator)) for e in (eager, graphed))
            assert_same(one, other)


@pytest.mark.parametrize("integrator", sorted(INTEGRATORS))
def test_restarted_samples_are_the_same(eager, graphed, integrator):
    """Which samples start again hangs on a threshold, and a few may be on its other side."""
    image = pictures(7)[6]  # a marked solid: its samples are restless
    chosen = options("ode", integrator, restarts=3)
    one, other = (e.estimate(image, 200, 0, chosen) for e in (eager, graphed))
    assert one.evaluations == pytest.approx(other.evaluations, rel=0.02)
    assert_same(one, other)


@pytest.mark.parametrize("method", ["ode", "picard", "newton"])
def test_several_images_in_one_batch_are_each_what_they_are_alone(eager, graphed, method):
    images = pictures(5)
    chosen = options(method, "multistep")
    together = graphed.estimate_batch(images, 20, 3, chosen)
    for one, other in zip(eager.estimate_batch(images, 20, 3, chosen), together, strict=True):
        assert_same(one, other)
        assert abs(one.presence - other.presence) < 1e-4
    for image, other in zip(images[:2], together, strict=False):
        assert_same(graphed.estimate(image, 20, 3, chosen), other)


def test_numbers_of_samples_may_change_from_call_to_call(eager, graphed):
    image = pictures(1)[0]
    for count in (1, 2, 3, 100, 7, 64, 65, 1, 100):
        one, other = (e.estimate(image, count, count, options("ode", "multistep")) for e in (eager, graphed))
        assert len(other.rotations) == count
        assert apart(one, other).median() < NEAR


def test_the_default_options_choose_a_way_and_agree_with_the_eager_model(eager, graphed):
    image = pictures(3)[2]
    chosen = graphed.estimate(image, 32, 0)
    assert chosen.converged and chosen.method in METHODS
    assert apart(eager.estimate(image, 32, 0, SamplerOptions("ode")), chosen).median() < 0.02


def test_the_gpu_finds_what_the_cpu_finds(graphed):
    cpu = PoseEstimator(checkpoint.load("default"))
    for image in pictures(3):
        one, other = (e.estimate(image, 64, 1, options("ode", "multistep")) for e in (cpu, graphed))
        assert (apart(one, other) > 1e-3).float().mean() <= 2 * _UNDECIDED


def test_samples_that_do_not_fit_into_the_memory_come_in_several_batches():
    """A share of the memory is all that the process gets; a window over all steps asks for more."""
    estimator, chosen = PoseEstimator.from_checkpoint("default", "cuda"), SamplerOptions("newton", 100)
    image = pictures(1)[0]
    few = estimator.estimate(image, 200, 0, chosen)
    torch.cuda.empty_cache()
    share = (torch.cuda.memory_reserved() + (2 << 30)) / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    try:
        many = estimator.estimate(image, 6000, 0, chosen)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "batches of" in estimator.reduced and estimator.device.type == "cuda"
    assert many.rotations.shape == (6000, 3, 3) and many.converged
    assert few.converged
    again = estimator.estimate(image, 200, 0, chosen)  # and it goes on working
    assert_same(few, again)


def test_a_training_step_on_the_gpu_gives_finite_losses(tmp_path):
    changes = ["model.image_size=32", "training.batch=64", "training.images=640"]
    recipe = read("compact", changes)
    fabric = make_fabric("cuda")
    trainer = Trainer(recipe, fabric)
    model, data = recipe.model, recipe.data
    crop, shown = Crop(model.distance, model.fill), tuple(map(solid, model.objects))
    stream = Stream(shown, model.image_size, model.channels, crop, 64, data.randomised, data.absent,
                    data.randomisation)  # fmt: skip
    source = batches(stream, 0, 0, fabric.device)
    losses = [dict(trainer.advance(next(source))) for _ in range(4)]
    assert all(torch.isfinite(torch.tensor(list(loss.values()))).all() for loss in losses)
    assert losses[0].keys() == {"loss/score", "loss/recognition", "loss/moments"}
    trainer.save(tmp_path / "a.state")
    again = Trainer(recipe, fabric)
    again.resume(tmp_path / "a.state")
    assert again.step == 4
    assert torch.isfinite(torch.tensor(list(again.advance(next(source)).values()))).all()


@pytest.mark.parametrize("name", SOLIDS)
def test_images_rendered_on_the_gpu_are_the_cpus(name):
    rotations = so3.uniform(16, generator=test_generator(5))
    here, there = (render(solid(name), rotations.to(device), channels=3).cpu().int() for device in ("cpu", "cuda"))
    # A ray that touches an edge may fall on either side of it.
    assert ((here - there).abs() <= 1).float().mean() > 0.999


def paper(texture=True):
    """An open, bent sheet with colours and a texture: smooth where it bends, seen from both sides."""
    u, v = np.meshgrid(np.linspace(-1, 1, 24), np.linspace(-0.5, 0.5, 12), indexing="ij")
    vertices = 0.9 * np.stack([u, v, 0.3 * np.sin(2 * u)], -1).reshape(-1, 3) / 1.2
    i, j = (one.reshape(-1) for one in np.meshgrid(np.arange(23), np.arange(11), indexing="ij"))
    a, b, c, d = ((i + p) * 12 + j + q for p, q in ((0, 0), (1, 0), (1, 1), (0, 1)))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    generator = np.random.default_rng(0)
    colours = generator.random((len(vertices), 3)).astype(np.float32)[triangles]
    if not texture:
        return Surface(vertices, triangles, colours)
    uv = np.stack([u, v], -1).reshape(-1, 2).astype(np.float32)[triangles]
    pictures = (generator.integers(0, 256, (9, 5, 3)).astype(np.uint8),)
    return Surface(vertices, triangles, colours, uv, pictures, np.arange(len(triangles)) % 2 - 1)


@pytest.mark.parametrize("texture", [True, False])
def test_meshes_cast_on_the_gpu_are_the_cpus(texture):
    pytest.importorskip("warp")
    caster = MeshCaster(paper(texture), engine="warp")
    rotations = so3.uniform(8, generator=test_generator(6)).float()
    views = rotations, torch.tensor([[0.2, -0.1, 10.0]]).expand(8, 3), Crop().rays(128), torch.full((8, 2), 0.9)
    here, there = (caster.cast(*(one.to(device) for one in views)) for device in ("cpu", "cuda"))
    assert there.hit.is_cuda and (here.hit == there.hit.cpu()).float().mean() > 0.9999
    both = here.hit & there.hit.cpu()
    assert both.float().mean() > 0.1
    for name in ("depth", "normal", "albedo"):
        difference = (getattr(here, name) - getattr(there, name).cpu()).abs()
        difference = difference.amax(1) if difference.dim() == 3 else difference
        assert (difference[both] < 1e-3).float().mean() > 0.999


def test_casting_meshes_waits_for_nothing_on_the_gpu():
    pytest.importorskip("warp")
    part = MeshObject("sheet", paper())
    stream = Stream((part,), 64, 3, Crop(), 80, 0.67, 0.1)
    source = batches(stream, 0, 0, torch.device("cuda"))
    next(source)  # builds what is needed
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = next(source)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert batch.images.is_cuda and batch.images.float().std() > 10


@pytest.mark.parametrize("together", [1, 8])
def test_a_batch_for_training_is_rendered_on_the_gpu_alone(together):
    """No step of it waits for the GPU, so that rendering and training overlap."""
    stream = Stream(tuple(map(solid, SOLIDS)), 64, 3, Crop(), 80, 0.67, 0.1, together=together)
    source = batches(stream, 0, 0, torch.device("cuda"))
    for _ in range(together):  # constants are copied; the batch after these is rendered again
        next(source)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = next(source)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert batch.images.is_cuda and batch.images.shape == (80, 64, 64, 3)
    assert 0.02 < (batch.labels == len(SOLIDS)).float().mean() < 0.25  # a tenth of all
    assert batch.images.float().std() > 10
