"""The house: each room of the core imports from its own and those before it, and SYMSOL lives in one room alone."""

import ast
from pathlib import Path

import pytest

import lie_picard

CORE = Path(lie_picard.__file__).parent
FIRST = ("so3", "machine", "files")
ROOMS = (*FIRST, "geometry", "rendering", "objects", "sampling", "posterior", "model", "data", "training", "estimation",
         "evaluation", "drawing", "messages", "node", "view", "recording", "grasps", "cli")  # fmt: skip
FILES = sorted(path for path in CORE.rglob("*.py") if path != CORE / "__init__.py")
SYMSOLS = {"tet", "icosa", "cyl", "tetX", "cylO", "sphereX", "SOLIDS"}
ROS = {"rclpy", "cv_bridge", "tf2_ros", "ament_index_python", "sensor_msgs", "geometry_msgs", "std_msgs",
       "lie_picard_msgs", "lie_picard_pose"}  # fmt: skip
each_file = pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(CORE)))


def room_of(module):
    """The first part of a module's name within the core; None for the core itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imported(file):
    """Names of the modules that a file imports, wherever it does, but for those that types alone need."""
    tree = ast.parse(file.read_text())
    conditions = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    typing = [node for node in conditions if ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING"]
    left_out = {id(part) for node in typing for one in node.body for part in ast.walk(one)}
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_is_in_the_list():
    there = {file.relative_to(CORE).parts[0].removesuffix(".py") for file in FILES}
    assert there == set(ROOMS)


@each_file
def test_imports_go_to_rooms_before(file):
    own = file.relative_to(CORE).parts[0].removesuffix(".py")
    allowed = {*ROOMS[: ROOMS.index(own) + 1], "__version__"}
    others = {room_of(name) for name in imported(file) if name.split(".")[0] == "lie_picard"}
    assert others <= allowed, f"{file.relative_to(CORE)} imports {sorted(others - allowed)}"


@each_file
def test_outside_its_room_nobody_knows_symsols_solids(file):
    if (CORE / "objects" / "symsol") in file.parents:
        return
    names = set(imported(file))
    if file != CORE / "objects" / "__init__.py":  # the room's face: bodies that are none of any catalogue
        assert not any(name.startswith("lie_picard.objects.symsol") for name in names)
    words = {node.value for node in ast.walk(ast.parse(file.read_text()))
             if isinstance(node, ast.Constant) and isinstance(node.value, str)}  # fmt: skip
    assert not words & SYMSOLS
    if file != CORE / "objects" / "catalogue.py":  # the table that finds the built-in catalogue by a module's name
        assert not any(word.startswith("lie_picard.objects.symsol") for word in words)


@each_file
def test_the_core_knows_no_ros(file):
    assert not {name.split(".")[0] for name in imported(file)} & ROS


def test_no_file_has_too_many_lines():
    long = {str(file.relative_to(CORE)): count for file in FILES if (count := len(file.read_text().splitlines())) > 400}
    assert not long
