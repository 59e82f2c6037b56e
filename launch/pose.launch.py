"""Start the pose node: `ros2 launch lie_picard_pose pose.launch.py` (`--show-args` lists the arguments)."""

from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("lie_picard_pose")

ARGUMENTS = {
    "namespace": ("", "Namespace of the node and its relative topics."),
    "params_file": (PathJoinSubstitution([SHARE, "config", "pose.yaml"]), "YAML file with the node's parameters."),
    "image": ("image", "Camera image to subscribe to."),
    "camera_info": ("camera_info", "Calibration that belongs to the image."),
    "device": ("auto", "Where to compute: auto, cpu or cuda."),
    "use_sim_time": ("false", "Take time from /clock (bags, simulators)."),
    "log_level": ("info", "Least severity that is logged: debug, info, warn, error."),
    "rviz": ("false", "Start RViz with the package's configuration."),
}


def generate_launch_description() -> LaunchDescription:
    """The node, and RViz where asked for."""
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    sim_time = ParameterValue(value["use_sim_time"], value_type=bool)
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(n, default_value=d, description=text) for n, (d, text) in ARGUMENTS.items()),
            Node(
                package="lie_picard_pose",
                executable="pose_node",
                name="pose_node",
                namespace=value["namespace"],
                parameters=[
                    # All defaults first, so that a user's file may hold only what differs.
                    PathJoinSubstitution([SHARE, "config", "pose.yaml"]),
                    value["params_file"],
                    {"device": value["device"], "use_sim_time": sim_time},
                ],
                remappings=[("image", value["image"]), ("camera_info", value["camera_info"])],
                ros_arguments=["--log-level", value["log_level"]],
                output="screen",
            ),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", PathJoinSubstitution([SHARE, "rviz", "pose.rviz"])],
                parameters=[{"use_sim_time": sim_time}],
                condition=IfCondition(value["rviz"]),
            ),
        ]
    )
