"""A module run by ONNX Runtime: on a CPU a small network costs mostly the dispatch of its operations."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

try:
    import onnx  # noqa: F401  (torch's exporter needs it)
    import onnxruntime
except ImportError:
    onnxruntime = None


def available() -> bool:
    """Whether the packages `onnx` and `onnxruntime` are installed."""
    return onnxruntime is not None


class OnnxModule:
    """The same function as a module that returns a tuple of tensors, for tensors on the CPU; no gradients.

    The first dimension of every argument may vary from call to call; lengths of 1 broadcast as they do in the module.
    """

    def __init__(self, module: nn.Module, example: Mapping[str, Tensor]) -> None:
        """Args:
        example: by name, in the module's order; first dimensions of 2 or more.

        Raises:
            RuntimeError: `onnx` or `onnxruntime` is missing.
        """
        if onnxruntime is None:
            raise RuntimeError("ONNX Runtime is not installed: pip install onnx onnxruntime")
        self._names = list(example)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads wait actively within a run, where operations follow each other, but not between runs.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(_exported(module, example), options)

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        feed = {name: argument.numpy() for name, argument in zip(self._names, arguments, strict=True)}
        return tuple(torch.from_numpy(output) for output in self._session.run(None, feed))


def _exported(module: nn.Module, example: Mapping[str, Tensor]) -> bytes:
    file = io.BytesIO()
    logger = logging.getLogger("torch.onnx")
    with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        # The tracing exporter takes 0.2 s, its successor 5 s and a third package.
        torch.onnx.export(
            module,
            tuple(example.values()),
            file,  # type: ignore[arg-type]
            input_names=list(example),
            dynamic_axes={name: {0: f"{name}_rows"} for name in example},
            opset_version=17,
            dynamo=False,
        )
    return file.getvalue()
