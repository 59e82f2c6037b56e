"""A distribution on SO(3) as a picture: where a pointer on the object points, and the turn about it as a hue."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard import so3

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A pointer fixed to the object, oblique to every symmetry axis: two poses that differ never share a place and a hue.
_POINTER = so3.exp(torch.tensor([0.35, -0.62, 0.50], dtype=torch.float64))
_DOT, _DISC, _RING = 2.5, 75.0, 120.0  # areas of a sample, of the heaviest mode, of a true pose, points^2
_MANY = 60  # more true poses than this lie on curves
_KEY = (
    "place: where a pointer on the object points; hue: the turn about it\n"
    "discs: modes, as large as their weight; dots: samples"
)


def rotation_coordinates(rotations: Tensor) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Longitude, latitude of the object's pointer and the turn about it, all rad. (N, 3, 3) -> three (N,).

    R P = Rz(longitude) Ry(-latitude) Rx(turn): two angles place a point on the globe, the third is its hue.
    """
    r = _with_pointer(rotations)
    longitude = torch.atan2(r[:, 1, 0], r[:, 0, 0])
    latitude = torch.asin(r[:, 2, 0].clamp(-1, 1))
    turn = torch.atan2(r[:, 2, 1], r[:, 2, 2])
    return longitude.numpy(), latitude.numpy(), turn.numpy()


def pointed(rotations: Tensor) -> Tensor:
    """Where the object's pointer points. (N, 3, 3) -> (N, 3) unit vectors, in the axes that the rotations turn to."""
    return _with_pointer(rotations)[:, :, 0]


def _with_pointer(rotations: Tensor) -> Tensor:
    return rotations.double().cpu() @ _POINTER


def hues(turn: NDArray[Any]) -> NDArray[np.float64]:
    """Colours of angles (N,) rad, the same after a full turn. -> (N, 3) RGB in [0, 1].

    A circle in OKLab (Ottosson 2020) of nearly constant lightness, so that no angle stands out; half of it is a little
    lighter, so that opposite angles differ for the colour-blind too.
    """
    angle = np.asarray(turn, float)
    lightness = 0.68 + 0.1 * np.cos(angle - 2.0)
    a, b = 0.135 * np.cos(angle), 0.135 * np.sin(angle)
    lms = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        -1,
    )
    to_rgb = np.array([[4.0767416621, -3.3077115913, 0.2309699292], [-1.2684380046, 2.6097574011, -0.3413193965],
                       [-0.0041960863, -0.7034186147, 1.7076147010]])  # fmt: skip
    linear = np.clip(lms**3 @ to_rgb.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def plot_distribution(
    axes: Axes,
    rotations: Tensor,
    truth: Tensor | None = None,
    title: str = "",
    modes: Tensor | None = None,
    weights: Sequence[float] = (),
) -> None:
    """Rotations on a Mollweide map: where a pointer on the object points, hue for the turn about it.

    Args:
        axes: made with ``projection="mollweide"``.
        rotations: (N, 3, 3) samples, dots. truth: (M, 3, 3) all true rotations, rings in their hue.
        modes: (K, 3, 3) discs as large as their `weights` (K,), relative to the largest.
    """
    _dress(axes)
    if truth is not None:
        longitude, latitude, turn = rotation_coordinates(truth)
        size, line = _ring(len(truth))
        rings: dict[str, Any] = {"facecolors": "none", "s": size, "zorder": 1, "clip_on": False}
        axes.scatter(longitude, latitude, edgecolors="black", linewidths=line + 0.8, alpha=0.5, **rings)
        axes.scatter(longitude, latitude, edgecolors=list(map(tuple, hues(turn))), linewidths=line, **rings)
    if modes is not None:
        longitude, latitude, turn = rotation_coordinates(modes)
        sizes = _DISC * np.asarray(weights) / max(weights)
        axes.scatter(longitude, latitude, s=sizes, c=hues(turn), edgecolors="black", linewidths=0.6, alpha=0.85,
                     zorder=2, clip_on=False)  # fmt: skip
    longitude, latitude, turn = rotation_coordinates(rotations)
    dots = _DOT if modes is not None else 6 * _DOT
    axes.scatter(longitude, latitude, s=dots, c=hues(turn), edgecolors="black", linewidths=0.3, zorder=3,
                 clip_on=False)  # fmt: skip
    axes.set_title(title, fontsize=10)


def hue_bar(axes: Axes) -> None:
    """The key to `plot_distribution`'s colours, drawn into `axes`."""
    axes.imshow(hues(np.deg2rad(np.arange(360.0)))[None], aspect="auto", extent=(0, 360, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([0, 90, 180, 270, 360])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("turn about the pointer [degrees]", fontsize=8)


def _ring(count: int) -> tuple[float, float]:
    """Area in points^2 and line width in points of each of so many true poses."""
    return (_RING, 1.4) if count <= _MANY else (_RING / 3, 0.4)


def _dress(axes: Axes) -> None:
    """Graticule, with degrees along the equator and the left rim."""
    axes.grid(True, linewidth=0.3, alpha=0.6)
    axes.set_xticks(np.deg2rad([-120, -60, 0, 60, 120]))
    axes.set_yticks(np.deg2rad([-60, -30, 0, 30, 60]))
    axes.tick_params(labelsize=6, colors="0.45")


@dataclass(frozen=True)
class _Globe:
    """The parts of `distribution_image` that do not change: (H, W, 3) background, and from the globe to pixels."""

    background: NDArray[np.uint8]
    to_pixels: Any
    points: float  # pixels a point


@functools.lru_cache(maxsize=4)
def _globe(width: int, height: int, truth: bool) -> _Globe:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    dpi = 110 * min(width / 720, height / 480)
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.05, 0.24, 0.9, 0.68), projection="mollweide")
    _dress(axes)
    larger = max(1.0, min(1.3, 720 / width))  # what is small is read from as far away
    axes.tick_params(labelsize=6 * larger)
    bar = figure.add_axes((0.1, 0.175, 0.8, 0.025))
    hue_bar(bar)
    bar.tick_params(labelsize=7 * larger)
    bar.set_xlabel("turn about the pointer [degrees]", fontsize=7 * larger, labelpad=1)
    figure.text(0.5, 0.005, _KEY + ("; rings: true poses" if truth else ""), ha="center", fontsize=6.3 * larger,
                color="0.3", linespacing=1.15)  # fmt: skip
    canvas.draw()
    background = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    matrix = axes.transData

    def to_pixels(longitude: NDArray[Any], latitude: NDArray[Any]) -> NDArray[Any]:
        across, up = matrix.transform(np.stack([longitude, latitude], 1)).T
        return np.stack([across - 0.5, background.shape[0] - up - 0.5], 1)

    return _Globe(background, to_pixels, dpi / 72)


def distribution_image(
    rotations: Tensor,
    modes: Tensor,
    weights: Sequence[float],
    truth: Tensor | None = None,
    title: str = "",
    size: tuple[int, int] = (720, 480),
) -> NDArray[np.uint8]:
    """`plot_distribution` as an RGB image of (width, height), for video: all that stands still is drawn once.

    Args:
        rotations: (N, 3, 3) samples. modes: (K, 3, 3), weights: (K,). truth: (M, 3, 3) all true rotations.
    """
    globe = _globe(*size, truth is not None)
    image = globe.background.copy()
    if truth is not None:
        area, line = _ring(len(truth))
        _discs(image, globe, truth, [area] * len(truth), ring=line)
    _discs(image, globe, modes, [_DISC * weight / max(weights) for weight in weights])
    _discs(image, globe, rotations, [_DOT] * len(rotations))
    scale = 0.5 * globe.points / 1.5
    (wide, _), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    place = (max(2, (size[0] - wide) // 2), round(16 * globe.points / 1.5))
    cv2.putText(image, title, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), 1, cv2.LINE_AA)
    return image


def _discs(
    image: NDArray[np.uint8], globe: _Globe, rotations: Tensor, areas: Sequence[float], ring: float = 0.0
) -> None:
    """Discs of so many points^2, or rings of so many points, at rotations (N, 3, 3)."""
    longitude, latitude, turn = rotation_coordinates(rotations)
    fixed = np.round(globe.to_pixels(longitude, latitude) * 16).astype(int)
    colours = np.round(hues(turn) * 255).astype(int).tolist()
    for centre, area, colour in zip(fixed.tolist(), areas, colours, strict=True):
        radius = max(16, round(16 * math.sqrt(area / math.pi) * globe.points))
        if ring:
            wide = max(1, round(ring * globe.points))
            cv2.circle(image, centre, radius, (110, 110, 110), wide + 1, cv2.LINE_AA, 4)
            cv2.circle(image, centre, radius, colour, wide, cv2.LINE_AA, 4)
        else:
            cv2.circle(image, centre, radius + 8, (0, 0, 0), cv2.FILLED, cv2.LINE_AA, 4)
            cv2.circle(image, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, 4)
