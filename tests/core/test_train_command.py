"""`lie-picard train --object`: from a mesh in the store to a calibrated checkpoint that needs nothing else."""

import json

import cv2
import numpy as np
import pytest
import trimesh
from few import few_images

from lie_picard import PoseEstimator, cli
from lie_picard.evaluation.accuracy import EvaluationOptions
from lie_picard.model import checkpoint
from lie_picard.objects import OWN, catalogue

pytest.importorskip("skimage")
CHANGES = "training.batch=8", "training.rotations=2", "data.together=2", "data.parts=0"
QUICK = [word for change in CHANGES for word in ("--set", change)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A store with a painted box and a plain one."""
    folder = tmp_path_factory.mktemp("parts")
    for name, painted in (("plain", False), ("painted", True)):
        box = trimesh.creation.box((0.05, 0.03, 0.02))
        if painted:
            box.visual.face_colors = np.tile([[200, 30, 30, 255], [30, 30, 200, 255]], (6, 1))
        file = folder / f"{name}.ply"
        box.export(file)
        assert cli.main(["object", "add", str(file), "--unit", "m", "--store", str(folder / "store")]) == 0
    return folder / "store"


@pytest.fixture
def store(parts, tmp_path, monkeypatch):
    """A folder for results, where the parts are known and little is measured of them."""
    monkeypatch.setenv("LIE_PICARD_OBJECTS", str(parts))
    few_images(monkeypatch, EvaluationOptions(images=3, samples=2, recall_images=1, recall_samples=10))
    return tmp_path


def test_a_part_becomes_a_calibrated_checkpoint_that_carries_it(store, capsys):
    output = store / "plain.safetensors"
    told = ["train", "--object", "plain", "--images", "24", "--validate-every", "2", "--output", str(output), *QUICK]
    assert cli.main([*told, "--json", str(store / "result.json")]) == 0
    printed = capsys.readouterr()
    assert "clean median" in printed.out + printed.err
    result = json.loads((store / "result.json").read_text())
    assert [row["kind"] for row in result["rows"]] == ["clean", "randomised", "textured"]
    assert all(row["solid"] == "plain" and 0 <= row["mean_deg"] <= 180 for row in result["rows"])
    (found,) = result["finding"]
    assert found["solid"] == "plain" and 0 <= found["proposed"] <= 1
    rows = json.loads((store / "plain.live.json").read_text())
    assert rows and {"minutes", "step", "clean/median_deg", "randomised/recall"} <= rows[-1].keys()
    assert cv2.imread(str(store / "plain.live.png")) is not None
    estimator = PoseEstimator.from_checkpoint(output, "cpu")
    assert estimator.config.objects == ("plain",) and list(estimator.model.known) == ["plain"]
    assert estimator.model.calibration.spread is not None
    note = checkpoint.read_metadata(output)[1]
    assert note["recipe"]["training"]["initial"] == "default" and note["recipe"]["data"]["prints"] == 0.7


def test_of_an_unknown_appearance_the_shape_alone_counts(store):
    output = store / "bare.safetensors"
    told = ["train", "--object", "painted", "--images", "8", "--validate-every", "0", "--output", str(output), *QUICK]
    assert cli.main(told) == 0
    known = checkpoint.load(output).known["painted"]
    assert known.is_coloured and len(known.symmetry.rotations) == len(catalogue(OWN)["painted"].symmetry.rotations)
    assert cli.main([*told, "--appearance", "unknown"]) == 0
    known = checkpoint.load(output).known["painted"]
    assert not known.is_coloured and len(known.symmetry.rotations) == 4


@pytest.mark.parametrize(("told", "says"), [
    (["--object", "plian"], "plain"),
    (["--object", "plain", "--until", "median=2", "--images", "8"], "exclude each other"),
    (["--object", "plain", "--until", "perfect"], "median=2"),
    (["--appearance", "unknown"], "give --object"), (["--object", "plain", "--solids", "cube"], "exclude each other"),
])  # fmt: skip
def test_what_cannot_be_meant_is_said_before_the_work(store, told, says, capsys):
    assert cli.main(["train", *told, "--output", str(store / "a.safetensors")]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1 and says in printed[0]
