"""Mesh files before they are parsed: how large, whole or truncated, and in UTF-8, whatever their text is in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from lie_picard.files import read_at_most

KINDS = "ply", "obj", "stl"
_Order = Literal["little", "big"]
_MAX_BYTES = 1 << 27
_MAX_HEADER = 1 << 16
_BYTES = {
    "char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2, "uint16": 2,
    "int": 4, "uint": 4, "int32": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8, "float64": 8,
}  # fmt: skip
_STL_HEAD, _STL_ROW = 84, 50


class MeshError(ValueError):
    """A mesh that cannot be used; the message says why and what to do."""


def read(path: str | Path, limit: int = _MAX_BYTES, textures: bool = False) -> tuple[bytes, str]:
    """A mesh file's content, its text in UTF-8, and which of `KINDS` it is.

    Args:
        limit: its largest size in bytes. textures: keep what a PLY file's head says of them.

    Raises:
        MeshError: it cannot be read, is too large, of another kind, or truncated: how much is missing.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise MeshError(f"mesh {path} cannot be read: it is no PLY, OBJ or STL file by its name; export it as one")
    try:
        content = read_at_most(path, limit)
    except OSError as error:
        raise MeshError(f"mesh {path} cannot be read: {error.strerror}; export it as PLY, OBJ or STL") from None
    check, text = {"ply": _ply, "stl": _stl, "obj": _obj}[kind](content)
    if check:
        raise MeshError(f"mesh {path} {check}: copy or export it again")
    if kind == "ply" and not textures:
        text = _bare(text)
    return text, kind


def _utf8(content: bytes) -> bytes:
    """Text in UTF-8; what is none is taken for Latin-1, in which every byte is a letter. Only names are at stake."""
    try:
        return content.decode("utf-8-sig").encode()
    except UnicodeDecodeError:
        return content.decode("latin-1").encode()


def _stl(content: bytes) -> tuple[str, bytes]:
    """What is wrong with an STL file, and its content to be parsed."""
    count = int.from_bytes(content[80:_STL_HEAD], "little")
    need = _STL_HEAD + _STL_ROW * count
    if content[:1024].lstrip()[:5].lower() == b"solid" and len(content) != need:
        text = _utf8(content)
        if not re.search(rb"\bendsolid\b[^\n]*\s*\Z", text, re.IGNORECASE):
            found = len(re.findall(rb"\bendfacet\b", text, re.IGNORECASE))
            return f"is truncated: no endsolid after its {found} triangles", text
        return "", text
    if len(content) < _STL_HEAD:
        return f"is truncated: {len(content)} bytes, of which {_STL_HEAD} are an STL file's head", content
    if len(content) < need:
        there = (len(content) - _STL_HEAD) // _STL_ROW
        return f"is truncated: its head promises {count} triangles ({need} bytes), {there} are there", content
    return "", content[:need]


def _obj(content: bytes) -> tuple[str, bytes]:
    text = _utf8(content)
    # MeshLab says how much there is.
    for word, letter in ((b"Vertices", b"v"), (b"Faces", b"f")):
        promised = re.findall(rb"^#\s*" + word + rb":\s*([0-9]{1,12})\s*$", text, re.MULTILINE)
        there = len(re.findall(rb"^[ \t]*" + letter + rb"[ \t]", text, re.MULTILINE)) if len(promised) == 1 else 0
        if len(promised) == 1 and there < int(promised[0]):
            return f"is truncated: it promises {int(promised[0])} {word.decode().lower()}, {there} are there", text
    last = text.rstrip(b" \t").rpartition(b"\n")[2].split(b"#")[0].split()
    if last and (last[0] in (b"v", b"f") and len(last) < 4):
        return f"is truncated: it ends in the line '{b' '.join(last)[:40].decode()}'", text
    return "", text


def _ply(content: bytes) -> tuple[str, bytes]:
    head = re.match(rb"ply\s*\n.*?^end_header[ \t\r]*\n", content[:_MAX_HEADER], re.DOTALL | re.MULTILINE)
    if not head:
        return ("is truncated: its head has no end" if content[:3] == b"ply" else "is no PLY file"), content
    kind, elements, odd = "", list[tuple[str, int, list[list[str]]]](), False
    for line in _utf8(head[0]).decode().splitlines():
        words = line.split()
        if words[:1] == ["format"] and len(words) > 1:
            kind = words[1]
        elif words[:1] == ["element"] and len(words) == 3 and re.fullmatch("[0-9]{1,12}", words[2]):
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"] and elements and _is_property(words):
            elements[-1][2].append(words[1:])
        else:
            odd |= words[:1] in (["element"], ["property"])
    orders: dict[str, _Order] = {"binary_little_endian": "little", "binary_big_endian": "big"}
    if odd or kind not in (*orders, "ascii"):
        return "has a head that is not a PLY file's", content
    body = content[head.end() :]
    if kind == "ascii":
        text = _utf8(body)
        return _lines_missing(text, elements), _utf8(head[0]) + text
    at = 0
    for name, count, properties in elements:
        there, at, alike = _rows(body, at, count, properties, orders[kind])
        if there < count:
            return f"is truncated: its head promises {count} of {name}, {there} are there", content
        if not alike:
            return f"has lists of different lengths in {name}: triangulate it", content
    return "", _utf8(head[0]) + body


def _bare(content: bytes) -> bytes:
    """A PLY file without comments in its head, which may name textures."""
    end = content.index(b"end_header")
    return re.sub(rb"^(?:comment|obj_info)\b[^\n]*\n", b"", content[:end], flags=re.MULTILINE) + content[end:]


def _is_property(words: list[str]) -> bool:
    types = words[2:4] if words[1:2] == ["list"] else words[1:2]
    return len(words) == (5 if words[1:2] == ["list"] else 3) and all(one in _BYTES for one in types)


def _lines_missing(text: bytes, elements: list[tuple[str, int, list[list[str]]]]) -> str:
    lines = [line for line in text.split(b"\n") if line.strip()]
    at = 0
    for name, count, properties in elements:
        there = min(count, len(lines) - at)
        last = lines[at + there - 1].split() if there > 0 else []
        whole = not last or len(last) >= len(properties)
        if last and properties and properties[0][0] == "list":
            whole = last[0].isdigit() and len(last) > int(last[0][:9])
        if there < count or not whole:
            there = max(0, there - (not whole))
            return f"is truncated: its head promises {count} of {name}, {there} are there"
        at += count
    return ""


def _rows(body: bytes, at: int, count: int, properties: list[list[str]], order: _Order) -> tuple[int, int, bool]:
    """How many of `count` rows there are from a place on, where they end, and whether all are equally long."""
    lists = [one for one in properties if one[0] == "list"]
    if not lists:
        size = sum(_BYTES[one[0]] for one in properties)
        there = min(count, (len(body) - at) // size) if size else count
        return there, at + there * size, True
    if len(properties) == 1:  # faces, mostly all with as many corners
        length, each = _BYTES[lists[0][1]], _BYTES[lists[0][2]]
        first = int.from_bytes(body[at : at + length], order)
        size = length + first * each
        there = min(count, (len(body) - at) // size)
        rows = np.frombuffer(body, np.uint8, there * size, at).reshape(there, size)[:, :length]
        if (rows == np.frombuffer(first.to_bytes(length, order), np.uint8)).all():
            return there, at + there * size, True
    for row in range(count):
        for one in properties:
            size = _BYTES[one[0]] if one[0] != "list" else _BYTES[one[1]]
            if one[0] == "list":
                size += _BYTES[one[2]] * int.from_bytes(body[at : at + size], order)
            at += size
        if at > len(body):
            return row, at, False
    return count, at, not lists or len(properties) > 1
