"""Parts at hand for a training: made when a batch first asks for them, replaced little by little."""

from __future__ import annotations

import threading
from typing import NamedTuple

import torch
from torch import Tensor

from lie_picard.data.random_parts.parts import random_part
from lie_picard.data.random_parts.signature import signature
from lie_picard.objects.mesh_object import MeshObject


class BankPart(NamedTuple):
    """A part to render, and its `signature` (49, 4)."""

    part: MeshObject
    signature: Tensor


class PartBank:
    """A window of parts that moves over their endless list.

    Batch k of n parts shows some of numbers in ``[k n // every, k n // every + size)``: which ones depends on the
    batch's generator, k and n alone, so that a training that is resumed, or shared by processes, sees the same. Only
    parts that a batch asks for are made, and kept while they are in the window. Threads may share a bank.
    """

    def __init__(self, seed: int, size: int = 512, every: int = 84, split: str = "train") -> None:
        """Args:
            seed: the user's. size: parts in the window. every: parts that are shown until it moves on by one.
            split: train or test (`random_part`).

        Raises:
            ValueError: one of the two numbers is below 1.
        """
        if size < 1 or every < 1:
            raise ValueError(f"a bank of {size} parts, one new every {every} that are shown: give at least 1 of each")
        self.seed, self.size, self.every, self.split = seed, size, every, split
        self._kept: dict[int, BankPart] = {}
        self._lock = threading.Lock()

    def drawn(self, generator: torch.Generator, batch: int, count: int) -> list[BankPart]:
        """Different parts for a batch.

        Args:
            generator: of the batch's random numbers, on the CPU. batch: its number. count: of parts.

        Raises:
            ValueError: more parts are asked for than the window has. PartsError: parts cannot be made.
        """
        if not 0 <= count <= self.size:
            raise ValueError(f"{count} parts of a bank of {self.size}: ask for fewer, or make the bank larger")
        first = batch * count // self.every
        chosen = torch.randperm(self.size, generator=generator)[:count].tolist()
        # A part keeps its number while the window moves: place p holds the number that is p modulo the size.
        return [self._part(first + (place - first) % self.size, first) for place in chosen]

    def _part(self, index: int, first: int) -> BankPart:
        with self._lock:
            found = self._kept.get(index)
        if found is None:
            part = random_part(index, self.seed, self.split)
            found = BankPart(part, signature(part.surface))
            with self._lock:
                found = self._kept.setdefault(index, found)
                for old in [k for k in self._kept if not first <= k < first + self.size]:
                    del self._kept[old]
        return found
