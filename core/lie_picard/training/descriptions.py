"""What an image says about a shape that has no name: an auxiliary target that a new object's training can start from.

A shape's signature (`data.random_parts.signature`: harmonics of its normals, of where its surface lies and how far out)
turns with it, D(R) c, is the same for all poses that look alike, and is known for any mesh. To regress it on images of
thousands of parts teaches the encoder to see how things are turned whatever they are; the score head of a new object
compares such functions with those of its own shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lie_picard.data.random_parts import signature
from lie_picard.data.random_parts.signature import CHANNELS, DEGREE
from lie_picard.geometry.surface import Surface
from lie_picard.model.config import ModelConfig
from lie_picard.model.harmonics import BodyFrame
from lie_picard.objects import Catalogue


class Descriptions(nn.Module):
    """A linear reading of the image feature, before any object is asked for, and its squared error."""

    table: Tensor

    def __init__(self, config: ModelConfig, known: Catalogue) -> None:
        super().__init__()
        self.frame = BodyFrame(DEGREE)
        rows = []
        for name in (*config.objects, None):
            shape = known.find(name)
            if shape is None:
                rows.append(torch.full(((DEGREE + 1) ** 2, len(CHANNELS)), torch.nan))
            else:
                mesh = shape.mesh(2.0)
                rows.append(signature(Surface(mesh.vertices, mesh.triangles)))
        self.register_buffer("table", torch.stack(rows), persistent=False)
        self.read = nn.Linear(config.features, len(CHANNELS) * (DEGREE + 1) ** 2)

    def forward(self, features: Tensor, truth: Tensor, labels: Tensor, signatures: Tensor | None = None) -> Tensor:
        """Mean squared error over the images whose shape is known. (B, F), (B, 3, 3), (B,) -> ().

        Args:
            signatures: (B, 49, 4) of shapes that have no name, NaN of others.
        """
        found = self.table[labels]
        if signatures is not None:
            found = torch.where(labels[:, None, None] == len(self.table) - 1, signatures, found)
        there = found.isfinite().all(-1).all(-1)
        target = self.frame(self.frame.prepared(found.nan_to_num()), truth.mT).flatten(1)
        errors = (self.read(features) - target).square().mean(1)
        mean: Tensor = (errors * there).sum() / there.sum().clamp_min(1)
        return mean
