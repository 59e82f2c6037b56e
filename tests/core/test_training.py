"""Training: it learns, a seed fixes it, and a run that was cut resumes as if it had not been."""

import csv
import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from lie_picard import CheckpointError, so3
from lie_picard.data import symsol_files
from lie_picard.data.stream import Stream, batches
from lie_picard.model import checkpoint
from lie_picard.model.config import ModelConfig
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.objects.symsol.solids import solid
from lie_picard.rendering.clean import Crop
from lie_picard.training.fabric import make_fabric
from lie_picard.training.losses import Denoising
from lie_picard.training.recipe import DataOptions, Recipe, TrainingOptions
from lie_picard.training.trainer import Trainer, train

CONFIG = ModelConfig(
    image_size=32, features=64, width=64, depth=2, degree=3, copies=4, channels=3, named=True, objects=("cone", "tetX")
)
RECIPE = Recipe(
    CONFIG,
    DataOptions(randomised=0.4, absent=0.25),
    TrainingOptions(images=48, batch=8, rotations=4, warmup_steps=2, decay=0.5, bfloat16=False),
)
# What a process of its own runs: the recipe is the second line's.
SCRIPT = """
import json, sys
from pathlib import Path
import torch
from lie_picard.training import fabric as fabrics, trainer
from lie_picard.training.recipe import Recipe
torch.set_num_threads(1)
trainer.SAVE_EVERY_S = 0
fabric = fabrics.make_fabric("cpu")
trained = trainer.train(Recipe.from_dict(json.loads(sys.argv[1])), Path(sys.argv[2]), fabric, resume=True)
torch.save(trained.state_dict(), f"{sys.argv[2]}.rank{fabric.global_rank}")
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the processes of their own have: sums in another order differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fabric():
    return make_fabric("cpu")


def altered(part, **changes):
    return dataclasses.replace(RECIPE, **{part: dataclasses.replace(getattr(RECIPE, part), **changes)})


def weights(model):
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def batch_of(recipe, number):
    options = recipe.training
    stream = Stream(tuple(map(solid, recipe.model.objects)), 32, 3, Crop(), options.batch, recipe.data.randomised,
                    recipe.data.absent)  # fmt: skip
    return next(batches(stream, options.seed, number, torch.device("cpu")))


def arguments(recipe, output):
    return [str(output.parent / "script.py"), json.dumps(recipe.to_dict()), str(output)]


def test_a_seed_fixes_the_run(tmp_path, fabric):
    first = train(RECIPE, tmp_path / "a.safetensors", fabric)
    second = train(RECIPE, tmp_path / "b.safetensors", fabric)
    other = train(altered("training", seed=1), tmp_path / "c.safetensors", fabric)
    assert torch.equal(weights(first), weights(second))
    assert not torch.allclose(weights(first), weights(other))


def test_a_cut_run_resumes_where_it_stood(tmp_path, fabric):
    whole = train(RECIPE, tmp_path / "whole.safetensors", fabric)
    trainer = Trainer(RECIPE, fabric)
    for number in range(2):
        trainer.advance(batch_of(RECIPE, number))
    trainer.save(tmp_path / "cut.safetensors.state")
    resumed = train(RECIPE, tmp_path / "cut.safetensors", fabric, resume=True)
    assert torch.equal(weights(resumed), weights(whole))
    again = train(RECIPE, tmp_path / "cut.safetensors", fabric, resume=True)  # nothing is left to do
    assert torch.equal(weights(again), weights(whole))


def test_a_killed_run_resumes_to_the_same_weights(tmp_path, fabric):
    """Killed once its first state is written, wherever it then is: in a step, or in the middle of writing the next."""
    recipe = altered("training", images=8 * 40)
    whole = train(recipe, tmp_path / "whole.safetensors", fabric)
    (tmp_path / "script.py").write_text(SCRIPT)
    output = tmp_path / "cut.safetensors"
    state = tmp_path / "cut.safetensors.state"
    child = subprocess.Popen([sys.executable, *arguments(recipe, output)], env=os.environ)
    while not state.exists():
        assert child.poll() is None, "the run ended before it saved"
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL and not output.exists()
    trainer = Trainer(recipe, fabric)
    trainer.resume(state)
    assert 0 < trainer.step < 40
    resumed = train(recipe, output, fabric, resume=True)
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize(
    "other",
    [altered("training", seed=1), altered("training", learning_rate=1e-5), altered("data", randomised=0.1),
     altered("model", width=32), altered("training", images=96)],
)  # fmt: skip
def test_a_state_of_another_run_is_refused(tmp_path, fabric, other):
    """At its end the learning rate has fallen: a longer run is another run, too."""
    train(RECIPE, tmp_path / "a.safetensors", fabric)
    with pytest.raises(CheckpointError, match="other settings"):
        train(other, tmp_path / "a.safetensors", fabric, resume=True)


def test_a_run_is_lengthened_from_its_plateau(tmp_path, fabric):
    """As if it had been as long from the beginning."""
    longer = altered("training", images=96)
    train(RECIPE, tmp_path / "short.safetensors", fabric)
    shutil.copy(tmp_path / "short.safetensors.plateau", tmp_path / "on.safetensors.state")
    whole = train(longer, tmp_path / "whole.safetensors", fabric)
    lengthened = train(longer, tmp_path / "on.safetensors", fabric, resume=True)
    assert torch.equal(weights(lengthened), weights(whole))
    wider = dataclasses.replace(longer, model=dataclasses.replace(CONFIG, width=32))
    shutil.copy(tmp_path / "short.safetensors.plateau", tmp_path / "wide.safetensors.state")
    with pytest.raises(CheckpointError, match="other settings"):
        train(wider, tmp_path / "wide.safetensors", fabric, resume=True)


def test_a_damaged_state_and_a_folder_are_named(tmp_path, fabric):
    (tmp_path / "a.safetensors.state").write_text("hello")
    with pytest.raises(CheckpointError, match="unreadable"):
        train(RECIPE, tmp_path / "a.safetensors", fabric, resume=True)
    with pytest.raises(CheckpointError, match="is a folder"):
        train(RECIPE, tmp_path, fabric)


def test_the_loss_falls_below_guessing(tmp_path, fabric):
    """Predicting zero costs 1; the noise of a single cone is learned in two hundred small steps."""
    losses = []
    recipe = Recipe(
        dataclasses.replace(CONFIG, objects=("cone",), channels=1, named=False),
        training=TrainingOptions(
            images=200 * 32, batch=32, rotations=16, learning_rate=3e-3, warmup_steps=20, bfloat16=False
        ),
    )
    train(recipe, tmp_path / "cone.safetensors", fabric, on_step=lambda _, loss, __: losses.append(loss["loss/score"]))
    assert sum(losses[-30:]) / 30 < 0.85


def test_the_named_objects_are_learned(tmp_path, fabric):
    """Guessing among a cone, a tetrahedron and none costs log 3."""
    losses = []
    recipe = Recipe(
        dataclasses.replace(CONFIG, objects=("cone", "tetX")),
        DataOptions(absent=0.25),
        TrainingOptions(
            images=60 * 16, batch=16, rotations=1, learning_rate=3e-3, warmup_steps=5, recognition=1.0, bfloat16=False
        ),
    )
    train(
        recipe, tmp_path / "a.safetensors", fabric, on_step=lambda _, loss, __: losses.append(loss["loss/recognition"])
    )
    assert sum(losses[-10:]) / 10 < 0.5


def _loss(denoising, batch, asked, sigmas, z):
    with torch.no_grad():
        return {name: float(loss) for name, loss in denoising(*batch[:3], asked, sigmas, z, batch.view).items()}


def test_absent_images_have_no_part_in_the_scores_loss(generator):
    torch.manual_seed(0)
    model = ScoreModel(CONFIG).eval()
    torch.nn.init.normal_(model.head.mlp.leave.weight, std=0.3)  # the output starts at zero
    denoising, batch = Denoising(model, RECIPE.training, catalogue(BUILT_IN)).eval(), batch_of(RECIPE, 0)
    known = batch.labels < 2
    asked, sigmas = batch.labels, torch.full((8, 4), 0.3)
    z = torch.randn(8, 4, 3, generator=generator)
    losses = _loss(denoising, batch, asked, sigmas, z)
    assert set(losses) == {"score", "recognition", "moments"}
    assert 0 < known.sum() < 8
    alone = batch.part(known)
    without = _loss(denoising, alone, asked[known], sigmas[known], z[known])
    assert [losses[name] for name in ("score", "moments")] == pytest.approx(
        [without[name] for name in ("score", "moments")], rel=1e-5
    )
    turned = torch.where(known[:, None, None], batch.rotations, so3.uniform(8, generator=generator))
    assert losses == pytest.approx(_loss(denoising, batch._replace(rotations=turned), asked, sigmas, z), rel=1e-6)
    none = batch._replace(labels=torch.full((8,), 2))
    assert _loss(denoising, none, asked, sigmas, z) == {
        "score": 0, "moments": 0, "recognition": pytest.approx(losses["recognition"], abs=2)
    }  # fmt: skip


def test_a_loss_that_is_not_wanted_is_not_computed(fabric):
    trainer = Trainer(altered("model", named=False), fabric)
    assert set(trainer.advance(batch_of(RECIPE, 0))) == {"loss/score", "loss/moments"}
    trainer = Trainer(altered("training", moments=0.0), fabric)
    assert set(trainer.advance(batch_of(RECIPE, 0))) == {"loss/score", "loss/recognition"}


def test_training_begins_at_another_models_weights(tmp_path, fabric):
    """A grey model of one solid hands on what it knows to a coloured one of two, which sees the same in grey images."""
    grey = ScoreModel(dataclasses.replace(CONFIG, channels=1, objects=("tetX",)))
    torch.nn.init.normal_(grey.head.mlp.leave.weight, std=0.3)
    torch.nn.init.normal_(grey.recognition.gain.weight, std=0.3)
    checkpoint.save(grey.eval(), tmp_path / "grey.safetensors")
    trainer = Trainer(altered("training", initial=str(tmp_path / "grey.safetensors")), fabric)
    trainer.begin()
    model = trainer.model.eval()
    pictures = torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8)
    rotations, sigmas = so3.uniform(2, 1), torch.full((2, 1), 0.3)
    coloured = pictures[..., None].expand(-1, -1, -1, 3)
    with torch.no_grad():
        for theirs, mine in ((0, 1), (1, 2)):  # the tetrahedron by name, and nothing by name
            torch.testing.assert_close(
                model(coloured, rotations, sigmas, torch.full((2,), mine)),
                grey(pictures, rotations, sigmas, torch.full((2,), theirs)), atol=1e-4, rtol=1e-3,
            )  # fmt: skip


def test_training_goes_on_with_what_the_other_losses_had_learned(tmp_path, fabric):
    """Else their first gradients would be noise for the encoder. The moments are those of the same objects alone."""
    described = altered("training", descriptions=0.1)
    train(described, tmp_path / "a.safetensors", fabric)
    learned = checkpoint.load(tmp_path / "a.safetensors").auxiliary
    assert {name.split(".")[0] for name in learned} == {"descriptions", "moments"}
    begun = dataclasses.replace(described.training, initial=str(tmp_path / "a.safetensors"))
    for objects, taken in (("cone", "tetX"), True), (("tet", "cyl"), False):
        config = dataclasses.replace(CONFIG, objects=objects)
        trainer = Trainer(dataclasses.replace(described, model=config, training=begun), fabric)
        trainer.begin()
        mine = trainer.losses.state_dict()
        assert torch.equal(mine["descriptions.read.weight"], learned["descriptions.read.weight"])
        assert torch.equal(mine["moments.read.weight"], learned["moments.read.weight"]) == taken


def test_training_does_not_begin_at_an_encoder_of_another_kind(tmp_path, fabric):
    checkpoint.save(ScoreModel(dataclasses.replace(CONFIG, image_size=64)), tmp_path / "large.safetensors")
    with pytest.raises(CheckpointError, match=r"large\.safetensors: its encoder is of another kind"):
        Trainer(altered("training", initial=str(tmp_path / "large.safetensors")), fabric).begin()


def test_a_resumed_run_needs_the_weights_it_began_at_no_more(tmp_path, fabric):
    begun = tmp_path / "begun.safetensors"
    checkpoint.save(ScoreModel(CONFIG).eval(), begun)
    recipe = altered("training", initial=str(begun))
    whole = train(recipe, tmp_path / "whole.safetensors", fabric)
    shutil.copy(tmp_path / "whole.safetensors.plateau", tmp_path / "on.safetensors.state")
    begun.unlink()
    resumed = train(recipe, tmp_path / "on.safetensors", fabric, resume=True)
    assert torch.equal(weights(resumed), weights(whole))


def test_bfloat16_changes_little(fabric):
    losses = [
        Trainer(altered("training", bfloat16=mixed), fabric).advance(batch_of(RECIPE, 0)) for mixed in (False, True)
    ]
    assert losses[0]["loss/score"] == pytest.approx(losses[1]["loss/score"], rel=0.05)


def test_a_stored_data_set_trains(tmp_path, fabric):
    symsol_files.write(tmp_path / "symsol", "train", list(map(solid, CONFIG.objects)), images=6, size=32)
    recipe = dataclasses.replace(RECIPE, data=DataOptions(symsol=str(tmp_path / "symsol")))
    first = train(recipe, tmp_path / "a.safetensors", fabric)
    assert torch.equal(weights(first), weights(train(recipe, tmp_path / "b.safetensors", fabric)))


def test_the_note_says_how_it_was_made(tmp_path, fabric):
    train(RECIPE, tmp_path / "a.safetensors", fabric, command="lie-picard train a.safetensors")
    config, note = checkpoint.read_metadata(tmp_path / "a.safetensors")
    assert config == CONFIG
    assert note["command"] == "lie-picard train a.safetensors" and note["steps"] == 6 and note["processes"] == 1
    assert Recipe.from_dict(note["recipe"]) == RECIPE


def test_losses_go_to_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen, validated = [], []
    train(
        altered("training", images=8 * 44), tmp_path / "a.safetensors", make_fabric("cpu", log=tmp_path / "log"),
        on_step=lambda step, losses, _: seen.append((step, losses["loss/score"])),
        validate=lambda model: validated.append(model.training) or {"validation/cone": 3.0}, validate_every=20,
    )  # fmt: skip
    events = EventAccumulator(str(tmp_path / "log")).Reload()
    assert {"loss/score", "loss/recognition", "learning_rate", "images_per_s"} <= set(events.Tags()["scalars"])
    logged = [(event.step, event.value) for event in events.Scalars("loss/score")]
    assert [step for step, _ in logged] == [20, 40]
    assert [value for _, value in logged] == pytest.approx([seen[19][1], seen[39][1]])
    assert [(event.step, event.value) for event in events.Scalars("validation/cone")] == [(20, 3), (40, 3), (44, 3)]
    assert [step for step, _ in seen] == list(range(1, 45)) and validated == [False] * 3


def test_two_processes_share_a_run(tmp_path):
    """Both end with the same weights, one file is written, and a state of theirs resumes to the same."""
    (tmp_path / "script.py").write_text(SCRIPT)
    output = tmp_path / "two.safetensors"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*launcher, *arguments(RECIPE, output)], env=os.environ, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    first, second = (torch.load(f"{output}.rank{rank}", weights_only=True) for rank in range(2))
    learned = {name for name, _ in ScoreModel(CONFIG).named_parameters()}
    assert all(torch.equal(first[name], second[name]) for name in learned)
    stored = load_file(str(output))
    assert all(torch.equal(stored[name], first[name]) for name in first)
    assert sorted(p.name for p in tmp_path.glob("*.safetensors*") if ".rank" not in p.name) == [
        "two.safetensors", "two.safetensors.plateau", "two.safetensors.state",
    ]  # fmt: skip
    assert checkpoint.read_metadata(output)[1]["processes"] == 2


def test_two_processes_validate_a_run_by_the_clock(tmp_path):
    """Only one of them looks: it must not wait for the other to tell the time."""
    text = SCRIPT.replace("resume=True)", "resume=True, validate=lambda model: {'x': 1.0}, validate_every_s=0.0)")
    (tmp_path / "script.py").write_text(text)
    timed = dataclasses.replace(RECIPE, training=dataclasses.replace(RECIPE.training, minutes=0.02))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run([*launcher, *arguments(timed, tmp_path / "two.safetensors")], env=os.environ,
                            capture_output=True, text=True, timeout=300)  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / "two.safetensors").is_file()


def test_missing_tools_are_named_in_one_line(tmp_path):
    missing = "lightning_fabric"
    code = (
        f"import sys; sys.modules[{missing!r}] = sys.modules['lightning'] = None\n"
        "from pathlib import Path; from lie_picard.training import fabric\n"
        f"try: fabric.make_fabric('cpu', log=Path({str(tmp_path)!r}))\n"
        "except fabric.TrainingToolsError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert said.stdout.count("\n") == 1 and missing in said.stdout, said
    assert "pip install 'lie_picard[train]'" in said.stdout


def test_without_tensorboard_losses_go_to_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    train(altered("training", images=8 * 44), tmp_path / "a.safetensors", make_fabric("cpu", log=tmp_path / "log"))
    assert capsys.readouterr().err.count("\n") == 1
    (table,) = (tmp_path / "log").rglob("*.csv")
    rows = list(csv.DictReader(table.open()))
    assert [row["step"] for row in rows] == ["20", "40"] and float(rows[1]["loss/score"]) > 0


def in_minutes(steps, **changes):
    return altered("training", minutes=steps / 60, images=8, **changes)


def test_a_run_of_minutes_ends_with_them_and_its_learning_rate(tmp_path, fabric, clock):
    """At a second a step it is the run of as many steps: the same learning rates, so the same weights."""
    timed = train(in_minutes(6), tmp_path / "timed.safetensors", fabric, on_step=clock.tick)
    whole = train(RECIPE, tmp_path / "whole.safetensors", fabric)
    torch.testing.assert_close(weights(timed), weights(whole))
    note = checkpoint.read_metadata(tmp_path / "timed.safetensors")[1]
    assert note["steps"] == 6 and Recipe.from_dict(note["recipe"]).training.minutes == pytest.approx(0.1)


def test_a_cut_run_of_minutes_takes_those_that_were_left(tmp_path, fabric, clock):
    recipe = in_minutes(6)
    whole = train(recipe, tmp_path / "whole.safetensors", fabric, on_step=clock.tick)
    trainer = Trainer(recipe, fabric)
    for number in range(2):
        trainer.advance(batch_of(recipe, number), number)
        clock.tick()
    trainer.save(tmp_path / "cut.safetensors.state")
    clock.now += 1000  # nobody was training
    resumed = train(recipe, tmp_path / "cut.safetensors", fabric, resume=True, on_step=clock.tick)
    torch.testing.assert_close(weights(resumed), weights(whole))
    again = train(recipe, tmp_path / "cut.safetensors", fabric, resume=True)  # no time is left
    assert torch.equal(weights(again), weights(resumed))


def test_a_run_of_minutes_is_lengthened_from_its_plateau(tmp_path, fabric, clock):
    train(in_minutes(6), tmp_path / "short.safetensors", fabric, on_step=clock.tick)
    with pytest.raises(CheckpointError, match="other settings"):
        train(in_minutes(12), tmp_path / "short.safetensors", fabric, resume=True)
    shutil.copy(tmp_path / "short.safetensors.plateau", tmp_path / "on.safetensors.state")
    train(in_minutes(12), tmp_path / "on.safetensors", fabric, resume=True, on_step=clock.tick)
    assert checkpoint.read_metadata(tmp_path / "on.safetensors")[1]["steps"] == pytest.approx(12, abs=1)


def test_recipes_without_minutes_are_written_as_they_were():
    assert "minutes" not in RECIPE.to_dict()["training"]
    assert Recipe.from_dict(RECIPE.to_dict()) == RECIPE
    assert Recipe.from_dict(in_minutes(6).to_dict()) == in_minutes(6)
    with pytest.raises(ValueError, match="minutes"):
        TrainingOptions(minutes=0)
