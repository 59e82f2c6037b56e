"""Start the pose node: `ros2 launch lie_picard_pose pose.launch.py` (`--show-args` lists the arguments)."""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch.utilities import perform_substitutions
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

SHARE = FindPackageShare("lie_picard_pose")
_SWITCH = ["true", "false", "True", "False"]
SWITCHES = {"use_sim_time": ["", *_SWITCH], "rviz": _SWITCH, "autostart": ["", *_SWITCH]}
DEFAULTS = PathJoinSubstitution([SHARE, "config", "pose.yaml"])

ARGUMENTS = {
    "namespace": ("", "Namespace of the node and its relative topics."),
    "params_file": (DEFAULTS, "YAML file with the node's parameters; may hold only what differs from the defaults."),
    "checkpoint": ("", "Model files (.safetensors) with commas between them, or default; empty: as params_file says."),
    "image": ("image", "Camera image to subscribe to; with transport compressed, <image>/compressed."),
    "camera_info": ("camera_info", "Calibration that belongs to the image."),
    "depth": ("depth", "Depth image, registered to the image; where parameter depth is true."),
    "mask": ("mask", "Label image of the objects; where parameter regions_from is mask."),
    "detections": ("detections", "vision_msgs/Detection2DArray; where parameter regions_from is detections."),
    "transport": ("", "raw or compressed; empty: what params_file says."),
    "device": ("", "Where to compute: auto, cpu or cuda; empty: what params_file says."),
    "autostart": ("", "false where a lifecycle manager configures and activates; empty: what params_file says."),
    "tf_prefix": ("", "Before the objects' frames in TF; auto: the namespace; empty: what params_file says (auto)."),
    "use_sim_time": ("", "Take time from /clock (bags, simulators); empty: what params_file says (false)."),
    "log_level": ("info", "Least severity that is logged: debug, info, warn, error."),
    "rviz": ("false", "Start RViz with the package's configuration."),
    "frame": ("camera_optical_frame", "RViz's fixed frame: the frame_id of your images, or one that TF links to it."),
}


def _nodes(context: LaunchContext) -> list[Node]:
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if not Path(value["params_file"]).is_file():  # launch itself only warns, and starts with the defaults
        raise FileNotFoundError(f"params_file '{value['params_file']}' does not exist")
    sim_time = {"use_sim_time": value["use_sim_time"].lower() == "true"} if value["use_sim_time"] else {}
    given = {name: value[name] for name in ("checkpoint", "device", "transport", "tf_prefix") if value[name]}
    if value["autostart"]:
        given["autostart"] = value["autostart"].lower() == "true"
    image = value["image"]
    topics = {name: value[name] for name in ("image", "camera_info", "depth", "mask", "detections")}
    topics["image/compressed"] = f"{image}/compressed"
    nodes = []
    if value["rviz"].lower() == "true":  # first: where it is not installed, nothing is started
        # The configuration names absolute topics: /image and /pose_node/...
        prefix = "/" + value["namespace"].strip("/") if value["namespace"].strip("/") else ""
        seen = image if image.startswith("/") else f"{prefix}/{image}"
        shown = [
            (f"/pose_node/{topic}", f"{prefix}/pose_node/{topic}")
            for topic in ("poses", "markers", "overlay", "distribution")
        ]
        configuration = perform_substitutions(context, [PathJoinSubstitution([SHARE, "rviz", "pose.rviz"])])
        nodes.append(
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", configuration, "-f", value["frame"]],
                parameters=[sim_time] if sim_time else [],
                remappings=[("/image", seen), *shown],
            )
        )
    nodes.append(
        Node(
            package="lie_picard_pose",
            executable="pose_node",
            name="pose_node",
            namespace=value["namespace"],
            parameters=[DEFAULTS, value["params_file"], *([sim_time | given] if sim_time | given else [])],
            remappings=list(topics.items()),
            ros_arguments=["--log-level", value["log_level"]],
            output="screen",
        )
    )
    return nodes


def generate_launch_description() -> LaunchDescription:
    """The node, and RViz where asked for."""
    arguments = [
        DeclareLaunchArgument(name, default_value=value, description=text, choices=SWITCHES.get(name))
        for name, (value, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_nodes)])
