"""The averaged target: what score matching's own target is in the mean over the poses that look the same."""

import math

import pytest
import torch

from lie_picard import so3
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.model.config import ModelConfig
from lie_picard.objects import BUILT_IN, Catalogue, Object, catalogue
from lie_picard.objects.alike import GRID, Family, Shares
from lie_picard.training.targets import AveragedTarget

NAMES = ("tet", "icosa", "cyl", "tetX")
TARGET = AveragedTarget(ModelConfig(objects=NAMES), catalogue(BUILT_IN)).double()


class Half(Object):
    """A body that looks the same after turns about z by up to a third of a circle, as a mug with its handle behind."""

    name, symmetry, depends_on_view = "half", Symmetry.none(), True
    family = Family(torch.eye(3)[None], torch.eye(3)[None], torch.tensor([[0.0, 0.0, 1.0]]))

    def alike(self, truth, view):
        shares = Shares.alone(self.family, len(truth), truth)
        shares.turns[:] = 0.0
        shares.circles[:, 0, : GRID // 6 + 1], shares.circles[:, 0, -(GRID // 6) :] = 1.0, 1.0
        return shares

    def cast(self, rotations, translations, rays, zoom=None):
        raise NotImplementedError

    def mesh(self, diameter):
        raise NotImplementedError


HALF = Half()
STEP = 2 * math.pi / GRID
THIRD = STEP * (GRID // 6)


def drawn_alike(name, count, generator):
    """Poses that look like the identity, drawn as training draws them, and the target's shares of these images."""
    one = torch.eye(3, dtype=torch.float64)
    if name == "half":
        angles = (2 * torch.rand(2 * count, generator=generator, dtype=torch.float64) - 1) * (THIRD + STEP)
        share = ((THIRD + STEP - angles.abs()) / STEP).clamp(0, 1)  # the ends lie somewhere within a step of the grid
        kept = torch.rand(2 * count, generator=generator, dtype=torch.float64) < share
        return so3.about_axis(one[2], angles[kept][:count])
    symmetry = catalogue(BUILT_IN)[name].symmetry if name != "tetX" else catalogue(BUILT_IN)["tet"].symmetry
    turns = torch.from_numpy(symmetry.rotations)
    if name == "tetX":  # its face seen from behind: the turns about the face's normal
        normal = catalogue(BUILT_IN)["tetX"].landmarks[0].double()
        turns = turns[(turns @ normal - normal).norm(dim=1) < 1e-3]
    chosen = turns[torch.randint(len(turns), (count,), generator=generator)]
    if not symmetry.axes:
        return chosen
    angles = torch.rand(count, generator=generator, dtype=torch.float64) * 2 * math.pi
    return chosen @ so3.about_axis(torch.from_numpy(symmetry.axes[0]), angles)


@pytest.mark.parametrize("sigma", [0.03, 0.3, 1.5])
@pytest.mark.parametrize("name", ["tet", "cyl", "tetX", "half"])
def test_it_is_the_mean_of_the_drawn_target_given_the_noised_rotation(name, sigma):
    """E[f(R_sigma) (-z - target)] = 0 for every function f of the noised rotation: here regions of SO(3).

    By draws of pose and noise. Of tetX the face is seen, and from there a third of the tetrahedron's turns are left; of
    `half` the poses fill an arc with ends.
    """
    generator = torch.Generator().manual_seed(0)
    count = 60_000
    poses = drawn_alike(name, count, generator)
    z = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    noised = poses @ so3.exp(sigma * z)
    known = Catalogue.of("test", *(HALF if name == "half" else catalogue(BUILT_IN)[name],))
    target = AveragedTarget(ModelConfig(objects=(name,)), known).double()
    label, one = torch.tensor([0]), torch.eye(3, dtype=torch.float64)[None]
    if name == "half":
        alike = {0: HALF.alike(one, None)}
    elif name == "tetX":
        shape = catalogue(BUILT_IN)[name]
        shares = Shares.alone(shape.family, 1, one)
        normal = shape.landmarks[0].double()
        kept = (shape.family.turns.double() @ normal - normal).norm(dim=1) < 1e-3
        assert int(kept.sum()) == 3
        shares.turns[0, kept] = 1.0
        alike = {0: shares}
    else:
        alike = None
    found = target(one, label, noised[None], torch.full((1, count), sigma, dtype=torch.float64), alike)[0]
    gap = found + z
    regions = so3.uniform(6, generator=generator, dtype=torch.float64)
    nearest = so3.pairwise_angle(noised, torch.cat([poses[:6], regions])).argmin(1)
    tried = 0
    for region in range(12):
        chosen = gap[nearest == region]
        if len(chosen) < 200:
            continue
        error = chosen.std(0) / math.sqrt(len(chosen))
        assert (chosen.mean(0).abs() < 4.5 * error + 1e-3).all(), (region, chosen.mean(0), error)
        tried += 1
    assert tried >= 3
    if sigma > 1 or name in ("cyl", "half"):  # of single poses far apart little noise says which it is
        assert found.square().mean() < 0.9 * z.square().mean()


def test_of_a_single_pose_and_little_noise_it_is_the_drawn_target(generator):
    truth, z = (
        so3.uniform(5, generator=generator, dtype=torch.float64),
        torch.randn(5, 8, 3, generator=generator).double(),
    )
    for label in (NAMES.index("tetX"), len(NAMES)):  # marked, and no object
        sigmas = torch.full((5, 8), 0.1, dtype=torch.float64)
        noised = truth[:, None] @ so3.exp(sigmas[..., None] * z)
        target = TARGET(truth, torch.full((5,), label), noised, sigmas)
        small = (0.1 * z).norm(dim=-1) > 0.02
        torch.testing.assert_close(target[small], -z[small], atol=1e-6, rtol=0)


def test_it_does_not_know_which_of_the_equal_poses_was_rendered(generator):
    truth = so3.uniform(3, generator=generator, dtype=torch.float64)
    noised = so3.uniform(3, 6, generator=generator, dtype=torch.float64)
    sigmas = torch.rand(3, 6, generator=generator, dtype=torch.float64) + 0.1
    for k, name in enumerate(("tet", "icosa", "cyl")):
        turns = catalogue(BUILT_IN)[name].symmetry.equivalents(torch.eye(3, dtype=torch.float64), 5.0)
        labels = torch.full((3,), k)
        other = truth @ turns[torch.randint(len(turns), (3,), generator=generator)]
        torch.testing.assert_close(TARGET(truth, labels, noised, sigmas), TARGET(other, labels, noised, sigmas))


def test_it_is_finite_where_the_noised_rotation_is_the_true_one():
    truth = torch.eye(3).expand(4, 3, 3)
    target = TARGET.float()(truth, torch.arange(4), truth[:, None], torch.tensor([[0.01], [0.1], [1.0], [2.0]]))
    TARGET.double()
    assert torch.isfinite(target).all() and target.abs().max() < 1e-3
