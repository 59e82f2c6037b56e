"""The rotation group SO(3) on batched torch tensors.

Conventions, once for the whole package: rotations are 3 x 3 matrices; tangents are rotation vectors in
radians, in the body frame; perturbations act on the right, ``R Exp(v)``. Leading dimensions broadcast.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor


@functools.lru_cache
def _hat_map(device: torch.device, dtype: torch.dtype) -> Tensor:
    """hat(v), row by row, as a linear map of v (3, 9): one operation, which is what counts for small batches."""
    rows = [[0, 0, 0, 0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 0, -1, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0]]
    with torch.inference_mode(False):
        return torch.tensor(rows, device=device, dtype=dtype)


def hat(tangent: Tensor) -> Tensor:
    """Skew-symmetric matrix of a vector: ``hat(v) w = v x w``. (..., 3) -> (..., 3, 3)."""
    return (tangent @ _hat_map(tangent.device, tangent.dtype)).unflatten(-1, (3, 3))


def vee(skew: Tensor) -> Tensor:
    """Inverse of `hat`, taken on the skew-symmetric part of the argument. (..., 3, 3) -> (..., 3)."""
    return torch.stack(
        [
            skew[..., 2, 1] - skew[..., 1, 2],
            skew[..., 0, 2] - skew[..., 2, 0],
            skew[..., 1, 0] - skew[..., 0, 1],
        ],
        -1,
    ).mul(0.5)


def exp(tangent: Tensor) -> Tensor:
    """Rotation by |v| radians about v (Rodrigues' formula). (..., 3) -> (..., 3, 3).

    R = I + a V + b V^2 with V = hat(v), a = sin|v| / |v|, b = (1 - cos|v|) / |v|^2 = (sin(|v|/2) / (|v|/2))^2 / 2.
    """
    angle = torch.linalg.vector_norm(tangent, dim=-1)[..., None, None]
    a, half = torch.sinc(angle / math.pi), torch.sinc(angle / (2 * math.pi))
    v = hat(tangent)
    eye = torch.eye(3, dtype=tangent.dtype, device=tangent.device)
    return torch.addcmul(torch.addcmul(eye, a, v), half.square() / 2, v @ v)


def log(rotation: Tensor) -> Tensor:
    """Rotation vector with angle in [0, pi]. (..., 3, 3) -> (..., 3).

    Goes through the unit quaternion with its largest component computed first, which is accurate at
    every angle, pi included (where the sign of the axis is arbitrary).
    """
    quaternion = to_quaternion(rotation)
    w, xyz = quaternion[..., 0], quaternion[..., 1:]
    norm = xyz.norm(dim=-1)
    small = norm < 1e-6
    half_angle = torch.atan2(norm, w)
    scale = torch.where(small, 2.0 / w.clamp_min(0.5), 2.0 * half_angle / torch.where(small, 1.0, norm))
    return scale[..., None] * xyz


def to_quaternion(rotation: Tensor) -> Tensor:
    """Unit quaternion (w, x, y, z) with w >= 0. (..., 3, 3) -> (..., 4)."""
    m = rotation
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Row k of `table` is 4 q_k q: four equivalent formulas; the one with the largest q_k is well conditioned.
    wx, wy, wz = (2 * vee(m)).unbind(-1)
    xy = m[..., 0, 1] + m[..., 1, 0]
    xz = m[..., 0, 2] + m[..., 2, 0]
    yz = m[..., 1, 2] + m[..., 2, 1]
    table = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, wx, wy, wz], -1),
            torch.stack([wx, 1 + m00 - m11 - m22, xy, xz], -1),
            torch.stack([wy, xy, 1 - m00 + m11 - m22, yz], -1),
            torch.stack([wz, xz, yz, 1 - m00 - m11 + m22], -1),
        ],
        -2,
    )
    best = table.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = torch.gather(table, -2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quaternion = row / row.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotation of a quaternion (w, x, y, z) of any nonzero length. (..., 4) -> (..., 3, 3)."""
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        -1,
    ).unflatten(-1, (3, 3))  # fmt: skip


def angle(first: Tensor, second: Tensor) -> Tensor:
    """Geodesic distance in radians, in [0, pi]. (..., 3, 3), (..., 3, 3) -> (...).

    atan2 of sine and cosine keeps full precision near 0 and near pi, where acos loses half the digits.
    """
    relative = first.transpose(-1, -2) @ second
    cosine = (relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.atan2(vee(relative).norm(dim=-1), cosine)


def pairwise_angle(first: Tensor, second: Tensor) -> Tensor:
    """Geodesic distances of every pair in radians. (..., N, 3, 3), (..., M, 3, 3) -> (..., N, M).

    One matrix product, trace(A^T B) = <A, B>; accurate to about 3e-4 rad at 0 and pi in float32.
    """
    cosine = (first.flatten(-2) @ second.flatten(-2).transpose(-1, -2) - 1) / 2
    return torch.acos(cosine.clamp(-1, 1))


def uniform(
    *shape: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Rotations drawn from the Haar measure (a normalised Gaussian quaternion). -> (*shape, 3, 3).

    Drawn on the generator's device and then moved, so a CPU seed gives the same rotations everywhere.
    """
    source = generator.device if generator is not None else device
    return from_quaternion(torch.randn(*shape, 4, generator=generator, dtype=dtype, device=source)).to(device)


def scan(rotations: Tensor) -> Tensor:
    """Ordered running products ``P_j = R_0 R_1 ... R_j`` along dimension -3. (..., p, 3, 3) -> same.

    Hillis-Steele doubling: ceil(log2 p) batched multiplications instead of p - 1 dependent ones.
    """
    products, reach, length = rotations, 1, rotations.shape[-3]
    while reach < length:
        shifted = products[..., : length - reach, :, :] @ products[..., reach:, :, :]
        products = torch.cat([products[..., :reach, :, :], shifted], -3)
        reach *= 2
    return products


def mean(rotations: Tensor, iterations: int = 3) -> Tensor:
    """Riemannian centre of mass. (N, 3, 3) -> (3, 3).

    Starts at the chordal mean (projection of the sum onto SO(3)), then Gauss-Newton steps in the tangent space; meant
    for rotations within pi / 2 of one another. No rotations: the identity. Of several groups: `posterior.arrays.means`.
    """
    if not len(rotations):
        return torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    centre = project(rotations.sum(0))
    for _ in range(iterations):
        centre = centre @ exp(log(centre.mT @ rotations).mean(0))
    return project(centre)


def project(matrix: Tensor) -> Tensor:
    """Nearest rotation in the Frobenius norm (special orthogonal Procrustes). (..., 3, 3) -> same."""
    u, _, vt = torch.linalg.svd(matrix)
    sign = torch.linalg.det(u @ vt)
    flip = torch.ones_like(matrix[..., 0])
    flip = torch.cat([flip[..., :2], sign[..., None]], -1)
    return (u * flip[..., None, :]) @ vt


def about_axis(axis: Tensor, angles: Tensor) -> Tensor:
    """Rotations by `angles` [rad] about a fixed unit axis. (3,), (...) -> (..., 3, 3)."""
    return exp(angles[..., None] * axis)


def turn_about(rotation: Tensor, axis: Tensor) -> Tensor:
    """Angle of the turn about a unit axis that is nearest to a rotation, in (-pi, pi]. (..., 3, 3), (..., 3) -> (...).

    trace(R^T Exp(t a)) = a^T R a + (tr R - a^T R a) cos t + 2 (a . vee R) sin t is largest there.
    """
    along = ((rotation @ axis[..., None])[..., 0] * axis).sum(-1)
    across = rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - along
    return torch.atan2(2 * (vee(rotation) * axis).sum(-1), across)


def frame_of(normal: Tensor) -> Tensor:
    """The rotation with columns right, up and `normal`; up is as near to +z as can be (to +x at the poles). (3,)."""
    pole = torch.tensor([1.0, 0.0, 0.0]) if normal[2].abs() > 0.999 else torch.tensor([0.0, 0.0, 1.0])
    right = torch.linalg.cross(pole, normal)
    right = right / right.norm()
    return torch.stack([right, torch.linalg.cross(normal, right), normal], 1)


def degrees(radians: Tensor) -> Tensor:
    """Radians to degrees."""
    return radians * (180.0 / math.pi)


def turn_z_to(direction: Tensor) -> Tensor:
    """The smallest rotation that takes (0, 0, 1) to a direction with z > 0 of any length. (..., 3) -> (..., 3, 3)."""
    x, y, z = (direction / direction.norm(dim=-1, keepdim=True)).unbind(-1)
    k = 1 / (1 + z)
    rows = [1 - k * x * x, -k * x * y, x, -k * x * y, 1 - k * y * y, y, -x, -y, z]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
