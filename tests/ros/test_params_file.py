"""Parameter files: the recording tools read them as rcl does, which is asked itself; whose a file is."""

import pytest
import rclpy
import yaml
from helpers import wait
from rclpy.context import Context
from rclpy.node import Node

from lie_picard.node import params_file
from lie_picard.node.settings import read_values

NODE = "/r1/pose_node"


def by_rcl(path, node=NODE):
    """The values that rcl gives a node; None where it refuses the file."""
    context = Context()
    namespace, _, name = node.rpartition("/")
    try:
        rclpy.init(args=["--ros-args", "--params-file", str(path)], context=context)
    except Exception:
        return None
    made = Node(name, namespace=namespace or "/", context=context, automatically_declare_parameters_from_overrides=True,
                enable_rosout=False, start_parameter_services=False)  # fmt: skip
    try:
        values = {name: parameter.value for name, parameter in made._parameters.items()}
    finally:
        made.destroy_node()
        rclpy.shutdown(context=context)
    own = {"use_sim_time", "start_type_description_service"}
    return {name: list(v) if hasattr(v, "tolist") else v for name, v in values.items() if name not in own}


def by_us(path, node=NODE):
    """The same by the recording tools."""
    try:
        return params_file.values_for(params_file.read_sections(path), node)
    except params_file.ParamsFileError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return None


def section(key, *lines):
    """A section of a file."""
    return f"{key}:\n  ros__parameters:\n" + "".join(f"    {line}\n" for line in lines)


KEYS = ["/**", "/*", "/*/pose_node", "/**/pose_node", "/r1/pose_node", "r1/pose_node", "pose_node", "/r1/*", "/r1/**",
        "/r1/**/pose_node", '"**"', '"*"', '"*/pose_node"', "/r2/pose_node", "/r1/*/pose_node", "/r1/no"]  # fmt: skip
VALUES = ["1e-2", "010", "09", "0x10", "yes", "y", "N", "off", "null", "~", "", ".inf", "-.inf", "1_000", '"1"', "'y'",
          "[1, 2.0]", "[1.0, 2]", "!!str 5", "1.", ".5", "+1", "-0x1f", "&a 3", "*a", "2026-01-01", "12:30:45",
          "!!python/object:os.system 1", "inf", "1e400", "99999999999999999999", '["a", b]', "[true, 1]", "a b", "0b1",
          "1e5", "0", "00", "-1", "--1", "1.5e", "{b: {c: 1}}", "TRUE", "tRUE", "0o17"]  # fmt: skip
FILES = [
    *(section(key, "a: 1") for key in KEYS),
    *(section("/**", f"a: {value}") for value in VALUES),
    *(section(one, "a: 1") + section(two, "a: 2", "b: 3") for one in KEYS[:6] for two in KEYS[:6]),
    "r1:\n  pose_node:\n    ros__parameters: {a: 1}\n  other:\n    ros__parameters: {a: 2}\n",
    "/**:\n  pose_node:\n    ros__parameters: {a: 1}\n",
    section("/**", "a.b: 1", "c: {d: {e: 2}}", "qos_overrides./image.subscription.depth: 5"),
    section("/**", "a: 1") + "---\n" + section("/**", "a: 2"),
    section("/**", "a: 1", "a: 2"),
    "",
    "a: 1\n",
    "[1, 2]\n",
    "/**: [1]\n",
    "/**:\n  ros__parameters:\n",
]  # fmt: skip


@pytest.mark.parametrize("text", FILES)
def test_a_file_says_what_rcl_says_that_it_says(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert by_us(path) == by_rcl(path)


def written(tmp_path, *sections):
    path = tmp_path / "params.yaml"
    path.write_text("".join(sections))
    return path


MUG, CUP = ("objects: [mug]", "diameters: [0.1]"), ("objects: [cup]", "diameters: [0.2]")


@pytest.mark.parametrize(
    ("sections", "node", "wanted"),
    [
        ([section("/**", *MUG)], "", "mug"),
        ([section("pose_node", *MUG), section("camera", "fps: 30")], "", "mug"),
        ([section("/**", "use_sim_time: true", "fps: 3"), section("/r1/pose_node", *MUG), section("camera", "fps: 3")],
         "", "mug"),
        ([section("/**", *CUP), section("/r1/finder", *MUG)], "", "mug"),
        ([section("/r1/finder", *MUG), section("/**", *CUP)], "", "cup"),  # what comes later counts
        ([section("/**", *CUP), section("/*/pose_node", *MUG)], "", "mug"),
        (["r1:\n" + "  pose_node:\n    ros__parameters:\n      objects: [mug]\n      diameters: [0.1]\n"], "", "mug"),
        ([section("/r1/pose_node", *MUG), section("/r2/pose_node", *CUP)], "/r2/pose_node", "cup"),
        ([section("/r1/pose_node", *MUG), section("/r2/finder", *CUP)], "finder", "cup"),
        ([section("/*/pose_node", *MUG)], "/r7/pose_node", "mug"),
        ([section("/**", *MUG, "qos_overrides./image.subscription.reliability: reliable",
                  "start_type_description_service: true", "qos_overrides: {/tf: {publisher: {depth: 5}}}")], "", "mug"),
    ],
)  # fmt: skip
def test_the_pose_node_of_a_file_is_found(tmp_path, sections, node, wanted):
    assert read_values(written(tmp_path, *sections), node)["objects"] == [wanted]


TWO = [section("/r1/pose_node", *MUG), section("/r2/pose_node", *CUP)]


@pytest.mark.parametrize(
    ("sections", "node", "message"),
    [
        (TWO, "", r"several pose nodes, /r1/pose_node, /r2/pose_node: say which with --node"),
        (TWO, "pose_node", "several nodes 'pose_node'.*give --node one of these"),
        (TWO, "/r3/pose_node", "nothing for a node '/r3/pose_node', but /r1/pose_node, /r2/pose_node"),
        ([section("/r1/*", *MUG), section("/r2/*", *CUP)], "", "several pose nodes"),
        ([section("camera", "fps: 30")], "", "nothing for a pose node, but /camera"),
        ([section("pose_node", *MUG, "smaples: 4")], "", "no parameter 'smaples'"),
        ([section("/**", *MUG, "foo: {bar: 4}")], "", "no parameter 'foo.bar'"),
        ([], "", "holds nothing for a pose node"),
    ],
)
def test_a_file_that_does_not_say_which_node_is_meant_asks(tmp_path, sections, node, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_values(written(tmp_path, *sections), node)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_for_another_node_is_said(pose_node, node, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"my_pose_node": {"ros__parameters": {"samples": 5}}}))
    process = pose_node(path, samples=4)
    wait(node, lambda: "has nothing for this node" in process.output)
    assert "'/my_pose_node'" in process.output and "'/pose_node'" in process.output
