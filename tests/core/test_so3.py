"""SO(3): the group axioms, and agreement with scipy at every angle."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from strategies import tangents

from lie_picard import so3

EYE = torch.eye(3, dtype=torch.float64)


@given(tangents(3))
def test_group_axioms(v):
    a, b, c = so3.exp(v)
    torch.testing.assert_close((a @ b) @ c, a @ (b @ c))
    torch.testing.assert_close(a @ a.mT, EYE, atol=1e-12, rtol=0)
    torch.testing.assert_close(so3.exp(-v[0]), a.mT, atol=1e-12, rtol=0)
    assert torch.linalg.det(a) == pytest.approx(1)


@given(tangents())
def test_exp_agrees_with_scipy(v):
    expected = torch.from_numpy(Rotation.from_rotvec(v.numpy()).as_matrix())
    torch.testing.assert_close(so3.exp(v), expected, atol=1e-10, rtol=0)


@given(tangents())
def test_log_inverts_exp_up_to_the_sign_at_pi(v):
    back = so3.log(so3.exp(v))
    torch.testing.assert_close(so3.exp(back), so3.exp(v), atol=1e-8, rtol=0)
    if v.norm() < math.pi - 1e-4:
        torch.testing.assert_close(back, v, atol=1e-8, rtol=0)


@given(tangents(), st.sampled_from([torch.float32, torch.float64]))
def test_log_agrees_with_scipy(v, dtype):
    r = so3.exp(v)
    ours = so3.log(r.to(dtype)).double()
    scipys = torch.from_numpy(Rotation.from_matrix(r.numpy()).as_rotvec())
    tolerance = 2e-6 if dtype == torch.float32 else 1e-7
    # At pi both signs of the axis are right.
    assert min((ours - scipys).norm(), (ours + scipys).norm() + abs(math.pi - scipys.norm())) < tolerance


@given(tangents(2))
def test_angle_is_a_bi_invariant_metric(v):
    a, b = so3.exp(v)
    distance = so3.angle(a, b)
    assert distance == pytest.approx(float(so3.angle(b, a)), abs=1e-9)
    assert distance == pytest.approx(float(so3.angle(a.mT @ a, a.mT @ b)), abs=1e-7)
    assert distance == pytest.approx(float(so3.angle(a @ b, b @ b)), abs=1e-7)
    assert distance == pytest.approx(float(so3.log(a.mT @ b).norm()), abs=1e-7)


@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-4, 1.0, math.pi - 1e-4, math.pi])
def test_angle_keeps_its_digits_in_float32(size):
    turn = so3.exp(torch.tensor([[size, 0.0, 0.0]]))
    assert float(so3.angle(torch.eye(3)[None], turn)) == pytest.approx(size, abs=3e-7)


@given(tangents(9))
def test_scan_is_the_running_product(v):
    factors = so3.exp(v)
    expected = torch.stack([torch.linalg.multi_dot([EYE, *factors[: j + 1]]) for j in range(len(factors))])
    torch.testing.assert_close(so3.scan(factors), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 8, 100])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_scan_keeps_the_order_for_every_length_and_batch(length, batch, generator):
    factors = so3.uniform(*batch, length, generator=generator, dtype=torch.float64)
    running = factors[..., 0, :, :]
    products = [running]
    for j in range(1, length):
        running = running @ factors[..., j, :, :]
        products.append(running)
    torch.testing.assert_close(so3.scan(factors), torch.stack(products, -3))


def test_uniform_has_the_haar_measures_angles(generator):
    angles = so3.log(so3.uniform(20_000, generator=generator)).norm(dim=1).numpy()
    # The density of the angle is (1 - cos) / pi.
    grid = np.linspace(0, math.pi, 50)
    empirical = np.searchsorted(np.sort(angles), grid) / len(angles)
    assert np.abs(empirical - (grid - np.sin(grid)) / math.pi).max() < 0.012


@given(tangents(), st.integers(0, 2**32))
def test_mean_commutes_with_rotation(v, seed):
    draw = torch.Generator().manual_seed(seed)
    cloud = so3.exp(0.2 * torch.randn(20, 3, generator=draw, dtype=torch.float64))
    left = so3.exp(v)[0]
    torch.testing.assert_close(so3.mean(left @ cloud), left @ so3.mean(cloud), atol=1e-6, rtol=0)


def test_mean_minimises_the_sum_of_squares(generator):
    cloud = so3.exp(0.3 * torch.randn(30, 3, generator=generator, dtype=torch.float64))
    centre = so3.mean(cloud)
    assert so3.log(centre.mT @ cloud).mean(0).norm() < 1e-6


def test_project_is_the_nearest_rotation(generator):
    matrix = so3.uniform(5, generator=generator) + 0.1 * torch.randn(5, 3, 3, generator=generator)
    nearest = so3.project(matrix)
    others = nearest @ so3.exp(0.05 * torch.randn(5, 3, generator=generator))
    assert ((nearest - matrix).norm(dim=(1, 2)) <= (others - matrix).norm(dim=(1, 2))).all()


def test_pairwise_angle_is_angle_of_every_pair(generator):
    a, b = so3.uniform(6, generator=generator), so3.uniform(4, generator=generator)
    torch.testing.assert_close(so3.pairwise_angle(a, b), so3.angle(a[:, None], b[None]), atol=1e-3, rtol=0)


@given(tangents())
def test_quaternions_round_trip(v):
    r = so3.exp(v)
    torch.testing.assert_close(so3.from_quaternion(so3.to_quaternion(r)), r, atol=1e-9, rtol=0)
    assert float(so3.to_quaternion(r)[0, 0]) >= 0
