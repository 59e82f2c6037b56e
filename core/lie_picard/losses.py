"""The losses of a training step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class Losses(Mapping[str, float]):
    """A step's losses by name, read from the device when they are asked for.

    To read waits until the device has come that far: at every step, a GPU would idle while the next batch is prepared.
    """

    def __init__(self, losses: Mapping[str, Tensor]) -> None:
        self._names = tuple(losses)
        self._tensor = torch.stack([loss.detach() for loss in losses.values()])
        self._values: dict[str, float] | None = None

    def __getitem__(self, name: str) -> float:
        if self._values is None:
            self._values = dict(zip(self._names, self._tensor.tolist(), strict=True))
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def finite(losses: Mapping[str, float]) -> dict[str, float]:
    """The losses, read from the device.

    Raises:
        ValueError: one is not finite: so are the weights, and they must not replace those that were saved.
    """
    if not all(map(math.isfinite, losses.values())):
        raise ValueError(f"the losses are not finite ({dict(losses)}): lower training.learning_rate and resume")
    return dict(losses)
