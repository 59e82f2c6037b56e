"""The averaged target: what score matching's own target is in the mean over the poses that look the same."""

import math

import pytest
import torch

from lie_picard import so3
from lie_picard.model.config import ModelConfig
from lie_picard.objects import BUILT_IN, catalogue
from lie_picard.training.targets import AveragedTarget

NAMES = ("tet", "icosa", "cyl", "tetX")
TARGET = AveragedTarget(ModelConfig(objects=NAMES), catalogue(BUILT_IN)).double()


@pytest.mark.parametrize("sigma", [0.3, 1.5])
@pytest.mark.parametrize("name", ["tet", "cyl"])
def test_it_is_the_mean_of_the_drawn_target_given_the_noised_rotation(name, sigma):
    """Many draws of pose and noise; among those that end near one rotation the mean of -z is the target there."""
    generator = torch.Generator().manual_seed(0)
    symmetry = catalogue(BUILT_IN)[name].symmetry
    alike = symmetry.equivalents(torch.eye(3, dtype=torch.float64), 5.0)
    count, radius = 1_000_000, 0.15
    chosen = alike[torch.randint(len(alike), (count,), generator=generator)]
    z = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    noised = chosen @ so3.exp(sigma * z)
    centre = so3.exp(torch.tensor([0.7, 0.2, -0.4], dtype=torch.float64) * min(1.0, sigma))
    near = so3.pairwise_angle(noised, centre[None])[:, 0] < radius
    assert near.sum() > 150
    label = torch.tensor([NAMES.index(name)])
    sigmas = torch.full((1, int(near.sum())), sigma, dtype=torch.float64)
    found = TARGET(torch.eye(3, dtype=torch.float64)[None], label, noised[near][None], sigmas)
    gap = (found[0] + z[near]).mean(0)
    error = (found[0] + z[near]).std(0) / math.sqrt(int(near.sum()))
    assert (gap.abs() < 4 * error + 1e-3).all()


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
