"""The launch files with the real launch system, where it is installed (it is not on PyPI)."""

import importlib.util
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="launch and launch_ros are not installed: source a ROS 2 installation")
pytest.importorskip("ros2launch", reason="`ros2 launch` is not installed: apt install ros-$ROS_DISTRO-ros2launch")
import rclpy
import yaml
from ament_index_python import get_package_share_directory
from launch.actions import DeclareLaunchArgument
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python

FOLDER = Path(__file__).parents[2] / "launch"


def description(name):
    spec = importlib.util.spec_from_file_location(name.replace(".", "_"), FOLDER / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def parameters_file(folder, **values):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return f"params_file:={path}"


class Launched:
    """A `ros2 launch` that runs."""

    def __init__(self, domain, log, *arguments):
        self.log = log
        environment = os.environ | {"ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(log.parent)}
        with log.open("w") as out:
            self.popen = subprocess.Popen(
                ["ros2", "launch", "lie_picard_pose", *arguments],
                env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    @property
    def output(self):
        return self.log.read_text(errors="replace")

    def end(self, timeout=60):
        """Wait for its own end. Returns its exit status."""
        return self.popen.wait(timeout)

    def stop(self):
        """As `kill -INT` does it. Returns the exit status."""
        self.popen.send_signal(signal.SIGINT)
        return self.end(20)


class Bench:
    """A node that looks at what was launched."""

    def __init__(self, domain):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("launch_test", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def wait(self, condition, *launched, timeout=60):
        deadline = time.monotonic() + timeout
        while not condition():
            dead = [one for one in launched if one.popen.poll() is not None]
            assert time.monotonic() < deadline and not dead, "\n".join(one.output for one in launched)
            self.executor.spin_once(timeout_sec=0.05)

    def call(self, kind, name, **request):
        client = self.node.create_client(kind, name)
        self.wait(client.service_is_ready)
        future = client.call_async(kind.Request(**request))
        self.wait(future.done)
        self.node.destroy_client(client)
        return future.result()

    def parameters(self, node, names):
        values = self.call(GetParameters, f"{node}/get_parameters", names=list(names)).values
        return dict(zip(names, (_plain(parameter_value_to_python(v)) for v in values), strict=True))

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.fixture
def domain(free_domain):
    """A ROS domain that only this test uses."""
    return free_domain


@pytest.fixture
def launch(domain, tmp_path):
    """`ros2 launch lie_picard_pose` in the test's domain; whatever still runs is ended with the test."""
    running = []

    def begin(*arguments):
        running.append(Launched(domain, tmp_path / f"output_{len(running)}.txt", *arguments))
        return running[-1]

    yield begin
    for one in running:
        if one.popen.poll() is None:
            os.killpg(one.popen.pid, signal.SIGKILL)  # the nodes, too
            one.popen.wait()


@pytest.fixture
def bench(domain):
    found = Bench(domain)
    yield found
    found.close()


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.launch.py")))
def test_every_argument_is_described(name):
    arguments = [e for e in description(name).entities if isinstance(e, DeclareLaunchArgument)]
    assert arguments and all(argument.description for argument in arguments)


def test_pose_launch_has_the_conventional_arguments():
    arguments = {a.name for a in description("pose.launch.py").get_launch_arguments()}
    assert {
        "namespace",
        "params_file",
        "use_sim_time",
        "autostart",
        "rviz",
        "device",
        "log_level",
        "image",
        "camera_info",
        "transport",
    } <= arguments


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("params_file:=/nowhere.yaml", "params_file '/nowhere.yaml' does not exist"),
        ("autostart:=maybe", 'provided value "maybe" is not valid'),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_starts(launch, argument, message):
    launched = launch("pose.launch.py", argument)
    assert launched.end() == 1
    assert message in launched.output and "process started" not in launched.output


def test_a_parameter_that_does_not_fit_ends_the_node_with_one_line(launch, tmp_path):
    launched = launch("pose.launch.py", parameters_file(tmp_path, device="abacus"))
    launched.end()
    assert "pose_node: unknown device 'abacus'" in launched.output and "Traceback" not in launched.output


def test_two_cameras_side_by_side_have_their_own_topics_and_parameters(launch, bench, tmp_path):
    mine = {
        "objects": ["cube", "cyl"],
        "diameters": [0.08, 0.06],
        "regions": [229.0, 40.0, 182.0, 182.0, 330.0, 257.0, 183.0, 183.0],
        "samples": 3,
        "max_rate": 2.5,
        "publish_tf": False,
    }
    left = launch("pose.launch.py", "namespace:=left", "image:=camera/image", parameters_file(tmp_path, **mine))
    right = launch("pose.launch.py", "namespace:=right", "image:=/hall/image", "camera_info:=/hall/camera_info",
                   "transport:=compressed", "use_sim_time:=true")  # fmt: skip
    inputs = ["/left/camera/image", "/left/camera_info", "/hall/image/compressed", "/hall/camera_info"]
    bench.wait(lambda: all(map(bench.node.count_subscribers, inputs)), left, right)
    for side in ("left", "right"):
        assert bench.node.count_publishers(f"/{side}/pose_node/hypotheses") == 1
        assert bench.call(GetState, f"/{side}/pose_node/get_state").current_state.label == "active"
    assert not bench.node.count_subscribers("/hall/image")
    share = FOLDER.parent / "ros2_ws" / "src" / "lie_picard_pose"
    defaults = yaml.safe_load((share / "config" / "pose.yaml").read_text())["/**"]["ros__parameters"]
    expected = defaults | mine | {"use_sim_time": False}
    assert bench.parameters("/left/pose_node", expected) == expected
    expected = defaults | {"transport": "compressed", "use_sim_time": True}
    assert bench.parameters("/right/pose_node", expected) == expected
    for one in (left, right):
        assert one.stop() == 0
        assert "finished cleanly" in one.output and "Traceback" not in one.output
    assert "3 samples" in left.output


def test_without_autostart_a_lifecycle_manager_leads_the_node(launch, bench, tmp_path):
    launched = launch("pose.launch.py", "namespace:=left", "autostart:=false", parameters_file(tmp_path, samples=3))

    def change(number):
        return bench.call(ChangeState, "/left/pose_node/change_state", transition=Transition(id=number)).success

    def state():
        return bench.call(GetState, "/left/pose_node/get_state").current_state.label

    assert state() == "unconfigured"
    (samples,) = bench.call(DescribeParameters, "/left/pose_node/describe_parameters", names=["samples"]).descriptors
    assert samples.description and samples.integer_range[0].from_value == 1
    wrong = Parameter(name="samples", value=ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=0))
    (refused,) = bench.call(SetParameters, "/left/pose_node/set_parameters", parameters=[wrong]).results
    assert not refused.successful and "out of range" in refused.reason
    for number, reached in [
        (Transition.TRANSITION_CONFIGURE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_CLEANUP, "unconfigured"),
    ]:
        assert change(number) and state() == reached
        bench.wait(lambda here=reached: bench.node.count_subscribers("/left/image") == (here == "active"), launched)
    assert launched.stop() == 0 and "Traceback" not in launched.output


def test_the_demo_ends_with_its_recording(launch, tmp_path):
    launched = launch("demo.launch.py", f"picture:={tmp_path / 'demo.png'}")
    assert launched.end(120) == 0
    assert "summary of" in launched.output and (tmp_path / "demo.png").exists()
    assert "Traceback" not in launched.output and "process has died" not in launched.output


def test_the_demo_ends_at_once_where_the_node_cannot_start(launch, tmp_path):
    launched = launch("demo.launch.py", "device:=abacus", f"picture:={tmp_path / 'demo.png'}")
    launched.end(50)  # the view alone would wait 60 s
    assert "unknown device 'abacus'" in launched.output and "Traceback" not in launched.output


def test_a_replay_ends_with_the_score_that_the_offline_tool_gives(launch, tmp_path):
    from lie_picard import cli
    from lie_picard_pose.demo_recording import write

    write(tmp_path / "bag", 15)
    share = Path(get_package_share_directory("lie_picard_pose"))
    params = share / "config" / "demo.yaml"
    output = tmp_path / "live"
    launched = launch(
        "replay.launch.py", f"bag:={tmp_path / 'bag'}", f"params_file:={params}", f"output:={output}",
        "checkpoint:=default",
    )  # fmt: skip
    assert launched.end(120) == 0 and "Traceback" not in launched.output, launched.output
    command = ["evaluate-bag", tmp_path / "bag", "--params", params, "--output", tmp_path / "offline", "--no-annotate"]
    assert cli.main(list(map(str, command))) == 0
    live, offline = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("live", "offline"))
    pairs = [(a, b) for a, b in zip(live["frames"], offline["frames"], strict=True) if a["state"] == "scored"]
    assert len(pairs) >= len(offline["frames"]) / 3
    for a, b in pairs:
        assert a["mean_deg"] == pytest.approx(b["mean_deg"], abs=0.05)


def test_a_replay_of_nothing_says_what_is_missing(launch, tmp_path):
    params = Path(get_package_share_directory("lie_picard_pose")) / "config" / "demo.yaml"
    launched = launch("replay.launch.py", f"bag:={tmp_path / 'nowhere'}", f"params_file:={params}")
    assert launched.end(60) != 0 and "no such recording" in launched.output
