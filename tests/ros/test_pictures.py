"""What is only to be looked at: right where somebody looks, and not made where nobody does."""

import copy
import dataclasses

import numpy as np
import pytest
import ros_messages as messages
from bench import start_with
from helpers import wait
from rclpy.node import Node
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from lie_picard import PoseEstimator
from lie_picard.node import pictures
from lie_picard.node.markers import markers
from lie_picard.node.pipeline import Frame, Pipeline
from lie_picard.objects.symsol.solids import solid
from lie_picard_pose import parameters
from lie_picard_pose.conversions import WRITER, to_rgb
from lie_picard_pose.outputs import Outputs

DEFAULTS = {name: entry.default for name, entry in parameters.TABLE.items()}


@pytest.fixture(scope="module")
def cube():
    return messages.placed("cube", seed=1)


@pytest.fixture(scope="module")
def seen(cube):
    """A frame, its result offline, and the settings."""
    region = cube.region(messages.CAMERA)
    box = [region.x, region.y, region.width, region.height]
    settings = parameters.settings_of(DEFAULTS | {"objects": ["cube"], "diameters": [0.1], "regions": box})
    frame = Frame(messages.image(cube), messages.camera_info())
    return frame, Pipeline(PoseEstimator.from_checkpoint("default", "cpu"), WRITER)(frame, settings), settings


def pixels(message):
    assert message.encoding == "rgb8" and message.step == 3 * message.width
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def test_the_nodes_pictures_are_those_of_the_library(pose_node, bench, cube, seen):
    start_with(pose_node, bench, cube)
    frame, result, settings = seen
    received = {}
    for topic in ("overlay", "distribution"):
        bench.node.create_subscription(
            Image, f"{bench.prefix}pose_node/{topic}", lambda m, topic=topic: received.__setitem__(topic, m), 1
        )
        wait(bench.node, lambda topic=topic: bench.node.count_subscribers(f"{bench.prefix}pose_node/{topic}"))
    bench.ask(frame.image, frame.info, until=lambda: len(received) == 2)
    expected = {
        "overlay": pictures.overlay(result.shot, result, settings),
        "distribution": pictures.distributions(result),
    }
    for topic, picture in expected.items():
        message = received[topic]
        assert message.header == frame.image.header
        assert pixels(message).shape == picture.shape
        # Threads sum up in another order: a line may fall on the pixel beside.
        assert (np.abs(pixels(message).astype(int) - picture) > 40).any(2).mean() < 0.005


def test_nothing_is_drawn_while_nobody_looks(node, seen, monkeypatch):
    frame, result, settings = seen
    drawn = []
    for name in ("overlay", "distributions"):
        monkeypatch.setattr(pictures, name, lambda *_, name=name: drawn.append(name) or np.zeros((4, 4, 3), np.uint8))
    publisher = Node("pictures")
    outputs = Outputs(publisher)
    try:
        outputs.publish(frame, result, settings)
        assert drawn == []
        node.create_subscription(Image, "/pictures/overlay", lambda _: None, 1)
        wait(node, lambda: publisher.count_subscribers("/pictures/overlay"))
        outputs.publish(frame, result, settings)
        assert drawn == ["overlay"]
    finally:
        outputs.close()
        publisher.destroy_node()


def test_an_image_is_decoded_once_however_many_look_at_it(node, seen):
    """The overlay costs what drawing costs: it is drawn into the image that the estimate was made of."""
    frame, _, settings = seen
    decoded = []
    convert = lambda m, **options: decoded.append(m) or to_rgb(m, **options)  # noqa: E731
    pipeline = Pipeline(PoseEstimator.from_checkpoint("default", "cpu"), WRITER, convert)
    publisher = Node("pictures")
    outputs, received = Outputs(publisher), []
    try:
        node.create_subscription(Image, "/pictures/overlay", received.append, 1)
        wait(node, lambda: publisher.count_subscribers("/pictures/overlay"))
        outputs.publish(frame, pipeline(frame, settings), settings)
        wait(node, lambda: received)
        assert decoded == [frame.image]
    finally:
        outputs.close()
        publisher.destroy_node()


def test_markers_have_one_list_of_lines_and_a_ghost_per_mode(seen):
    frame, result, settings = seen
    array = markers(WRITER, frame.image.header, result.messages, settings)
    assert isinstance(array, MarkerArray) and array.markers[0].action == Marker.DELETEALL
    modes = result.messages[0].hypotheses
    lines = [m for m in array.markers if m.type == Marker.LINE_LIST]
    assert len(lines) == 1 and len(lines[0].points) == len(lines[0].colors) == 6 * len(modes)
    ghosts = [m for m in array.markers if m.type == Marker.TRIANGLE_LIST]
    assert len(ghosts) == min(12, len(modes)) and all(len(m.points) == 36 for m in ghosts)
    assert [m.pose for m in ghosts] == [h.pose.pose for h in modes[: len(ghosts)]]
    strengths = [m.color.a for m in ghosts]
    assert strengths == sorted(strengths, reverse=True)
    assert len({(m.ns, m.id) for m in array.markers[1:]}) == len(array.markers) - 1
    assert all(m.header == frame.image.header for m in array.markers)


def test_what_was_found_in_the_image_is_ringed_in_the_colour_of_its_state(seen):
    frame, result, settings = seen
    message = copy.deepcopy(result.messages[0])
    rings = []
    for state, score, word in ((1, 0.8, "located 0.80"), (2, float("nan"), "followed"), (0, float("nan"), None)):
        message.state, message.location_score = state, score
        array = markers(WRITER, frame.image.header, [message], settings)
        (name,) = [m for m in array.markers if m.type == Marker.TEXT_VIEW_FACING]
        rings.append([m for m in array.markers if m.ns == "regions"])
        assert name.text.endswith(word or "%")
    assert [len(some) for some in rings] == [1, 1, 0] and rings[0][0].color != rings[1][0].color
    radius = settings.targets[0].diameter / 2
    assert all(abs(np.hypot(p.x, p.y) - radius) < 1e-6 and p.z == 0 for p in rings[0][0].points)


@pytest.mark.parametrize("unit", [1.0, 0.001])
def test_a_mesh_file_is_named_for_rviz_to_read_in_its_unit(seen, tmp_path, unit):
    import trimesh

    frame, result, settings = seen
    mesh, path = solid("cube").mesh(0.1), tmp_path / "cube.ply"
    trimesh.Trimesh(mesh.vertices / unit, mesh.triangles, process=False).export(str(path))
    values = DEFAULTS | {"objects": ["cube"], "diameters": [0.1], "meshes": [str(path)]}
    settings = dataclasses.replace(settings, meshes=parameters.settings_of(values).meshes)
    array = markers(WRITER, frame.image.header, result.messages, settings)
    named = [m for m in array.markers if m.type == Marker.MESH_RESOURCE]
    assert named and all(m.mesh_resource == f"file://{path}" for m in named)
    assert all([m.scale.x, m.scale.y, m.scale.z] == [unit] * 3 for m in named)


def test_meshes_that_fit_no_object_are_refused_with_the_remedy(tmp_path):
    import trimesh

    mesh, path = solid("cube").mesh(0.2), tmp_path / "cube.ply"
    trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False).export(str(path))
    with pytest.raises(ValueError, match="correct the object's diameter"):
        parameters.settings_of(DEFAULTS | {"objects": ["cube"], "diameters": [0.1], "meshes": [str(path)]})
    with pytest.raises(ValueError, match="objects need"):
        parameters.settings_of(DEFAULTS | {"objects": ["cube"], "meshes": [str(path), ""]})
