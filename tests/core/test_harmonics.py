"""Harmonics under rotation, with scipy's spherical harmonics as oracle."""

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from lie_picard import so3
from lie_picard.model.harmonics import BodyFrame, quarter_turn

DEGREE = 6


def real_harmonics(points):
    """(P, 3) unit vectors -> (P, 49), m = -l ... l: sine functions first."""
    x, y, z = points.double().numpy().T
    polar, azimuth, columns = np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x), []
    for degree in range(DEGREE + 1):
        for m in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(m), polar, azimuth)
            part = value.real if m >= 0 else value.imag
            columns.append(part if m == 0 else math.sqrt(2) * (-1) ** m * part)
    return torch.from_numpy(np.stack(columns, 1))


POLES = torch.stack([torch.eye(3), torch.diag(torch.tensor([1.0, -1, -1])), torch.diag(torch.tensor([-1.0, -1, 1]))])


@pytest.mark.parametrize("near", [0.0, 1e-8, 1e-6, 1e-3])
def test_the_body_sees_the_function_turned(near, generator):
    points = torch.nn.functional.normalize(torch.randn(30, 3, generator=generator), dim=1)
    rotations = torch.cat([so3.uniform(20, generator=generator), POLES @ so3.exp(torch.tensor([near, near, 0.3]))])
    coefficients = torch.randn(49, 3, generator=generator)
    frame = BodyFrame(DEGREE)
    body = frame(frame.prepared(coefficients[None]), rotations)
    for rotation, turned in zip(rotations, body, strict=True):
        seen = real_harmonics(points) @ turned.double().T
        there = real_harmonics(points @ rotation.T) @ coefficients.double()
        torch.testing.assert_close(seen, there, atol=5e-5, rtol=0)


def test_turning_twice_is_turning_by_the_product(generator):
    frame = BodyFrame(DEGREE)
    first, second = so3.uniform(10, generator=generator), so3.uniform(10, generator=generator)
    coefficients = torch.randn(10, 49, 2, generator=generator)
    once = frame(frame.prepared(coefficients), first).mT
    product = frame(frame.prepared(coefficients), first @ second)
    torch.testing.assert_close(frame(frame.prepared(once), second), product, atol=1e-4, rtol=0)


@pytest.mark.parametrize("degree", range(DEGREE + 1))
def test_four_quarter_turns_are_none(degree):
    turn = quarter_turn(degree)
    eye = torch.eye(2 * degree + 1, dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.matrix_power(turn, 4), eye, atol=1e-12, rtol=0)
    torch.testing.assert_close(turn @ turn.T, eye, atol=1e-12, rtol=0)
