"""Results as bytes that hold data and nothing else: reading what a stranger wrote runs none of it.

The bytes are a safetensors file: the numbers of all arrays, joined by type, and a JSON text that says where each lies.
The file names no class. What is built is what the reader asks for, by its fields' annotations.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import types
import typing
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

T = TypeVar("T")
_TREE = "tree"
# Joined by these, and by no others: safetensors writes an unknown type as if it were a known one.
_TYPES = ("float64", "float32", "int64", "int32", "uint8", "bool")


class KeptError(ValueError):
    """The bytes are not what was asked for; the message says why."""


def encode(value: Any) -> bytes:
    """A dataclass as bytes, for `decode` of its class.

    Its fields are str, int, float, bool, enumerations, arrays, tensors (which come back on the CPU), dataclasses, and
    lists, tuples, dictionaries (keys: str) and `X | None` of these, annotated so.

    Raises:
        TypeError: a field holds something else than its annotation says.
    """
    numbers = _Numbers()
    tree = json.dumps(_to_tree(type(value), value, numbers), separators=(",", ":")).encode()
    return bytes(save({_TREE: np.frombuffer(tree, np.uint8), **numbers.joined()}))


def decode(data: bytes, kind: type[T]) -> T:
    """The value of class `kind` that `encode` made these bytes of.

    Raises:
        KeptError: they are damaged, or of a class with other fields.
    """
    try:
        arrays = {name: np.array(array) for name, array in load(data).items()}  # a copy can be written to
        tree = json.loads(arrays.pop(_TREE).tobytes())
        return _from_tree(kind, tree, arrays)  # type: ignore[no-any-return]
    except KeptError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise KeptError(f"no {kind.__name__}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None


class _Numbers:
    """Arrays on their way into the file: many small ones cost little when they are one."""

    def __init__(self) -> None:
        self._parts: dict[str, list[NDArray[Any]]] = {}
        self._lengths: dict[str, int] = {}

    def put(self, array: NDArray[Any]) -> list[Any]:
        name = _name_of(array.dtype)
        begin = self._lengths.get(name, 0)
        self._parts.setdefault(name, []).append(array.ravel().astype(name, copy=False))  # big-endian ones too
        self._lengths[name] = begin + array.size
        return [name, begin, list(array.shape)]

    def joined(self) -> dict[str, NDArray[Any]]:
        return {name: np.ascontiguousarray(np.concatenate(parts)) for name, parts in self._parts.items()}


@functools.cache  # it takes numpy longer than all else here
def _name_of(dtype: np.dtype[Any]) -> str:
    if dtype.name not in _TYPES:
        raise TypeError(f"arrays of {dtype.name} cannot be kept")
    return dtype.name


def _cut(where: Any, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
    name, begin, shape = where
    if name not in _TYPES or any(type(one) is not int or one < 0 for one in (begin, *shape)):
        raise KeptError(f"no place of an array: {str(where)[:80]}")
    size = math.prod(shape)
    if name not in arrays or arrays[name].dtype.name != name or begin + size > len(arrays[name]):
        raise KeptError(f"numbers are missing: {str(where)[:80]}")
    return arrays[name][begin : begin + size].reshape(shape)


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


@functools.cache
def _shape_of(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation's outer type and what is in it; `X | None` is (None, (X,))."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        rest = tuple(one for one in inner if one is not type(None))
        if len(rest) != 1 or len(inner) != 2:
            raise TypeError(f"{kind} cannot be kept")
        return None, rest
    return (origin or kind), inner


def _to_tree(kind: Any, value: Any, numbers: _Numbers) -> Any:
    outer, inner = _shape_of(kind)
    if outer is None:
        return None if value is None else [_to_tree(inner[0], value, numbers)]
    if outer is float and isinstance(value, int | float | np.number):
        return float(value)
    if outer is int and isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    if outer is bool and isinstance(value, bool | np.bool_):
        return bool(value)
    if not isinstance(value, outer):
        raise TypeError(f"{type(value).__name__} where {kind} is annotated cannot be kept")
    if outer is str:
        return str(value)
    if outer is Tensor:
        return numbers.put(value.detach().cpu().numpy())
    if outer is np.ndarray:
        return numbers.put(value)
    if issubclass(outer, enum.Enum):
        return value.name
    if outer is list or (outer is tuple and inner[1:] == (...,)):
        return [_to_tree(inner[0], one, numbers) for one in value]
    if outer is dict:
        return {str(key): _to_tree(inner[1], one, numbers) for key, one in value.items()}
    if type(value) is outer and dataclasses.is_dataclass(outer):
        hints = _fields(kind)
        return [_to_tree(hint, getattr(value, name), numbers) for name, hint in hints.items()]
    raise TypeError(f"{kind} cannot be kept")


def _from_tree(kind: Any, tree: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    outer, inner = _shape_of(kind)
    if outer is None:
        return None if tree is None else _from_tree(inner[0], _expected(list, tree)[0], arrays)
    if outer in (float, int, bool, str):
        return _expected(outer, tree)
    if outer is Tensor:
        return torch.from_numpy(_cut(_expected(list, tree), arrays))
    if outer is np.ndarray:
        return _cut(_expected(list, tree), arrays)
    if issubclass(outer, enum.Enum):
        return outer[_expected(str, tree)]
    if outer in (list, tuple):
        return outer(_from_tree(inner[0], one, arrays) for one in _expected(list, tree))
    if outer is dict:
        return {key: _from_tree(inner[1], one, arrays) for key, one in _expected(dict, tree).items()}
    hints = _fields(outer)
    if len(_expected(list, tree)) != len(hints):
        raise KeptError(f"{len(tree)} fields where {outer.__name__} has {len(hints)}")
    parts = zip(hints.items(), tree, strict=True)
    return outer(**{name: _from_tree(hint, one, arrays) for (name, hint), one in parts})


def _expected(kind: type[T], tree: Any) -> T:
    if type(tree) is not kind:
        raise KeptError(f"{type(tree).__name__} where a {kind.__name__} is expected")
    return tree  # type: ignore[no-any-return]
