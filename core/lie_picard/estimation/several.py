"""Several checkpoints as one estimator: each object is asked of the model that was trained on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.estimation.locate import Proposal
from lie_picard.files import expanded, file_version
from lie_picard.model.checkpoint import CheckpointError, resolve
from lie_picard.posterior.hypotheses import Hypotheses
from lie_picard.sampling import SamplerOptions, WarmStart


def checkpoints(text: str) -> tuple[str, ...]:
    """The files that a text names: one, or several with commas between them."""
    if expanded(text).is_file():  # whose name may hold a comma
        return (text,)
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip())) or (text,)


Versions = tuple[tuple[str, tuple[int, int]], ...]  # of checkpoints: file, and `file_version`


def versions_of(text: str) -> Versions:
    """The `checkpoints` of a text with their files' versions, to tell whether anything has changed."""
    return tuple((one, file_version(resolve(one))) for one in checkpoints(text))


def estimator_of(text: str, device: str = "auto") -> AnyEstimator:
    """The estimator of the `checkpoints` that a text names.

    Raises:
        CheckpointError, ValueError: one line with the remedy.
    """
    files = checkpoints(text)
    parts = [PoseEstimator.from_checkpoint(file, device) for file in files]
    return parts[0] if len(parts) == 1 else SeveralEstimators(parts, files)


class SeveralEstimators:
    """What `PoseEstimator` is to the node, of several models; an object that none knows is looked for by the first.

    Attributes:
        config: the first model's, with the objects of all. catalogue: of all. device: the first one's.
    """

    def __init__(self, parts: Sequence[PoseEstimator], names: Sequence[str]) -> None:
        """Args:
        names: of the checkpoints, for messages.

        Raises:
            CheckpointError: two of them know an object of the same name, or look at images of other kinds.
        """
        self._parts = list(parts)
        self._of: dict[str, int] = {}
        first = parts[0].config
        for index, part in enumerate(parts):
            for key in ("image_size", "fill", "distance"):
                if getattr(part.config, key) != getattr(first, key):
                    raise CheckpointError(
                        f"checkpoints {names[0]} and {names[index]} cannot be used together: their {key} is "
                        f"{getattr(first, key)} and {getattr(part.config, key)}; train both by the same recipe"
                    )
            for name in part.config.objects:
                if name in self._of:
                    raise CheckpointError(
                        f"checkpoints {names[self._of[name]]} and {names[index]} both know '{name}': give one of them"
                    )
                self._of[name] = index
        maps = all(part.config.flow_map for part in parts)
        self.config = dataclasses.replace(first, objects=tuple(self._of), flow_map=maps)
        self.catalogue = parts[0].catalogue
        for part in parts[1:]:
            self.catalogue = self.catalogue.joined(part.catalogue)
        self._warm: WeakKeyDictionary[WarmStart, list[WarmStart]] = WeakKeyDictionary()

    @property
    def device(self) -> torch.device:
        return self._parts[0].device

    @property
    def runtime(self) -> str:
        """How the models are run."""
        return ", ".join(dict.fromkeys(part.runtime for part in self._parts))

    @property
    def reduced(self) -> str:
        """What was given up because a device's memory ran out; empty: nothing."""
        return "; ".join(dict.fromkeys(part.reduced for part in self._parts if part.reduced))

    @property
    def locates(self) -> frozenset[str]:
        """As `PoseEstimator.locates`."""
        return frozenset(name for part in self._parts for name in part.locates)

    def locate(self, image: NDArray[np.uint8], names: Sequence[str] | None = None, most: int = 8) -> list[Proposal]:
        """As `PoseEstimator.locate`, of all models that know one of the objects."""
        found = []
        for part in self._parts:
            if names is None or part.locates.intersection(names):
                found += part.locate(image, names, most)
        return sorted(found, key=lambda one: -one.score)

    def estimate_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        samples: int = 32,
        seed: int | None = None,
        options: SamplerOptions | None = None,
        warm: WarmStart | None = None,
        names: Sequence[str | None] | None = None,
        half_tangent: Tensor | None = None,
    ) -> list[Hypotheses]:
        """As `PoseEstimator.estimate_batch`, the images of each model in one pass."""
        names = [None] * len(images) if names is None else list(names)
        owner = [self._of.get(name, 0) if name is not None else 0 for name in names]
        warms = None if warm is None else self._warm.setdefault(warm, [WarmStart() for _ in self._parts])
        results: list[Hypotheses | None] = [None] * len(images)
        for index, part in enumerate(self._parts):
            mine = [k for k, one in enumerate(owner) if one == index]
            if not mine:
                continue
            found = part.estimate_batch(
                [images[k] for k in mine], samples, seed, options, None if warms is None else warms[index],
                [names[k] for k in mine], None if half_tangent is None else half_tangent[mine],
            )  # fmt: skip
            for k, one in zip(mine, found, strict=True):
                results[k] = one
        return [one for one in results if one is not None]


AnyEstimator = PoseEstimator | SeveralEstimators
