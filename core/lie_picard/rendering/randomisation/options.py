"""Domain randomisation: what varies, and how far."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

Range = tuple[float, float]


@dataclass(frozen=True)
class Randomisation:
    """Ranges from which every image draws its own world and camera. The defaults are "full randomisation".

    Attributes:
        distance: from the camera, in object radii (log-uniform: perspective). fill: share of the half image that the
            object's sphere covers (scale of the crop). shift: of the object's centre from the image's, at most, in
            half images. aspect: difference of the two focal lengths, at most, relative.
        lights: strength of the main light. ambient: of the light from everywhere. tinted: how far lights and materials
            may leave white, 0 to 1. gloss: highest strength of highlights.
        photographs: share of images with a photograph behind the object; the rest is plain or a gradient.
        clutter, occluder: probability of foreign bodies behind and in front. hidden: largest share of the object that
            an occluder may hide.
        exposure: log2 of the gain, at most. gamma: of the tone curve. colour: spread of the white balance, at most.
            grey: share of images that have lost their colour.
        blur: standard deviation in pixels of a 64-pixel image, at most. motion: length of a motion blur, likewise.
        noise: standard deviation at full scale, at most. jpeg: lowest quality; half the images are compressed.
    """

    distance: Range = (4.0, 20.0)
    fill: Range = (0.80, 1.0)
    shift: float = 0.08
    aspect: float = 0.02
    lights: Range = (0.3, 0.9)
    ambient: Range = (0.05, 0.45)
    tinted: float = 0.6
    gloss: float = 0.6
    photographs: float = 0.5
    clutter: float = 0.5
    occluder: float = 0.3
    hidden: float = 0.25
    exposure: float = 0.6
    gamma: Range = (0.7, 1.4)
    colour: float = 0.15
    grey: float = 0.15
    blur: float = 1.0
    motion: float = 3.0
    noise: float = 0.06
    jpeg: float = 40.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # as JSON and TOML give it
                value = tuple(value)
                object.__setattr__(self, field.name, value)
            if isinstance(value, tuple) != isinstance(field.default, tuple):
                wanted = "one number" if isinstance(value, tuple) else "a pair, [low, high]"
                raise ValueError(f"randomisation: {field.name} is {wanted}, got {value}")
            low, high = value if isinstance(value, tuple) else (0.0, value)
            if not 0 <= low <= high:
                raise ValueError(f"randomisation: {field.name} must be ordered and not negative, got {value}")
        if self.distance[0] <= 1:
            raise ValueError("randomisation: distance must exceed 1 radius, or the camera is inside the object")


class Rng:
    """Random numbers on a device, from a CPU generator."""

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self.device = device
        self.generator = generator
        if device.type != "cpu":
            seed = int(torch.randint(1 << 31, (1,), generator=generator))
            self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, *shape: int, between: Range = (0.0, 1.0)) -> Tensor:
        """Uniform numbers in a range."""
        low, high = between
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def happens(self, probability: float, *shape: int) -> Tensor:
        """True with that probability."""
        return self.uniform(*shape) < probability

    def integers(self, below: int, *shape: int) -> Tensor:
        """Uniform integers in [0, below)."""
        return torch.randint(below, shape, generator=self.generator, device=self.device)
