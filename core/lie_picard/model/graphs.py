"""A function recorded as CUDA graphs: on a GPU a small network costs mostly the launch of its kernels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_MOST = 64


class _Recording(NamedTuple):
    inputs: tuple[Tensor, ...]
    output: Tensor
    replay: Callable[[], None]


class Graphed:
    """The same function of tensors, recorded once for each combination of shapes and then replayed.

    The function must be free of synchronisation and of shapes that depend on values. Arguments are copied into the
    recording's own and the output out of it, so callers share nothing with it. First dimensions above 1 are padded to
    the next power of two, so that batches of any size share few recordings: rows must not depend on each other.
    """

    def __init__(self, function: Callable[..., Tensor], record: Callable[..., _Recording] | None = None) -> None:
        self._function = function
        self._record = record or _record_on_gpu
        self._recordings: OrderedDict[tuple[tuple[int, ...], ...], _Recording] = OrderedDict()

    @torch.inference_mode()
    def __call__(self, *arguments: Tensor) -> Tensor:
        rows = max(len(argument) for argument in arguments)
        padded = 1 << (rows - 1).bit_length()
        shapes = tuple((padded if len(a) > 1 else 1, *a.shape[1:]) for a in arguments)
        recording = self._recordings.get(shapes)
        if recording is None:
            # Ones, so that nothing divides by zero while the recording is warmed up.
            inputs = tuple(a.new_ones(shape) for a, shape in zip(arguments, shapes, strict=True))
            recording = self._record(self._function, inputs)
            self._recordings[shapes] = recording
            if len(self._recordings) > _MOST:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(shapes)
        for buffer, argument in zip(recording.inputs, arguments, strict=True):
            buffer[: len(argument)].copy_(argument)
        recording.replay()
        return recording.output[:rows].clone()


def _record_on_gpu(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> _Recording:
    """Warm up on a side stream, as capturing demands, then capture."""
    stream = torch.cuda.Stream(inputs[0].device)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function(*inputs)
    return _Recording(inputs, output, graph.replay)
