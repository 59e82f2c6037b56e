"""Message classes for recordings: like a node's, every field has a default."""

from __future__ import annotations

import array
import functools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lie_picard.messages.write import Writer

_OURS = "lie_picard_msgs"
_PACKAGES = (
    "geometry_msgs",
    "sensor_msgs",
    "std_msgs",
    "visualization_msgs",
    "tf2_msgs",
    "nav_msgs",
    "builtin_interfaces",
    _OURS,
)


@functools.cache
def typestore() -> Typestore:
    """Jazzy's message types and this project's."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for file in sorted((Path(__file__).parent / "msg").glob("*.msg")):
        store.register(get_types_from_msg(file.read_text(), f"{_OURS}/msg/{file.stem}"))
    return store


@functools.cache
def types() -> SimpleNamespace:
    """Classes by their short names, such as `types().PoseArray(header=...)`."""
    names = [name for name in typestore().fielddefs if name.split("/")[0] in _PACKAGES]
    return SimpleNamespace(**{name.rpartition("/")[2]: Maker(name) for name in names})


@functools.cache
def writer() -> Writer:
    """Makes messages for recordings."""
    return Writer(types())


def header_of(stamp_ns: int, frame_id: str) -> Any:
    """A header; `messages.read.nanoseconds_of` gives its stamp back."""
    stamp = types().Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return types().Header(stamp=stamp, frame_id=frame_id)


class Maker:
    """One message class: called, it fills in what is not given; its constants are attributes."""

    def __init__(self, name: str) -> None:
        self.name, self._kind = name, typestore().types[name]
        self._defaults: dict[str, Callable[[], Any]] = {}

    def __call__(self, **given: Any) -> Any:
        if not self._defaults:  # not before it is needed: types may refer to each other
            self._defaults = {name: _default(kind) for name, kind in typestore().fielddefs[self.name][1]}
        if unknown := given.keys() - self._defaults:
            raise TypeError(f"{self.name} has no field {', '.join(sorted(unknown))}")
        values = {name: given[name] if name in given else make() for name, make in self._defaults.items()}
        return self._kind(**values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kind, name)


def serialise(message: Any) -> bytes:
    """A message as CDR; arrays of numbers may be of the standard library's kind, as in rclpy."""
    _to_numpy(message)
    return bytes(typestore().serialize_cdr(message, message.__msgtype__))


def _to_numpy(message: Any) -> None:
    for name, value in vars(message).items():
        if isinstance(value, array.array):
            setattr(message, name, np.asarray(value))
        elif hasattr(value, "__msgtype__"):
            _to_numpy(value)
        elif isinstance(value, list):
            for one in value:
                if hasattr(one, "__msgtype__"):
                    _to_numpy(one)


def _default(kind: Any) -> Callable[[], Any]:
    """What makes the default value of a field of a type, as `fielddefs` describes it."""
    node, details = kind
    if node == Nodetype.BASE:
        value: Any = {"string": "", "bool": False, "float32": 0.0, "float64": 0.0}.get(details[0], 0)
        return lambda: value
    if node == Nodetype.NAME:
        return Maker(details)
    (inner, name), length = details
    if inner == Nodetype.BASE and name[0] != "string":
        dtype = np.dtype({"bool": "bool", "octet": "uint8", "byte": "uint8", "char": "uint8"}.get(name[0], name[0]))
        return lambda: np.zeros(length if node == Nodetype.ARRAY else 0, dtype)
    make = _default((inner, name))
    return lambda: [make() for _ in range(length if node == Nodetype.ARRAY else 0)]
