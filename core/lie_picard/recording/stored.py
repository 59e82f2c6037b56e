"""What all storages have in common: channels, what a first pass over a file finds, and how much copies may take."""

from __future__ import annotations

import shutil
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

LATEST_NS = 1 << 62  # the year 2116; MCAP's log times are unsigned, SQLite's signed: what is beyond is rubbish
_SHARE_OF_FREE = 0.8  # of the disk's free space that copies may take
MAX_MESSAGE_BYTES = 1 << 30  # of one message, or one chunk of them; a file of some bytes can promise more


class BagError(ValueError):
    """A recording that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Channel:
    """A topic as a file stores it.

    Attributes:
        encoding: of its messages; "cdr" is ROS 2's. schema: how its type is defined, such as "ros2msg"; empty where it
            is not. definition: of the type, in that language.
    """

    topic: str
    msgtype: str
    encoding: str = "cdr"
    schema: str = ""
    definition: str = ""


@dataclass
class Survey:
    """What a pass over all of a file found.

    Attributes:
        times: log times by topic, nanoseconds, in the file's order. expected: number of messages by topic that the file
            says it holds; missing where it does not say.
        damages: what is wrong, one line each. direct: whether it can be read as it is. whole: whether nothing is lost.
    """

    times: dict[str, array[int]] = field(default_factory=dict)
    expected: Counter[str] = field(default_factory=Counter)
    damages: list[str] = field(default_factory=list)
    direct: bool = True
    whole: bool = True
    closed: bool = False

    def add(self, topic: str, log_ns: int) -> None:
        """Count a message in."""
        if topic not in self.times:
            self.times[topic] = array("q")
        self.times[topic].append(log_ns)

    def timed(self, topic: str, log_ns: int) -> bool:
        """Whether a log time is one; a message with another is counted as lost."""
        if 0 <= log_ns <= LATEST_NS:
            return True
        self.expected[topic] += 1
        if not any("no time" in damage for damage in self.damages):
            self.lose(f"the log time {log_ns} ns of a message on {topic} is no time")
        return False

    def lose(self, damage: str) -> None:
        """Something cannot be read."""
        self.damages.append(damage)
        self.whole = self.direct = False


class Budget:
    """How much may still be written to a disk."""

    def __init__(self, folder: Path) -> None:
        """`folder`: on that disk; made where it is needed."""
        self._folder = folder
        self._left: int | None = None

    def take(self, size: int, what: Path) -> None:
        """Ask for so many bytes.

        Raises:
            BagError: there is no room for them.
        """
        if self._left is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._left = int(_SHARE_OF_FREE * shutil.disk_usage(self._folder).free)
        if size > self._left:
            raise BagError(
                f"{what.name}: there is no room for a readable copy of it in {self._folder} (at most "
                f"{_SHARE_OF_FREE:.0%} of the free space are used): make room, or give another --output"
            )
        self._left -= size


def one_line(error: object) -> str:
    """An error as one short line; its kind where it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__
