"""ROS 2's parameter files, read as rcl reads them: which values a node would get that is started with one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lie_picard.files import read_at_most

_MAX_BYTES = 1 << 18
_PARAMETERS = "ros__parameters"
_TRUE = frozenset({"Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"N", "n", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_FLOAT = re.compile(
    r"[+-]?\.?(?:inf(?:inity)?|nan)|[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.IGNORECASE
)


class ParamsFileError(ValueError):
    """A file that cannot be read; one line."""


@dataclass(frozen=True)
class Section:
    """The values of a file's section, and the fully qualified name of its node, which may hold * and **."""

    node: str
    values: dict[str, Any]

    def fits(self, name: str) -> bool:
        """Whether a node of this fully qualified name gets them: * is one part of a name, ** any number."""
        pattern = re.escape(self.node).replace(r"/\*\*", r"(?:/\w+)*").replace(r"/\*", r"/\w+")
        return re.fullmatch(pattern, name) is not None

    @property
    def is_pattern(self) -> bool:
        """Whether it is for several nodes."""
        return "*" in self.node


def read_sections(path: Path) -> list[Section]:
    """A file's sections in their order; parameters below parameters have dotted names.

    Raises:
        ParamsFileError: it cannot be read, or rcl would refuse it.
    """
    try:
        content = read_at_most(path, _MAX_BYTES)
        documents = yaml.compose_all(content.decode("utf-8-sig"), Loader=_Loader)
        return [section for document in documents for section in _sections(_mapping(document), "")]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, ParamsFileError) as error:
        raise ParamsFileError(f"params file {path}: {' '.join(str(error).split())[:300]}") from None
    except RecursionError:
        raise ParamsFileError(f"params file {path}: nested too deeply") from None


def values_for(sections: list[Section], node: str) -> dict[str, Any]:
    """What a node of this fully qualified name gets: of all sections that fit, in their order; the last one counts."""
    values: dict[str, Any] = {}
    for section in sections:
        if section.fits(node):
            values |= section.values
    return values


def chosen(sections: list[Section], asked: str, telling: frozenset[str]) -> str:
    """Fully qualified name of the node whose values are meant.

    Args:
        asked: its name, with its namespace or without; empty: the one that holds one of the `telling` parameters, or
            whose name a pattern leaves open.

    Raises:
        ParamsFileError: there is none of this name, or there are several and `asked` does not say which.
    """
    concrete = list(dict.fromkeys(one.node for one in sections if not one.is_pattern))
    there = ", ".join(dict.fromkeys(one.node for one in sections)) or "no node"
    if asked:
        named = [asked] if asked.startswith("/") else [one for one in concrete if one.endswith(f"/{asked}")]
        named = named or [f"/{asked}"]
        if len(named) == 1 and any(one.fits(named[0]) for one in sections):
            return named[0]
        what = f"several nodes '{asked}'" if len(named) > 1 else f"nothing for a node '{asked}'"
        raise ParamsFileError(f"holds {what}, but {there}: give --node one of these names, with its namespace")
    meant = [one.node for one in sections if telling & one.values.keys() or one.node.endswith("/pose_node")]
    names = [name for name in dict.fromkeys(meant) if "*" not in name]
    if not names:  # patterns alone: a name that all of them fit
        made = [_instance(name) for name in dict.fromkeys(meant)] or ["/pose_node"]
        fitting = [name for name in made if all(Section(one, {}).fits(name) for one in meant)]
        names = fitting[-1:] or made
    if not any(one.fits(name) for one in sections for name in names):
        raise ParamsFileError(f"holds nothing for a pose node, but {there}: begin with '/**:' and 'ros__parameters:'")
    if len(names) > 1:
        raise ParamsFileError(f"holds several pose nodes, {', '.join(names)}: say which with --node NAME")
    return names[0]


def _instance(pattern: str) -> str:
    """A name that fits a pattern."""
    name = pattern.removesuffix("/**").replace("/**", "").replace("/*", "/any")
    return f"{name}/pose_node" if pattern.endswith("/**") else name


class _Loader(yaml.SafeLoader):
    """Composes nodes without following references, as rcl, which knows none: what they promise can be endless."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ParamsFileError(f"line {self.peek_event().start_mark.line + 1}: aliases (*name) are not supported")
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> Any:
        tag = self.peek_event().tag
        node = super().compose_scalar_node(anchor)
        if tag == "tag:yaml.org,2002:str":
            node.style = '"'
        return node


def _mapping(node: Any) -> list[tuple[str, Any]]:
    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode):
        raise ParamsFileError("holds no parameters: begin with '/**:' and 'ros__parameters:'")
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            raise ParamsFileError(f"line {key.start_mark.line + 1}: a key must be a name")
    return [(key.value, value) for key, value in node.value]


def _sections(pairs: list[tuple[str, Any]], above: str) -> Iterator[Section]:
    """Of nested namespaces."""
    for key, value in pairs:
        name = f"{above}/{key.strip('/')}"
        if _is_null(value):
            continue
        if not isinstance(value, yaml.MappingNode):
            raise ParamsFileError(
                f"'{key[:60]}' stands outside of ros__parameters: begin with '/**:' and 'ros__parameters:'"
            )
        inner = _mapping(value)
        parameters = [one for one in inner if one[0] == _PARAMETERS]
        rest = [one for one in inner if one[0] != _PARAMETERS]
        for _, values in parameters:
            yield Section(name, dict(_flat(values, "")))
        yield from _sections(rest, name)


def _is_null(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == ""


def _flat(node: Any, above: str) -> Iterator[tuple[str, Any]]:
    """Names and values of parameters."""
    for key, value in _mapping(node):
        name = f"{above}{key}"
        if isinstance(value, yaml.MappingNode):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, yaml.SequenceNode):
            yield name, _list(name, value)
        else:
            yield name, _scalar(value, name)


def _list(name: str, node: Any) -> list[Any]:
    values = [_scalar(one, name) for one in node.value]
    if len({type(one) for one in values}) > 1:
        kinds = " and ".join(sorted({type(one).__name__ for one in values}))
        raise ParamsFileError(f"parameter {name}: a list must hold values of one type, not {kinds}: write 1.0 for 1")
    return values


def _scalar(node: Any, name: str) -> Any:
    """Quoted: text; else the first that it can be of bool, int (C's notations), float, text."""
    if not isinstance(node, yaml.ScalarNode):
        raise ParamsFileError(f"parameter {name}: a list may hold numbers, texts or booleans only")
    text = str(node.value)
    if node.style in ("'", '"'):
        return text
    if text == "" and node.style is None:
        raise ParamsFileError(f'parameter {name} has no value: leave the line out, or write ""')
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" and len(digits) > 1 else 10
        try:
            number = int(text, base) if base != 8 else int(text.replace(digits, digits.lstrip("0") or "0"), 8)
        except ValueError:  # 09
            number = None
        if number is not None and -(2**63) <= number < 2**63:
            return number
    if _FLOAT.fullmatch(text):
        value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if math.isfinite(value) or "inf" in text.lower() or "nan" in text.lower():
            return value
    return text
