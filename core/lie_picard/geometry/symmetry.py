"""Which turns of an object leave it as it looks, and which of its equal poses is nearest to a given one."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lie_picard import so3

Array = NDArray[np.float64]

_SAME = math.radians(1.0)  # listed rotations are rounded, and their products more so
_ROUNDING = 0.02  # of a matrix, from the nearest rotation (Frobenius norm)
_MAX_GROUP = 120  # elements of a discrete group; what is not closed fills up to more than 180


class SymmetryError(ValueError):
    """Symmetries that cannot be read; the message says which and why, in one line."""


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The rotations S of the object's frame after which it looks the same: camera_from_object S for every pose.

    The symmetries are the products of an element of `rotations` and a turn about an axis. They turn about the object's
    centre: of files that list transforms about other points, only the rotations count here.

    Attributes:
        rotations: (K, 3, 3) discrete symmetries, a group up to turns about the axis, identity first.
        axes: (3,) unit axes any turn about which is a symmetry: none, one, or the three of a ball.
    """

    rotations: Array = field(default_factory=lambda: np.eye(3)[None])
    axes: tuple[Array, ...] = ()

    @classmethod
    def none(cls) -> Symmetry:
        """An object whose every pose looks different."""
        return cls()

    @classmethod
    def generated(cls, rotations: ArrayLike, axes: ArrayLike = ()) -> Symmetry:
        """The group that discrete rotations (K, 3, 3) and axes (A, 3) of continuous symmetry generate.

        Raises:
            SymmetryError: a matrix is no rotation, an axis is zero, or they generate no symmetry of a solid.
        """
        group = _closed([_rotation(one, f"rotation {k}") for k, one in enumerate(np.asarray(rotations, float))])
        lines: list[Array] = []
        for axis in np.asarray(axes, float).reshape(-1, 3):
            length = float(np.linalg.norm(axis))
            if not (math.isfinite(length) and length > 1e-6):
                raise SymmetryError(f"an axis of continuous symmetry must be a nonzero vector, got {axis.tolist()}")
            if all(abs(float(axis @ line)) < length * math.cos(_SAME) for line in lines):
                lines.append(axis / length)
        if len(lines) > 1:
            return cls(axes=tuple(np.eye(3)))
        if not lines:
            return cls(group)
        along = group @ lines[0] @ lines[0]
        if (np.abs(along) < math.cos(_SAME)).any():
            raise SymmetryError("a discrete symmetry does not map the axis of continuous symmetry onto itself")
        # Turns about the axis are in already, and all flips are the same up to such a turn.
        return cls(np.concatenate([np.eye(3)[None], group[along < 0][:1]]), tuple(lines))

    @classmethod
    def from_models_info(cls, path: str | Path, key: str | int) -> Symmetry:
        """Of one object in BOP's models_info.json: `symmetries_discrete` and `symmetries_continuous`.

        Raises:
            SymmetryError: no such file or object, or it cannot be understood.
        """
        try:
            entry = json.loads(Path(path).read_text(encoding="utf-8"))[str(key)]
        except OSError as error:
            raise SymmetryError(f"cannot read '{path}': {error.strerror}") from None
        except ValueError as error:
            raise SymmetryError(f"'{path}' is not JSON: {error}") from None
        except (KeyError, TypeError, IndexError):
            raise SymmetryError(f"'{path}' has no object '{key}'") from None
        try:
            transforms = [np.array(one, float).reshape(4, 4) for one in entry.get("symmetries_discrete", ())]
            axes = [np.array(one["axis"], float).reshape(3) for one in entry.get("symmetries_continuous", ())]
            return cls.generated([one[:3, :3] for one in transforms], axes)
        except SymmetryError as error:
            raise SymmetryError(f"object '{key}' in '{path}': {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise SymmetryError(
                f"object '{key}' in '{path}': expected symmetries_discrete as lists of 16 numbers "
                "and symmetries_continuous as a list of {axis, offset}"
            ) from None

    def to_models_info(self) -> dict[str, list[Any]]:
        """The two entries of BOP's models_info.json; the identity is not listed."""
        transforms = np.tile(np.eye(4), (len(self.rotations) - 1, 1, 1))
        transforms[:, :3, :3] = self.rotations[1:]
        return {
            "symmetries_discrete": transforms.reshape(-1, 16).tolist(),
            "symmetries_continuous": [{"axis": axis.tolist(), "offset": [0.0, 0.0, 0.0]} for axis in self.axes],
        }

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
        along = ((relative @ axis) * axis).sum(-1)
        across = relative.diagonal(dim1=-2, dim2=-1).sum(-1) - along
        sideways = 2 * (so3.vee(relative) * axis).sum(-1)
        return turned @ so3.about_axis(axis, torch.atan2(sideways, across))

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
            raise SymmetryError(
                f"the discrete symmetries generate more than {_MAX_GROUP} rotations: no group of a solid"
            )
    return group
