"""Lifecycle: what each transition does, and what it says where it fails; services besides the stream; diagnostics."""

import shutil

import pytest
import ros_messages as messages
from bench import Bench, floating, integer, set_parameter, start_with, text
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from helpers import wait
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import Parameter
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from sensor_msgs.msg import RegionOfInterest
from std_srvs.srv import Trigger

from lie_picard.model import checkpoint
from lie_picard_msgs.msg import ObjectInfoArray
from lie_picard_msgs.srv import EstimatePose, SetObject

CUBE = messages.placed("cube")
QUICK = {"samples": 4, "steps": 5}


def change(bench, number):
    return bench.change_state(number)


def state(bench):
    return bench.state()


def test_without_autostart_a_manager_leads_it_through_its_life(pose_node, bench):
    process = pose_node(
        ready=False, objects="[cube]", regions=messages.regions(CUBE), diameters="[0.1]", autostart="false", **QUICK
    )
    assert state(bench) == "unconfigured"
    refused = bench.call(EstimatePose, "estimate", image=messages.image(CUBE), camera_info=messages.camera_info())
    assert not refused.success and "configure the node first" in refused.message
    for _ in range(2):  # a second life is as the first
        assert change(bench, Transition.TRANSITION_CONFIGURE)
        assert state(bench) == "inactive"
        assert bench.node.count_publishers("pose_node/hypotheses") and not bench.node.count_subscribers("image")
        answer = bench.call(EstimatePose, "estimate", image=messages.image(CUBE), camera_info=messages.camera_info())
        assert answer.success
        assert change(bench, Transition.TRANSITION_ACTIVATE)
        bench.connect()
        bench.ask(messages.image(CUBE), messages.camera_info())
        assert change(bench, Transition.TRANSITION_DEACTIVATE)
        wait(bench.node, lambda: not bench.node.count_subscribers("image"))
        wait(bench.node, lambda: state(bench) == "inactive")
        for kept in bench.received.values():
            kept.clear()
        assert change(bench, Transition.TRANSITION_CLEANUP)
        wait(bench.node, lambda: not bench.node.count_publishers("pose_node/hypotheses"))
        assert not any(bench.received.values())
    assert process.stop() == 0 and "Traceback" not in process.output


def test_a_failed_configuration_says_why_and_can_be_repeated(pose_node, bench):
    process = pose_node(ready=False, autostart="false", checkpoint="/nowhere.safetensors", **QUICK)
    assert not change(bench, Transition.TRANSITION_CONFIGURE)
    assert "not configured: " in process.output and "no such file" in process.output
    assert state(bench) == "unconfigured"
    assert set_parameter(bench, "checkpoint", text("default")).successful
    assert change(bench, Transition.TRANSITION_CONFIGURE) and state(bench) == "inactive"


def test_the_objects_are_latched_with_their_symmetries(pose_node, bench):
    start_with(pose_node, bench, CUBE, **QUICK)
    announced = []
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    bench.node.create_subscription(ObjectInfoArray, "pose_node/objects", announced.append, latched)
    wait(bench.node, lambda: announced)
    (cube,) = announced[0].objects
    assert (cube.object_id, cube.model_object, cube.diameter) == ("cube", "cube", messages.DIAMETER)
    assert len(cube.symmetries_discrete) == 23 and not cube.symmetries_continuous
    assert bench.call(SetObject, "set_object", object_id="cyl", diameter=0.2).success
    wait(bench.node, lambda: len(announced) == 2)
    cylinder = announced[1].objects[1]
    assert len(cylinder.symmetries_discrete) == 1 and len(cylinder.symmetries_continuous) == 1
    assert cylinder.symmetries_continuous[0].axis.z == pytest.approx(1)


def test_objects_are_moved_added_and_removed_by_a_service(pose_node, bench):
    there = messages.placed("cube", position=(0.03, 0.02, 1.0))
    start_with(pose_node, bench, CUBE, **QUICK)
    r = there.region(messages.CAMERA)
    moved = RegionOfInterest(x_offset=round(r.x), y_offset=round(r.y), width=round(r.width), height=round(r.height))
    assert bench.call(SetObject, "set_object", object_id="cube", region=moved).success
    near = lambda m: abs(m.best.pose.position.x - 0.03) < 0.005  # noqa: E731
    bench.ask(messages.image(there), messages.camera_info(), until=lambda: any(map(near, bench.hypotheses)))
    refused = bench.call(SetObject, "set_object", object_id="spoon")
    assert not refused.success and "'spoon' is of any size: give its diameter" in refused.message
    refused = bench.call(SetObject, "set_object", object_id="cube", remove=True)
    assert not refused.success and "only object" in refused.message
    assert bench.call(SetObject, "set_object", object_id="tet", diameter=0.1).success
    assert bench.call(SetObject, "set_object", object_id="cube", remove=True).success
    bench.ask(messages.image(there), messages.camera_info(),
              until=lambda: bench.hypotheses and bench.hypotheses[-1].object_id == "tet")  # fmt: skip


def test_a_checkpoint_that_is_set_while_the_node_loads_another_is_the_one_in_use(pose_node, bench, tmp_path):
    copy = tmp_path / "copy.safetensors"
    shutil.copy(checkpoint.resolve("default"), copy)
    process = pose_node(ready=False, **QUICK)
    bench.connect()
    assert set_parameter(bench, "checkpoint", text(str(copy))).successful
    bench.ask(messages.image(CUBE), messages.camera_info())
    ready = [line for line in process.output.splitlines() if "ready: checkpoint" in line]
    assert str(copy) in ready[-1], process.output


def test_reset_forgets_the_modes(pose_node, bench):
    start_with(pose_node, bench, CUBE, samples=32, steps=8)
    bench.ask(messages.image(CUBE), messages.camera_info(), until=lambda: len(bench.hypotheses) >= 2)
    first, second = bench.hypotheses[:2]
    assert [h.mode_id for h in first.hypotheses] == [
        h.mode_id for h in second.hypotheses
    ]  # the same seed, the same modes
    assert first.best.pose == second.best.pose
    assert bench.call(Trigger, "reset").success
    count = len(bench.hypotheses)
    bench.ask(messages.image(CUBE), messages.camera_info(), until=lambda: len(bench.hypotheses) > count + 1)
    fresh = {h.mode_id for h in bench.hypotheses[-1].hypotheses}
    assert not fresh & {h.mode_id for h in first.hypotheses}  # numbers are never used twice


def test_a_transition_that_is_not_possible_is_refused_and_the_node_lives(pose_node, bench):
    process = start_with(pose_node, bench, CUBE, **QUICK)
    for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP, 77, 255):
        assert not change(bench, number) and state(bench) == "active"
    bench.ask(messages.image(CUBE), messages.camera_info())
    wait(bench.node, lambda: "is not possible" in process.output)
    assert "Traceback" not in process.output


def test_all_parameters_can_be_loaded_as_they_were_dumped(pose_node, bench):
    """What `ros2 param dump` and `ros2 param load` do, whose services these are."""
    process = start_with(pose_node, bench, CUBE, **QUICK)
    names = bench.call(ListParameters, "list_parameters").result.names
    values = bench.call(GetParameters, "get_parameters", names=names).values
    changes = [Parameter(name=name, value=value) for name, value in zip(names, values, strict=True)]
    assert any(name.startswith("qos_overrides.") for name in names) and "device" in names
    results = bench.call(SetParameters, "set_parameters", parameters=changes).results
    assert [one.reason for one in results if not one.successful] == []
    assert bench.set_together(list(zip(names, values, strict=True))).successful
    assert not set_parameter(bench, "device", text("cuda")).successful  # a change is still none
    bench.ask(messages.image(CUBE), messages.camera_info())
    assert process.output.count("ready: checkpoint") == 1


@pytest.fixture
def statuses(node):
    """The last status of each name."""
    found = {}
    take = lambda message: found.update({s.name: s for s in message.status})  # noqa: E731
    node.create_subscription(DiagnosticArray, "/diagnostics", take, QoSProfile(depth=10))
    return found


def test_diagnostics_say_how_it_goes(pose_node, bench, statuses):
    start_with(pose_node, bench, CUBE, **QUICK)
    said = lambda name, text: name in statuses and text in statuses[name].message  # noqa: E731
    wait(bench.node, lambda: said("pose_node: input", "no images on '/image'"), message="the silence")
    assert statuses["pose_node"].level == DiagnosticStatus.WARN

    def stream(image, until):
        """At a rate that the node bears."""

        def send():
            image.header.stamp = bench.node.get_clock().now().to_msg()
            bench.send(image, messages.camera_info())

        timer = bench.node.create_timer(0.2, send)
        wait(bench.node, until)
        bench.node.destroy_timer(timer)

    fine = lambda: statuses["pose_node"].level == DiagnosticStatus.OK and not said("pose_node", "0.0 images")  # noqa: E731
    stream(messages.image(CUBE), fine)
    values = {pair.key: pair.value for pair in statuses["pose_node"].values}
    assert values["state"] == "active" and values["device"] == "cpu" and int(values["processed"]) > 0
    for key in ("latency", "age of results", "estimate", "waiting"):
        p50, p95, p99 = map(float, values[f"{key} p50/p95/p99 [ms]"].split())
        assert 0 <= p50 <= p95 <= p99
    assert float(values["sampler rounds, mean"]) >= 4 and values["sampler converged"] == "100.0%"
    assert {p.key for p in statuses["pose_node: objects"].values} == {"cube"}
    broken = messages.image(CUBE)
    broken.encoding = "rgb9"
    stream(broken, lambda: said("pose_node: input", "rgb9"))
    wait(bench.node, lambda: said("pose_node", "rgb9"))
    assert statuses["pose_node"].level == DiagnosticStatus.WARN


@pytest.mark.parametrize(("shift", "message"), [(-3600, "before they arrive"), (3600, "after they arrive")])
def test_stamps_of_another_clock_are_shown(pose_node, bench, statuses, shift, message):
    start_with(pose_node, bench, CUBE, **QUICK)
    seconds = bench.node.get_clock().now().seconds_nanoseconds()[0] + shift
    said = lambda: message in getattr(statuses.get("pose_node: age"), "message", "")  # noqa: E731
    bench.ask(messages.image(CUBE, stamp=(seconds, 0)), messages.camera_info(), until=said)
    assert statuses["pose_node: age"].level == DiagnosticStatus.WARN


def test_without_a_model_diagnostics_say_error(pose_node, bench):
    statuses = []
    take = lambda message: statuses.extend(message.status)  # noqa: E731
    bench.node.create_subscription(DiagnosticArray, "/diagnostics", take, QoSProfile(depth=10))
    pose_node(ready=False, checkpoint="/nowhere.safetensors")
    wait(bench.node, lambda: any(s.level == DiagnosticStatus.ERROR and "no such file" in s.message for s in statuses))


def test_live_changes_take_effect_together_on_a_whole_frame(pose_node, bench):
    """Every message is of one set of values: samples, steps and rate never mix."""
    start_with(pose_node, bench, CUBE, samples=8, steps=5)
    pairs = {(8, 5), (16, 9)}
    bench.ask(messages.image(CUBE), messages.camera_info())
    set_all = [("samples", integer(16)), ("steps", integer(9))]
    assert bench.set_together(set_all).successful
    seen = lambda: {(len(m.sample_quaternions) // 4, m.statistics.steps) for m in bench.hypotheses}  # noqa: E731
    bench.ask(messages.image(CUBE), messages.camera_info(), until=lambda: (16, 9) in seen())
    assert seen() <= pairs
    refused = bench.set_together([("samples", integer(32)), ("steps", integer(-1))])
    assert not refused.successful
    count = len(bench.hypotheses)
    bench.ask(messages.image(CUBE), messages.camera_info(), until=lambda: len(bench.hypotheses) > count + 1)
    assert seen() <= pairs
    assert set_parameter(bench, "max_rate", floating(0.5)).successful
    bench.ask(messages.image(CUBE), messages.camera_info(), until=lambda: len(bench.hypotheses) > count + 2)


def test_two_nodes_side_by_side_do_not_mix(pose_node, start, bench):
    tet = messages.placed("tet", seed=5)
    start_with(pose_node, bench, CUBE, **QUICK)
    arguments = {"objects": "[tet]", "diameters": "[0.1]", "regions": messages.regions(tet)} | QUICK
    start(
        "pose_node", "--ros-args", "-r", "__ns:=/left", *[a for k, v in arguments.items() for a in ("-p", f"{k}:={v}")]
    )
    wait(bench.node, lambda: bench.node.count_subscribers("/left/image"), 90)
    left = Bench(bench.node, prefix="/left/")
    bench.ask(messages.image(CUBE), messages.camera_info())
    assert not left.hypotheses
    left.ask(messages.image(tet), messages.camera_info(), until=lambda: left.hypotheses)
    assert {m.object_id for m in left.hypotheses} == {"tet"} and {m.object_id for m in bench.hypotheses} == {"cube"}


def test_after_a_deliberate_cleanup_a_parameter_does_not_start_it_again(pose_node, bench):
    pose_node(objects="[cube]", regions=messages.regions(CUBE), **QUICK)
    assert change(bench, Transition.TRANSITION_DEACTIVATE) and change(bench, Transition.TRANSITION_CLEANUP)
    assert set_parameter(bench, "samples", integer(5)).successful
    assert change(bench, Transition.TRANSITION_CONFIGURE) and state(bench) == "inactive"


def test_an_activation_that_fails_says_why(pose_node, bench):
    """Before, rclpy dropped the error without a word and the node did nothing."""
    key = "qos_overrides./image.subscription.reliability"
    process = pose_node(ready=False, **{key: "fast"}, **QUICK)
    wait(bench.node, lambda: "not activated" in process.output)
    assert process.alive and "Traceback" not in process.output


def test_nothing_is_published_after_deactivation_under_load(pose_node, bench):
    """Also not what was in work: when the transition returns, it is over."""
    start_with(pose_node, bench, CUBE, samples=200, method="ode")
    bench.ask(messages.image(CUBE), messages.camera_info())
    for _ in range(5):
        bench.send(messages.image(CUBE), messages.camera_info())
    assert change(bench, Transition.TRANSITION_DEACTIVATE)
    answer = bench.call(EstimatePose, "estimate", image=messages.image(CUBE), camera_info=messages.camera_info())
    counts = {kind: len(kept) for kind, kept in bench.received.items()}
    for _ in range(3):  # each a round trip after the last message could have been sent
        bench.state()
    assert answer.success and counts == {kind: len(kept) for kind, kept in bench.received.items()}


def test_a_region_beside_the_image_does_not_silence_the_other_objects(pose_node, bench):
    process = pose_node(objects="[cube, tet]", diameters="[0.1, 0.1]",
                        regions=messages.regions(CUBE)[:-1] + ", 5000.0, 5000.0, 90.0, 90.0]", **QUICK)  # fmt: skip
    bench.connect()
    bench.ask(messages.image(CUBE), messages.camera_info())
    assert {m.object_id for m in bench.hypotheses} == {"cube"}
    wait(bench.node, lambda: "lies outside the 320 x 240 image" in process.output)
