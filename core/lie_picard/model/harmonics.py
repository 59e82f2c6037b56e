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

    With R = Rz(a) Ry(b) Rz(c) and X = D(Rx(pi/2)), D(R)^T = Z(-c) X^T Z(-b) X Z(-a). The cosine and sine coefficients
    of one m are a complex number, so that each Z is one multiplication by e^(-i m angle); these powers come from the
    entries of R without trigonometry.
    """

    cosines: Tensor
    sines: Tensor
    order: Tensor
    turn: Tensor
    real: Tensor

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree
        pairs = [(k, m) for k in range(degree + 1) for m in range(k + 1)]
        order = torch.tensor([m for _, m in pairs])
        # Places of the cosine and the sine coefficient of each pair in the (L + 1)^2 real ones; m = 0 has no sine.
        cosines = torch.tensor([k * k + k + m for k, m in pairs])
        sines = torch.tensor([k * k + k - m for k, m in pairs])
        size, count = (degree + 1) ** 2, len(pairs)
        to_pairs = torch.zeros(2 * count, size, dtype=torch.float64)
        to_pairs[torch.arange(count) * 2, cosines] = 1
        to_pairs[torch.arange(count) * 2 + 1, sines] = (order > 0).double()
        turn = torch.block_diag(*(quarter_turn(k) for k in range(degree + 1)))
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("turn", (to_pairs @ turn @ to_pairs.T).T.float().contiguous(), persistent=False)
        self.register_buffer("real", to_pairs.argmax(0), persistent=False)

    def paired(self, coefficients: Tensor) -> Tensor:
        """Real coefficients (..., (L + 1)^2, copies) as complex pairs (..., copies, P), the form that turns cheaply."""
        c = coefficients.transpose(-1, -2)
        return torch.complex(c[..., self.cosines], c[..., self.sines] * (self.order > 0))

    def forward(self, paired: Tensor, rotations: Tensor) -> Tensor:
        """`paired` (..., copies, P) and rotations (..., 3, 3), leading shapes broadcast -> (..., copies, (L + 1)^2)."""
        first, second, third = self._phases(rotations)
        x = self._quarter(paired * first, self.turn)
        x = self._quarter(x * second, self.turn.T)
        return torch.view_as_real(x * third).flatten(-2)[..., self.real]

    def _phases(self, rotations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """e^(-i m angle) of the three Euler angles for every pair. (..., 3, 3) -> three (..., 1, P) complex."""
        r02, r12, r22 = rotations[..., 0, 2], rotations[..., 1, 2], rotations[..., 2, 2]
        sin_b = torch.hypot(r02, r12)
        pole = sin_b < 1e-7  # the first angle is then arbitrary; the third absorbs it
        safe = torch.where(pole, 1.0, sin_b)
        cos_a, sin_a = torch.where(pole, 1.0, r02 / safe), r12 / safe
        cos_c = cos_a * rotations[..., 1, 1] - sin_a * rotations[..., 0, 1]
        sin_c = cos_a * rotations[..., 1, 0] - sin_a * rotations[..., 0, 0]
        unit = torch.complex(torch.stack([cos_a, r22, cos_c], -1), -torch.stack([sin_a, sin_b, sin_c], -1))
        powers = [torch.ones_like(unit), unit]
        for _ in range(2, self.degree + 1):
            powers.append(powers[-1] * unit)
        first, second, third = torch.stack(powers[: self.degree + 1], -1)[..., self.order].unbind(-2)
        return first[..., None, :], second[..., None, :], third[..., None, :]

    @staticmethod
    def _quarter(x: Tensor, turn: Tensor) -> Tensor:
        """The constant quarter turn on complex pairs."""
        return torch.view_as_complex((torch.view_as_real(x).flatten(-2) @ turn).unflatten(-1, (-1, 2)))
