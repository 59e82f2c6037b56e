"""Muon: matrices learn along all their directions alike; everything else goes by AdamW; a run resumes where it was."""

import pytest
import torch

from lie_picard import machine, so3
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.training import recipe
from lie_picard.training.losses import Denoising
from lie_picard.training.optimizers import Muon, orthogonal


@pytest.fixture(params=[True, False], ids=["bfloat16", "float32"])
def bfloat16(request, monkeypatch):
    """As on a processor with instructions for bfloat16, and on one without."""
    monkeypatch.setattr(machine, "computes_bfloat16", lambda kind: request.param)
    return request.param


@pytest.mark.parametrize("shape", [(64, 64), (48, 96), (96, 48), (32, 512), (512, 32)])
@pytest.mark.parametrize("rank", [1, 7, 1000])
def test_an_update_has_singular_values_about_one_where_the_matrix_has_any(shape, rank, generator, bfloat16):
    inner = min(rank, *shape)
    matrix = torch.randn(shape[0], inner, generator=generator) @ torch.randn(inner, shape[1], generator=generator)
    found = orthogonal(matrix * 1e-4)
    values = torch.linalg.svdvals(found)
    assert found.shape == matrix.shape and values.max() < 1.3
    assert values[: max(1, inner // 2)].min() > 0.5
    assert (found * matrix).sum() > 0  # downhill


def test_nothing_is_rounded_where_the_processor_would_emulate_it(generator, bfloat16):
    """Emulated, a step takes nine times as long."""
    chosen = recipe.read("compact")
    model = ScoreModel(chosen.model)
    kinds = set()
    for layer in model.encoder.modules():
        layer.register_forward_hook(lambda *found: kinds.add(found[-1].dtype))
    losses = Denoising(model, chosen.training, catalogue(BUILT_IN))
    images = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8, generator=generator)
    labels, sigmas = torch.tensor([0, 1]), torch.full((2, 4), 0.3)
    losses(images, so3.uniform(2, generator=generator), labels, labels, sigmas, torch.zeros(2, 4, 3))
    assert (torch.bfloat16 in kinds) == bfloat16


def test_a_zero_gradient_changes_nothing_but_the_weight_decay():
    weight = torch.nn.Parameter(torch.ones(32, 32))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.0)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.ones(32, 32))


def test_vectors_and_narrow_matrices_go_as_adamw_takes_them(generator):
    start = [torch.randn(40, generator=generator), torch.randn(3, 64, generator=generator)]
    mine, theirs = ([torch.nn.Parameter(one.clone()) for one in start] for _ in range(2))
    first = Muon(mine, lr=0.02, weight_decay=0.1)
    second = torch.optim.AdamW(theirs, lr=0.02, weight_decay=0.1)
    for _ in range(5):
        for a, b in zip(mine, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        first.step()
        second.step()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_it_finds_a_linear_map_and_resumes(generator):
    wanted, inputs = torch.randn(24, 24, generator=generator), torch.randn(200, 24, generator=generator)
    layer = torch.nn.Linear(24, 24)
    optimizer = Muon(layer.parameters(), lr=0.1, weight_decay=0.0)

    def step():
        loss = (layer(inputs) - inputs @ wanted.T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    first = step()
    for _ in range(60):
        last = step()
    assert last < 0.2 * first
    weights, state = {k: v.clone() for k, v in layer.state_dict().items()}, optimizer.state_dict()
    expected = [step(), step()]
    layer.load_state_dict(weights)
    optimizer = Muon(layer.parameters(), lr=0.1, weight_decay=0.0)
    optimizer.load_state_dict(state)
    assert expected[0] == pytest.approx(step())
