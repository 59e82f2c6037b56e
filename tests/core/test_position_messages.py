"""Whole poses in messages, recordings and scores."""

import dataclasses
import json
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bags import FRAME, parameters, write
from test_position_told import equal_poses, model_telling
from test_record import found as found_in_one_place

from lie_picard import cli, so3
from lie_picard.data.seeds import test_generator
from lie_picard.estimation.places import PlacesOfModes
from lie_picard.estimation.poses import ObjectPoses
from lie_picard.evaluation import calibration, positions
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.evaluation.assess_report import calibration_columns, calibration_rows
from lie_picard.evaluation.calibration import Evidence
from lie_picard.evaluation.metrics import confidence
from lie_picard.messages.read import poses_of, positions_of, tracked_of
from lie_picard.model import checkpoint
from lie_picard.posterior.covariance import Calibration, Scatter, at_point
from lie_picard.posterior.hypotheses import posed
from lie_picard.posterior.tracking import ModeTracker
from lie_picard.recording.kept import decode, encode
from lie_picard.recording.message_types import header_of, serialise, typestore, writer
from lie_picard.recording.record import Scorer
from lie_picard.rendering.randomisation import Randomisation
from lie_picard.sampling import SamplerOptions

KIND = "lie_picard_msgs/msg/PoseHypothesisArray"


def whole():
    """Equal poses with positions of their own, what is followed of them, and their message as a reader sees it."""
    found, symmetry, point, _ = equal_poses()
    poses = ObjectPoses.told("part", found, symmetry)
    tracked = ModeTracker().update(found, 0.0, symmetry)
    made = writer().hypothesis_array(header_of(5, FRAME), poses, tracked, SamplerOptions())
    return poses, tracked, point, typestore().deserialize_cdr(serialise(made), KIND)


def test_a_message_holds_whole_poses():
    poses, tracked, point, message = whole()
    flat = np.array(message.sample_positions).reshape(-1, 3)
    np.testing.assert_allclose(flat, poses.sample_positions, atol=1e-6)
    assert len(flat) == len(message.sample_quaternions) // 4
    for one in [*(h.pose for h in message.hypotheses), message.best]:
        covariance = np.array(one.covariance).reshape(6, 6)
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-15)
        assert np.linalg.eigvalsh(covariance).min() > 0
    again = poses_of(message, poses.symmetry)
    for mine, theirs in zip(poses.modes(), again.modes(), strict=True):
        np.testing.assert_allclose(theirs, mine, atol=1e-6)
    np.testing.assert_allclose(again.position, point, atol=1e-6)
    np.testing.assert_allclose(tracked_of(message).best_position, tracked.best_position, atol=1e-9)
    np.testing.assert_allclose(tracked_of(message).best_pose_covariance, tracked.best_pose_covariance, atol=1e-12)


def test_sample_poses_are_at_their_own_positions():
    poses, *_ = whole()
    listed = writer().sample_poses(header_of(5, FRAME), [poses]).poses
    there = [[one.position.x, one.position.y, one.position.z] for one in listed]
    np.testing.assert_allclose(there, poses.sample_positions)


def test_of_a_model_without_positions_every_sample_is_where_the_region_says():
    poses, tracked = found_in_one_place("cube", so3.uniform(8, generator=test_generator(1)).numpy())
    message = writer().hypothesis_array(header_of(5, FRAME), poses, tracked, SamplerOptions())
    flat = np.array(message.sample_positions).reshape(-1, 3)
    np.testing.assert_allclose(flat, np.broadcast_to(poses.position, (8, 3)), atol=1e-7)
    again = poses_of(message, poses.symmetry)
    np.testing.assert_allclose(again.position_covariance, poses.position_covariance, atol=1e-12)


def test_messages_of_before_are_read():
    poses, _, point, message = whole()
    before = SimpleNamespace(**{k: v for k, v in vars(message).items() if k != "sample_positions"})
    assert positions_of(before) is None
    again = poses_of(before, poses.symmetry)
    np.testing.assert_allclose(again.sample_positions, poses.sample_positions, atol=1e-5)
    np.testing.assert_allclose(again.position, point, atol=1e-6)
    message.sample_positions = np.zeros(5, np.float32)  # of another length than the quaternions
    assert positions_of(message) is None


def test_kept_and_sent_results_hold_the_positions():
    poses, *_ = whole()
    for again in (decode(encode(poses), ObjectPoses), pickle.loads(pickle.dumps(poses))):
        np.testing.assert_array_equal(again.sample_positions, poses.sample_positions)
        for mine, theirs in zip(poses.modes(), again.modes(), strict=True):
            np.testing.assert_array_equal(theirs, mine)


# --- scores


def moved_by(shift, turn=(0.0, 0.0, 0.0), sigma=1e-3, seed=2):
    """One mode that misses its true pose, by metres and radians in the camera's frame."""
    truth = np.eye(4)
    truth[:3, :3] = so3.uniform(1, generator=test_generator(seed), dtype=torch.float64)[0].numpy()
    truth[:3, 3] = (0.1, -0.05, 0.8)
    rotation = so3.exp(torch.tensor(turn, dtype=torch.float64)) @ torch.from_numpy(truth[:3, :3])
    poses, _ = found_in_one_place("tetX", rotation.numpy()[None].repeat(4, 0))
    place = torch.from_numpy(truth[:3, 3] + np.array(shift))
    covariance = torch.diag(torch.tensor([sigma] * 3 + [0.02] * 3, dtype=torch.float64).square())
    found = posed(poses.hypotheses, rotation.expand(4, 3, 3), place.expand(4, 3), rotation[None], place[None],
                  covariance[None])  # fmt: skip
    return ObjectPoses.told("tetX", found, poses.symmetry), truth


def test_errors_are_told_sideways_and_along_the_ray():
    ray = np.array([0.1, -0.05, 0.8]) / np.linalg.norm([0.1, -0.05, 0.8])
    across = np.cross(ray, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    for sideways, far in ((0.003, 0.0), (0.0, 0.004), (0.002, -0.005)):
        poses, truth = moved_by(sideways * across + far * ray)
        record = Scorer({})(poses, ModeTracker().update(poses.hypotheses, 0.0, poses.symmetry), truth)
        assert record["sideways_mm"] == pytest.approx(1e3 * sideways, abs=1e-3)
        assert record["range_mm"] == pytest.approx(1e3 * abs(far), abs=0.01)
        assert record["range_percent"] == pytest.approx(100 * abs(far) / np.linalg.norm(truth[:3, 3]), abs=1e-3)


def test_honest_whole_poses_lie_in_their_regions_as_often_as_they_say():
    inside = []
    for seed in range(200):
        errors = np.random.default_rng(seed).normal(size=6) * np.array([1e-3] * 3 + [0.02] * 3)
        poses, truth = moved_by(-errors[:3], -errors[3:], seed=seed)
        inside.append(Scorer({})(poses, ModeTracker().update(poses.hypotheses, 0.0, poses.symmetry), truth))
    for key in ("rotation_confidence", "position_confidence", "pose_confidence"):
        assert np.mean([record[key] <= 0.9 for record in inside]) == pytest.approx(0.9, abs=0.07), key


def test_a_recording_is_scored_with_positions(tmp_path):
    """From pixels to the report; the head tells exact places, so that positions are as good as the regions."""
    file = tmp_path / "telling.safetensors"
    checkpoint.save(model_telling((0.0, 0.0, math.log(0.9)), (-5.0, -5.0, -5.0)).model, file)
    params = parameters(tmp_path, checkpoint=str(file))
    bag = write(tmp_path / "raw", frames=3)
    assert cli.main(["evaluate-bag", str(bag), "--params", str(params), "--output", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    row = report["rows"][0]
    assert row["scored"] == 3
    assert row["sideways_median_percent"] < 1 and row["range_median_percent"] < 1
    assert row["position_inside_99"] == 1 and 0 <= row["pose_inside_95"] <= 1
    assert "sideways, median" in (tmp_path / "report" / "report.html").read_text()


# --- evaluation and calibration


@pytest.mark.parametrize("randomisation", [None, Randomisation()], ids=["clean", "randomised"])
def test_an_evaluation_has_columns_of_positions_where_the_model_tells_them(randomisation):
    exact = model_telling((0.0, 0.0, math.log(0.9)), (-4.0, -4.0, -4.0))
    options = EvaluationOptions(images=6, samples=4, recall_images=1, recall_samples=8, randomisation=randomisation)
    cube, every = evaluate(exact, ["cube"], SamplerOptions(), options)
    assert cube["position_inside_95"] == every["position_inside_95"]
    if randomisation is None:
        assert cube["sideways_median_percent"] < 1e-3 and cube["range_p95_percent"] < 1e-3
        assert cube["position_inside_95"] == 1 and cube["median_deg"] < 5
    else:
        assert cube["sideways_median_percent"] > 0


def test_parts_of_an_error_are_right():
    truth = np.array([0.0, 0.0, 2.0])
    assert positions.parted(np.array([0.0, 0.0, 2.5]), truth) == (0.0, 0.5)
    sideways, along = positions.parted(np.array([0.3, 0.4, 2.0]), truth)
    assert sideways == pytest.approx(0.5) and along == pytest.approx(math.hypot(2.0, 0.5) - 2)


def evidence(sure, shared, slope, generator, images=1200):
    """A model that is too sure of its places by a factor and by an error that all its places share."""
    deviations = torch.tensor([0.01, 0.01, 0.03], dtype=torch.float64)
    normal = lambda: torch.randn(images, 3, generator=generator, dtype=torch.float64)  # noqa: E731
    turns = 0.02 * normal()
    slopes = slope * torch.eye(3, dtype=torch.float64).expand(images, 3, 3)
    missed = deviations * normal() + shared * normal() + (slopes @ turns[..., None])[..., 0]
    claimed = torch.diag((sure * deviations).square()).expand(images, 3, 3)
    counts, sums = np.full(images, 1e5), np.broadcast_to(0.02**2 * (1e5 - 1) * np.eye(3), (images, 3, 3))
    weights = torch.zeros(0)
    return Evidence(turns, Scatter(sums, counts, sums, counts - 1), torch.zeros(images, 3), weights, weights.bool(),
                    PlacesOfModes(torch.zeros(images, 3), claimed, slopes), missed)  # fmt: skip


@pytest.mark.parametrize(("sure", "shared", "slope"), [(1.0, 0.0, 0.0), (0.5, 0.0, 0.4), (0.8, 0.01, 0.0)])
def test_fitting_makes_places_honest_on_other_images(sure, shared, slope, generator):
    fitted = calibration.fit([evidence(sure, shared, slope, generator)])
    report = calibration.report(evidence(sure, shared, slope, generator), fitted)
    for kind in ("", "position_", "pose_"):
        assert 0.92 <= report[f"{kind}inside_95%_region"] <= 0.99, kind
    before = calibration.report(evidence(sure, shared, slope, generator), Calibration())
    if sure == 1:
        assert before["position_inside_95%_region"] == pytest.approx(0.95, abs=0.02)
        assert before["pose_inside_95%_region"] == pytest.approx(0.95, abs=0.02)
    else:
        assert before["position_inside_95%_region"] < 0.9


def test_calibrating_a_model_fits_its_places():
    """The head tells every object 6% smaller than it is shown, and claims a thousandth."""
    told = model_telling((0.0, 0.0, math.log(0.85)), (-6.5, -6.5, -6.5))
    options = EvaluationOptions(images=10, samples=8, recall_images=0)
    found = calibration.gather(told, ["cube"], SamplerOptions(), options, "calibration")[16]
    np.testing.assert_allclose(found.missed, np.broadcast_to([0, 0, math.log(0.9 / 0.85)], (10, 3)), atol=1e-5)
    used = calibration.fit([found])
    assert calibration.report(found, Calibration())["position_inside_95%_region"] == 0
    assert calibration.report(found, used)["position_inside_95%_region"] == 1
    assert used.range_scale * math.exp(-6.5) + used.range_floor > 0.02 > used.sideways_floor


def test_a_calibrations_table_has_a_row_for_each_part(generator):
    told = evidence(1.0, 0.0, 0.0, generator, 50)
    plain = calibration.report(dataclasses.replace(told, places=None, missed=None), Calibration())
    head = {"kind": "clean", "samples": 16}
    rows = calibration_rows([head | calibration.report(told, Calibration())])
    assert [row["part"] for row in rows] == ["rotation", "position", "pose"]
    regions = {"part", "inside_50%_region", "inside_99%_region"}
    assert all(regions <= set(row) for row in rows) and regions <= set(calibration_columns(rows))
    assert calibration_rows([head | plain]) == [head | plain] and "part" not in calibration_columns([head | plain])


def test_a_pose_about_another_point_is_as_likely(generator):
    """The confidence that a region holds the truth is the same about whichever point of the body it is told."""
    factor = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    covariance, lever = (factor @ factor.T).numpy(), np.array([0.3, -0.2, 0.5])
    residual = torch.randn(6, generator=generator, dtype=torch.float64).numpy()
    moved = residual.copy()
    moved[:3] += np.cross(residual[3:], lever)
    both = [
        confidence(torch.from_numpy(r)[None], torch.from_numpy(c)[None], torch.zeros(1, 6))
        for r, c in ((residual, covariance), (moved, at_point(covariance, lever)))
    ]
    torch.testing.assert_close(*both)
