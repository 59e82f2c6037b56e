"""Which turns of an object leave it as it looks, and which of its equal poses is nearest to a given one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lie_picard import so3
from lie_picard.geometry import models_info
from lie_picard.geometry.models_info import SymmetryError

Array = NDArray[np.float64]

_SAME = math.radians(1.0)  # listed rotations are rounded, and their products more so
_ROUNDING = 0.02  # of a matrix, from the nearest rotation (Frobenius norm)
_MAX_TURNS = 120  # of a discrete group about one axis; what is not closed fills up to more than 180
_MAX_GROUP = 2 * _MAX_TURNS  # and as many half turns across it


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The transforms S of the object's frame after which it looks the same: camera_from_object S for every pose.

    The symmetries are the products of an element of `rotations` and a turn about an axis, all about `centre`: a solid
    has a point that all its symmetries leave in place. So poses (R, t) look the same whose rotations do and that place
    this point alike, R centre + t.

    Attributes:
        rotations: (K, 3, 3) discrete symmetries, a group up to turns about the axis, identity first.
        axes: (3,) unit axes any turn about which is a symmetry: none, one, or the three of a ball.
        centre: (3,) the point that stays, nearest to the origin where there are several; metres, object's frame.
    """

    rotations: Array = field(default_factory=lambda: np.eye(3)[None])
    axes: tuple[Array, ...] = ()
    centre: Array = field(default_factory=lambda: np.zeros(3))

    @classmethod
    def none(cls) -> Symmetry:
        """An object whose every pose looks different."""
        return cls()

    @classmethod
    def generated(
        cls,
        rotations: ArrayLike,
        axes: ArrayLike = (),
        translations: ArrayLike | None = None,
        offsets: ArrayLike | None = None,
        tolerance: float = 1e-3,
    ) -> Symmetry:
        """The group that discrete transforms and axes (A, 3) of continuous symmetry generate.

        Args:
            rotations, translations: (K, 3, 3) and (K, 3) metres of the transforms; None: no translations.
            offsets: (A, 3) a point of each axis, metres; None: they pass through the origin.
            tolerance: largest error of the translations and offsets, metres.

        Raises:
            SymmetryError: a matrix is no rotation, an axis is zero, or they generate no symmetry of a solid.
        """
        turns = [_rotation(one, f"rotation {k}") for k, one in enumerate(np.asarray(rotations, float))]
        group = _closed(turns)
        directions: list[Array] = []
        for axis in np.asarray(axes, float).reshape(-1, 3):
            length = float(np.linalg.norm(axis))
            if not (math.isfinite(length) and length > 1e-6):
                raise SymmetryError(f"an axis of continuous symmetry must be a nonzero vector, got {axis.tolist()}")
            directions.append(axis / length)
        centre = _fixed_point(turns, directions, translations, offsets, tolerance)
        lines: list[Array] = []
        for axis in directions:
            if all(abs(float(axis @ line)) < math.cos(_SAME) for line in lines):
                lines.append(axis)
        if len(lines) > 1:
            return cls(axes=tuple(np.eye(3)), centre=centre)
        if not lines:
            return cls(group, centre=centre)
        along = group @ lines[0] @ lines[0]
        if (np.abs(along) < math.cos(_SAME)).any():
            raise SymmetryError("a discrete symmetry does not map the axis of continuous symmetry onto itself")
        # Turns about the axis are in already, and all flips are the same up to such a turn.
        return cls(np.concatenate([np.eye(3)[None], group[along < 0][:1]]), tuple(lines), centre)

    @classmethod
    def from_models_info(cls, path: str | Path, key: str | int, diameter: float | None = None) -> Symmetry:
        """Of one object in BOP's models_info.json: `symmetries_discrete` and `symmetries_continuous`.

        Args:
            key: its name; one that is a number, as obj_000005, finds BOP's, 5.
            diameter: of its circumscribed sphere, metres; with the file's, it tells the file's unit. None: millimetres.

        Raises:
            SymmetryError: no such file or object, or it cannot be understood.
        """
        listed = models_info.symmetries_of(path, key, diameter)
        try:
            found = cls.generated(*listed)
            away = float(np.linalg.norm(found.centre))
            if diameter is not None and away > diameter:
                raise SymmetryError(
                    f"its symmetries turn about a point {away:.4g} m off its origin, of {diameter:.4g} m diameter: "
                    "check the unit of its lengths and its diameter"
                )
        except SymmetryError as error:
            raise SymmetryError(f"object '{key}' in '{path}': {error}") from None
        return found

    def to_models_info(self) -> dict[str, list[Any]]:
        """The two entries of BOP's models_info.json, in millimetres; the identity is not listed."""
        transforms = np.tile(np.eye(4), (len(self.rotations) - 1, 1, 1))
        transforms[:, :3, :3] = self.rotations[1:]
        transforms[:, :3, 3] = 1e3 * self.translations[1:]
        offset = (1e3 * self.centre).tolist()
        return {
            "symmetries_discrete": transforms.reshape(-1, 16).tolist(),
            "symmetries_continuous": [{"axis": axis.tolist(), "offset": offset} for axis in self.axes],
        }

    @property
    def translations(self) -> Array:
        """Of the discrete symmetries as transforms of the object's frame, metres. -> (K, 3)."""
        return self.centre - self.rotations @ self.centre

    def centre_of(self, pose: Array) -> Array:
        """Where a pose (..., 4, 4) places the centre: all that look the same, at one place. -> (..., 3)."""
        return np.asarray(pose[..., :3, :3] @ self.centre + pose[..., :3, 3])

    def origin_at(self, centre: Array, rotation: Array) -> Array:
        """Position of the object's frame where its centre (..., 3) and rotation (..., 3, 3) are known. -> (..., 3)."""
        return np.asarray(centre - rotation @ self.centre)

    @property
    def is_trivial(self) -> bool:
        """Whether every pose looks different."""
        return len(self.rotations) == 1 and not self.axes

    @property
    def is_ball(self) -> bool:
        """Whether all poses look the same."""
        return len(self.axes) > 1

    def equivalents(self, rotation: Tensor, step_deg: float) -> Tensor:
        """All rotations that look like `rotation`; about an axis on a grid. (..., 3, 3) -> (..., M, 3, 3).

        Not for balls, whose every rotation looks the same.
        """
        turns = torch.from_numpy(self.rotations)
        if self.axes:
            angles = torch.arange(round(360 / step_deg), dtype=torch.float64) * math.radians(step_deg)
            about = so3.about_axis(torch.from_numpy(self.axes[0]), angles)
            turns = (turns[:, None] @ about[None]).flatten(0, 1)
        return rotation[..., None, :, :] @ turns.to(rotation)

    def candidates(self, rotation: Tensor, reference: Tensor) -> Tensor:
        """For each discrete symmetry, the equal pose of `rotation` that is nearest in angle to `reference`. Exact.

        About an axis a, trace(M Exp(t a)) = a^T M a + (tr M - a^T M a) cos t - 2 (a . vee M) sin t is largest where t
        is the turn of M^T about a. Not for balls.

        (..., 3, 3), (..., 3, 3) camera_from_object -> (..., K, 3, 3).
        """
        turned = rotation[..., None, :, :] @ torch.from_numpy(self.rotations).to(rotation)
        if not self.axes:
            return turned.expand(*np.broadcast_shapes(turned.shape, (*reference.shape[:-2], 1, 3, 3)))
        axis = torch.from_numpy(self.axes[0]).to(rotation)
        relative = turned.mT @ reference[..., None, :, :]
        return turned @ so3.about_axis(axis, so3.turn_about(relative, axis))

    def nearest(self, rotation: Tensor, reference: Tensor) -> Tensor:
        """Of the poses that look like `rotation`, the one nearest in angle to `reference`. Exact.

        (..., 3, 3), (..., 3, 3) camera_from_object -> (..., 3, 3).
        """
        if self.is_ball:
            return reference.expand(*np.broadcast_shapes(rotation.shape, reference.shape)).clone()
        found = self.candidates(rotation, reference)
        best = so3.angle(found, reference[..., None, :, :]).argmin(-1)
        index = best[..., None, None, None].expand(*best.shape, 1, 3, 3)
        return found.gather(-3, index).squeeze(-3)

    def distance(self, rotation: Tensor, reference: Tensor) -> Tensor:
        """Angle in radians between what two poses look like: least over all equal poses. (..., 3, 3) x 2 -> (...)."""
        if self.is_ball:
            return rotation.new_zeros(np.broadcast_shapes(rotation.shape, reference.shape)[:-2])
        return so3.angle(self.candidates(rotation, reference), reference[..., None, :, :]).amin(-1)


def _rotation(matrix: Array, what: str) -> Array:
    """The rotation nearest to a rounded (3, 3) matrix."""
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise SymmetryError(f"{what} is not a 3 x 3 matrix of finite numbers")
    u, _, vt = np.linalg.svd(matrix)
    rotation = u @ vt
    if np.linalg.norm(rotation - matrix) > _ROUNDING or np.linalg.det(rotation) < 0:
        raise SymmetryError(f"{what} is not a proper rotation: {np.round(matrix, 3).tolist()}")
    return rotation


def _fixed_point(
    turns: list[Array],
    axes: list[Array],
    translations: ArrayLike | None,
    offsets: ArrayLike | None,
    tolerance: float,
) -> Array:
    """The point that all symmetries leave in place, nearest to the origin: (I - R) c = t, (I - a a^T) (c - o) = 0."""
    moves = np.zeros((len(turns), 3)) if translations is None else np.asarray(translations, float).reshape(-1, 3)
    points = np.zeros((len(axes), 3)) if offsets is None else np.asarray(offsets, float).reshape(-1, 3)
    if not (moves.any() or points.any()):
        return np.zeros(3)
    across = [np.eye(3) - np.outer(axis, axis) for axis in axes]
    matrices = [*(np.eye(3) - turn for turn in turns), *across]
    values = [*moves, *(projection @ point for projection, point in zip(across, points, strict=True))]
    centre = np.linalg.pinv(np.concatenate(matrices), rcond=5e-3) @ np.concatenate(values)
    off = max(float(np.linalg.norm(matrix @ centre - value)) for matrix, value in zip(matrices, values, strict=True))
    if not off <= tolerance:
        raise SymmetryError(
            f"its symmetries leave no point in place, by {off:.3g} m: translations and offsets are of transforms of "
            "the object's frame, in the unit of its diameter"
        )
    return np.asarray(centre)


def _closed(generators: list[Array]) -> Array:
    """The group of some rotations, identity first; (K, 3, 3)."""
    group = np.eye(3)[None]
    level = [np.eye(3)]
    while level:
        # The shortest products first: rounding adds up least.
        products, level = [one @ generator for one in level for generator in generators], []
        for product in products:
            # tr(A^T B) = 1 + 2 cos(angle)
            if np.einsum("kij,ij->k", group, product).max() < 1 + 2 * math.cos(_SAME):
                group, level = np.concatenate([group, product[None]]), [*level, product]
            if len(group) > _MAX_GROUP:
                raise _too_many(_MAX_GROUP)
    if len(group) > _MAX_TURNS and not _is_dihedral(group):
        raise _too_many(_MAX_TURNS)
    return group


def _is_dihedral(group: Array) -> bool:
    """Whether half of the elements (K, 3, 3) turn an axis over, that of the least turn: of a cyclic group, none do."""
    trace = np.trace(group, axis1=1, axis2=2)
    least = group[np.argsort(-trace, kind="stable")[1]]
    axis = so3.vee(torch.from_numpy(least)).numpy()
    axis = axis / np.linalg.norm(axis)
    return int((group @ axis @ axis < 0).sum()) * 2 == len(group)


def _too_many(most: int) -> SymmetryError:
    return SymmetryError(f"the discrete symmetries generate more than {most} rotations: no group of a solid")
