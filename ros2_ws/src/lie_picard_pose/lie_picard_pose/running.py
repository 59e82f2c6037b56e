"""Beginning and ending a program with rclpy: signals may come at any moment and more than once, errors are one line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from lie_picard_pose import transport
from lie_picard_pose.worker import StoppingError

RCLError = rclpy_implementation.RCLError
_WAKE_S = 0.25
_SWITCH_S = 5e-5
_ENDING = signal.SIGINT, signal.SIGTERM


def executor_of(node: Node) -> Executor:
    """An executor that runs a node's callbacks with little effort a message.

    rclpy's ordinary executors build the whole set of what they wait for anew at every message, in Python; with images
    at 30 Hz that takes half a core and, worse, the interpreter's lock from whoever computes beside it. Its events
    executor does not. It is called experimental; where it is missing, an ordinary one serves.
    """
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:
        executor: Executor = SingleThreadedExecutor()
    else:
        executor = EventsExecutor()
    executor.add_node(node)
    return executor


def spin(node: Node) -> int:
    """Run a node's callbacks in this thread until the context is shut down. Returns 0."""
    sys.setswitchinterval(_SWITCH_S)  # 5 ms, Python's own, for every small operation that another thread cuts in on
    executor = executor_of(node)
    # rclpy wakes a waiting executor before it shuts the context down: one that waits again in between, without a limit,
    # would sleep through the signal.
    while rclpy.ok():
        executor.spin_once(timeout_sec=_WAKE_S)
    return 0


def run(name: str, body: Callable[[], int], stop: Callable[[], None] = lambda: None) -> int:
    """Run a program with rclpy and return its exit status: `body`'s, 0 where a signal ends it.

    SIGINT and SIGTERM shut rclpy's context down, and nothing else: there is no KeyboardInterrupt. Where the program
    cannot begin, parameters or ROS arguments that do not fit, or cannot write its result, it says why in one
    line, with status 1.

    Args:
        stop: called before the context is shut down.
    """
    for number in _ENDING:
        signal.signal(number, lambda *_: None)  # rclpy's handler, which is set above it, does all
    begun = False
    transport.prepare()
    try:
        rclpy.init()
        begun = True
        return body()
    except ExternalShutdownException:
        return 0
    except (ValueError, OSError, ParameterException, RCLError, StoppingError) as error:
        if begun and not rclpy.ok():  # it is only that the context is gone
            return 0
        text = " ".join(str(error).split())
        hint = "; write whole numbers with a point, 1.0" if "expecting type 'DOUBLE" in text else ""
        print(f"{name}: {text}{hint}", file=sys.stderr)
        return 1
    finally:
        stop()
        rclpy.try_shutdown()
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)  # the interpreter is left to end in peace
