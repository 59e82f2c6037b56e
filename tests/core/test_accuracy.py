"""Evaluation, presence and assessment on a small untrained model: what is counted, not how good it is."""

import dataclasses
import json
import math

import pytest
import torch
from view_parts import mug

from lie_picard import machine
from lie_picard.data import symsol_files
from lie_picard.data.testset import cases
from lie_picard.drawing.gallery import plot_gallery
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import assess, assess_report
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.evaluation.presence import evaluate_presence
from lie_picard.model import checkpoint
from lie_picard.model.config import ModelConfig
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects import BUILT_IN, Catalogue, catalogue
from lie_picard.rendering.randomisation import Randomisation
from lie_picard.sampling import SamplerOptions

CONFIG = ModelConfig(
    image_size=32, channels=3, features=32, width=32, depth=1, degree=2, copies=2, objects=("cube", "cylO"), named=True
)
FEW = EvaluationOptions(images=6, samples=3, recall_images=2, recall_samples=12)
SAMPLER = SamplerOptions("ode", 4, restarts=0)


@pytest.fixture(scope="module")
def estimator():
    torch.manual_seed(0)
    model = ScoreModel(CONFIG).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return PoseEstimator(model, known=catalogue(BUILT_IN))


@pytest.mark.parametrize("randomisation", [None, Randomisation()], ids=["clean", "randomised"])
def test_a_marked_solid_is_split_by_what_its_images_show(estimator, randomisation):
    options = dataclasses.replace(FEW, images=12, randomisation=randomisation)
    rows = {row["solid"]: row for row in evaluate(estimator, CONFIG.objects, SAMPLER, options)}
    assert list(rows) == ["cube", "cylO", "cylO: all markers seen", "cylO: a marker hidden", "all"]
    parts = [rows["cylO: all markers seen"], rows["cylO: a marker hidden"]]
    assert sum(part["images"] for part in parts) == 12
    whole = sum(part["images"] * part["mean_deg"] for part in parts) / 12
    assert math.isclose(rows["cylO"]["mean_deg"], whole, rel_tol=1e-4)
    assert math.isclose(
        rows["all"]["mean_deg"], (rows["cube"]["mean_deg"] + rows["cylO"]["mean_deg"]) / 2, rel_tol=1e-4
    )
    assert {"modes_reached_of_10_samples", "modes_reached", "chi2_per_freedom"} <= rows["cube"].keys()
    assert "chi2_per_freedom" not in rows["all"]


def test_a_mug_is_split_by_whether_a_view_leaves_an_arc():
    """Where the handle is seen one pose fits, where it is hidden an arc of them; precision and recall of both."""
    cup = mug(24)
    torch.manual_seed(0)
    model = ScoreModel(dataclasses.replace(CONFIG, objects=("mug",))).eval()
    estimator = PoseEstimator(model, known=Catalogue.of("parts", cup))
    options = dataclasses.replace(FEW, images=40, recall_images=40)
    rows = {row["solid"]: row for row in evaluate(estimator, ["mug"], SAMPLER, options)}
    assert list(rows) == ["mug", "mug: nothing more left open", "mug: more poses left open", "all"]
    single, several = rows["mug: nothing more left open"], rows["mug: more poses left open"]
    assert single["images"] + several["images"] == 40 and several["images"] >= 2
    assert single["modes"] == 1 and several["modes"] > 2
    case = next(cases(estimator.config, cup, 20, torch.Generator().manual_seed(1)))
    for k in range(20):
        assert (case.group(k) == "nothing more left open") == (len(case.poses.listed(k)) == 1)
    shown = [name for name, _, _ in assess.gallery(estimator, ("mug",), 0)]
    assert shown == ["mug", "mug"]


def test_what_is_asked_for_changes_neither_images_nor_starts(estimator):
    """The same seeds, with and without recall, named or not: one draw of images for every comparison."""
    alone = evaluate(estimator, ["cube"], SAMPLER, FEW)[0]
    without = evaluate(estimator, ["cube"], SAMPLER, dataclasses.replace(FEW, recall_images=0))[0]
    assert alone["mean_deg"] == without["mean_deg"] and "recall_deg" not in without
    first = next(cases(CONFIG, catalogue(BUILT_IN)["cube"], 4, torch.Generator().manual_seed(5), Randomisation()))
    again = next(cases(CONFIG, catalogue(BUILT_IN)["cube"], 4, torch.Generator().manual_seed(5), Randomisation()))
    assert torch.equal(first.images, again.images) and torch.equal(first.poses.truth, again.poses.truth)


def test_a_stored_data_set_gives_the_same_errors_as_its_images(estimator, tmp_path):
    symsol_files.write(tmp_path, "test", [catalogue(BUILT_IN)["cube"]], images=4, size=32)
    options = EvaluationOptions(images=4, samples=2, recall_images=1, recall_samples=4)
    row = evaluate(estimator, ["cube"], SAMPLER, options, tmp_path)[0]
    assert 0 < row["mean_deg"] < 63 and row["modes"] == 24  # a cube's poses are never further apart


def test_the_name_reaches_the_model(estimator):
    """An object's embedding moves its samples and no other's."""
    image = torch.zeros(32, 32, 3, dtype=torch.uint8).numpy()
    draw = lambda name: estimator.estimate(image, 4, 0, SAMPLER, name).rotations  # noqa: E731
    before = {name: draw(name) for name in ("cube", "cylO", None)}
    with torch.no_grad():
        estimator.model.recognition.shift.weight[0] += 1.0
    try:
        assert not torch.equal(draw("cube"), before["cube"])
        assert torch.equal(draw("cylO"), before["cylO"]) and torch.equal(draw(None), before[None])
    finally:
        with torch.no_grad():
            estimator.model.recognition.shift.weight[0] -= 1.0
    with pytest.raises(ValueError, match="knows no 'banana', only cube, cylO"):
        draw("banana")


def test_presence_is_a_probability_and_absent_kinds_are_listed(estimator):
    found = estimator.estimate(torch.zeros(32, 32, 3, dtype=torch.uint8).numpy(), 2, 0, SAMPLER)
    assert 0 < found.presence < 1
    rows = evaluate_presence(estimator, CONFIG.objects, 3, Randomisation())
    assert {row["absent"] for row in rows} > {"octahedron", "background only"}
    assert all(0 <= row["auroc"] <= 1 for row in rows)
    plain = PoseEstimator(ScoreModel(dataclasses.replace(CONFIG, named=False)), known=catalogue(BUILT_IN))
    assert math.isnan(plain.estimate(torch.zeros(32, 32, 3, dtype=torch.uint8).numpy(), 2, 0, SAMPLER).presence)
    with pytest.raises(ValueError, match="no presence score"):
        evaluate_presence(plain, CONFIG.objects, 2, Randomisation())


def test_an_assessment_is_written_whole(estimator, tmp_path):
    seen = []
    options = EvaluationOptions(images=5, samples=2, recall_images=1, recall_samples=60)
    result = assess.assess(estimator, CONFIG.objects, SAMPLER, options, seen.append)
    assert sum(seen) == assess.total(CONFIG.objects, options)
    result |= {"machine": machine.describe(estimator.device), "checkpoint": "small"}
    assess_report.write_assessment(tmp_path, result)
    pictures = list(assess.gallery(estimator, CONFIG.objects, 0))
    assert [name for name, _, _ in pictures] == ["cube", "cylO", "cylO"]
    plot_gallery(tmp_path / "gallery.png", estimator, pictures, 8)
    assert json.loads((tmp_path / "evaluation.json").read_text())["clean"][-1]["solid"] == "all"
    text = (tmp_path / "evaluation.md").read_text()
    for heading in ("Clean images", "Randomised images", "Presence", "Calibration"):
        assert heading in text
    assert (tmp_path / "calibration.png").stat().st_size > 10_000


def test_a_calibration_travels_with_its_checkpoint(estimator, tmp_path):
    options = EvaluationOptions(images=3, recall_images=0, seed=1)
    result = assess.calibrate(estimator, CONFIG.objects, SAMPLER, options)
    checkpoint.save(estimator.model, tmp_path / "own.safetensors")
    again = checkpoint.load(tmp_path / "own.safetensors")
    assert again.calibration == estimator.model.calibration
    assert result["after"]["calibration"] == dataclasses.asdict(again.calibration)
    rows = assess.calibrate(estimator, CONFIG.objects, SAMPLER, options, fit=False, stream="calibration")["rows"]
    assert rows == result["after"]["rows"] and estimator.model.calibration == again.calibration
