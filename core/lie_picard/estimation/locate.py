"""Where objects are in a whole image: proposals of the locator, best first.

Not yet poses, and not yet certain: `following` asks the pose model about each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lie_picard.geometry.camera import Region
from lie_picard.model.locator import STRIDE, Maps, StoredLocator
from lie_picard.model.runtimes import onnx
from lie_picard.model.score_model import ScoreModel

LEAST_SCORE = 0.15  # of a proposal that the pose model looks at
_SAME = 0.45  # intersection over union from which two proposals are one
_MULTIPLE = 32
_LOG_SIDE = 6.0  # of a region, in cells: no more
_GREY = 0.5  # of what is added to fill the network's image up


class Proposal(NamedTuple):
    """A place where an object may be.

    Attributes:
        name: of the object. score: 0 to 1. region: of its circumscribed sphere, pixels of the image.
    """

    name: str
    score: float
    region: Region


def overlap(one: Region, other: Region) -> float:
    """Intersection over union."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / (one.width * one.height + other.width * other.height - common)


class Finder:
    """A locator that is ready to run: by ONNX Runtime on a CPU where it is installed, else by torch."""

    def __init__(self, stored: StoredLocator, device: torch.device | str = "cpu") -> None:
        self.config, self._device = stored.config, torch.device(device)
        self._network = stored.built().to(self._device)
        self._session = None
        if self._device.type == "cpu" and onnx.available():
            with onnx.quiet():
                example = {"image": torch.zeros(1, 3, 64, 96)}
                # In evaluation mode itself: the exporter puts all of it back into the mode that the whole is in.
                graph = onnx.export(_Plain(self._network).eval(), example, {"image": {2: "height", 3: "width"}})
            self._session = onnx.session_of(graph, torch.get_num_threads())

    def __call__(
        self, image: NDArray[np.uint8], names: Sequence[str] | None = None, most: int = 8, least: float = LEAST_SCORE
    ) -> list[Proposal]:
        """Proposals in an image, best first.

        Args:
            image: (H, W, 3) RGB or (H, W) grey uint8, as the camera gives it.
            names: of the objects to look for; None: all; others than those that the locator knows are left out.
            most: of each. least: their score.
        """
        maps, scale = self._maps(image)
        kinds = [k for k, name in enumerate(self.config.objects) if names is None or name in names]
        found = [one for k in kinds for one in self._decoded(maps, k, scale, most, least)]
        return sorted(found, key=lambda one: -one.score)

    def _maps(self, image: NDArray[np.uint8]) -> tuple[Maps, float]:
        height, width = image.shape[:2]
        scale = self.config.side / max(height, width)
        small = max(1, round(width * scale)), max(1, round(height * scale))
        shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        if shrunk.ndim == 2:
            shrunk = cv2.cvtColor(shrunk, cv2.COLOR_GRAY2RGB)
        filled = np.full((*(-(-n // _MULTIPLE) * _MULTIPLE for n in small[::-1]), 3), round(_GREY * 255), np.uint8)
        filled[: small[1], : small[0]] = shrunk
        pixels = (torch.from_numpy(filled).permute(2, 0, 1)[None].float() / 127.5 - 1).contiguous()
        if self._session is not None:
            heat, box = (torch.from_numpy(one) for one in self._session.run(None, {"image": pixels.numpy()}))
        else:
            with torch.inference_mode():
                heat, box = (one.cpu() for one in self._network(pixels.to(self._device)))
        # Cells beside the image cannot hold a centre.
        rows, columns = (math.ceil(n / STRIDE) for n in small[::-1])
        return Maps(heat[..., :rows, :columns], box[..., :rows, :columns]), scale

    def _decoded(self, maps: Maps, kind: int, scale: float, most: int, least: float) -> list[Proposal]:
        heat = maps.heat[0, kind]
        peaks = _peaks(heat, 4 * most, least)
        found: list[Proposal] = []
        for row, column in peaks:
            dx, dy, log_side = (float(one) for one in maps.box[0, :, row, column])
            side = STRIDE * math.exp(min(log_side, _LOG_SIDE))
            x, y = (column + 0.5) * STRIDE + dx * side, (row + 0.5) * STRIDE + dy * side
            region = Region((x - side / 2) / scale, (y - side / 2) / scale, side / scale, side / scale)
            if all(overlap(region, one.region) < _SAME for one in found):
                score = float(heat[row, column].sigmoid())
                found.append(Proposal(self.config.objects[kind], score, region))
        return found[:most]


class Locates:
    """What finds objects in whole images by the locator of its model."""

    model: ScoreModel
    device: torch.device
    _finder: Finder | None = None

    @property
    def locates(self) -> frozenset[str]:
        """The objects that this model finds in whole images by itself."""
        return frozenset(() if self.model.locator is None else self.model.locator.config.objects)

    def locate(self, image: NDArray[np.uint8], names: Sequence[str] | None = None, most: int = 8) -> list[Proposal]:
        """Where objects may be in a whole image, best first (`locate.Finder`). Empty where the model has no locator.

        Args:
            image: (H, W, 3) RGB or (H, W) grey uint8. names: of the objects to look for; None: all that it finds.
            most: proposals of each.
        """
        if self.model.locator is None:
            return []
        try:
            return self._found(self.model.locator, image, names, most)
        except torch.OutOfMemoryError:
            if self.device.type == "cpu":
                raise
        self._to_cpu()
        return self._found(self.model.locator, image, names, most)

    def _found(
        self, locator: StoredLocator, image: NDArray[np.uint8], names: Sequence[str] | None, most: int
    ) -> list[Proposal]:
        if self._finder is None:
            self._finder = Finder(locator, self.device)
        return self._finder(image, names, most)

    def _to_cpu(self) -> None:
        """Compute on the CPU from now on."""
        raise NotImplementedError


def _peaks(heat: Tensor, most: int, least: float) -> list[tuple[int, int]]:
    """Cells that are the largest among their neighbours, and at least so likely; the largest first."""
    highest = F.max_pool2d(heat[None], 3, 1, 1)[0]
    rows, columns = ((heat == highest) & (heat > math.log(least / (1 - least)))).nonzero(as_tuple=True)
    order = heat[rows, columns].argsort(descending=True)[:most]
    return list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))


class _Plain(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.network(image)
        return maps.heat, maps.box
