"""The sequential sampler as one ONNX graph, a loop over the rows of its tables: no export when the steps change."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lie_picard.model.runtimes.onnx import OPSET, export, quiet, session_of

_FEWEST_ROWS = 16  # for which a thread of their own pays


class OnnxLoop:
    """Repeats a step of the sampler, for tensors on the CPU; no gradients.

    What goes from step to step stays in ONNX Runtime. As samples do not depend on each other, each thread takes some of
    them from the first step to the last, instead of a part of every operation: there is nothing to wait for in between.
    """

    def __init__(self, step: nn.Module, time: Tensor, terms: Sequence[Tensor], threads: int | None = None) -> None:
        """Args:
        step: rotations (M, 3, 3), recent scores (M, h, 3), weights (2, h), a row of `time`, two image terms of 1 or M
            rows -> the next rotations and recent scores. time, terms: examples of two rows and more.
        threads: that share the samples; None: as many as torch has.
        """
        self._threads = threads or torch.get_num_threads()
        self._session = session_of(_exported(step, time, terms), 1)
        self._pool = ThreadPoolExecutor(max(1, self._threads - 1), thread_name_prefix="sampler")

    def __call__(self, start: Tensor, weights: Tensor, time: Tensor, *terms: Tensor) -> tuple[Tensor, Tensor]:
        """All steps: (N, 3, 3), weights (n, 2, h), time (n, ...) -> rotations (N, 3, 3), last scores (N, h, 3)."""
        parts = max(1, min(self._threads, len(start) // _FEWEST_ROWS))
        bounds = [len(start) * k // parts for k in range(parts + 1)]
        recent = start.new_zeros(len(start), weights.shape[-1], 3)
        by_row = {"rotations": start, "recent": recent}
        fixed = {"weights": weights, "time": time}
        for name, term in zip(_TERMS, terms, strict=True):
            (by_row if len(term) > 1 else fixed)[name] = term
        rows = {name: value.numpy() for name, value in by_row.items()}
        tables = {name: value.numpy() for name, value in fixed.items()}

        def run(begin: int, end: int) -> list[NDArray[np.float32]]:
            feed = tables | {name: value[begin:end] for name, value in rows.items()}
            return self._session.run(None, feed)  # type: ignore[no-any-return]

        others = [self._pool.submit(run, *pair) for pair in itertools.pairwise(bounds[1:])]
        found = [run(*bounds[:2]), *(other.result() for other in others)]
        rotations, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return torch.from_numpy(rotations), torch.from_numpy(scores)


_TERMS = "shift", "coefficients"


def _exported(step: nn.Module, time: Tensor, terms: Sequence[Tensor]) -> bytes:
    rows, history = len(time), 3
    example = {
        "rotations": torch.eye(3).repeat(rows, 1, 1),
        "recent": torch.zeros(rows, history, 3),
        "weights": torch.zeros(rows, 2, history),
        "time": time,
        **dict(zip(_TERMS, terms, strict=True)),
    }
    axes = {name: {0: f"{name}_rows"} for name in ("rotations", "recent", *_TERMS)}
    axes |= {"weights": {0: "steps", 2: "history"}, "time": {0: "steps"}}
    axes["recent"][1] = "history"
    with quiet():
        one = [value[0] if name in ("weights", "time") else value for name, value in example.items()]
        traced = torch.jit.trace(step, tuple(one), check_trace=False)
        torch.onnx.register_custom_op_symbolic("aten::sinc", _sinc, OPSET)
        try:
            return export(torch.jit.script(_Loop(traced)), example, axes)
        finally:
            torch.onnx.unregister_custom_op_symbolic("aten::sinc", OPSET)


class _Loop(nn.Module):
    def __init__(self, step: Any) -> None:
        super().__init__()
        self.step = step

    def forward(
        self, rotations: Tensor, recent: Tensor, weights: Tensor, time: Tensor, shift: Tensor, coefficients: Tensor
    ) -> tuple[Tensor, Tensor]:
        for k in range(weights.shape[0]):
            rotations, recent = self.step(rotations, recent, weights[k], time[k], shift, coefficients)
        return rotations, recent


def _sinc(graph: Any, x: Any) -> Any:
    """sin(pi x) / (pi x), which the exporter does not know."""
    one, zero, pi = (graph.op("Constant", value_t=torch.tensor(value)) for value in (1.0, 0.0, math.pi))
    nothing = graph.op("Equal", x, zero)
    phase = graph.op("Mul", graph.op("Where", nothing, one, x), pi)
    return graph.op("Where", nothing, one, graph.op("Div", graph.op("Sin", phase), phase))
