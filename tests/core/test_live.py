"""A training tells how good it is: goals, forecasts, measurements that are kept, and an end when a goal is met."""

import dataclasses
import json
from types import SimpleNamespace

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import live
from lie_picard.evaluation.accuracy import EvaluationOptions
from lie_picard.evaluation.live import Goal, GoalError, Live, forecast
from lie_picard.model import checkpoint
from lie_picard.model.config import ModelConfig
from lie_picard.model.score_model import ScoreModel
from lie_picard.rendering.randomisation import Randomisation
from lie_picard.training.fabric import make_fabric
from lie_picard.training.recipe import Recipe, TrainingOptions
from lie_picard.training.trainer import Trainer, train

CONFIG = ModelConfig(
    image_size=32, features=64, width=64, depth=2, degree=3, copies=4, channels=3, named=True, objects=("cone",)
)
RECIPE = Recipe(CONFIG, training=TrainingOptions(batch=8, rotations=4, warmup_steps=2, decay=0.5, minutes=1.0,
                                                 bfloat16=False))  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "measure", "value"), [
    ("median=2", "clean", "median", 2), ("randomised.within_10=80", "randomised", "within_10", 80),
    ("textured.recall=90.5", "textured", "recall", 90.5),
])  # fmt: skip
def test_a_goal_is_a_measure_of_a_kind_of_images(text, kind, measure, value):
    assert Goal.parse(text) == (kind, measure, value)


@pytest.mark.parametrize("text", ["", "median", "median=", "median=x", "median=-1", "median=nan", "best=1",
                                  "real.median=2", "within_10=101", "=2"])  # fmt: skip
def test_what_is_no_goal_is_one_line_with_the_remedy(text):
    with pytest.raises(GoalError, match=r"median=2|at most 100") as error:
        Goal.parse(text)
    assert "\n" not in str(error.value)


def test_shares_must_rise_and_errors_fall():
    scalars = {"clean/median_deg": 3.0, "clean/within_10deg": 0.7}
    assert Goal.parse("median=3").met(scalars) and not Goal.parse("median=2.9").met(scalars)
    assert Goal.parse("within_10=70").met(scalars) and not Goal.parse("within_10=71").met(scalars)
    assert not Goal.parse("recall=1").met(scalars)  # was not measured


@given(power=st.floats(0.2, 2), scale=st.floats(5, 100), share=st.floats(0.3, 0.9))
def test_a_power_law_is_foretold_exactly(power, scale, share):
    def rows(name, of):
        return [{"minutes": t, f"clean/{name}": of(scale * t**-power)} for t in (1.0, 2.0, 4.0, 6.0)]

    wanted = share * scale * 6**-power
    exact = 6 * share ** (-1 / power) - 6
    for goal, found in (
        (Goal("clean", "median", wanted), rows("median_deg", lambda value: value)),
        (Goal("clean", "within_10", 100 - wanted), rows("within_10deg", lambda value: 1 - value / 100)),
    ):
        left = forecast(found, goal)
        assert left == pytest.approx(exact, rel=1e-3) if exact < 53 else left is None or exact < 55


def test_what_does_not_lead_to_the_goal_is_not_foretold():
    flat = [{"minutes": t, "clean/median_deg": 5.0} for t in (1, 2, 3, 4)]
    assert forecast(flat, Goal("clean", "median", 2)) is None
    assert forecast(flat[:2], Goal("clean", "median", 2)) is None
    assert forecast([{"minutes": 1, "clean/median_deg": float("nan")}] * 4, Goal("clean", "median", 2)) is None


def test_measurements_are_kept_drawn_and_told(tmp_path):
    told = []
    watched = Live(tmp_path / "part.live.json", [Goal.parse("median=2"), Goal.parse("recall=90")], told.append)
    scalars = {"clean/median_deg": 8.0, "clean/within_10deg": 0.6, "clean/recall": 0.7}
    watched.add(10, 60, scalars)
    watched.add(20, 120, scalars | {"clean/median_deg": 4.0})
    watched.add(30, 240, scalars | {"clean/median_deg": 2.0})
    assert not watched.enough(scalars | {"clean/median_deg": 2.0})
    assert watched.enough({"clean/median_deg": 2.0, "clean/recall": 0.95})
    assert "clean median <= 2: met" in told[-1] and "clean recall >= 90: not in sight yet" in told[-1]
    picture = cv2.imread(str(tmp_path / "part.live.png"))
    assert picture is not None and picture.std() > 10
    again = Live(tmp_path / "part.live.json", watched.goals, told.append)
    again.resume()
    assert [row["step"] for row in again.rows] == [10, 20, 30]
    again.add(25, 200, {"clean/median_deg": 1.0, "clean/recall": 0.95})  # resumed from an earlier state
    assert [row["step"] for row in json.loads((tmp_path / "part.live.json").read_text())] == [10, 20, 25]


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '[{"step": 1}]'])
def test_damaged_measurements_are_left_behind(tmp_path, text):
    (tmp_path / "part.live.json").write_text(text)
    watched = Live(tmp_path / "part.live.json")
    watched.resume()
    assert watched.rows == []


def test_models_are_measured_by_kind_with_recall():
    pytest.importorskip("skimage")
    model = ScoreModel(CONFIG)
    model.catalogue = "symsol"
    options = EvaluationOptions(images=3, samples=2, recall_images=1, recall_samples=10)
    found = live.measure(PoseEstimator(model), Randomisation(), options)
    assert {f"{kind}/{name}" for kind in ("clean", "randomised", "textured") for name in ("median_deg", "recall")} <= (
        found.keys()
    )
    assert all(0 <= value <= 180 for value in found.values())


def test_groups_of_views_do_not_count_as_objects(monkeypatch):
    row = dict.fromkeys(("mean_deg", "median_deg", "within_2deg", "within_5deg", "within_10deg"), 1.0)
    shares = {"mug": 0.9, "mug: nothing more left open": 1.0, "mug: more poses left open": 0.1}
    rows = [row | {"solid": name, "modes_reached": share, "modes_reached_if_uniform": 1.0}
            for name, share in shares.items()]  # fmt: skip
    monkeypatch.setattr(live, "evaluate", lambda *_, **__: [*rows, row | {"solid": "all"}])
    mug = SimpleNamespace(config=SimpleNamespace(objects=("mug",)))
    found = live.measure(mug, Randomisation(), EvaluationOptions(images=1), kinds=("clean",))
    assert found["clean/recall"] == 0.9


def test_a_run_whose_goal_is_met_lets_its_rate_fall_and_ends(tmp_path, clock):
    looked = []

    def watch(step, seconds, scalars):
        looked.append((step, seconds, scalars["error"]))

    errors = iter([5.0, 2.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    train(
        RECIPE, tmp_path / "a.safetensors", make_fabric("cpu"), on_step=clock.tick,
        validate=lambda _: {"error": next(errors)}, validate_every_s=4, watch=watch,
        enough=lambda scalars: scalars["error"] < 3,
    )  # fmt: skip
    note = checkpoint.read_metadata(tmp_path / "a.safetensors")[1]
    # Met at some 10 of 60 seconds; half of a run is its rate's fall.
    assert looked[1][2] == 2.0 and note["steps"] == pytest.approx(2 * looked[1][1], abs=2) and note["steps"] < 30
    assert Recipe.from_dict(note["recipe"]).training.minutes == pytest.approx(2 * looked[1][1] / 60)
    assert (tmp_path / "a.safetensors.plateau").is_file()


def test_a_run_that_was_cut_after_its_goal_ends_as_if_it_had_not_been(tmp_path, clock):
    fabric = make_fabric("cpu")
    trainer = Trainer(RECIPE, fabric)
    trainer.start_clock()
    clock.now += 10
    trainer.fall()
    trainer.save(tmp_path / "a.safetensors.state")
    train(RECIPE, tmp_path / "a.safetensors", fabric, resume=True, on_step=clock.tick)
    assert checkpoint.read_metadata(tmp_path / "a.safetensors")[1]["steps"] == pytest.approx(10, abs=1)


def test_goals_take_a_run_of_minutes_and_one_process(tmp_path):
    counted = dataclasses.replace(RECIPE, training=dataclasses.replace(RECIPE.training, minutes=None))
    with pytest.raises(ValueError, match=r"training\.minutes"):
        train(counted, tmp_path / "a.safetensors", make_fabric("cpu"), enough=lambda *_: True)
