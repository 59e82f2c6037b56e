"""How far positions are from true ones: sideways and along the ray, which a camera sees unlike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.estimation.draws import Drawn
from lie_picard.estimation.places import centres, places_of_modes
from lie_picard.evaluation.metrics import confidence
from lie_picard.posterior.covariance import Calibration, to_camera
from lie_picard.posterior.hypotheses import find_modes
from lie_picard.rendering.buffers import ViewGeometry

Array = NDArray[np.float64]


def parted(position: Array, truth: Array) -> tuple[float, float]:
    """Error of a position (3,) in the camera's frame: its distance from the ray to the true one, and how much too far.

    Same unit as theirs. A position that is too far away on the right ray has no error sideways.
    """
    ray = truth / np.linalg.norm(truth)
    return float(np.linalg.norm(position - ray * (position @ ray))), float(np.linalg.norm(position)) - float(
        np.linalg.norm(truth)
    )


class Errors(NamedTuple):
    """Of the heaviest mode of M images.

    Attributes:
        sideways: (M,) percent of the object's diameter. along: (M,) percent of the range. confidence: (M,) the smallest
            whose region holds the true position.
    """

    sideways: Tensor
    along: Tensor
    confidence: Tensor

    @classmethod
    def of(cls, drawn: Drawn, view: ViewGeometry, calibration: Calibration) -> Errors | None:
        """Of B images that were taken so; None where the model tells no places."""
        if drawn.places is None:
            return None
        samples = drawn.along_ray.cpu().unflatten(0, (len(view), -1))
        modes = [find_modes(one, calibration=calibration)[0][0] for one in samples]
        rotations = torch.stack([mode.rotation for mode in modes])
        tangents = to_camera(rotations.double(), torch.stack([mode.covariance for mode in modes]).double())
        device = drawn.along_ray.device
        places = places_of_modes(drawn.places, rotations.to(device), torch.arange(len(view), device=device))
        covariance = places.joint(tangents, calibration)[:, :3, :3]
        inside = confidence(view.places().double() - places.mean, covariance, torch.zeros(len(view), 3))
        truth = view.translations.double()
        found = centres(places.mean, view.half_tangent.double())
        pairs = zip(found.numpy(), truth.numpy(), strict=True)
        sideways, along = torch.tensor([parted(*pair) for pair in pairs], dtype=torch.float64).T
        return cls(100 * sideways / 2, 100 * (along / truth.norm(dim=1)).abs(), inside)  # the diameter is 2 radii

    @classmethod
    def joined(cls, parts: list[Errors]) -> Errors:
        """Of all images of several."""
        return cls(*(torch.cat(one) for one in zip(*parts, strict=True)))

    def row(self) -> dict[str, Any]:
        """Median and 95% of the errors, share inside the 95% region."""
        found = {}
        for name, values in (("sideways", self.sideways), ("range", self.along)):
            found[f"{name}_median_percent"] = float(values.quantile(0.5))
            found[f"{name}_p95_percent"] = float(values.quantile(0.95))
        return found | {"position_inside_95": float((self.confidence <= 0.95).double().mean())}
