"""Real spherical harmonics under rotation: applying D(R)^T without ever forming a Wigner matrix per rotation.

Coefficients of degrees 0..L are one vector of length (L + 1)^2, degree by degree, m = -l ... l; m < 0 are the
sine and m > 0 the cosine functions. A turn about z mixes only m with -m; a turn about y is a turn about z between
two applications of one constant matrix.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def quarter_turn(degree: int) -> Tensor:
    """D(Rx(pi / 2)) of one degree in the real basis, from the angular momentum algebra. -> (2l+1, 2l+1) float64."""
    m = torch.arange(-degree, degree + 1, dtype=torch.float64)
    # J_x = (J_+ + J_-) / 2 in the complex basis |l, m>.
    raising = (degree * (degree + 1) - m[:-1] * (m[:-1] + 1)).sqrt() / 2
    j_x = (torch.diag(raising, -1) + torch.diag(raising, 1)).to(torch.complex128)
    rotation = torch.linalg.matrix_exp(-1j * (math.pi / 2) * j_x)
    # Rows: real functions (sine for m < 0, cosine for m > 0) in terms of complex ones, Condon-Shortley phase.
    size = 2 * degree + 1
    basis = [[0j] * size for _ in range(size)]
    basis[degree][degree] = 1 + 0j
    half = 0.5**0.5
    for k in range(1, degree + 1):
        sign = (-1) ** k * half
        basis[degree + k][degree + k], basis[degree + k][degree - k] = sign + 0j, half + 0j
        basis[degree - k][degree + k], basis[degree - k][degree - k] = -1j * sign, 1j * half
    real = torch.tensor(basis, dtype=torch.complex128)
    return (real.conj() @ rotation @ real.T).real


class BodyFrame(nn.Module):
    """Coefficients of a function on the sphere, seen from a rotated body: D(R)^T c.

    With R = Rz(a) Ry(b) Rz(c) and X = D(Rx(pi/2)), D(R)^T = Z(-c) X^T Z(-b) X Z(-a), where each Z costs
    two multiplications a coefficient. Sines and cosines come from the entries of R: no trigonometry.
    """

    turn: Tensor
    mirror: Tensor
    order: Tensor
    sign: Tensor

    def __init__(self, degree: int) -> None:
        super().__init__()
        size = (degree + 1) ** 2
        turn = torch.block_diag(*(quarter_turn(k) for k in range(degree + 1)))
        order = torch.cat([torch.arange(-k, k + 1) for k in range(degree + 1)])
        centre = torch.cat([torch.full((2 * k + 1,), k * k + k) for k in range(degree + 1)])
        self.degree = degree
        self.register_buffer("turn", turn.float(), persistent=False)
        self.register_buffer("mirror", centre - order, persistent=False)  # index of -m
        self.register_buffer("order", order.abs(), persistent=False)
        self.register_buffer("sign", order.sign().float(), persistent=False)
        assert turn.shape == (size, size)

    def forward(self, coefficients: Tensor, rotations: Tensor) -> Tensor:
        """(..., K, copies) coefficients and (..., 3, 3) rotations (leading shapes broadcast) -> (..., copies, K)."""
        r02, r12, r22 = rotations[..., 0, 2], rotations[..., 1, 2], rotations[..., 2, 2]
        sin_b = torch.hypot(r02, r12)
        pole = sin_b < 1e-7  # the first angle is then arbitrary; the third absorbs it
        safe = torch.where(pole, 1.0, sin_b)
        cos_a, sin_a = torch.where(pole, 1.0, r02 / safe), r12 / safe
        cos_c = cos_a * rotations[..., 1, 1] - sin_a * rotations[..., 0, 1]
        sin_c = cos_a * rotations[..., 1, 0] - sin_a * rotations[..., 0, 0]
        x = coefficients.transpose(-1, -2)
        x = self._turn_back(x, cos_a, sin_a) @ self.turn.T
        x = self._turn_back(x, r22, sin_b) @ self.turn
        return self._turn_back(x, cos_c, sin_c)

    def _turn_back(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Z(-angle) x: cos(m a) x_m + sign(m) sin(|m| a) ... of the mirrored coefficient."""
        real, imaginary = [torch.ones_like(cosine), cosine], [torch.zeros_like(sine), sine]
        for _ in range(2, self.degree + 1):
            real.append(real[-1] * cosine - imaginary[-1] * sine)
            imaginary.append(imaginary[-1] * cosine + real[-2] * sine)
        c = torch.stack(real[: self.degree + 1], -1)[..., self.order][..., None, :]
        s = (torch.stack(imaginary[: self.degree + 1], -1)[..., self.order] * self.sign)[..., None, :]
        return c * x + s * x[..., self.mirror]
