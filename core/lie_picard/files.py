"""Files that are there as a whole or not at all, names for them, whether one has changed, and what JSON can hold."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_UNFIT = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_MAX_BYTES = 180  # of 255, so that endings fit


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A file to write instead of `path`, whose place it takes at the end; after an exception nothing has changed."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)  # a link would lead elsewhere
    partial.touch()
    try:
        usual = partial.stat().st_mode & 0o777
        yield partial
        partial.chmod(usual)  # safetensors writes files that nobody else may read
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def expanded(path: str | Path) -> Path:
    """A path with ~ and ~user replaced; as it is where there is no such home directory, so that it is not found."""
    return Path(os.path.expanduser(path))


def file_name(text: str) -> str:
    """The text as one part of a path: never another folder, and short enough for every file system with an ending.

    Ordinary text stays as it is; of other text, unfit characters become "_", the rest
    is cut, and a digest keeps two apart.
    """
    plain = _UNFIT.sub("_", text).encode()[:_MAX_BYTES].decode(errors="ignore")
    if plain == text and plain not in ("", ".", ".."):
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{plain.lstrip('.')}-{digest}"


def file_version(path: str | Path) -> tuple[int, int]:
    """Time of the last change in nanoseconds and size in bytes: a key for what was read; zeros where there is none."""
    try:
        state = Path(path).stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size


def read_at_most(path: str | Path, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes.

    Raises:
        OSError: it cannot be read, is larger, or is a device or a pipe, which might never end.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise OSError(errno.EINVAL, "not a file")
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size <= limit else b""
    if size > limit or len(content) > size:
        raise OSError(errno.EFBIG, f"more than {limit >> 10} KiB, which no such file has")
    return content


def finite(value: Any) -> Any:
    """The same with None instead of numbers that JSON has no words for."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
