"""An object made of a mesh goes through the whole machinery as any other does."""

import json
import pickle

import numpy as np
import pytest
import torch

from lie_picard import PoseEstimator, SamplerOptions, cli, so3
from lie_picard.cli.train import validate
from lie_picard.data.seeds import test_generator
from lie_picard.data.testset import cases
from lie_picard.evaluation import assess
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.evaluation.presence import evaluate_presence
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.model.config import ModelConfig
from lie_picard.objects import Catalogue, MeshObject, MeshObjectError, register
from lie_picard.rendering.clean import render
from lie_picard.rendering.randomisation import Randomisation
from lie_picard.training.fabric import make_fabric
from lie_picard.training.recipe import DataOptions, Recipe, TrainingOptions
from lie_picard.training.trainer import train

pytest.importorskip("trimesh")
SMALL = {"image_size": 32, "channels": 3, "features": 32, "width": 32, "depth": 1, "degree": 2, "copies": 2}
SAMPLER = SamplerOptions("ode", 4, restarts=0)


def bar(sides=(0.02, 0.03, 0.06), painted=False):
    """A box, in metres; its end towards +z may be red."""
    import trimesh

    box = trimesh.creation.box(sides)
    vertices, triangles = np.asarray(box.vertices), np.asarray(box.faces, np.int64)
    colours = np.full((12, 3, 3), 0.8, np.float32)
    if painted:
        colours[(vertices[triangles][..., 2] > 0).all(1)] = (0.9, 0.1, 0.1)
    return Surface(vertices, triangles, colours)


HALF_TURNS = Symmetry.generated([np.diag(d) for d in ((1.0, -1, -1), (-1, 1, -1))])
ABOUT_Z = Symmetry.generated([np.diag((-1.0, -1, 1))])
PLAIN = MeshObject("bar", bar(), HALF_TURNS)
RED = MeshObject("red bar", bar(painted=True), ABOUT_Z, HALF_TURNS)
PARTS = Catalogue.of("parts", PLAIN, RED)


def test_it_says_its_size_shape_and_symmetries():
    assert PLAIN.diameter == pytest.approx(0.07)
    assert len(PLAIN.symmetry.rotations) == len(RED.shape_symmetry.rotations) == 4 and len(RED.symmetry.rotations) == 2
    assert PLAIN.shape_symmetry is PLAIN.symmetry and MeshObject("a", bar()).symmetry.is_trivial
    assert PLAIN.mesh(0.2).diameter == pytest.approx(0.2) and PLAIN.mesh(PLAIN.diameter).diameter == pytest.approx(0.07)
    assert {PLAIN: 1}[PLAIN] == 1 and PLAIN != RED


def test_equal_poses_give_equal_pictures_and_others_do_not():
    for one in PARTS.values():
        case = next(cases(ModelConfig(**SMALL), one, 3, test_generator(2)))
        equal = case.poses.listed(0)
        assert len(equal) == len(one.symmetry.rotations)
        pictures = render(one, equal, 32, channels=3).int()
        assert (pictures - pictures[:1]).abs().float().mean() < 0.2
        turned = render(one, equal[:1] @ torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), 32, channels=3).int()
        assert (turned - pictures[:1]).abs().float().mean() > 1


def test_a_simplified_surface_is_rendered_and_drawn_instead_of_the_fine_one():
    half = Surface(bar().vertices, bar().triangles[:6])
    one = MeshObject("half", bar(), simplified=half)
    assert len(one.mesh(1.0).triangles) == 6 and len(one.surface.triangles) == 12
    rotations = so3.uniform(4, generator=test_generator(3)).float()
    assert not torch.equal(render(one, rotations, 32), render(PLAIN, rotations, 32))
    assert torch.equal(render(MeshObject("half", half, diameter=0.07), rotations, 32), render(one, rotations, 32))


def test_what_does_not_fit_its_diameter_is_said():
    away = bar().moved(np.array([0.1, 0, 0]))
    nothing = Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    huge = bar().moved(np.zeros(3), 1e3)
    for surface, diameter, simplified in (
        (away, 0.07, None), (huge, 0.07, None), (bar(), None, away), (nothing, 0.1, None),
    ):  # fmt: skip
        with pytest.raises(MeshObjectError, match="circumscribed sphere") as error:
            MeshObject("part", surface, diameter=diameter, simplified=simplified)
        assert "\n" not in str(error.value) and "'part'" in str(error.value)


def test_a_pickled_object_gives_the_same_pictures():
    again = pickle.loads(pickle.dumps(RED))
    rotations = so3.uniform(2, generator=test_generator(4)).float()
    assert torch.equal(render(again, rotations, 32, channels=3), render(RED, rotations, 32, channels=3))
    assert again.name == RED.name and len(again.shape_symmetry.rotations) == 4


def test_objects_of_meshes_are_trained_evaluated_and_calibrated(tmp_path):
    pytest.importorskip("skimage")
    file, names = tmp_path / "parts.safetensors", ("bar", "red bar")
    recipe = Recipe(
        ModelConfig(**SMALL, named=True, objects=names), DataOptions(randomised=0.5, absent=0.2),
        TrainingOptions(images=32, batch=8, rotations=4, bfloat16=False),
    )  # fmt: skip
    seen = []
    register(PARTS)
    train(recipe, file, make_fabric("cpu"), known=PARTS,
          validate=lambda model: seen.append(validate(recipe, model)) or seen[-1])  # fmt: skip
    assert {"clean/mean_deg", "randomised/within_5deg"} <= seen[-1].keys()
    estimator = PoseEstimator.from_checkpoint(file, "cpu")
    assert [estimator.catalogue[name] for name in names] == [estimator.model.known[name] for name in names]
    assert estimator.catalogue["red bar"].diameter == PARTS["red bar"].diameter
    options = EvaluationOptions(images=3, samples=2, recall_images=1, recall_samples=20)
    rows = evaluate(estimator, names, SAMPLER, options)
    assert [row["modes"] for row in rows[:2]] == [4, 2]
    assert {"clean", "randomised", "presence", "calibration"} <= assess.assess(
        estimator, names, SAMPLER, options
    ).keys()
    assert evaluate_presence(estimator, ("bar",), 2, Randomisation())[-1]["absent"] == "background only"
    few = EvaluationOptions(images=3, recall_images=0)
    assert assess.calibrate(estimator, ("bar",), SAMPLER, few)["after"]["rows"]


def test_bench_tells_how_fast_meshes_are_rendered(tmp_path, capsys):
    arguments = ["bench", "--render", "--faces", "24", "1300", "--repeats", "2", "--device", "cpu"]
    assert cli.main([*arguments, "--output", str(tmp_path), "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == json.loads((tmp_path / "render.json").read_text())["rows"]
    for row in told["rows"]:
        assert row["cast_p10_per_s"] <= row["cast_per_s"] <= row["cast_p90_per_s"] and row["render_per_s"] > 0
        assert min(abs(row["faces"] / asked - 1) for asked in (24, 1300)) < 0.5
    assert {row["body"] for row in told["rows"]} == {"ball", "tube"}
    assert (tmp_path / "render.md").read_text().count("\n| ") == len(told["rows"]) + 1
