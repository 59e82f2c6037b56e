"""Objects are one protocol: what is known of them counts, whoever defines it and whatever it is called."""

import dataclasses
import logging

import numpy as np
import pytest
import torch

from lie_picard import CheckpointError, PoseEstimator, SamplerOptions, cli
from lie_picard.cli.train import validate
from lie_picard.data import symsol_files
from lie_picard.data.seeds import test_generator
from lie_picard.data.testset import cases
from lie_picard.estimation.poses import Target, estimate_poses, whole
from lie_picard.estimation.position import position_from_depth
from lie_picard.evaluation import assess, speed
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.evaluation.presence import evaluate_presence
from lie_picard.geometry.camera import Camera, look_at
from lie_picard.geometry.mesh import Mesh
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.model import checkpoint
from lie_picard.model.config import ModelConfig
from lie_picard.model.score_model import ScoreModel
from lie_picard.node import settings, table
from lie_picard.objects import BUILT_IN, Catalogue, Object, UnknownObjectError, catalogue, register
from lie_picard.rendering.buffers import Buffers
from lie_picard.rendering.randomisation import Randomisation
from lie_picard.training.fabric import make_fabric
from lie_picard.training.losses import Denoising
from lie_picard.training.recipe import DataOptions, Recipe, TrainingOptions
from lie_picard.training.sources import known_objects
from lie_picard.training.trainer import train

SMALL = {"image_size": 32, "channels": 3, "features": 32, "width": 32, "depth": 1, "degree": 2, "copies": 2}
SAMPLER = SamplerOptions("ode", 4, restarts=0)


class Egg(Object):
    """An ellipsoid with half axes 0.5, 0.7 and 1: half turns about its axes are all that it allows."""

    axes = torch.tensor([0.5, 0.7, 1.0])
    symmetry = Symmetry.generated([np.diag(d) for d in ((1.0, 1, 1), (1, -1, -1), (-1, 1, -1))])

    def __init__(self, name="egg"):
        self.name = name

    def cast(self, rotations, translations, rays, zoom=None):
        directions = (
            rays if zoom is None else torch.cat([rays[:, :2] * zoom[:, None], rays[:, 2:].expand(len(zoom), -1, 1)], -1)
        )
        stretch = 1 / self.axes[:, None]
        ray, start = stretch * (rotations.mT @ directions.mT), stretch * (rotations.mT @ -translations[..., None])
        a, b, c = ray.square().sum(1), (ray * start).sum(1), start.square().sum(1) - 1
        depth = (-b - (b * b - a * c).clamp_min(0).sqrt()) / a
        normal = torch.nn.functional.normalize(rotations @ (stretch * (start + depth[:, None] * ray)), dim=1)
        return Buffers(b * b > a * c, depth, normal, torch.full_like(normal, 0.8))

    def mesh(self, diameter):
        ball = Mesh.ball(diameter)
        return dataclasses.replace(ball, vertices=ball.vertices * self.axes.double().numpy())


MINE = Catalogue.of("mine", Egg(), Egg("cube"))


@pytest.fixture(scope="module")
def fabric():
    return make_fabric("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, fabric):
    """A model of two objects of one's own, trained for a moment, validated on the way, and its file."""
    file = tmp_path_factory.mktemp("own") / "egg.safetensors"
    recipe = Recipe(
        ModelConfig(**SMALL, named=True, objects=("egg", "cube")), DataOptions(randomised=0.5, absent=0.2),
        TrainingOptions(images=32, batch=8, rotations=4, bfloat16=False),
    )  # fmt: skip
    seen = []
    register(MINE)
    train(recipe, file, fabric, validate=lambda model: seen.append(validate(recipe, model)) or seen[-1], known=MINE)
    assert seen and {"clean/mean_deg", "randomised/within_5deg"} <= seen[-1].keys()
    return PoseEstimator.from_checkpoint(file, "cpu"), file


def test_all_tools_work_for_a_catalogue_that_symsol_is_not_part_of(trained):
    estimator, _ = trained
    assert estimator.catalogue is MINE
    options = EvaluationOptions(images=3, samples=2, recall_images=1, recall_samples=60)
    rows = evaluate(estimator, ("egg", "cube"), SAMPLER, options)
    assert [row["solid"] for row in rows] == ["egg", "cube", "all"] and rows[0]["modes"] == 4
    result = assess.assess(estimator, ("egg", "cube"), SAMPLER, options)
    assert {"clean", "randomised", "presence", "calibration"} <= result.keys()
    assert all(0 <= row["auroc"] <= 1 for row in result["presence"])
    assert evaluate_presence(estimator, ("egg",), 2, Randomisation())[-1]["absent"] == "background only"
    assert len(list(assess.gallery(estimator, ("egg", "cube"), 0))) == 2
    assert assess.calibrate(estimator, ("egg",), SAMPLER, EvaluationOptions(images=3, recall_images=0))["after"]["rows"]
    (row,) = speed.benchmark(estimator, [4], [2], ["picard"], SamplerOptions(), repeats=2)
    assert 0 < row["mean_deg"] < 180 and 0 < row["recall_deg"] < 180


def test_an_object_of_ones_own_that_is_called_cube_is_not_symsols(trained):
    estimator, file = trained
    assert checkpoint.catalogue_of(file) == checkpoint.load(file).catalogue == "mine"
    (found,) = estimate_poses(
        estimator, np.full((100, 100, 3), 90, np.uint8), Camera(np.diag([300.0, 300, 1]), np.zeros(0), 100, 100),
        [Target("cube", 0.1)], 4, 0, SAMPLER,
    )  # fmt: skip
    assert len(found.symmetry.rotations) == 4
    few = EvaluationOptions(images=1, samples=2, recall_images=1, recall_samples=4)
    assert evaluate(estimator, ("cube",), SAMPLER, few)[0]["modes"] == 4
    values = {name: entry.default for name, entry in table.TABLE.items()}
    values |= {"checkpoint": str(file), "objects": ["cube"], "diameters": [0.1]}
    known = settings.settings_of(values)
    assert len(known.symmetries["cube"].rotations) == 4
    np.testing.assert_allclose(known.meshes["cube"].vertices, Egg().mesh(0.1).vertices)
    usual = settings.settings_of(values | {"checkpoint": "default"})
    assert len(usual.symmetries["cube"].rotations) == 24 and len(usual.meshes["cube"].vertices) == 8


def test_the_depth_of_a_cube_of_ones_own_is_fitted_with_its_own_shape(trained):
    """Of the egg's ranges, at the rotation that is found, its own shape makes the exact position; SYMSOL's does not."""
    estimator, _ = trained
    camera = Camera(np.array([[300.0, 0, 49.5], [0, 300.0, 49.5], [0, 0, 1]]), np.zeros(0), 100, 100)
    look = lambda depth=None: estimate_poses(  # noqa: E731
        estimator, np.full((100, 100, 3), 90, np.uint8), camera, [Target("cube", 0.1)], 4, 0, SAMPLER, depth=depth
    )[0]
    rotation = look().hypotheses.best.rotation
    centre = 1.1 * look().position
    v, u = np.meshgrid(np.arange(100.0), np.arange(100.0), indexing="ij")
    rays = camera.rays(np.stack([u, v], -1).reshape(-1, 2))
    seen = Egg().cast(
        rotation[None].float(), torch.from_numpy(centre / 0.05).float()[None], torch.from_numpy(rays).float()
    )
    z = np.where(seen.hit[0].numpy(), seen.depth[0].numpy() * 0.05 * rays[:, 2], 2.0)
    depth = z.reshape(100, 100).astype(np.float32)
    found = look(depth)
    assert torch.equal(found.hypotheses.best.rotation, rotation)
    assert np.linalg.norm(found.position - centre) < 1e-5
    region, view = whole(camera), look_at(camera, whole(camera), 32, estimator.config.fill)
    turned, others = rotation.double().numpy(), catalogue(BUILT_IN)["cube"]
    wrong = position_from_depth(depth, camera, view, region, 0.1, turned, others)
    assert wrong is None or np.linalg.norm(wrong[0] - centre) > 1e-4


def test_a_catalogue_of_ones_own_may_hold_a_plain_ball():
    """All of its poses look the same: no rotation is wrong, and there are none to list."""
    ball = Egg("ball")
    ball.axes, ball.symmetry = torch.ones(3), Symmetry.generated([], np.eye(3))
    model = ScoreModel(ModelConfig(**SMALL, named=True, objects=("ball",))).eval()
    estimator = PoseEstimator(model, known=Catalogue.of("balls", ball))
    options = EvaluationOptions(images=2, samples=2, recall_images=1, recall_samples=4)
    (row, _) = evaluate(estimator, ("ball",), SAMPLER, options)
    assert row["mean_deg"] == 0 and "recall_deg" not in row
    assert [poses for _, _, poses in assess.gallery(estimator, ("ball",), 0)] == [None]
    Denoising(model, TrainingOptions(), estimator.catalogue)


def test_what_no_catalogue_of_this_process_knows_is_a_name_and_no_more(tmp_path, capsys):
    model = ScoreModel(ModelConfig(**SMALL, objects=("cube",)))
    model.catalogue = "somebody's"
    checkpoint.save(model, tmp_path / "a.safetensors")
    estimator = PoseEstimator.from_checkpoint(tmp_path / "a.safetensors", "cpu")
    assert estimator.catalogue.name == "somebody's" and not estimator.catalogue
    assert estimator.catalogue.symmetry("cube").is_trivial
    values = {name: entry.default for name, entry in table.TABLE.items()} | {"objects": ["cube"]}
    known = settings.settings_of(values | {"checkpoint": str(tmp_path / "a.safetensors")})
    assert not known.meshes and known.symmetries["cube"].is_trivial
    with pytest.raises(UnknownObjectError, match="nothing is known of the shape of 'cube'") as error:
        evaluate(estimator, ["cube"], SAMPLER, EvaluationOptions(images=1))
    assert "\n" not in str(error.value) and "--data" in str(error.value)
    assert cli.main(["evaluate", "--checkpoint", str(tmp_path / "a.safetensors"), "--images", "1"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "nothing is known of the shape of 'cube'" in said


def test_checkpoints_of_before_say_by_their_recipe_whose_objects_they_know(tmp_path):
    assert checkpoint.catalogue_of("default") == BUILT_IN
    assert PoseEstimator.from_checkpoint("default", "cpu").catalogue is catalogue(BUILT_IN)
    assert checkpoint.catalogue_of(tmp_path / "nowhere.safetensors") == ""
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "nowhere.safetensors")


def test_a_data_set_whose_cube_has_other_equal_poses_shows_another_cube(tmp_path, caplog):
    cube = catalogue(BUILT_IN)["cube"]
    symsol_files.write(tmp_path / "symsol", "train", [cube, catalogue(BUILT_IN)["cyl"], Egg()], images=2, size=32)
    symsol_files.write(tmp_path / "own", "train", [Egg("cube")], images=2, size=32)
    plain = Egg("cube")
    plain.symmetry = Symmetry.none()
    symsol_files.write(tmp_path / "plain", "train", [plain], images=2, size=32)
    stored = {one.shape: one for one in symsol_files.read(tmp_path / "symsol", "train")}
    assert symsol_files.agrees(stored["cube"], cube)
    assert symsol_files.agrees(stored["cyl"], catalogue(BUILT_IN)["cyl"])
    assert not symsol_files.agrees(stored["egg"], cube) and not symsol_files.agrees(stored["cube"], Egg())
    (own,) = symsol_files.read(tmp_path / "own", "train")
    assert not symsol_files.agrees(own, cube)
    (alone,) = symsol_files.read(tmp_path / "plain", "train")
    assert alone.rotations.shape == (2, 1, 3, 3) and not symsol_files.agrees(alone, cube)
    model = ModelConfig(**SMALL, objects=("cube",))
    for folder, expected in (("symsol", BUILT_IN), ("own", ""), ("plain", "")):
        recipe = Recipe(model, DataOptions(symsol=str(tmp_path / folder)))
        with caplog.at_level(logging.WARNING):
            assert known_objects(recipe, catalogue(BUILT_IN)).name == expected
    assert caplog.text.count("none of the catalogue") == 2


def test_a_model_of_a_data_set_of_ones_own_is_validated_on_it(tmp_path, fabric):
    for split in symsol_files.SPLITS:
        symsol_files.write(tmp_path / "own", split, [Egg("cube")], images=4, size=32)
    recipe = Recipe(
        ModelConfig(**SMALL, named=True, objects=("cube",)), DataOptions(symsol=str(tmp_path / "own")),
        TrainingOptions(images=16, batch=8, rotations=2, bfloat16=False),
    )  # fmt: skip
    seen = []
    train(recipe, tmp_path / "a.safetensors", fabric,
          validate=lambda model: seen.append(validate(recipe, model)) or seen[-1])  # fmt: skip
    assert seen[-1].keys() == {f"test split/{name}" for name in ("mean_deg", "median_deg", "within_5deg")}


def test_the_egg_is_seen_as_its_symmetry_says():
    """The toy itself: equal poses give equal pictures, others do not."""
    from lie_picard.rendering.clean import render

    case = next(cases(ModelConfig(**SMALL), Egg(), 3, test_generator(2)))
    equal = case.poses.listed(0)
    pictures = render(Egg(), equal, 32, channels=3).int()
    assert (pictures - pictures[:1]).abs().float().mean() < 0.05 and len(equal) == 4
    assert case.poses.axis(0) is None and case.hidden(0) is None
    turned = render(Egg(), equal[:1] @ torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), 32, channels=3).int()
    assert (turned - pictures[:1]).abs().float().mean() > 1
