"""The locator: a small convolutional network that says where in a whole image each object is, and how large.

A heat map for each object, whose peaks are centres of the objects' circumscribed spheres, and for all of them the
offset of the centre and the size there (Zhou et al., "Objects as points", 2019). Its answers are proposals: whether
an object is there, the pose model decides.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lie_picard.model.encoders import ResidualBlock
from lie_picard.model.mobile import MobileFeatures

STRIDE = 8  # pixels of the input a cell of the maps
_MULTIPLE = 32  # of which the input's sides must be
_PLAIN = (16, 32, 64, 96, 128)  # widths at strides 2 to 32
_KEPT = 64
_UNLIKELY = -4.6  # logit of 1%: what a heat map says before it has learned anything


@dataclass(frozen=True)
class LocatorConfig:
    """Everything that is needed to rebuild a `Locator`.

    Attributes:
        objects: names, one heat map each. side: longer side of the images it is shown, pixels, a multiple of 32.
        sizes: least and largest side of an object's region that it was trained on, pixels of these images.
        features: "mobile", or "plain", which is smaller and begins at random weights.
    """

    objects: tuple[str, ...]
    side: int = 320
    sizes: tuple[float, float] = (20.0, 200.0)
    features: str = "mobile"

    def __post_init__(self) -> None:
        object.__setattr__(self, "objects", tuple(self.objects))
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if not self.objects or not all(isinstance(name, str) for name in self.objects):
            raise ValueError("a locator needs names of objects")
        if not isinstance(self.side, int) or not _MULTIPLE <= self.side <= 4096 or self.side % _MULTIPLE:
            raise ValueError(f"side must be a multiple of {_MULTIPLE} pixels up to 4096, got {str(self.side)[:40]}")
        if len(self.sizes) != 2 or not 0 < self.sizes[0] < self.sizes[1]:
            raise ValueError(f"sizes must be two numbers of pixels in order, got {str(self.sizes)[:60]}")
        if self.features not in FEATURES:
            raise ValueError(f"features must be one of {', '.join(FEATURES)}, got {str(self.features)[:40]}")


class Maps(NamedTuple):
    """What the network says of B images, in cells of `STRIDE` pixels.

    Attributes:
        heat: (B, K, h, w) logits that an object's centre is in the cell.
        box: (B, 3, h, w) offset (x, y) of the centre from the cell's middle, in sides of the region, and log of the
            side in cells.
    """

    heat: Tensor
    box: Tensor


class PlainFeatures(nn.Module):
    """(B, 3, H, W) images -> features at strides 8, 16 and 32."""

    widths = _PLAIN[2:]

    def __init__(self) -> None:
        super().__init__()
        a, b, *_ = _PLAIN
        self.stem = nn.Sequential(
            nn.Conv2d(3, a, 3, 2, 1, bias=False), nn.BatchNorm2d(a), nn.ReLU(),
            nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), ResidualBlock(b, b, 1),
        )  # fmt: skip
        self.down = nn.ModuleList(ResidualBlock(i, o, 2) for i, o in itertools.pairwise(_PLAIN[1:]))
        self.deep = ResidualBlock(_PLAIN[-1], _PLAIN[-1], 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, levels = self.stem(images), []
        for block in self.down:
            x = block(x)
            levels.append(x)
        levels[-1] = self.deep(levels[-1])
        return levels


FEATURES: dict[str, Callable[[], nn.Module]] = {"mobile": MobileFeatures, "plain": PlainFeatures}


class Locator(nn.Module):
    """(B, 3, H, W) images in [-1, 1], H and W multiples of 32 -> `Maps`."""

    def __init__(self, config: LocatorConfig) -> None:
        super().__init__()
        self.config = config
        self.features = FEATURES[config.features]()
        self.lateral = nn.ModuleList(nn.Conv2d(width, _KEPT, 1) for width in self.features.widths)  # type: ignore[union-attr]
        self.smooth = nn.Sequential(ResidualBlock(_KEPT, _KEPT, 1), ResidualBlock(_KEPT, _KEPT, 1))
        self.look = nn.Sequential(
            nn.Conv2d(_KEPT, _KEPT, 3, 1, 1, bias=False), nn.BatchNorm2d(_KEPT), nn.ReLU(inplace=True)
        )  # what an object is, which its place and size do not ask for
        self.heat = nn.Conv2d(_KEPT, len(config.objects), 1)
        self.box = nn.Conv2d(_KEPT, 3, 1)
        nn.init.constant_(self.heat.bias, _UNLIKELY)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Maps:
        levels = self.features(images)
        merged = self.lateral[-1](levels[-1])
        for level, lateral in zip(levels[-2::-1], list(self.lateral)[-2::-1], strict=True):
            merged = lateral(level) + F.interpolate(merged, scale_factor=2.0, mode="nearest")
        merged = self.smooth(merged)
        return Maps(self.heat(self.look(merged)).float(), self.box(merged).float())

    def begin(self, stored: StoredLocator) -> None:
        """Take over the weights of another one; what is known of objects by name, of those of the same name.

        A new object begins at the mean of those that are there: what they have in common is to be an object at all.
        """
        theirs, mine = dict(stored.tensors), self.state_dict()
        for name in ("heat.weight", "heat.bias"):
            known = theirs[name]
            rows = known.mean(0, keepdim=True).repeat(len(self.config.objects), *[1] * (known.dim() - 1))
            for row, one in enumerate(self.config.objects):
                if one in stored.config.objects:
                    rows[row] = known[stored.config.objects.index(one)]
            theirs[name] = rows
        taken = {name: value for name, value in theirs.items() if name in mine and value.shape == mine[name].shape}
        self.load_state_dict(mine | taken)


@dataclass(frozen=True, eq=False)
class StoredLocator:
    """A locator as checkpoints carry it: configuration and weights. Most of what uses a model never builds it."""

    config: LocatorConfig
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, locator: Locator) -> StoredLocator:
        """A network's."""
        return cls(locator.config, {name: one.detach().cpu().clone() for name, one in locator.state_dict().items()})

    @classmethod
    def read(cls, text: str, tensors: dict[str, Tensor]) -> StoredLocator:
        """Inverse of `described` and `tensors`.

        Raises:
            ValueError: it cannot be one; the message says why.
        """
        try:
            values = json.loads(text)
            found = cls(LocatorConfig(**values), tensors)
            with torch.device("meta"):  # sizes alone: a damaged file must not ask for memory
                expected = Locator(found.config).state_dict()
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(str(error)) from error
        shapes = {name: tuple(one.shape) for name, one in tensors.items()}
        if wrong := [name for name, one in expected.items() if shapes.get(name) != tuple(one.shape)]:
            raise ValueError(f"its locator's {wrong[0]} is missing or of another size")
        if not all(bool(one.isfinite().all()) for one in tensors.values() if one.is_floating_point()):
            raise ValueError("its locator holds non-finite weights")
        return found

    @property
    def described(self) -> str:
        """The configuration as JSON."""
        values: dict[str, Any] = asdict(self.config)
        return json.dumps(values)

    def built(self) -> Locator:
        """The network, in evaluation mode."""
        locator = Locator(self.config)
        locator.load_state_dict(self.tensors)
        return locator.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload, no-any-return]
