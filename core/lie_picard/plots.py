"""Pictures: a distribution on SO(3), and hypotheses drawn into a camera image."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard import so3
from lie_picard.camera import Camera

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def colour_of(index: int) -> tuple[int, int, int]:
    """A distinct bright RGB colour for the index-th object."""
    red, green, blue = colorsys.hsv_to_rgb((0.08 + index * 0.381966) % 1.0, 0.65, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_outline(
    image: NDArray[np.uint8],
    camera: Camera,
    segments: Tensor,
    rotation: NDArray[np.float64],
    position: NDArray[np.float64],
    colour: tuple[int, int, int],
    opacity: float = 1.0,
    thickness: int = 1,
) -> None:
    """Draw an object's edges at a pose into an RGB image, in place.

    Args:
        segments: (E, 2, 3) edges in the object frame, metres.
        rotation, position: camera_from_object, metres.
    """
    points = segments.reshape(-1, 3).double().numpy() @ rotation.T + position
    if (points[:, 2] <= 0.01).any():
        return
    layer = image.copy()
    pixels = np.round(camera.project(points) * 16).astype(np.int32).reshape(-1, 2, 2)
    for start, end in pixels:
        cv2.line(layer, start.tolist(), end.tolist(), colour, thickness, cv2.LINE_AA, shift=4)
    cv2.addWeighted(layer, opacity, image, 1 - opacity, 0, dst=image)


# A pointer fixed to the object, oblique to every symmetry axis: two poses that differ never share a place and a hue.
_POINTER = so3.exp(torch.tensor([0.35, -0.62, 0.50], dtype=torch.float64))


def rotation_coordinates(rotations: Tensor) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Longitude, latitude of the object's pointer and the turn about it, all rad. (N, 3, 3) -> three (N,).

    R P = Rz(longitude) Ry(-latitude) Rx(turn): two angles place a point on the globe, the third is its hue.
    """
    r = rotations.double() @ _POINTER
    longitude = torch.atan2(r[:, 1, 0], r[:, 0, 0])
    latitude = torch.asin(r[:, 2, 0].clamp(-1, 1))
    turn = torch.atan2(r[:, 2, 1], r[:, 2, 2])
    return longitude.numpy(), latitude.numpy(), turn.numpy()


def plot_distribution(
    axes: Axes,
    rotations: Tensor,
    weights: Sequence[float] | None = None,
    truth: Tensor | None = None,
    title: str = "",
) -> None:
    """Rotations on a Mollweide map: where a pointer on the object points, hue for the turn about it, size for weight.

    Args:
        axes: made with ``projection="mollweide"``.
        rotations: (N, 3, 3). truth: (M, 3, 3) all true rotations, drawn as rings in their hue.
    """
    from matplotlib import colormaps

    hues = colormaps["hsv"]
    if truth is not None:
        longitude, latitude, turn = rotation_coordinates(truth)
        size, line = (80.0, 1.2) if len(truth) <= 60 else (40.0, 0.4)
        colours = hues((turn / (2 * math.pi)) % 1.0)
        rings: dict[str, Any] = {"facecolors": "none", "edgecolors": colours, "linewidths": line}
        axes.scatter(longitude, latitude, s=size, zorder=1, **rings)
    longitude, latitude, turn = rotation_coordinates(rotations)
    share = np.full(len(rotations), 1.0) if weights is None else np.asarray(weights) / max(weights)
    axes.scatter(
        longitude, latitude, s=4 + 26 * share, c=hues((turn / (2 * math.pi)) % 1.0), edgecolors="black",
        linewidths=0.4, zorder=2,
    )  # fmt: skip
    axes.grid(True, linewidth=0.3, alpha=0.6)
    axes.set_xticklabels([])
    axes.set_yticklabels([])
    axes.set_title(title, fontsize=10)


def hue_bar(axes: Axes) -> None:
    """The key to `plot_distribution`'s colours, drawn into `axes`."""
    axes.imshow(np.linspace(0, 1, 360)[None], aspect="auto", cmap="hsv", extent=(0, 360, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([0, 90, 180, 270, 360])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("turn about the pointer [degrees]", fontsize=8)
