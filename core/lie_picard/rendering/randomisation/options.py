"""Domain randomisation: what varies, and how far."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lie_picard.rendering.constants import uploaded

Range = tuple[float, float]


@dataclass(frozen=True)
class Randomisation:
    """Ranges from which every image draws its own world and camera. The defaults are "full randomisation".

    What comes after `jpeg` are shares of images, all 0 by default: then nothing is drawn for them, and images are those
    that published figures were measured on. `TEXTURED` has all of it.

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
        centred: near the image's centre and filling it, as `shift` and `fill` of the defaults are.
        prints: whose object carries pictures, text, patterns, labels, or another colour on each face.
        vivid: whose material has a saturated colour, or is nearly black. wear: scratched, dirty, worn at the edges.
        metal: that reflect their surroundings in their own colour. coat: in white, the more the flatter one looks;
            every light has its highlight.
        hands: with fingers, rods or cables in front, subject to `hidden` as well. shadows: cast on the object, beside
            an uneven light, and by the object on what lies behind.
        tables: with a picture or a pattern on a plane behind the object. small_sensor: noise as small sensors have it,
            correlated and coloured, fixed and by rows. sharpened: as phones do. balance: with a white balance that
            changes over the image. metered: whose exposure follows the mean brightness, as automatic cameras choose it.
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
    centred: float = 0.0
    prints: float = 0.0
    vivid: float = 0.0
    wear: float = 0.0
    metal: float = 0.0
    coat: float = 0.0
    hands: float = 0.0
    shadows: float = 0.0
    tables: float = 0.0
    small_sensor: float = 0.0
    sharpened: float = 0.0
    balance: float = 0.0
    metered: float = 0.0

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
            if field.name in SHARES and not high <= 1:
                raise ValueError(f"randomisation: {field.name} is a share between 0 and 1, got {value}")
        if self.distance[0] <= 1:
            raise ValueError("randomisation: distance must exceed 1 radius, or the camera is inside the object")

    @property
    def needs_pictures(self) -> bool:
        """Whether images need a bank of pictures (`pictures.Pictures`) beside photographs."""
        return max(self.prints, self.vivid, self.wear, self.metal, self.coat, self.tables) > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; shares that are 0 are left out, as they were before there were any."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in SHARES or value}


# Fields that are a share of images and came later: 0 draws nothing.
SHARES = ("centred", "prints", "vivid", "wear", "metal", "coat", "hands", "shadows", "tables", "small_sensor",
          "sharpened", "balance", "metered")  # fmt: skip
# Boxes that are off by up to a fifth of their side, and in size.
OFF_CENTRE = Randomisation(distance=(3.0, 20.0), fill=(0.6, 1.05), shift=0.4, centred=0.5)
# The world as users have it: such boxes, surfaces with prints and wear, hands.
TEXTURED = dataclasses.replace(
    OFF_CENTRE, lights=(0.4, 1.1), ambient=(0.15, 0.5), tinted=0.4, occluder=0.25, exposure=0.35, gamma=(0.55, 1.3),
    grey=0.1, noise=0.04, prints=0.5, vivid=0.4, wear=0.12, metal=0.08, coat=0.2, hands=0.25, shadows=0.4, tables=0.3,
    small_sensor=0.3, sharpened=0.3, balance=0.25, metered=0.8,
)  # fmt: skip


class Rng:
    """Random numbers on a device, from a CPU generator."""

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self.device = device
        self.generator = self._host = generator
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

    def some(self, share: float | Tensor, count: int) -> Tensor:
        """Indices of each of `count` with that probability: (n,) int64, in order; a share of 0 draws nothing.

        The probability may be one for all, or (count,) on the CPU.

        Chosen on the CPU: how many there are must not be read back from a GPU.
        """
        if isinstance(share, float) and share <= 0:
            return torch.zeros(0, dtype=torch.int64, device=self.device)
        chosen = (torch.rand(count, generator=self._host) < share).nonzero()[:, 0]
        return uploaded(chosen, self.device)
