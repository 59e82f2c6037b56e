"""Parameter files of ROS 2, read as a node reads them (rcl_yaml_param_parser): whose a section is, and its values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_MARK = "ros__parameters"
_MOST_BYTES = 1 << 20  # more is no file of parameters


class ParameterFileError(ValueError):
    """A file that a node would not take; the message says why."""


class Section(NamedTuple):
    """Parameters of the nodes of a name, such as /robot/pose_node, /*/pose_node or /**."""

    name: str
    values: dict[str, Any]

    def is_for(self, node: str) -> bool:
        """Whether a node of this full name takes them: * stands for one part of a name, ** for any number of them."""
        return re.fullmatch(re.escape(self.name).replace(r"/\*", r"(/\w+)").replace(r")\*", r")*"), node) is not None

    @property
    def is_wild(self) -> bool:
        """Whether it may be for several nodes."""
        return "*" in self.name


class _Loader(yaml.SafeLoader):
    """YAML's plain types. No aliases, as in ROS: a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*) are not for parameters", problem_mark=self.peek_event().start_mark
            )
        return super().compose_node(parent, index)


# YAML 1.1 takes 1e-3 for text, ROS for a number.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def sections(path: Path) -> list[Section]:
    """All sections of a file, in its order; parameters in parameters are named with points between.

    Raises:
        ParameterFileError: it cannot be read, or is none.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ParameterFileError(f"params file {path} is larger than a megabyte: it is no file of parameters")
        loader = _Loader(path.read_text(encoding="utf-8", errors="strict"))
        try:
            root = loader.get_single_node()
            found = list(_sections(loader, root, "")) if isinstance(root, yaml.MappingNode) else []
        finally:
            loader.dispose()
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ParameterFileError):
            raise
        raise ParameterFileError(f"params file {path}: {' '.join(str(error).split())}") from None
    if not found:
        raise ParameterFileError(f"params file {path} holds no parameters: begin with '/**:' and '{_MARK}:'")
    return found


def _sections(loader: _Loader, node: yaml.MappingNode, name: str) -> Iterator[Section]:
    for key, value in node.value:
        part = str(loader.construct_object(key))
        if part == _MARK and name:
            values: dict[str, Any] = {}
            if isinstance(value, yaml.MappingNode):
                _flatten(loader, value, "", values)
            yield Section(name, values)
        elif isinstance(value, yaml.MappingNode):
            yield from _sections(loader, value, f"{name}/{part.lstrip('/')}")


def _flatten(loader: _Loader, node: yaml.MappingNode, before: str, values: dict[str, Any]) -> None:
    for key, value in node.value:
        name = before + str(loader.construct_object(key))
        if isinstance(value, yaml.MappingNode):
            _flatten(loader, value, f"{name}.", values)
        else:
            values[name] = loader.construct_object(value, deep=True)


def values_for(found: list[Section], node: str) -> dict[str, Any]:
    """What a node of this full name is given: later sections change what earlier ones say."""
    values: dict[str, Any] = {}
    for section in found:
        if section.is_for(node):
            values |= section.values
    return values


def names(found: list[Section]) -> str:
    """The sections' names, for messages."""
    return ", ".join(dict.fromkeys(f"'{section.name}'" for section in found))
