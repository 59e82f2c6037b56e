"""Muon beside AdamW: the momentum of a matrix orthogonalised, so that all of its directions learn at one rate.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. Convolutions count as matrices of their
output channels; vectors, embeddings and single rows go by AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration towards singular values about 1
_STEPS = 5
_LONG = 3  # times as long as wide
_MATCH = 0.2  # root mean square of an update, as AdamW's (Liu et al., "Muon is scalable", 2025)


class Muon(torch.optim.Optimizer):
    """One optimiser for all parameters, with AdamW's learning rate and weight decay."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(list(parameters), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                if parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= 16:
                    if not state:
                        state["momentum"] = torch.zeros_like(parameter)
                    momentum = state["momentum"]
                    momentum.lerp_(parameter.grad, 0.05)
                    update = orthogonal(parameter.grad.lerp(momentum, 0.95).flatten(1))
                    scale = _MATCH * math.sqrt(max(update.shape))
                    parameter.add_(update.view_as(parameter), alpha=-group["lr"] * scale)
                    continue
                if not state:
                    state["step"] = torch.zeros(())
                    state["first"], state["second"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["step"] += 1
                step = float(state["step"])
                state["first"].lerp_(parameter.grad, 0.1)
                state["second"].lerp_(parameter.grad.square(), 0.001)
                second = (state["second"] / (1 - 0.999**step)).sqrt() + 1e-8
                parameter.addcdiv_(state["first"] / (1 - 0.9**step), second, value=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are about 1. (m, n) -> (m, n).

    Each step of the iteration multiplies by a polynomial of X X^T. Of a long matrix these polynomials are multiplied
    with one another instead of with X: two products with its long side instead of ten.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    if x.shape[1] < _LONG * x.shape[0]:
        x = x.bfloat16()
        for _ in range(_STEPS):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
    else:
        # In full precision: rounded, the product has negative eigenvalues, and the iteration throws them far away.
        gram, product = x @ x.T, None
        for _ in range(_STEPS):
            factor = b * gram + c * gram @ gram
            factor.diagonal().add_(a)
            product = factor if product is None else factor @ product
            gram = factor @ gram @ factor
        x = product.bfloat16() @ x.bfloat16()  # type: ignore[union-attr]
    return (x.T if tall else x).to(matrix)
