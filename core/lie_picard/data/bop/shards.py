"""Shards: tar files of images, each with its annotations beside it under one key, as webdatasets are.

A shard is not unpacked: its heads are read once, then what is asked for, by its place. So no name in it is ever a path.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lie_picard.data.bop import pixels
from lie_picard.data.bop.annotations import MAX_JSON_BYTES, BopError, mask_of_runs, parsed

_KEY = re.compile("([0-9]{1,9})_([0-9]{1,9})")
_MAX_MEMBERS, _MAX_HEAD = 1 << 20, 1 << 20
_NAMES = {
    "image": tuple(f"{kind}.{end}" for kind in ("rgb", "gray") for end in ("jpg", "png", "jpeg", "tiff", "tif")),
    "depth": ("depth.png", "depth.tiff", "depth.tif"),
}


class _Part(NamedTuple):
    """Where a member's content is in its shard, bytes."""

    offset: int
    size: int


def files_of(folder: Path) -> list[Path]:
    """The shards of a folder, by name."""
    return sorted(path for path in folder.glob("shard-*.tar") if path.is_file())


class Shard:
    """One tar file of images."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.problems: list[str] = []

    def entries(self) -> Iterator[tuple[int, int, _ShardFiles]]:
        """`folder.Unit.entries`, in the order of the file. What stands before a damage is read."""
        for key, parts in self._members.items():
            found = _KEY.fullmatch(key)
            assert found is not None
            yield int(found[1]), int(found[2]), _ShardFiles(self, key, parts)

    def at(self, scene_id: int, image_id: int) -> _ShardFiles:
        """`folder.Unit.at`."""
        key = self._keys[scene_id, image_id]
        return _ShardFiles(self, key, self._members[key])

    def forget(self) -> None:
        """Let go of the places of its members, which are read again when they are asked for."""
        for name in ("_members", "_keys"):
            self.__dict__.pop(name, None)

    @cached_property
    def _keys(self) -> dict[tuple[int, int], str]:
        return {(scene, image): files.key for scene, image, files in self.entries()}

    @cached_property
    def _members(self) -> dict[str, dict[str, _Part]]:
        """Parts by key and ending. Links, folders and whatever else is no plain file are passed over."""
        found: dict[str, dict[str, _Part]] = {}
        strange = count = 0
        try:
            with self.path.open("rb") as file, tarfile.open(fileobj=_Heads(file), mode="r:") as tar:
                while (member := tar.next()) is not None:
                    count += 1
                    if count > _MAX_MEMBERS:
                        raise BopError(f"{self.path} has more than {_MAX_MEMBERS} members: no such shard is written")
                    tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                    key, _, ending = member.name.rsplit("/", 1)[-1].partition(".")
                    if not member.isreg() or member.issparse() or not _KEY.fullmatch(key):
                        strange += not member.isdir()
                    else:
                        found.setdefault(key, {})[ending] = _Part(member.offset_data, member.size)
        except (tarfile.TarError, EOFError, ValueError) as error:
            if isinstance(error, BopError):
                raise
            reason = " ".join(str(error).split())[:80]
            if not found:
                raise BopError(f"{self.path} is no tar file: {reason}; download it again (uncompressed)") from None
            self.problems.append(f"{self.path} is damaged after {count} members: {reason}; download it again")
        except OSError as error:
            raise BopError(f"{self.path} cannot be read: {error.strerror or error}; download it again") from None
        if strange:
            self.problems.append(f"{self.path} has {strange} members that are no files SCENE_IMAGE.kind: left out")
        if not found:
            raise BopError(f"{self.path} holds no image: expected members such as 000000_000000.rgb.jpg")
        return found

    def read(self, part: _Part, limit: int, where: str) -> bytes:
        """The content of a member.

        Raises:
            BopError: it is too large, or cut off.
        """
        if part.size > limit:
            raise BopError(f"{where} has {part.size} bytes: at most {limit} are read")
        try:
            with self.path.open("rb") as file:
                file.seek(part.offset)
                content = file.read(part.size)
        except OSError as error:
            raise BopError(f"{self.path} cannot be read: {error.strerror}; download it again") from None
        if len(content) < part.size:
            raise BopError(f"{where} is cut off after {len(content)} of {part.size} bytes: download {self.name} again")
        return content


class _Heads(io.RawIOBase):
    """A file from which only heads are read: tarfile takes an extended head of any size into memory."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEAD:
            raise tarfile.ReadError(f"a head of {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _ShardFiles:
    """One image's members (`folder.Files`)."""

    def __init__(self, shard: Shard, key: str, parts: dict[str, _Part]) -> None:
        self._shard, self._parts, self.key = shard, parts, key
        self.where = f"{shard.path}, {key}"

    def annotation(self, kind: str) -> Any:
        """`folder.Files.annotation`."""
        return self._json(f"{kind}.json")

    def content(self, kind: str) -> tuple[bytes, str] | None:
        """`folder.Files.content`."""
        name = next((name for name in _NAMES[kind] if name in self._parts), None)
        if name is None:
            return None
        where = f"{self.where}.{name}"
        return self._shard.read(self._parts[name], pixels.MAX_BYTES, where), where

    def mask(self, kind: str, index: int) -> NDArray[np.bool_] | None:
        """`folder.Files.mask`."""
        runs = self._json(f"{kind}.json")
        if runs is None:
            return None
        where = f"{self.where}.{kind}.json"
        if not isinstance(runs, dict):
            raise BopError(f"{where} must map numbers of true poses to run lengths")
        one = runs.get(str(index))
        return None if one is None else mask_of_runs(one, f"{where}, {index}")

    def _json(self, name: str) -> Any:
        if name not in self._parts:
            return None
        where = f"{self.where}.{name}"
        return parsed(self._shard.read(self._parts[name], MAX_JSON_BYTES, where), where)
