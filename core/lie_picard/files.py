"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file to write instead of `path`, whose place it takes at the end; after an exception nothing has changed."""
    partial = path.with_name(path.name + ".partial")
    yield partial
    os.replace(partial, path)
