"""Several checkpoints in one node: each object by its own model, with the results that this model gives alone."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import trimesh

from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.estimation.several import SeveralEstimators, checkpoints, estimator_of, versions_of
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.model import checkpoint
from lie_picard.model.checkpoint import CheckpointError
from lie_picard.model.config import ModelConfig
from lie_picard.model.score_model import ScoreModel
from lie_picard.node.settings import settings_of
from lie_picard.node.table import TABLE
from lie_picard.objects import Catalogue, MeshObject
from lie_picard.sampling import SamplerOptions, WarmStart

SMALL = ModelConfig(image_size=32, features=32, width=32, depth=1, degree=2, copies=2, channels=3, named=True)


DIAMETER = math.sqrt(0.05**2 + 0.03**2 + 0.02**2) * 1.0001


def written(path, *names, seed=0, **changes):
    """A checkpoint that carries boxes of these names."""
    torch.manual_seed(seed)
    model = ScoreModel(dataclasses.replace(SMALL, objects=names, **changes)).eval()
    box = trimesh.creation.box((0.05, 0.03, 0.02))
    surface = Surface(np.asarray(box.vertices), np.asarray(box.faces))
    boxes = [MeshObject(name, surface, Symmetry.none(), diameter=DIAMETER) for name in names]
    model.known, model.catalogue = Catalogue.of("own", *boxes), "own"
    checkpoint.save(model, path)
    return str(path)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_each_object_is_asked_of_the_model_that_knows_it(tmp_path):
    a, b = written(tmp_path / "a.safetensors", "one", "two"), written(tmp_path / "b.safetensors", "three", seed=1)
    both = estimator_of(f"{a},{b}", "cpu")
    assert isinstance(both, SeveralEstimators) and both.config.objects == ("one", "two", "three")
    assert {"one", "two", "three"} <= set(both.catalogue)
    images, names = [picture(k) for k in range(4)], ["three", "one", None, "two"]
    opening = torch.full((4, 2), 0.2)
    found = both.estimate_batch(images, 4, 3, SamplerOptions(), WarmStart(), names, opening)
    for index, (image, name) in enumerate(zip(images, names, strict=True)):
        alone = PoseEstimator.from_checkpoint(b if name == "three" else a, "cpu")
        (expected,) = alone.estimate_batch([image], 4, 3, SamplerOptions(), None, [name], opening[:1])
        torch.testing.assert_close(found[index].rotations, expected.rotations, atol=1e-4, rtol=0)
        assert found[index].presence == pytest.approx(expected.presence, abs=1e-5)


def test_one_checkpoint_is_an_estimator_as_ever(tmp_path):
    file = written(tmp_path / "a,b.safetensors", "one")  # a comma in a name is no list
    assert checkpoints(file) == (file,) and isinstance(estimator_of(file, "cpu"), PoseEstimator)
    assert checkpoints("default") == ("default",) and checkpoints("a.s, b.s,a.s,") == ("a.s", "b.s")
    before = versions_of(file)
    written(tmp_path / "a,b.safetensors", "one", "two")
    assert versions_of(file) != before


def test_models_that_cannot_be_used_together_are_refused_in_one_line(tmp_path):
    a, b = written(tmp_path / "a.safetensors", "one"), written(tmp_path / "b.safetensors", "one")
    with pytest.raises(CheckpointError, match="both know 'one'"):
        estimator_of(f"{a},{b}", "cpu")
    larger = written(tmp_path / "c.safetensors", "other", image_size=64)
    with pytest.raises(CheckpointError, match="image_size is 32 and 64"):
        estimator_of(f"{a},{larger}", "cpu")
    with pytest.raises(CheckpointError, match="missing"):
        estimator_of(f"{a},missing.safetensors", "cpu")


def test_the_node_looks_for_the_objects_of_all(tmp_path):
    a, b = written(tmp_path / "a.safetensors", "one"), written(tmp_path / "b.safetensors", "two")
    defaults = {name: entry.default for name, entry in TABLE.items()}
    settings = settings_of({**defaults, "checkpoint": f"{a},{b}"})
    assert [target.object_id for target in settings.targets] == ["one", "two"]
    assert all(math.isclose(target.diameter, DIAMETER, rel_tol=1e-3) for target in settings.targets)
    with pytest.raises(ValueError, match="did you mean 'two'"):
        settings_of({**defaults, "checkpoint": f"{a},{b}", "objects": ["twoo"], "diameters": [0.0]})
