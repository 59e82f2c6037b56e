"""The running node, as a process of its own, on real middleware."""

import signal

import numpy as np
import pytest
import ros_messages as messages
import torch
from bench import integer, set_parameter, start_with, text
from geometry_msgs.msg import PoseArray
from helpers import wait
from rcl_interfaces.srv import ListParameters
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from lie_picard import PoseEstimator, SamplerOptions, so3
from lie_picard.estimation.poses import Target, estimate_poses
from lie_picard.messages.read import rotation_of
from lie_picard.objects.symsol.solids import solid
from lie_picard_msgs.srv import EstimatePose
from lie_picard_pose.conversions import to_rgb
from lie_picard_pose.demo_recording import OBJECTS


@pytest.mark.parametrize("name", OBJECTS)
def test_published_poses_equal_the_truth(pose_node, bench, name):
    placed = messages.placed(name, seed=11)
    start_with(pose_node, bench, placed)
    bench.ask(messages.image(placed), messages.camera_info())
    message = bench.hypotheses[0]
    shape, truth = solid(name), placed.rotations[0]
    for hypothesis in message.hypotheses:
        pose = hypothesis.pose.pose
        error = shape.bare.distance(torch.from_numpy(rotation_of(pose.orientation)), truth)
        assert torch.rad2deg(error) < 8, f"mode {hypothesis.mode_id} of weight {hypothesis.weight}"
        position = np.array([pose.position.x, pose.position.y, pose.position.z])
        away = position - placed.position  # a metre off
        assert np.linalg.norm(away[:2]) < 0.005 and abs(away[2]) < 0.03
    assert sum(h.weight for h in message.hypotheses) == pytest.approx(1)
    assert len(message.sample_quaternions) == 4 * 32


def test_everything_carries_the_images_header_and_tf_has_the_modes(pose_node, bench):
    placed = messages.placed("cube")
    start_with(pose_node, bench, placed, tf_modes=2)
    bench.ask(messages.image(placed, stamp=(77, 5)), messages.camera_info(), until=lambda: all(bench.received.values()))
    outputs = bench.hypotheses + bench.received[PoseArray]
    outputs += [t for m in bench.received[TFMessage] for t in m.transforms]
    outputs += [m for a in bench.received[MarkerArray] for m in a.markers]
    for output in outputs:
        assert (output.header.stamp.sec, output.header.stamp.nanosec) == (77, 5)
        assert output.header.frame_id == messages.FRAME
    frames = [t.child_frame_id for t in bench.received[TFMessage][0].transforms]
    first, second = bench.hypotheses[0].hypotheses[:2]
    assert frames == ["cube", f"cube/mode_{first.mode_id}", f"cube/mode_{second.mode_id}"]
    best, leading = bench.received[TFMessage][0].transforms[:2]
    assert best.transform.rotation == bench.hypotheses[0].best.pose.orientation
    assert leading.transform.rotation == first.pose.pose.orientation
    assert len(bench.received[PoseArray][0].poses) == 32


@pytest.mark.parametrize("method", ["ode", "newton"])
def test_the_nodes_result_is_the_offline_result(pose_node, bench, method):
    placed = messages.placed("tet", seed=3)
    start_with(pose_node, bench, placed, seed=5, samples=20, method=method, steps=30)
    image = messages.image(placed)
    bench.ask(image, messages.camera_info())
    offline = estimate_poses(
        PoseEstimator.from_checkpoint(device="cpu"), to_rgb(image), messages.CAMERA,
        [Target("tet", messages.DIAMETER, placed.region(messages.CAMERA))], 20, 5, SamplerOptions(method, 30),
    )[0]  # fmt: skip
    x, y, z, w = torch.tensor(bench.hypotheses[0].sample_quaternions).reshape(-1, 4).unbind(1)
    online = so3.from_quaternion(torch.stack([w, x, y, z], 1))
    assert torch.rad2deg(so3.angle(online, offline.hypotheses.rotations)).max() < 0.05
    weights = [h.weight for h in bench.hypotheses[0].hypotheses]
    assert weights == pytest.approx([mode.weight for mode in offline.hypotheses.modes])


def test_a_warm_start_saves_rounds_and_keeps_the_poses_right(pose_node, bench):
    placed = messages.placed("cube", seed=4)
    start_with(pose_node, bench, placed, method="newton", steps=30, restarts=0, warm_start="true")
    bench.ask(messages.image(placed), messages.camera_info(), until=lambda: len(bench.hypotheses) >= 2)
    first, second = bench.hypotheses[:2]
    assert second.statistics.method == "newton" and second.statistics.integrator == "multistep"
    assert second.statistics.rounds < 0.75 * first.statistics.rounds
    for hypothesis in second.hypotheses:
        rotation = torch.from_numpy(rotation_of(hypothesis.pose.pose.orientation))
        assert torch.rad2deg(solid("cube").bare.distance(rotation, placed.rotations[0])) < 8


def broken(**changes):
    message = messages.image(messages.placed("cube"))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


GOOD = messages.placed("cube")
BAD_INPUT = {
    "unknown encoding": (broken(encoding="rgb9"), messages.camera_info(), "unknown image encoding 'rgb9'"),
    "empty image": (Image(encoding="rgb8"), messages.camera_info(), "the image is empty"),
    "wrong step": (broken(step=7), messages.camera_info(), "image data does not fit its header"),
    "wrong height": (broken(height=9), messages.camera_info(), "image data does not fit its header"),
    "K[0] == 0": (messages.image(GOOD), CameraInfo(width=320, height=240), "not calibrated (K[0] = 0)"),
    "other size": (
        messages.image(GOOD),
        messages.camera_info(type(messages.CAMERA)(messages.CAMERA.matrix, np.zeros(0), 640, 480)),
        "camera_info says 640 x 480",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_log_line_and_nothing_is_published(pose_node, bench, case):
    image, info, complaint = BAD_INPUT[case]
    process = start_with(pose_node, bench, GOOD, samples=4, steps=5)
    bench.ask(image, info, until=lambda: complaint in process.output)
    assert not bench.hypotheses and not bench.received[TFMessage]
    # Repeated every frame, it is still logged once.
    for _ in range(5):
        bench.send(image, info)
    # The node lives: the next good frame is answered.
    bench.ask(messages.image(GOOD), messages.camera_info())
    assert process.alive
    assert process.output.count(complaint) == 1 and "Traceback" not in process.output


def test_images_without_camera_info_are_explained(pose_node, bench):
    process = start_with(pose_node, bench, GOOD, samples=4, steps=5)
    image = messages.image(GOOD)
    wait(bench.node, lambda: bench.image.publish(image) or "no camera_info yet" in process.output)
    assert not bench.hypotheses


@pytest.mark.parametrize("kind", ["missing", "corrupt"])
def test_a_bad_checkpoint_leaves_the_node_alive_and_can_be_mended(pose_node, bench, tmp_path, kind):
    path = tmp_path / "model.safetensors"
    if kind == "corrupt":
        path.write_bytes(b"not a model" * 100)
    process = pose_node(ready=False, checkpoint=str(path), objects="[cube]", regions=messages.regions(GOOD), samples=4)
    expected = "no such file" if kind == "missing" else "not a readable safetensors file"
    wait(bench.node, lambda: expected in process.output)
    assert "not configured" in process.output and process.alive and "Traceback" not in process.output
    assert not bench.node.count_publishers("pose_node/hypotheses")
    assert set_parameter(bench, "checkpoint", text("default")).successful
    bench.connect()
    bench.ask(messages.image(GOOD), messages.camera_info())


def test_parameters_change_while_running_or_are_refused_with_a_reason(pose_node, bench):
    start_with(pose_node, bench, GOOD, samples=8, steps=5)
    assert set_parameter(bench, "samples", integer(12)).successful
    bench.ask(messages.image(GOOD), messages.camera_info(),
              until=lambda: any(len(h.sample_quaternions) == 48 for h in bench.hypotheses))  # fmt: skip
    refused = set_parameter(bench, "method", text("magic"))
    assert not refused.successful and "choose from" in refused.reason
    refused = set_parameter(bench, "checkpoint", text("/nowhere.safetensors"))
    assert not refused.successful and "no such file" in refused.reason
    refused = set_parameter(bench, "samples", integer(0))
    assert not refused.successful and refused.reason


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"objects": "[a, b]"}, "2 objects need 2 diameters and 8 numbers in regions"),
        ({"regions": "[1, 2, 3, 4]"}, "write whole numbers with a point"),
        ({"samples": "0"}, "samples"),
        ({"device": "abacus"}, "unknown device"),
        ({"method": "magic"}, "choose from auto, ode, picard, newton, walk"),
    ],
)
def test_parameters_that_do_not_fit_end_the_start_with_one_line(start, parameters, message):
    arguments = [a for name, value in parameters.items() for a in ("-p", f"{name}:={value}")]
    process = start("pose_node", "--ros-args", *arguments)
    assert process.popen.wait(60) == 1
    process.reader.join(10)
    assert message in process.output and "Traceback" not in process.output


def test_the_service_estimates_one_image(pose_node, bench):
    placed = messages.placed("icosa", seed=2)
    start_with(pose_node, bench, placed)
    image, info = messages.image(placed), messages.camera_info()
    answer = bench.call(EstimatePose, "estimate", image=image, camera_info=info, samples=50, seed=1)
    assert answer.success and len(answer.hypotheses.sample_quaternions) == 200
    assert answer.hypotheses.object_id == "icosa"
    unknown = bench.call(EstimatePose, "estimate", image=image, camera_info=info, object_id="spoon")
    assert not unknown.success and "unknown object 'spoon'" in unknown.message
    bad = bench.call(EstimatePose, "estimate", image=Image(encoding="rgb8"), camera_info=info)
    assert not bad.success and "empty" in bad.message


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_cleanly(pose_node, bench, stop):
    process = start_with(pose_node, bench, GOOD, samples=4, steps=5)
    bench.ask(messages.image(GOOD), messages.camera_info())
    assert process.stop(stop) == 0
    assert "Traceback" not in process.output


def test_the_quality_of_service_of_every_endpoint_can_be_overridden(pose_node, bench):
    start_with(pose_node, bench, messages.placed("cube"))
    names = bench.call(ListParameters, "list_parameters").result.names
    outputs = ("hypotheses", "poses", "markers", "overlay", "distribution", "objects")
    topics = ["/image", "/camera_info", "/diagnostics", "/tf", *(f"/pose_node/{name}" for name in outputs)]
    assert [topic for topic in topics if not any(name.startswith(f"qos_overrides.{topic}.") for name in names)] == []
