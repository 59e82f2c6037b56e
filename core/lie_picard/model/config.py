"""The configuration that names a score model; it travels inside every checkpoint."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

HEADS = ("equivariant", "fourier")
ENCODERS = ("slim", "resnet34")
# More than any model has; a file from elsewhere can promise more than fits into memory.
_MOST = {"image_size": 4096, "features": 1 << 16, "width": 1 << 14, "depth": 256, "degree": 40, "copies": 1024}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that is needed to rebuild a `ScoreModel` and to feed it.

    Attributes:
        encoder: "slim" (one residual block a stage) or "resnet34" (the paper's).
        head: "equivariant" (learns in minutes) or "fourier" (the paper's MLP).
        image_size: side of the square input in pixels, a multiple of 32.
        channels: 1 (grey) or 3 (RGB).
        features: length of the image feature.
        width, depth: of the head's residual MLP.
        degree, copies: highest spherical-harmonic degree and the number of coefficient sets (equivariant head).
        distance, fill: the virtual camera of the training images (`rendering.clean.Crop`).
        sigma_max, sigma_min: noise range of the training, radians.
        objects: names of the objects in the training data.
        named: whether one of them can be asked for by name, and the model says which of them an image shows, or none.
        position: whether the model tells where the object is (`position.PositionHead`). Its rotations are then those
            seen along the ray to the object's centre: R = turn_z_to(centre) R_model. Without, R = R_model.
        flow_map: whether the model has a flow map beside its score (`flow_map.FlowMap`): samples in few evaluations.
    """

    encoder: str = "slim"
    head: str = "equivariant"
    image_size: int = 64
    channels: int = 1
    features: int = 512
    width: int = 256
    depth: int = 3
    degree: int = 6
    copies: int = 8
    distance: float = 10.0
    fill: float = 0.9
    sigma_max: float = 2.0
    sigma_min: float = 0.01
    objects: tuple[str, ...] = field(default=())
    named: bool = False
    position: bool = False
    flow_map: bool = False

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ValueError(f"unknown head '{self.head}': choose from {', '.join(HEADS)}")
        if self.encoder not in ENCODERS:
            raise ValueError(f"unknown encoder '{self.encoder}': choose from {', '.join(ENCODERS)}")
        for name, most in _MOST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
                raise ValueError(f"{name} must be a whole number up to {most}, got {str(value)[:40]}")
        for name in ("distance", "fill", "sigma_max", "sigma_min"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number above 0, got {getattr(self, name)}")
        if self.image_size < 32 or self.image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32, got {self.image_size}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels}")
        if isinstance(self.objects, str):
            raise ValueError(f"objects must be a list of names, got '{self.objects}'")
        object.__setattr__(self, "objects", tuple(self.objects))
        if not all(isinstance(one, str) for one in self.objects):
            raise ValueError("objects must be names")
        if len(set(self.objects)) < len(self.objects):
            raise ValueError(f"objects must be distinct, got {', '.join(self.objects)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"objects": list(self.objects)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`.

        Raises:
            ValueError: a key is unknown (a checkpoint of a newer version) or a value is out of range.
        """
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"unknown model settings {sorted(unknown)}: update lie_picard to read this checkpoint")
        return cls(**values)
