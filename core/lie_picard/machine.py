"""How long work takes, and what that was measured on: it stands beside every result."""

from __future__ import annotations

import datetime
import functools
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def describe(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Processor, cores, device, versions and date."""
    device = torch.device(device)
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
    }


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one.

    Raises:
        ValueError: the name is unknown, or CUDA is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown device '{name}': use auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for, but torch finds no GPU: use device 'auto' or 'cpu'")
    return device


@functools.cache
def computes_bfloat16(kind: str) -> bool:
    """Whether a device of this kind ("cpu", "cuda") has instructions for bfloat16.

    Without them torch computes the same numbers many times more slowly than in float32: x86 processors need AVX512-BF16
    or AMX, which most laptops' have not.
    """
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if platform.machine() not in ("x86_64", "AMD64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    # torch has no public name for it.
    told = (getattr(torch.cpu, name, bool) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask() for ask in told)


def one_line(machine: dict[str, Any]) -> str:
    """The same for people."""
    return (
        f"{machine['processor']}, {machine['threads']} threads, device {machine['device']}, "
        f"torch {machine['torch']}, {machine['date']}"
    )


def timed(device: torch.device, work: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, float]:
    """Result and milliseconds of a call, the device's work included."""
    if device.type != "cuda":
        begin = time.perf_counter()
        result = work(*args, **kwargs)
        return result, (time.perf_counter() - begin) * 1e3
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    stream = torch.cuda.current_stream(device)  # of this GPU, which need not be torch's current one
    torch.cuda.synchronize(device)
    first.record(stream)
    result = work(*args, **kwargs)
    last.record(stream)
    last.synchronize()
    return result, first.elapsed_time(last)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
