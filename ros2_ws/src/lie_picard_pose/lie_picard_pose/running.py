"""Beginning and ending a program with rclpy: signals may come at any moment and more than once, errors are one line."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation

RCLError = rclpy_implementation.RCLError
_ENDING = signal.SIGINT, signal.SIGTERM


class Ended:
    """How a program ended; its status is what it returns to the shell."""

    status = 0


@contextlib.contextmanager
def running(name: str, stop: Callable[[], None] = lambda: None) -> Iterator[Ended]:
    """rclpy's context around a program. SIGINT and SIGTERM shut it down, and nothing else: no KeyboardInterrupt.

    Where it cannot begin, parameters or ROS arguments that do not fit, it prints why in one line, with status 1.
    Whoever spins, spins with a time limit: rclpy wakes a waiting executor before it shuts the context down, and one that
    waits again in between, without a limit, would sleep through the signal.

    Args:
        stop: called before the context is shut down.
    """
    for number in _ENDING:
        signal.signal(number, lambda *_: None)  # rclpy's handler, which is set above it, does all
    ended = Ended()
    try:
        rclpy.init()
        yield ended
    except ExternalShutdownException:
        pass
    except (ValueError, ParameterException, RCLError) as error:
        if rclpy.ok() or not isinstance(error, RCLError):  # else it is only that the context is gone
            text = " ".join(str(error).split())
            hint = "; write whole numbers with a point, 1.0" if "expecting type 'DOUBLE" in text else ""
            print(f"{name}: {text}{hint}", file=sys.stderr)
            ended.status = 1
    finally:
        stop()
        rclpy.try_shutdown()
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)  # the interpreter is left to end in peace
