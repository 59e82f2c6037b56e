"""A module run by ONNX Runtime: on a CPU a small network costs mostly the dispatch of its operations."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

try:
    import onnx  # noqa: F401  (torch's exporter needs it)
    import onnxruntime
except ImportError:
    onnxruntime = None

OPSET = 17


def available() -> bool:
    """Whether the packages `onnx` and `onnxruntime` are installed."""
    return onnxruntime is not None


class OnnxModule:
    """The same function as a module that returns a tuple of tensors, for tensors on the CPU; no gradients.

    The first dimension of every argument may vary from call to call; lengths of 1 broadcast as they do in the module.
    """

    def __init__(
        self, module: nn.Module, example: Mapping[str, Tensor], alone: int = 0, threads: int | None = None
    ) -> None:
        """Args:
        example: by name, in the module's order; first dimensions of 2 or more.
        alone: up to so many rows of the first argument one thread computes, where several would wait for each other
            as long as they gain, and take the cores from others.
        threads: that compute more; None: as many as torch has.

        Raises:
            RuntimeError: `onnx` or `onnxruntime` is missing.
        """
        if onnxruntime is None:
            raise RuntimeError("ONNX Runtime is not installed: pip install onnx onnxruntime")
        self._names, self._alone = list(example), alone
        model = _exported(module, example)
        self._many = session_of(model, threads or torch.get_num_threads())
        self._few = session_of(model, 1) if alone else self._many

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        feed = {name: argument.numpy() for name, argument in zip(self._names, arguments, strict=True)}
        session = self._few if len(arguments[0]) <= self._alone else self._many
        return tuple(torch.from_numpy(output) for output in session.run(None, feed))


class Lazy:
    """A callable that is made when it is first called: an export takes half a second, and most are never used."""

    def __init__(self, make: Callable[[], Callable[..., tuple[Tensor, ...]]]) -> None:
        self._make = make
        self._made: Callable[..., tuple[Tensor, ...]] | None = None

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        if self._made is None:
            self._made = self._make()
        return self._made(*arguments)


def session_of(model: bytes, threads: int) -> Any:
    """An `InferenceSession` of a graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads wait actively within a run, where operations follow each other, but not between runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options)


def _exported(module: nn.Module, example: Mapping[str, Tensor]) -> bytes:
    with quiet():
        return export(module, example, {name: {0: f"{name}_rows"} for name in example})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without gradients, and without what the exporter says."""
    with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        yield


def export(module: Any, example: Mapping[str, Tensor], axes: Mapping[str, Mapping[int, str]]) -> bytes:
    """A module as an ONNX graph. `axes`: dimensions that may vary, by argument and number, with a name of their own."""
    file = io.BytesIO()
    # The tracing exporter takes 0.2 s, its successor 5 s and a third package.
    torch.onnx.export(
        module,
        tuple(example.values()),
        file,  # type: ignore[arg-type]
        input_names=list(example),
        dynamic_axes=dict(axes),
        opset_version=OPSET,
        dynamo=False,
    )
    return file.getvalue()
