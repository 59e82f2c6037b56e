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

    With R = Rz(a) Ry(b) Rz(c) and X = D(Rx(pi/2)), D(R)^T = Z(-c) X^T Z(-b) X Z(-a). Each Z is
    ``x cos(m angle) + x' sin(m angle)`` where x' holds x with m and -m exchanged (`_partner`); X and the exchange are
    one constant matrix. The sines and cosines come from the entries of R without trigonometry.
    """

    order: Tensor
    constant: Tensor
    spread: Tensor
    partner: Tensor
    turn: Tensor
    turn_back: Tensor

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree
        order = torch.cat([torch.arange(-k, k + 1).abs() for k in range(degree + 1)])
        turn = torch.block_diag(*(quarter_turn(k) for k in range(degree + 1)))
        partner = torch.block_diag(*(_partner(k) for k in range(degree + 1)))
        both = torch.cat([torch.eye(len(order), dtype=torch.float64), partner], 1)
        multiples = torch.arange(1, 2 * max(degree, 1) + 1)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("constant", (order == 0).float(), persistent=False)
        self.register_buffer("spread", (order == multiples[:, None]).float(), persistent=False)
        self.register_buffer("partner", partner.float(), persistent=False)
        self.register_buffer("turn", (turn.T @ both).float().contiguous(), persistent=False)
        self.register_buffer("turn_back", (turn @ both).float().contiguous(), persistent=False)

    def prepared(self, coefficients: Tensor) -> Tensor:
        """Coefficients (..., (L + 1)^2, copies) beside their partners (..., copies, 2 (L + 1)^2)."""
        c = coefficients.transpose(-1, -2)
        return torch.cat([c, c @ self.partner], -1)

    def forward(self, prepared: Tensor, rotations: Tensor) -> Tensor:
        """`prepared` (..., copies, 2 (L + 1)^2) and rotations (..., 3, 3), leading shapes broadcast
        -> (..., copies, (L + 1)^2)."""
        cosines, sines = self._phases(rotations)
        x = self._about_z(prepared, cosines, sines, 0) @ self.turn
        x = self._about_z(x, cosines, sines, 1) @ self.turn_back
        return self._about_z(x, cosines, sines, 2)

    def _about_z(self, x: Tensor, cosines: Tensor, sines: Tensor, which: int) -> Tensor:
        """Turn coefficients, given beside their partners, by minus one of the angles."""
        size = len(self.order)
        return x[..., :size] * cosines[..., which : which + 1, :] + x[..., size:] * sines[..., which : which + 1, :]

    def _phases(self, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin of m times the three Euler angles, for every coefficient. (..., 3, 3) -> two (..., 3, K)."""
        r = rotations.flatten(-2)
        r00, r01, r02, r10, r11, r12, r22 = (r[..., k : k + 1] for k in (0, 1, 2, 3, 4, 5, 8))
        sin_b = (r02.square() + r12.square()).sqrt()
        pole = sin_b < 1e-7  # the first angle is then arbitrary; the third absorbs it
        safe = torch.where(pole, 1.0, sin_b)
        cos_a, sin_a = torch.where(pole, 1.0, r02 / safe), r12 / safe
        cos_c, sin_c = cos_a * r11 - sin_a * r01, cos_a * r10 - sin_a * r00
        cos, sin = torch.stack([cos_a, r22, cos_c], -2), torch.stack([sin_a, sin_b, sin_c], -2)
        known = 1
        while known < self.degree:  # of the angles 1 ... k and k, those of k + 1 ... 2 k
            last_cos, last_sin = cos[..., -1:], sin[..., -1:]
            cos, sin = (
                torch.cat([cos, cos * last_cos - sin * last_sin], -1),
                torch.cat([sin, sin * last_cos + cos * last_sin], -1),
            )
            known *= 2
        # A product with zeros and ones instead of an index: several times faster.
        return cos @ self.spread[:known] + self.constant, sin @ self.spread[:known]


def _partner(degree: int) -> Tensor:
    """Matrix P with (x P)_m = x_-m and (x P)_-m = -x_m for m > 0, and 0 for m = 0. -> (2l+1, 2l+1)."""
    sign = torch.arange(-degree, degree + 1).sign().double()
    return torch.diag(sign).flip(0)
