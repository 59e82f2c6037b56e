"""Image encoders: residual networks that keep their feature map's layout (flatten, not pool).

Pooling would throw away where things are, which is what a rotation is read from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lie_picard.model.config import ModelConfig

_STAGES = {
    # widths, blocks per stage, stride of the stem, channels kept before flattening (None: all)
    "slim": ((32, 64, 128, 256), (1, 1, 1, 1), 3, False, None),
    "resnet34": ((64, 128, 256, 512), (3, 4, 6, 3), 7, True, 128),
}


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation around a shortcut (He et al., 2016)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(residual + self.shortcut(x))


class Encoder(nn.Module):
    """Normalised images (B, C, S, S) -> features (B, F)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths, blocks, kernel, pool, kept = _STAGES[config.encoder]
        stem: list[nn.Module] = [
            nn.Conv2d(config.channels, widths[0], kernel, 2, kernel // 2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        if pool:
            stem.append(nn.MaxPool2d(3, 2, 1))
        self.stem = nn.Sequential(*stem)
        layers: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                layers.append(ResidualBlock(channels, width, 2 if stage and not block else 1))
                channels = width
        if kept is not None:
            layers += [nn.Conv2d(channels, kept, 1)]
            channels = kept
        self.stages = nn.Sequential(*layers)
        side = config.image_size // (32 if pool else 16)
        self.project = nn.Linear(channels * side * side, config.features)

    def forward(self, images: Tensor) -> Tensor:
        return self.project(self.stages(self.stem(images)).flatten(1))
