"""The running node as a process, and waiting for conditions."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import rclpy
from ament_index_python import get_package_prefix, get_package_share_directory

SHARE = Path(get_package_share_directory("lie_picard_pose"))
PROGRAMS = Path(get_package_prefix("lie_picard_pose")) / "lib" / "lie_picard_pose"


# How long a test waits at most for what should be there at once, on a machine that others keep busy, too.
PATIENCE_S = 90.0


def wait(test_node, condition, timeout=PATIENCE_S, message="condition"):
    """Spin until `condition()` is true, and return its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout} s in vain for: {message}"
        rclpy.spin_once(test_node, timeout_sec=0.05)
    return value


def patience():
    """How much slower this machine is than a quiet one, by the load that others put on it or by itself; at least 1."""
    return max(1.0, psutil.getloadavg()[0] / (psutil.cpu_count() or 1), seconds_to_import() / 2)


@functools.cache
def seconds_to_import():
    """What cannot be interrupted in a node's start, 2 s on a quiet machine. Some virtual ones take twice as long."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch, rclpy"], check=True)
    return time.monotonic() - began


class Process:
    """A program whose output is collected while it runs."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [PROGRAMS / program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.popen.stdout:
            self.lines.append(line.rstrip())

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return "\n".join(self.lines)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.popen.poll() is None

    def stop(self, with_signal: int = signal.SIGINT, timeout: float = PATIENCE_S) -> int:
        """Ask it to end. Returns its exit status."""
        if self.alive:
            self.popen.send_signal(with_signal)
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise
