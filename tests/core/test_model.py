"""The score model and its checkpoints: equivariance, hoisting that changes nothing, and files that are refused."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lie_picard import CheckpointError, so3
from lie_picard.model import checkpoint
from lie_picard.model.config import ModelConfig
from lie_picard.model.heads import EquivariantHead
from lie_picard.model.score_model import ScoreModel
from lie_picard.sampling.noise import power_law
from lie_picard.training.recipe import read

SMALL = ModelConfig(image_size=32, features=64, width=32, depth=2, degree=2, copies=2)


def small_model(head="equivariant", **changes):
    torch.manual_seed(0)
    model = ScoreModel(dataclasses.replace(SMALL, head=head, **changes)).eval()
    torch.nn.init.normal_(model.head.mlp.leave.weight, std=0.3)  # the output starts at zero
    return model


def images(count, size=32, channels=1, seed=1):
    shape = (count, size, size) if channels == 1 else (count, size, size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("head", ["equivariant", "fourier"])
def test_conditioned_score_equals_the_plain_forward_pass(head, generator):
    model, pictures, noise = small_model(head), images(3), power_law(10)
    rotations = so3.uniform(3, 5, generator=generator)
    step = torch.randint(0, 10, (3, 5), generator=generator)
    with torch.no_grad():
        plain = model(pictures, rotations, noise.sigmas[step])
    score = model.condition(pictures, noise)
    index = torch.arange(3).repeat_interleave(5)
    hoisted = score(rotations.flatten(0, 1), step.flatten(), index)
    torch.testing.assert_close(hoisted.reshape(3, 5, 3), plain, atol=1e-5, rtol=1e-4)


def test_the_head_sees_only_the_relative_rotation(generator):
    """Turning the coefficients and the rotation together leaves the score in the body frame unchanged."""
    config = dataclasses.replace(SMALL, degree=6)
    head = EquivariantHead(config)
    torch.nn.init.normal_(head.mlp.leave.weight)
    terms = head.image_terms(torch.randn(4, config.features, generator=generator))
    time = head.time_terms(torch.full((4,), 0.3))
    rotations, turn = so3.uniform(4, generator=generator), so3.uniform(4, generator=generator)
    # The body's view is D(R)^T c; with c' = D(Q) c the same view belongs to Q R.
    turned = head.body_frame.prepared(head.body_frame(terms.coefficients, turn.mT).mT)
    score = head(turn @ rotations, dataclasses.replace(terms, coefficients=turned), time)
    torch.testing.assert_close(score, head(rotations, terms, time), atol=2e-4, rtol=1e-3)


def test_the_papers_configuration_runs(generator):
    model = ScoreModel(read("paper").model).eval()
    pictures = images(1, 224, 3)
    score = model.condition(pictures, power_law(4))(so3.uniform(2, generator=generator), torch.tensor([0, 3]),
                                                    torch.tensor([0, 0]))  # fmt: skip
    assert score.shape == (2, 3)
    assert sum(p.numel() for p in model.encoder.parameters()) > 20e6


def _named(generator):
    """A model whose head listens to which of two objects is asked for."""
    model = small_model(named=True, objects=("cone", "tetX"))
    for table in (model.recognition.gain, model.recognition.shift):
        torch.nn.init.normal_(table.weight, std=0.5, generator=generator)
    return model


def _score(model, pictures, objects=None, seed=3):
    rotations = so3.uniform(len(pictures), generator=torch.Generator().manual_seed(seed))
    score = model.condition(pictures, power_law(4), objects)
    return score(rotations, torch.full((len(pictures),), 1), torch.arange(len(pictures)))


def test_what_is_asked_for_changes_the_score_and_not_what_is_recognised(generator):
    model, pictures = _named(generator), images(3)
    cones, tetrahedra = (torch.full((3,), k) for k in range(2))
    first, second = _score(model, pictures, cones), _score(model, pictures, tetrahedra)
    assert ((first - second).abs().amax(1) > 1e-4).all()
    mixed = _score(model, pictures, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(mixed, torch.stack([first[0], second[1], first[2]]), atol=1e-5, rtol=1e-4)
    recognised = [model.condition(pictures, power_law(4), asked).recognised for asked in (cones, tetrahedra, None)]
    assert recognised[0].shape == (3, 3) and torch.equal(recognised[0], recognised[1])
    torch.testing.assert_close(recognised[0].sum(1), torch.ones(3))
    torch.testing.assert_close(recognised[0], recognised[2])


def test_asking_for_nothing_is_asking_for_any(generator):
    model, pictures = _named(generator), images(2)
    torch.testing.assert_close(_score(model, pictures), _score(model, pictures, torch.full((2,), 2)))


def test_a_new_model_makes_no_difference_between_objects():
    """Training begins where a model without names does."""
    model, pictures = small_model(named=True, objects=("cone", "tetX")), images(2)
    torch.testing.assert_close(_score(model, pictures, torch.tensor([0, 1])), _score(model, pictures))
    assert small_model().recognition is None and small_model().condition(pictures, power_law(4)).recognised is None


def test_the_plain_forward_pass_asks_for_the_same(generator):
    model, pictures, noise = _named(generator), images(2), power_law(4)
    rotations, asked = so3.uniform(2, 1, generator=generator), torch.tensor([1, 0])
    with torch.no_grad():
        plain = model(pictures, rotations, noise.sigmas[torch.tensor([[1], [1]])], asked)[:, 0]
    hoisted = model.condition(pictures, noise, asked)(rotations[:, 0], torch.tensor([1, 1]), torch.arange(2))
    torch.testing.assert_close(hoisted, plain, atol=1e-5, rtol=1e-4)


def test_a_named_model_survives_its_checkpoint(tmp_path, generator):
    model = _named(generator)
    checkpoint.save(model, tmp_path / "named.safetensors")
    again = checkpoint.load(tmp_path / "named.safetensors")
    assert again.config.named and again.config.objects == ("cone", "tetX")
    asked = torch.tensor([0, 1])
    torch.testing.assert_close(_score(again, images(2), asked), _score(model, images(2), asked))


def test_pictures_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"expected uint8 images of shape \(B, 32, 32\)"):
        small_model().features(images(1, 64))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"head": "x"}, "unknown head"), ({"encoder": "x"}, "unknown encoder"), ({"image_size": 33}, "multiple of 32"),
     ({"channels": 2}, "channels")],
)  # fmt: skip
def test_bad_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


def test_a_checkpoint_holds_weights_configuration_and_note(tmp_path, generator):
    model, path = small_model(), tmp_path / "model.safetensors"
    checkpoint.save(model, path, {"command": "lie-picard train"})
    again = checkpoint.load(path)
    config, note = checkpoint.read_metadata(path)
    assert config == model.config == again.config and note == {"command": "lie-picard train"}
    rotations, sigmas = so3.uniform(1, 4, generator=generator), torch.full((1, 4), 0.5)
    with torch.no_grad():
        torch.testing.assert_close(again(images(1), rotations, sigmas), model(images(1), rotations, sigmas))


def test_a_checkpoint_in_half_precision_is_half_as_large_and_nearly_the_same(tmp_path, generator):
    model, whole, half = small_model(), tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    checkpoint.save(model, whole)
    checkpoint.save(model, half, half=True)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    again = checkpoint.load(half)
    assert {value.dtype for value in again.parameters()} == {torch.float32}
    rotations, sigmas = so3.uniform(1, 4, generator=generator), torch.full((1, 4), 0.5)
    with torch.no_grad():
        found, exact = again(images(1), rotations, sigmas), model(images(1), rotations, sigmas)
    torch.testing.assert_close(found, exact, atol=2e-3 * float(exact.abs().max()), rtol=0)


def _truncated(path):
    path.write_bytes(path.read_bytes()[:1000])


def _foreign(path):
    save_file({"x": torch.zeros(3)}, str(path))


def _other_weights(path):
    tensors = load_file(str(path))
    tensors.popitem()
    save_file(tensors, str(path), {"format": "lie_picard", "config": json.dumps(SMALL.to_dict())})


def _newer(path):
    metadata = {"format": "lie_picard", "config": json.dumps(SMALL.to_dict() | {"wings": 2})}
    save_file(load_file(str(path)), str(path), metadata)


def _not_finite(path):
    tensors = load_file(str(path))
    tensors["head.mlp.leave.bias"].fill_(float("nan"))
    save_file(tensors, str(path), {"format": "lie_picard", "config": json.dumps(SMALL.to_dict())})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_text("hello"), "not a readable safetensors file"),
        (_truncated, "not a readable safetensors file"),
        (_foreign, "not of lie_picard"),
        (_other_weights, "do not fit"),
        (_newer, "update lie_picard"),
        (_not_finite, "non-finite"),
    ],
    ids=["missing", "text", "truncated", "foreign", "other weights", "newer", "not finite"],
)
def test_a_bad_checkpoint_is_named_in_one_line(tmp_path, damage, message):
    path = tmp_path / "model.safetensors"
    checkpoint.save(small_model(), path)
    damage(path)
    with pytest.raises(CheckpointError, match=message) as raised:
        checkpoint.load(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
