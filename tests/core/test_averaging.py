"""The mean of models' weights: of each weight, with the heads of one, refused where they are of different kinds."""

import dataclasses

import pytest
import torch

from lie_picard import cli
from lie_picard.model import averaging, checkpoint
from lie_picard.model.config import ModelConfig
from lie_picard.model.score_model import ScoreModel

CONFIG = ModelConfig(image_size=32, channels=3, features=32, width=32, depth=1, degree=2, copies=2,
                     objects=("cube", "cyl"), named=True, position=True)  # fmt: skip


@pytest.fixture
def models(tmp_path):
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = ScoreModel(CONFIG)
        model.auxiliary = {"moments.read.weight": torch.randn(4, 32), f"only.{seed}": torch.ones(1)}
        checkpoint.save(model, tmp_path / f"{seed}.safetensors", {"recipe": {"model": CONFIG.to_dict()}})
        found.append(checkpoint.load(tmp_path / f"{seed}.safetensors"))
    return found


def test_every_weight_is_the_mean_of_theirs(models):
    found = averaging.averaged(models[:2], [1.0, 3.0])
    for name, mean in found.state_dict().items():
        one, other = (model.state_dict()[name] for model in models[:2])
        torch.testing.assert_close(mean, one * 0.25 + other * 0.75 if one.is_floating_point() else one)
    assert set(found.auxiliary) == {"moments.read.weight"}
    assert not found.training and found.calibration.spread is None


def test_of_one_model_it_is_the_model(models):
    found = averaging.averaged(models[:1], [0.5]).state_dict()
    assert all(torch.equal(one, found[name]) for name, one in models[0].state_dict().items())


def test_the_command_takes_weights_and_heads(models, tmp_path, capsys):
    files = [str(tmp_path / f"{k}.safetensors") for k in range(3)]
    output = tmp_path / "mean.safetensors"
    assert cli.main(["average", files[0], f"{files[1]}=3", "--heads-of", files[2], "--output", str(output)]) == 0
    found, wanted = checkpoint.load(output).state_dict(), averaging.averaged(models[:2], [1, 3]).state_dict()
    for name, one in found.items():
        body = name.startswith(("encoder.", "head."))
        torch.testing.assert_close(one, wanted[name] if body else models[2].state_dict()[name])
    note = checkpoint.read_metadata(output)[1]
    assert [part["weight"] for part in note["average_of"]] == [1.0, 3.0] and str(tmp_path) not in str(note)


@pytest.mark.parametrize(("weight", "says"), [("=0", "a number above 0"), ("=x", "a number above 0")])
def test_a_weight_that_is_none_is_one_line(models, tmp_path, capsys, weight, says):
    told = ["average", str(tmp_path / "0.safetensors") + weight, "--output", str(tmp_path / "mean.safetensors")]
    assert cli.main(told) == 2 and says in capsys.readouterr().err


def test_models_of_different_kinds_have_no_mean(models):
    other = ScoreModel(dataclasses.replace(CONFIG, width=48))
    with pytest.raises(ValueError, match="different kinds \\(width"):
        averaging.averaged([models[0], other], [1.0, 1.0])
