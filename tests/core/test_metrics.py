"""Numbers that evaluations report: against brute force, and on samplers that are known to be perfect or not."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from lie_picard import so3
from lie_picard.evaluation import metrics
from lie_picard.objects.symsol.solids import solid


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_the_area_under_the_roc_counts_pairs(positive, negative):
    pairs = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    area = metrics.area_under_roc(torch.tensor(positive).float(), torch.tensor(negative).float())
    assert math.isclose(area, sum(pairs) / len(pairs), abs_tol=1e-9)


def test_precision_counts_shares():
    row = metrics.precision(torch.tensor([0.5, 1.5, 4.0, 8.0, 20.0]))
    shares = [row["within_2deg"], row["within_5deg"], row["within_10deg"]]
    torch.testing.assert_close(torch.tensor(shares), torch.tensor([0.4, 0.6, 0.8]))
    assert row["median_deg"] == 4.0 and math.isclose(row["mean_deg"], 6.8, rel_tol=1e-6)


def test_a_sampler_that_knows_one_mode_reaches_one(generator):
    poses = solid("cube").symmetry.equivalents(so3.uniform(1, generator=generator), 1.0)[0]
    one = poses[3] @ so3.exp(0.01 * torch.randn(50, 3, generator=generator))
    assert math.isclose(metrics.modes_reached(poses, one), 1 / 24, rel_tol=1e-6)
    assert metrics.modes_reached(poses, poses) == 1


def test_a_uniform_sampler_passes_the_chi_square_and_a_biased_one_does_not(generator):
    poses = solid("tet").symmetry.equivalents(so3.uniform(1, generator=generator), 1.0)[0]
    rejected = 0
    for _ in range(200):
        chosen = poses[torch.randint(12, (120,), generator=generator)]
        rejected += metrics.uniformity(poses, chosen)[1] < 0.05
    assert 1 <= rejected <= 25  # 10 expected
    assert metrics.uniformity(poses, poses[torch.arange(120) % 6])[1] < 1e-6


def test_a_perfect_sampler_misses_as_many_modes_as_predicted(generator):
    poses = solid("icosa").symmetry.equivalents(so3.uniform(1, generator=generator), 1.0)[0]
    shares = [metrics.modes_reached(poses, poses[torch.randint(60, (50,), generator=generator)]) for _ in range(200)]
    assert abs(sum(shares) / 200 - metrics.modes_reached_if_uniform(60, 50)) < 0.02
