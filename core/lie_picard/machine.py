"""What a figure was measured on: it stands beside every result."""

from __future__ import annotations

import datetime
import platform
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


def one_line(machine: dict[str, Any]) -> str:
    """The same for people."""
    return (
        f"{machine['processor']}, {machine['threads']} threads, device {machine['device']}, "
        f"torch {machine['torch']}, {machine['date']}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
