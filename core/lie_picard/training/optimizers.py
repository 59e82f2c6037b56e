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

from lie_picard import machine

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
            given = [one for one in group["params"] if one.grad is not None]
            if not given:
                continue
            torch._foreach_mul_(given, 1 - group["lr"] * group["weight_decay"])
            self._step_matrices([one for one in given if _is_matrix(one)], group["lr"])
            self._step_vectors([one for one in given if not _is_matrix(one)], group["lr"])

    def _step_matrices(self, parameters: list[Tensor], rate: float) -> None:
        if not parameters:
            return
        for one in parameters:
            if not self.state[one]:
                self.state[one]["momentum"] = torch.zeros_like(one)
        gradients, momenta = [_grad(one) for one in parameters], [self.state[one]["momentum"] for one in parameters]
        torch._foreach_lerp_(momenta, gradients, 0.05)
        looked_ahead = torch._foreach_lerp(gradients, momenta, 0.95)
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, one in enumerate(parameters):
            alike.setdefault((one.shape[0], one[0].numel()), []).append(index)
        for shape, indices in alike.items():  # one product for all of a shape: a GPU is bound by their number
            updates = orthogonal(torch.stack([looked_ahead[index].flatten(1) for index in indices]))
            scale = _MATCH * math.sqrt(max(shape))
            for index, update in zip(indices, updates, strict=True):
                parameters[index].add_(update.view(parameters[index].shape), alpha=-rate * scale)

    def _step_vectors(self, parameters: list[Tensor], rate: float) -> None:
        """AdamW with (0.9, 0.999); those that came to have gradients together are in step."""
        in_step: dict[float, list[Tensor]] = {}
        for one in parameters:
            state = self.state[one]
            if not state:
                state["step"] = torch.zeros(())
                state["first"], state["second"] = torch.zeros_like(one), torch.zeros_like(one)
            state["step"] += 1
            in_step.setdefault(float(state["step"]), []).append(one)
        for step, some in in_step.items():
            gradients = [_grad(one) for one in some]
            first, second = ([self.state[one][name] for one in some] for name in ("first", "second"))
            torch._foreach_lerp_(first, gradients, 0.1)
            torch._foreach_lerp_(second, torch._foreach_mul(gradients, gradients), 0.001)
            below = torch._foreach_sqrt(torch._foreach_div(second, 1 - 0.999**step))
            torch._foreach_add_(below, 1e-8)
            torch._foreach_addcdiv_(some, first, below, value=-rate / (1 - 0.9**step))


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= 16


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are about 1. (..., m, n) -> (..., m, n).

    Each step of the iteration multiplies by a polynomial of X X^T. Of a long matrix these polynomials are multiplied
    with one another instead of with X: two products with its long side instead of ten.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    if x.shape[-1] < _LONG * x.shape[-2]:
        x = x.to(_rounded(x))
        for _ in range(_STEPS):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
    else:
        # In full precision: rounded, the product has negative eigenvalues, and the iteration throws them far away.
        gram, product = x @ x.mT, None
        for _ in range(_STEPS):
            factor = b * gram + c * gram @ gram
            factor.diagonal(dim1=-2, dim2=-1).add_(a)
            product = factor if product is None else factor @ product
            gram = factor @ gram @ factor
        assert product is not None
        x = product.to(_rounded(x)) @ x.to(_rounded(x))
    return (x.mT if tall else x).to(matrix)


def _rounded(matrix: Tensor) -> torch.dtype:
    """What products that bear rounding are computed in."""
    return torch.bfloat16 if machine.computes_bfloat16(matrix.device.type) else matrix.dtype
