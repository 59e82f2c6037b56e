"""What is around the object: photographs and gradients behind it, foreign bodies beside and before it."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lie_picard.rendering.randomisation.options import Randomisation, Rng

# Of scikit-image's wheel; what is tested or measured never shows a photograph that was trained on.
_PHOTOGRAPHS = {
    "train": ("astronaut.png", "brick.png", "chelsea.png", "clock_motion.png", "coffee.png", "color.png", "grass.png",
              "hubble_deep_field.jpg", "ihc.png", "rocket.jpg", "text.png"),
    "test": ("camera.png", "coins.png", "gravel.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg"),
}  # fmt: skip
_CROPS = 1024


class PhotographsError(ValueError):
    """The package that ships the photographs is not installed."""


def photograph_crops(split: str, size: int, generator: torch.Generator, count: int = _CROPS) -> Tensor:
    """Random square crops of the split's photographs, as many of each. -> (count, 3, size, size) uint8 RGB.

    Raises:
        PhotographsError: scikit-image is not installed.
    """
    try:
        import skimage
    except ImportError as error:
        raise PhotographsError("background photographs need scikit-image: pip install scikit-image") from error
    rng = Rng(generator, torch.device("cpu"))
    pictures = []
    for name in _PHOTOGRAPHS[split]:
        try:  # not by OpenCV, which complains of one picture's profile on the terminal
            with Image.open(Path(skimage.__file__).parent / "data" / name) as opened:
                pictures.append(np.asarray(opened.convert("RGB")))
        except OSError as error:
            raise PhotographsError(f"scikit-image brought no {name}: install scikit-image 0.26") from error
    crops = []
    for k in range(count):
        picture = pictures[k % len(pictures)]
        shorter = min(picture.shape[:2])
        # From a detail of the model's size to the whole picture.
        side = round(shorter * (min(size, shorter) / shorter) ** float(rng.uniform(1)))
        top, left = (int(rng.integers(n - side + 1, 1)) for n in picture.shape[:2])
        crop = cv2.resize(picture[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
        crops.append(np.rot90(crop, int(rng.integers(4, 1))))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def photograph_of(split: str, width: int, height: int, generator: torch.Generator) -> NDArray[np.float32]:
    """A random part of one of the split's photographs, which one is random too. -> (height, width, 3) RGB in [0, 1]."""
    crops = photograph_crops(split, max(width, height), generator, len(_PHOTOGRAPHS[split]))
    chosen = crops[int(torch.randint(len(crops), (1,), generator=generator))]
    return np.ascontiguousarray(chosen.permute(1, 2, 0).numpy()[:height, :width].astype(np.float32) / 255)


def backdrop(count: int, crops: Tensor, options: Randomisation, rng: Rng) -> Tensor:
    """Photographs, gradients and plain darkness. -> (count, 3, S, S) in [0, 1]."""
    size = crops.shape[-1]
    photograph = crops[rng.integers(len(crops), count)].float() / 255
    photograph = photograph * rng.uniform(count, 3, 1, 1, between=(0.6, 1.1))
    # Two to four random colours a side, of random contrast around a random brightness.
    spread = rng.uniform(count, 1, 1, 1, between=(0, 0.4)) * (rng.uniform(count, 3, 3, 3) - 0.5)
    brightness = rng.uniform(count, 3, 1, 1) * rng.uniform(count, 1, 1, 1)
    gradient = F.interpolate(brightness + spread, size=(size, size), mode="bilinear", align_corners=True)
    chosen = rng.happens(options.photographs, count)[:, None, None, None]
    return torch.where(chosen, photograph, gradient).clamp(0, 1)


def lay_tables(scene: Tensor, pictures: Tensor, chosen: Tensor, rng: Rng) -> Tensor:
    """Chosen (k,) of scenes (B, 3, S, S) with a printed or patterned plane behind, in perspective, up to a horizon.

    Args:
        pictures: (N, T, T, 3) uint8, repeated over the plane.
    """
    count, size = len(chosen), scene.shape[-1]
    if not count:
        return scene
    offsets = (torch.arange(size, device=rng.device) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    tilt = rng.uniform(count, 2, 1, 1, between=(-0.65, 0.65))
    near = (1 + tilt[:, 0] * x + tilt[:, 1] * y).clamp_min(0.15)
    angle = rng.uniform(count, 1, 1, between=(0.0, 2 * math.pi))
    scale = rng.uniform(count, 1, 1, between=(0.35, 1.3)) / near
    u = (angle.cos() * x + angle.sin() * y) * scale + rng.uniform(count, 1, 1)
    v = (angle.cos() * y - angle.sin() * x) * scale + rng.uniform(count, 1, 1)
    grid = torch.stack([u - u.floor(), v - v.floor()], -1) * 2 - 1
    shown = pictures[rng.integers(len(pictures), count)].permute(0, 3, 1, 2).float() / 255
    plane = F.grid_sample(shown, grid, padding_mode="border", align_corners=False)
    plane = plane * rng.uniform(count, 1, 1, 1, between=(0.4, 1.0))
    horizon = torch.where(rng.happens(0.5, count), rng.uniform(count, between=(-1.0, 0.3)), -9.0)[:, None, None]
    below = (y + rng.uniform(count, 1, 1, between=(-0.3, 0.3)) * x > horizon)[:, None]
    return scene.index_copy(0, chosen, torch.where(below, plane, scene[chosen]))


def scatter(bodies: Tensor, count: int, options: Randomisation, rng: Rng) -> tuple[Tensor, Tensor]:
    """Foreign bodies, (K, 4, S, S) premultiplied RGBA, moved to the side of each of `count` images.

    -> clutter and occluders, both (count, 4, S, S); images that get none have alpha 0.
    """
    layers = []
    kinds = (options.clutter, (0.5, 1.1), (0.4, 1.0)), (options.occluder, (0.5, 1.0), (0.2, 0.6))
    for probability, near, size in kinds:
        angle = rng.uniform(count, between=(0.0, 2 * math.pi))
        away = rng.uniform(count, between=near)
        scale = rng.uniform(count, between=size)
        theta = torch.zeros(count, 2, 3, device=bodies.device)
        theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
        theta[:, 0, 2], theta[:, 1, 2] = -angle.cos() * away / scale, -angle.sin() * away / scale
        chosen = bodies[rng.integers(len(bodies), count)]
        grid = F.affine_grid(theta, list(chosen.shape), align_corners=False)
        layer = F.grid_sample(chosen, grid, align_corners=False)
        layers.append(layer * rng.happens(probability, count)[:, None, None, None])
    return layers[0], layers[1]


def over(front: Tensor, back: Tensor) -> Tensor:
    """Premultiplied RGBA (B, 4, ...) in front of RGB (B, 3, ...) -> RGB."""
    return front[:, :3] + (1 - front[:, 3:]) * back
