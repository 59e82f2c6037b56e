"""Training: it learns, a seed fixes it, and a run that was cut resumes as if it had not been."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lie_picard import CheckpointError
from lie_picard.model import checkpoint
from lie_picard.model.config import ModelConfig
from lie_picard.seeds import HALF, test_generator, train_generator
from lie_picard.training import Trainer, TrainingOptions, rendered_batches, train

CONFIG = ModelConfig(image_size=32, features=64, width=64, depth=2, degree=3, copies=4, objects=("cone", "cube"))
OPTIONS = TrainingOptions(images=24, batch=8, rotations=4, warmup_steps=2)
CPU = torch.device("cpu")


def weights(model):
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def test_a_seed_fixes_the_run(tmp_path):
    first = train(CONFIG, OPTIONS, tmp_path / "a.safetensors", CPU)
    second = train(CONFIG, OPTIONS, tmp_path / "b.safetensors", CPU)
    other = train(CONFIG, dataclasses.replace(OPTIONS, seed=1), tmp_path / "c.safetensors", CPU)
    torch.testing.assert_close(weights(first), weights(second))
    assert not torch.allclose(weights(first), weights(other))


def test_a_cut_run_resumes_where_it_stood(tmp_path):
    whole = train(CONFIG, OPTIONS, tmp_path / "whole.safetensors", CPU)
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    trainer.advance(next(rendered_batches(CONFIG, OPTIONS, CPU, 0)))
    trainer.save(tmp_path / "cut.safetensors.state")
    resumed = train(CONFIG, OPTIONS, tmp_path / "cut.safetensors", CPU, resume=True)
    torch.testing.assert_close(weights(resumed), weights(whole))


def test_a_state_of_another_run_is_refused(tmp_path):
    train(CONFIG, OPTIONS, tmp_path / "a.safetensors", CPU)
    with pytest.raises(CheckpointError, match="other settings"):
        train(CONFIG, dataclasses.replace(OPTIONS, seed=1), tmp_path / "a.safetensors", CPU, resume=True)


def test_a_damaged_state_and_a_folder_are_named(tmp_path):
    (tmp_path / "a.safetensors.state").write_text("hello")
    with pytest.raises(CheckpointError, match="unreadable"):
        train(CONFIG, OPTIONS, tmp_path / "a.safetensors", CPU, resume=True)
    with pytest.raises(CheckpointError, match="is a folder"):
        train(CONFIG, OPTIONS, tmp_path, CPU)


def test_the_loss_falls_below_guessing(tmp_path):
    """Predicting zero costs 1; the noise of a single cone is learned in a few hundred small steps."""
    losses = []
    config = dataclasses.replace(CONFIG, objects=("cone",))
    options = TrainingOptions(images=300 * 32, batch=32, rotations=16, learning_rate=3e-3, warmup_steps=20)
    train(config, options, tmp_path / "cone.safetensors", CPU, on_step=lambda _, loss: losses.append(loss))
    assert sum(losses[-30:]) / 30 < 0.85


def test_the_note_says_how_it_was_made(tmp_path):
    train(CONFIG, OPTIONS, tmp_path / "a.safetensors", CPU, command="lie-picard train a.safetensors")
    config, note = checkpoint.read_metadata(tmp_path / "a.safetensors")
    assert config == CONFIG
    assert note["command"] == "lie-picard train a.safetensors" and note["options"]["images"] == 24


def test_training_seeds_cannot_reach_the_test_seeds():
    with pytest.raises(ValueError, match="training seeds"):
        TrainingOptions(seed=HALF)


@given(st.integers(0, 2**40))
def test_no_test_generator_draws_what_a_training_generator_draws(seed):
    tested = torch.rand(4, generator=test_generator(seed))
    for other in (seed, seed % 2**31, seed % 2**32, 2**31 + seed, 2**32 + seed):
        assert not torch.equal(torch.rand(4, generator=train_generator(other)), tested)
