"""Asking for one object by name, and telling whether an image shows it."""

from __future__ import annotations

from torch import Tensor, nn


class Recognition(nn.Module):
    """What a model knows of its K objects by name; index K stands for "any of them" and for "none of them".

    A bare and a marked solid look the same while the marker is hidden, and yet their poses differ: the head must know
    which is asked for.
    """

    def __init__(self, features: int, objects: int) -> None:
        super().__init__()
        self.unnamed = objects
        self.classify = nn.Linear(features, objects + 1)
        self.gain = nn.Embedding(objects + 1, features)
        self.shift = nn.Embedding(objects + 1, features)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.shift.weight)

    def asked(self, features: Tensor, objects: Tensor) -> Tensor:
        """Features (B, F) for the head when objects (B,) are asked for. -> (B, F)."""
        return features * (1 + self.gain(objects)) + self.shift(objects)
