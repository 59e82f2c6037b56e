"""The auxiliary target: harmonic moments of a pose, the same for all poses that look alike."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BARE, examples

from lie_picard import so3
from lie_picard.model.config import ModelConfig
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.objects.symsol.solids import SOLIDS, solid
from lie_picard.rendering.clean import Crop
from lie_picard.training.moments import Moments

CONFIG = ModelConfig(features=8, objects=SOLIDS)


def target(moments, rotations, name):
    """(B, size, directions) that the reading is compared with: minus the reading of a zero feature."""
    labels = torch.full((len(rotations),), SOLIDS.index(name))
    return moments.target(rotations, labels)


@pytest.fixture(scope="module")
def moments():
    return Moments(CONFIG, catalogue(BUILT_IN))


@pytest.mark.parametrize("name", BARE)
@examples(5)
@given(seed=st.integers(0, 2**31 - 1))
def test_poses_that_look_alike_have_the_same_target(name, seed, moments):
    rotation = so3.uniform(1, generator=torch.Generator().manual_seed(seed))
    alike = solid(name).bare.equivalents(rotation, 37.0)[0]
    targets = target(moments, alike, name)
    torch.testing.assert_close(targets, targets[:1].expand_as(targets), atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", SOLIDS)
def test_poses_that_look_different_do_not(name, moments, generator):
    first, other = so3.uniform(20, generator=generator), so3.uniform(20, generator=generator)
    apart = (target(moments, first, name) - target(moments, other, name)).square().mean((1, 2))
    assert apart.min() > 1e-3


@pytest.mark.parametrize("name", BARE)
def test_low_degrees_weigh_more_and_those_that_the_symmetry_leaves_hold_all_the_energy(name, moments, generator):
    coefficients = target(moments, so3.uniform(1, generator=generator), name)[0]  # (directions, size)
    degrees = range(1, CONFIG.degree + 1)
    energies = [float(coefficients[:, k**2 : (k + 1) ** 2].square().sum(1).mean()) for k in degrees]
    left = [energy for energy in energies if energy > 1e-6]
    assert all(low > high for low, high in itertools.pairwise(left))
    assert sum(left) == pytest.approx(len(left), rel=1e-3)
    lowest = {"tet": 3, "cube": 4, "icosa": 6, "cone": 1, "cyl": 2}[name]
    assert energies[lowest - 1] == left[0]


@pytest.mark.parametrize(("name", "bare"), [("tetX", "tet"), ("cylO", "cyl"), ("sphereX", None)])
def test_a_marked_solids_target_is_the_bare_ones_and_where_its_markers_point(name, bare, moments, generator):
    rotations = so3.uniform(5, generator=generator)
    targets = target(moments, rotations, name)  # (B, directions, size)
    if bare:  # up to a factor of each degree
        cosine = torch.cosine_similarity(targets[:, :3, 9:16], target(moments, rotations, bare)[:, :3, 9:16], dim=-1)
        present = targets[:, :3, 9:16].norm(dim=-1) > 1e-3
        assert (cosine[present] > 0.999).all()
    pointing = targets[:, 3:, [3, 1, 2]]  # degree 1: functions y, z, x of the direction
    for k, marker in enumerate(solid(name).markers):
        points = rotations @ (marker.centre / marker.centre.norm())
        torch.testing.assert_close(torch.nn.functional.normalize(pointing[:, k], dim=1), points, atol=1e-5, rtol=0)
    energies = [targets[0, 3:, n * n : (n + 1) ** 2].square().sum(1) for n in range(1, CONFIG.degree + 1)]
    assert all((low > high).all() for low, high in itertools.pairwise(energies))
    torch.testing.assert_close(sum(energies), torch.full((3,), float(CONFIG.degree)), atol=1e-3, rtol=0)


def test_the_loss_vanishes_at_the_target_and_ignores_nothing_else(moments, generator):
    rotations = so3.uniform(3, generator=generator)
    labels = torch.tensor([0, 3, 6])
    exact = Moments(ModelConfig(features=moments.signature.shape[2] * 49, objects=SOLIDS), catalogue(BUILT_IN))
    wanted = moments.target(rotations, labels).flatten(1)
    exact.read = torch.nn.Identity()
    assert exact(wanted, rotations, labels).max() < 1e-10
    assert exact(wanted + 0.1, rotations, labels) == pytest.approx(torch.full((3,), 0.01), rel=1e-4)


def test_an_object_of_unknown_symmetry_is_regressed_as_rendered():
    unknown = Moments(ModelConfig(features=8, objects=("bolt", "nut")), catalogue(BUILT_IN))
    torch.testing.assert_close(unknown.signature[0], unknown.signature[1])
    assert unknown.signature[0].any()
    assert not unknown.signature[2].any()  # no object: nothing to regress


@pytest.mark.parametrize("name", ["tetX", "cylO", "sphereX"])
def test_where_a_marker_is_hidden_the_target_is_the_mean_over_the_poses_that_hide_it(name, moments, generator):
    shape, count = solid(name), 60
    rotations, view = so3.uniform(count, generator=generator), Crop().view(count)
    labels = torch.full((count,), SOLIDS.index(name))
    found = moments.target(rotations, labels, {SOLIDS.index(name): shape.alike(rotations, view)})
    poses = shape.true_poses(rotations, view)
    tried = 0
    for k in range(count):
        listed = poses.listed(k, 5.0)
        if listed is None or (poses.axis(k) is None and len(listed) == 1):
            continue
        wanted = target(moments, listed, name).mean(0)
        torch.testing.assert_close(found[k], wanted, atol=0.02, rtol=0)
        tried += 1
    assert tried >= 5
