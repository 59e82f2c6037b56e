"""Files that are there as a whole or not at all, and whether one has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A file to write instead of `path`, whose place it takes at the end; after an exception nothing has changed."""
    partial = path.with_name(path.name + ".partial")
    yield partial
    os.replace(partial, path)


def file_version(path: str | Path) -> tuple[int, int]:
    """Time of the last change in nanoseconds and size in bytes: a key for what was read; zeros where there is none."""
    try:
        state = Path(path).stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size
