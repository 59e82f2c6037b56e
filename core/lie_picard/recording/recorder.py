"""Writing a recording: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from typing_extensions import Self

from lie_picard.recording.message_types import serialise, typestore


class Recorder:
    """A rosbag2 folder that appears, or is replaced, when the context ends without an exception."""

    def __init__(self, folder: Path, topics: Mapping[str, str], sqlite: bool = False, at_once: bool = False) -> None:
        """Args:
        topics: types by name, such as `sensor_msgs/msg/Image`. sqlite: instead of MCAP.
        at_once: the folder must not exist; it is there from the beginning, and kept whatever happens.
        """
        self._folder, self._topics, self._sqlite, self._at_once = folder, topics, sqlite, at_once

    def __enter__(self) -> Self:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        place = self._folder
        if not self._at_once:
            # The writer names its file after the folder, so the folder has its final name from the start, elsewhere.
            self._workshop = Path(tempfile.mkdtemp(dir=self._folder.parent, prefix=".writing-"))
            place = self._workshop / self._folder.name
        plugin = StoragePlugin.SQLITE3 if self._sqlite else StoragePlugin.MCAP
        self._writer = Writer(place, version=9, storage_plugin=plugin)
        if not self._sqlite:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections: dict[str, Connection] = {}
        for topic, kind in self._topics.items():
            self.add_topic(topic, kind)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        if self._at_once:
            return
        if kind is None:
            if self._folder.is_symlink():  # what it leads to is not this recording's
                self._folder.unlink()
            shutil.rmtree(self._folder, ignore_errors=True)
            os.replace(self._workshop / self._folder.name, self._folder)
        shutil.rmtree(self._workshop, ignore_errors=True)

    def add_topic(self, topic: str, kind: str) -> None:
        """One more topic."""
        self._connections[topic] = self._writer.add_connection(topic, kind, typestore=typestore())

    def write(self, topic: str, log_ns: int, message: Any) -> None:
        """Append a message, of `types()` or of another recording."""
        self.write_raw(topic, log_ns, serialise(message))

    def write_raw(self, topic: str, log_ns: int, data: bytes) -> None:
        """Append a message that is serialised already."""
        self._writer.write(self._connections[topic], log_ns, data)
