"""evaluate-bop: the node's own estimates, scored as BOP scores them; every image scored, or counted with a reason."""

import json
import math

import bop_sets
import numpy as np
import pytest
import torch

from lie_picard.cli import main
from lie_picard.data.bop import BopError, Dataset
from lie_picard.evaluation import bop, bop_results
from lie_picard.evaluation.bop_scorer import Scorer
from lie_picard.objects import catalogue


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = bop_sets.written(tmp_path_factory.mktemp("bop") / "solids", images=4)
    return bop_sets.written(root, "web", "shards", images=2)


def evaluated(estimator, root, names=None, **options):
    return bop.Evaluation(estimator, Dataset(root, names), bop.Options(**options)).run()


@pytest.fixture(scope="module")
def outcome(estimator, data):
    return evaluated(estimator, data)


def test_every_target_is_scored_and_most_are_found(outcome, data):
    targets = sum(one["inst_count"] for one in json.loads((data / "test_targets_bop19.json").read_text()))
    assert outcome.images == 4 and outcome.unusable == 0 and not outcome.problems
    assert [record["state"] for record in outcome.records] == ["scored"] * targets
    row = bop_results.rows(outcome)[-1]
    assert row["object"] == "all" and row["targets"] == row["scored"] == targets
    assert row["ar"] == pytest.approx((row["ar_vsd"] + row["ar_mssd"] + row["ar_mspd"]) / 3)
    assert row["ar"] > 0.6 and row["median_deg"] < 10


def test_results_are_in_bops_frame_and_units(outcome, data):
    dataset = Dataset(data)
    truths = {(image.scene_id, image.image_id): image.instances for unit in dataset.units("test")
              for image in dataset.images(unit)}  # fmt: skip
    near = []
    for one, told in zip(outcome.estimates, outcome.distributions, strict=True):
        truth = truths[one["scene_id"], one["im_id"]][told["gt_id"]]
        assert truth.object_id == one["obj_id"] and one["time"] > 0
        model = dataset.models[one["obj_id"]]
        # Model poses lead back to the ball's centre, which is near the true one, whatever the rotation.
        centre, true = one["R"] @ (1e3 * model.centre) + one["t"], 1e3 * model.object_pose(truth.pose)[:3, 3]
        near.append(np.linalg.norm(centre - true) / np.linalg.norm(true))
        weights = [mode["weight"] for mode in told["modes"]]
        assert sum(weights) == pytest.approx(1) and told["modes"][0]["R"] == one["R"].reshape(-1).tolist()
        centres = [np.array(mode["R"]).reshape(3, 3) @ told["centre"] + mode["t"] for mode in told["modes"]]
        assert np.linalg.norm(centres[0] - centre) < 1e-3  # millimetres
        assert np.linalg.norm(np.array(centres) - centre, axis=1).max() < 0.1 * np.linalg.norm(true)
    assert np.median(near) < 0.02 and max(near) < 0.2


def test_the_true_pose_has_no_error(data):
    dataset = Dataset(data)
    for unit in dataset.units("test"):
        for image in dataset.images(unit):
            camera, depth = image.camera(image.picture().shape), image.depth()
            for one in image.instances:
                model = dataset.models[one.object_id]
                scorer = Scorer(model, catalogue("symsol")[model.name])
                equal = one.pose @ scorer.equal[-1]  # looks the same: shape and what it hides alike, but for marks
                errors = scorer.errors(equal, [one], camera, depth, 0.015)
                assert errors["mssd"][one.index] < 1e-9 and errors["mspd"][one.index] < 1e-6
                share = 0.0 if one.visible else 1.0  # of nothing visible, nothing agrees
                assert errors["vsd"][one.index] == pytest.approx([share] * 10, abs=0.02)


def test_a_symmetry_does_not_hide_what_a_mark_shows(data):
    scorer = Scorer(Dataset(data).models[3], catalogue("symsol")["tetX"])
    assert len(scorer.equal) == 3 and scorer.known is not None  # turns about the red face's normal


def test_a_name_alone_makes_no_shape(estimator, data):
    found = evaluated(estimator, data, {2: "tet", 3: "mug"}, images=2)
    told = [line for line in found.problems if "has not the shape of the 'tet'" in line]
    states = {record["object"]: record["state"] for record in found.records}
    assert len(told) == ("tet" in states) and states.get("mug", "unknown") == "unknown"
    assert bop_results.rows(found)[-1]["ar_vsd"] is not None  # by the shape that it has


def test_objects_that_the_model_does_not_know_are_refused_in_one_line(estimator, data, capsys):
    names = {number: f"part{number}" for number in (1, 2, 3, 4)}
    with pytest.raises(
        BopError, match=r"not been trained on 'part1', .* 1 more, only on tet, cube.*--object NUMBER=NAME"
    ):
        evaluated(estimator, data, names)
    words = [word for number, name in names.items() for word in ("--object", f"{number}={name}")]
    assert main(["evaluate-bop", str(data), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_cannot_be_read_is_counted_with_its_reason(estimator, data, tmp_path):
    root = bop_sets.copied(data, tmp_path / "set")
    scene = root / "test" / "000000"
    (scene / "rgb" / "000001.png").unlink()
    bop_sets.edit(scene / "scene_camera.json", lambda value: value.pop("3") and None)
    found = evaluated(estimator, root, images=None)
    reasons = {record["im_id"]: record["why"] for record in found.records if record["state"] == "unusable"}
    assert found.images == 4 and found.unusable == 2 and set(reasons) == {1, 3}
    assert "000001.png: no such file" in reasons[1] and "a target is of this image" in reasons[3]
    assert {record["im_id"] for record in found.records if record["state"] == "scored"} == {0, 2}
    (scene / "scene_camera.json").write_text("{")
    found = evaluated(estimator, root)
    assert found.unusable == 4 and "is not JSON" in found.problems[0]
    assert "nothing was scored" in bop_results.nothing(found)


def test_shards_are_scored_and_masks_tell_where_to_look(estimator, data):
    found = evaluated(estimator, data, split="web", regions="gt-visib")
    states = [record["state"] for record in found.records]
    assert states and set(states) <= {"scored", "no region"}
    spheres = evaluated(estimator, data, split="web")
    away = [np.median([r["translation_mm"] for r in one.records if "translation_mm" in r]) for one in (found, spheres)]
    assert away[1] < 15 and away[0] < 40  # a silhouette only bounds the sphere, in which the model finds the place


def test_a_detectors_results_are_taken_and_what_it_misses_counts(estimator, data, tmp_path):
    truth = json.loads((data / "test" / "000000" / "scene_gt.json").read_text())
    infos = json.loads((data / "test" / "000000" / "scene_gt_info.json").read_text())
    found = [
        {"scene_id": 0, "image_id": int(image), "category_id": one["obj_id"], "score": 0.5 + 0.01 * k,
         "bbox": [info["bbox_obj"][0], info["bbox_obj"][1], info["bbox_obj"][2] + 1, info["bbox_obj"][3] + 1]}
        for image in truth if image != "0"
        for k, (one, info) in enumerate(zip(truth[image], infos[image], strict=True)) if info["visib_fract"] > 0.9
    ]  # fmt: skip
    file = tmp_path / "detections.json"
    file.write_text(json.dumps([*found, {**found[0], "bbox": [0, 0, 12, 12], "score": 0.1}]))
    outcome = evaluated(estimator, data, regions=str(file))
    states = {record["im_id"]: record["state"] for record in outcome.records}
    assert states[0] == "no region"
    assert [r["state"] for r in outcome.records].count("scored") == len(found)
    assert [r["state"] for r in outcome.records].count("false") == 1
    row = bop_results.rows(outcome)[-1]
    assert row["targets"] > row["scored"] and 0 < row["ar_mspd"] < 1
    file.write_text('[{"scene_id": 0, "image_id": 1, "category_id": 1, "score": 1, "bbox": [0, 0]}]')
    with pytest.raises(BopError, match="detection 0: a bounding box must be 4 finite numbers"):
        evaluated(estimator, data, regions=str(file))


def test_without_true_poses_there_are_results_and_no_scores(estimator, data, tmp_path, capsys):
    root = bop_sets.copied(data, tmp_path / "set")
    for name in ("scene_gt.json", "scene_gt_info.json"):
        (root / "test" / "000000" / name).unlink()
    targets = json.loads((root / "test_targets_bop19.json").read_text())
    boxes = [{"scene_id": 0, "image_id": one["im_id"], "category_id": one["obj_id"], "bbox": [100, 80, 90, 90],
              "score": 1.0} for one in targets]  # fmt: skip
    (tmp_path / "found.json").write_text(json.dumps(boxes))
    words = ["evaluate-bop", str(root), "--regions", str(tmp_path / "found.json"), "--output", str(tmp_path / "out")]
    assert main(words) == 2
    assert "nothing was scored" in capsys.readouterr().err
    assert len((tmp_path / "out" / "lie-picard_set-test.csv").read_text().splitlines()) == 1 + len(targets)


def test_the_command_writes_results_that_read_back(data, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["evaluate-bop", str(data), "--output", str(out), "--images", "2", "--seed", "3", "--json", "-"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    scores = json.loads((out / "scores.json").read_text())
    assert scores["rows"] == printed["rows"] and printed["seed"] == 3 and printed["machine"]["device"] == "cpu"
    lines = (out / "lie-picard_solids-test.csv").read_text().splitlines()
    assert lines[0] == "scene_id,im_id,obj_id,score,R,t,time"
    times = {}
    for line in lines[1:]:
        scene, image, number, score, turn, place, seconds = line.split(",")
        matrix = np.array(turn.split(), float).reshape(3, 3)
        assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-5) and np.linalg.det(matrix) > 0
        assert 200 < float(place.split()[2]) < 900 and 0 <= float(score) <= 1 and number in "1234"
        times.setdefault((scene, image), set()).add(seconds)
    assert all(len(one) == 1 for one in times.values()) and len(times) == 2
    told = json.loads((out / "lie-picard_solids-test-distributions.json").read_text())["estimates"]
    assert len(told) == len(lines) - 1
    assert "| object |" in (out / "scores.md").read_text()
    assert main([*words[:-2], "--method-name", "my_method"]) == 2


def test_the_same_seed_gives_the_same_poses(estimator, data, outcome):
    again = evaluated(estimator, data, images=1)
    for one, other in zip(again.estimates, outcome.estimates, strict=False):
        assert (one["R"] == other["R"]).all() and (one["t"] == other["t"]).all()
    other = evaluated(estimator, data, images=1, seed=5)
    assert any((one["R"] != two["R"]).any() for one, two in zip(other.estimates, again.estimates, strict=True))


def test_depth_mends_the_range_of_a_region_that_is_too_large(estimator, data):
    kept = {}
    for depth in (False, True):
        found = evaluated(estimator, data, regions="gt-visib", depth=depth, images=2)
        kept[depth] = np.median([r["translation_mm"] for r in found.records if r["state"] == "scored"])
    assert kept[True] < kept[False]


def test_the_posterior_is_compared_with_what_the_view_tells(estimator, data):
    """A red face that is turned away leaves twelve true poses of a tetrahedron, of which its symmetry knows three."""
    dataset = Dataset(data)
    scorer = Scorer(dataset.models[3], catalogue("symsol")["tetX"])
    counts = set()
    for image in (image for unit in dataset.units("test") for image in dataset.images(unit)):
        camera = image.camera(image.picture().shape)
        for one in image.instances:
            if one.object_id == 3 and one.visible > 0.9:
                true, turn = scorer._true_poses(one, image, camera, estimator.config)
                listed = turn @ true.listed(0).double()
                assert torch.allclose(listed[0], torch.from_numpy(one.pose[:3, :3]), atol=1e-6)
                marker = scorer.known.landmarks[0].double().numpy()
                facing = float((one.pose[:3, :3] @ marker) @ one.pose[:3, 3]) / np.linalg.norm(one.pose[:3, 3])
                if abs(facing) > math.sin(math.radians(30)):
                    counts.add((len(listed) > 3, facing > 0))
    assert counts and all(many == away for many, away in counts)
