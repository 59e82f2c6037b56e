"""Descriptions of shapes as a target: those of known objects, and of parts without a name."""

import dataclasses

import pytest
import torch

from lie_picard import so3
from lie_picard.data.stream import Stream, batches
from lie_picard.model.config import ModelConfig
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.objects.symsol.solids import solid
from lie_picard.rendering.clean import Crop
from lie_picard.training.descriptions import Descriptions

CONFIG = ModelConfig(features=4 * 49, objects=("tet", "cyl"))


@pytest.fixture(scope="module")
def exact():
    """Whose reading is the feature itself."""
    one = Descriptions(CONFIG, catalogue(BUILT_IN))
    one.read = torch.nn.Identity()
    return one


def target(descriptions, rotations, label):
    """What the reading is compared with. (B, 3, 3) -> (B, 196)."""
    frame = descriptions.frame
    return frame(frame.prepared(descriptions.table[label]).expand(len(rotations), -1, -1), rotations.mT).flatten(1)


def test_poses_that_look_alike_have_one_description(exact, generator):
    rotation = so3.uniform(1, generator=generator)
    for label, name in enumerate(CONFIG.objects):
        alike = solid(name).symmetry.equivalents(rotation, 40.0)[0]
        wanted = target(exact, alike, label)
        assert wanted.abs().max() > 0.3
        torch.testing.assert_close(wanted, wanted[:1].expand_as(wanted), atol=0.06, rtol=0)


def test_the_loss_vanishes_at_the_description_and_counts_known_shapes_alone(exact, generator):
    rotations, labels = so3.uniform(3, generator=generator), torch.tensor([0, 1, 2])
    features = torch.cat([target(exact, rotations[k : k + 1], k) for k in (0, 1)] + [torch.ones(1, 196)])
    assert float(exact(features, rotations, labels)) < 1e-8
    assert float(exact(features + 0.1, rotations, labels)) == pytest.approx(0.01, rel=1e-3)
    signatures = torch.full((3, 49, 4), torch.nan)
    signatures[2] = exact.table[0]
    features[2] = target(exact, rotations[2:], 0)
    assert float(exact(features, rotations, labels, signatures)) < 1e-8


def test_a_stream_shows_parts_that_are_none_of_the_objects_with_their_descriptions():
    stream = Stream((solid("tet"), solid("cyl")), 32, 3, Crop(), 20, parts=0.3)
    batch = next(batches(stream, 0, 7, torch.device("cpu")))
    there = batch.signatures.isfinite().all(-1).all(-1)
    assert int(there.sum()) == 6 and (batch.labels[there] == 2).all() and (batch.labels[~there] < 2).all()
    again = next(batches(stream, 0, 7, torch.device("cpu")))
    assert torch.equal(batch.images, again.images)
    without = next(batches(dataclasses.replace(stream, parts=0.0), 0, 7, torch.device("cpu")))
    assert without.signatures is None
