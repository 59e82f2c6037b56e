"""Parameter files are read as rclpy reads them; one that is for nobody here is said."""

import pytest
import rclpy
import yaml
from helpers import wait
from hypothesis import given
from hypothesis import strategies as st
from rclpy.node import Node

from lie_picard.node import parameter_file, settings

NAMES = ["/pose_node", "/r1/pose_node", "/r1/r2/pose_node", "/camera"]
KEYS = ["/**", "/*", "pose_node", "/pose_node", "/r1/pose_node", "/*/pose_node", "/**/pose_node", "/r1/*", "/r1/**",
        "camera", "/r1/r2/pose_node"]  # fmt: skip


def by_rclpy(path, full_name):
    namespace, _, name = full_name.rpartition("/")
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "--params-file", str(path)], context=context)
    try:
        node = Node(name, namespace=namespace or "/", context=context, start_parameter_services=False)
        found = {key: parameter.value for key, parameter in node._parameter_overrides.items()}
        node.destroy_node()
        return found
    finally:
        rclpy.shutdown(context=context)


def by_us(path, full_name):
    return parameter_file.values_for(parameter_file.sections(path), full_name)


def plain(values):
    return {key: list(value) if hasattr(value, "__len__") and not isinstance(value, str) else value
            for key, value in values.items()}  # fmt: skip


@pytest.mark.parametrize("full_name", NAMES)
def test_sections_are_for_the_nodes_that_ros_gives_them_to(tmp_path, domain, full_name):
    path = tmp_path / "params.yaml"
    for begin in range(len(KEYS)):  # any may come last, and say the last word
        keys = KEYS[begin:] + KEYS[:begin]
        path.write_text(
            yaml.safe_dump(
                {k: {"ros__parameters": {"a": n, f"of_{n}": n}} for n, k in enumerate(keys)}, sort_keys=False
            )
        )
        assert by_us(path, full_name) == by_rclpy(path, full_name)


NESTED = """
r1:
  pose_node:
    ros__parameters: {samples: 5}
/r1:
  r2: {pose_node: {ros__parameters: {samples: 6}}}
"""
POINTS = """
/**:
  ros__parameters:
    qos_overrides./image.subscription.reliability: reliable
    qos_overrides:
      /camera_info: {subscription: {durability: volatile}}
    x: {y: {z: 1}}
"""
TWICE = """
pose_node:
  ros__parameters: {samples: 1}
pose_node:
  ros__parameters: {samples: 2, steps: 3}
"""
VALUES = """
/**:
  ros__parameters: {a: 1e-3, b: 1., c: 0x10, d: true, e: 'text', f: [1.0, 2.0], g: [a, b], h: -5}
"""
ALIAS = """
/**:
  ros__parameters:
    a: &x 1
    b: *x
"""


@pytest.mark.parametrize("text", [NESTED, POINTS, TWICE, VALUES], ids=["nested", "points", "twice", "values"])
def test_files_have_the_values_that_ros_gives(tmp_path, domain, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    for full_name in NAMES:
        assert plain(by_us(path, full_name)) == plain(by_rclpy(path, full_name))


@pytest.mark.parametrize("text", ["a: 1\n", ALIAS, "- 1\n", "", "/**: {ros__parameters: {a: [1"])
def test_what_ros_refuses_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(parameter_file.ParameterFileError, match=r"params\.yaml") as error:
        parameter_file.sections(path)
    assert "\n" not in str(error.value)


def test_the_only_pose_node_of_a_file_is_found_and_several_ask_which(tmp_path):
    path = tmp_path / "params.yaml"

    def read(content, node=""):
        path.write_text(yaml.safe_dump({k: {"ros__parameters": v} for k, v in content.items()}, sort_keys=False))
        return settings.read_values(path, node)["samples"]

    camera = {"/r1/camera": {"exposure": 3, "use_sim_time": True}}
    assert read({"/**": {"samples": 5}}) == 5
    assert read(camera | {"/r1/pose_node": {"samples": 6}}) == 6
    assert read(camera | {"/**": {"samples": 5, "exposure": 4}, "/r1/mine": {"steps": 6}}) == 5
    assert read({"/*/pose_node": {"samples": 7}}) == 7
    two = {"/r1/pose_node": {"samples": 1}, "/r2/pose_node": {"samples": 2}}
    with pytest.raises(ValueError, match="--node one of /r1/pose_node, /r2/pose_node"):
        read(two)
    assert [read(two, name) for name in ("/r1/pose_node", "r2/pose_node")] == [1, 2]
    with pytest.raises(ValueError, match="nothing for '/r3/pose_node'"):
        read(two, "/r3/pose_node")
    with pytest.raises(ValueError, match="only for '/r1/camera'"):
        read(camera)
    with pytest.raises(ValueError, match="no parameter 'sampels'"):
        read({"/**": {"sampels": 5}})


@given(st.binary(max_size=60) | st.text(alphabet="/*: \n{}[]&!|>-'\"ros__parametsa1.", max_size=80).map(str.encode))
def test_no_file_breaks_the_reader(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        found = parameter_file.sections(path)
    except parameter_file.ParameterFileError as error:
        assert "\n" not in str(error)
    else:
        assert all(section.name.startswith("/") for section in found)


def test_a_file_that_is_for_another_node_is_said(pose_node, node, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"my_pose_node": {"ros__parameters": {"samples": 5}}}))
    process = pose_node(path, samples=4)
    wait(node, lambda: "has nothing for this node" in process.output)
    assert "'/my_pose_node'" in process.output and "'/pose_node'" in process.output
