"""A function recorded as CUDA graphs: on a GPU a small network costs mostly the launch of its kernels."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_MOST = 64
Function = Callable[..., tuple[Tensor, ...]]


class Recording(NamedTuple):
    """A graph with the tensors that it reads and writes."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    replay: Callable[[], None]


Recorder = Callable[[Function, tuple[Tensor, ...]], Recording]


class Graphed:
    """The same function from tensors to a tuple of tensors, recorded for each combination of shapes and replayed.

    The function must be free of synchronisation and of shapes that depend on values. Arguments are copied into the
    recording's own and the outputs out of it, so callers share nothing with it.

    The first `batched` arguments have one row for each item of a batch, or a single row for all of them; the outputs
    have one each. These batches are padded to the next power of two, so that all sizes share few recordings: rows must
    not depend on each other. The other arguments are taken as they are.
    """

    def __init__(self, function: Function, record: Recorder, batched: int | None = None) -> None:
        self._function, self._record, self._batched = function, record, batched
        self._recordings: OrderedDict[tuple[tuple[int, ...], ...], Recording] = OrderedDict()

    @torch.inference_mode()
    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        batched = len(arguments) if self._batched is None else self._batched
        rows = max(len(argument) for argument in arguments[:batched])
        padded = 1 << (rows - 1).bit_length()
        shapes = tuple(
            (padded, *a.shape[1:]) if k < batched and len(a) > 1 else tuple(a.shape) for k, a in enumerate(arguments)
        )
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
        return tuple(output[:rows].clone() for output in recording.outputs)

    def forget(self) -> None:
        """Give the recordings' memory back; what is needed is recorded again."""
        self._recordings.clear()


def record_on_gpu(function: Function, inputs: tuple[Tensor, ...]) -> Recording:
    """Warm up on a side stream, as capturing demands, then capture."""
    stream = torch.cuda.Stream(inputs[0].device)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        # Other threads (a node's, a progress bar's) may go on with work of their own.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = function(*inputs)
    except RuntimeError as error:
        # Where memory runs out, ending the capture can fail too, and hide the reason that callers know a remedy for.
        if not isinstance(error, torch.OutOfMemoryError) and isinstance(error.__context__, torch.OutOfMemoryError):
            raise error.__context__ from None
        raise
    return Recording(inputs, outputs, graph.replay)


def full_precision() -> None:
    """Let a GPU's float32 be float32, in matrix products and convolutions.

    Convolutions may round to TF32's 10 bits by default, in a way that depends on the size of the batch: an image would
    have other features alone than among others, and by graphs, which pad batches, than eagerly.
    """
    # The older of torch's two ways to say it: with the newer, saying it of convolutions alone makes torch refuse to
    # answer whether cuDNN may round, which other libraries ask.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
