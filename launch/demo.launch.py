"""Replay a demo recording through the pose node: `ros2 launch lie_picard_pose demo.launch.py rviz:=true`.

`recording:=moving`: solids that move freely, found by the camera alone; else five that turn in place.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EqualsSubstitution, IfElseSubstitution, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

SHARE = FindPackageShare("lie_picard_pose")


def _end_with(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
    """End the demo with what failed: without the pose node, the view would wait a minute for it."""
    return Shutdown() if event.returncode and not context.is_shutdown else None


def generate_launch_description() -> LaunchDescription:
    """The pose node with the demo's parameters, the player, and the view; all end with the recording."""
    moving = EqualsSubstitution(LaunchConfiguration("recording"), "moving")
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "recording",
                default_value="turning",
                choices=["turning", "moving"],
                description="turning: five solids, their places given; moving: three, found by the camera alone.",
            ),
            DeclareLaunchArgument("rate", default_value="1.0", description="How fast to play; less than 1: slower."),
            DeclareLaunchArgument("picture", default_value="demo.png", description="Picture to write at the end."),
            DeclareLaunchArgument("rviz", default_value="false", description="Start RViz too."),
            DeclareLaunchArgument("device", default_value="", description="Where to compute: auto, cpu or cuda."),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "pose.launch.py"])),
                launch_arguments={
                    "namespace": "",  # the player's topics are absolute
                    "params_file": PathJoinSubstitution(
                        [SHARE, "config", IfElseSubstitution(moving, "demo_moving.yaml", "demo.yaml")]
                    ),
                    "rviz": LaunchConfiguration("rviz"),
                    "device": LaunchConfiguration("device"),
                }.items(),
            ),
            Node(
                package="lie_picard_pose",
                executable="bag_player",
                arguments=[
                    PathJoinSubstitution([SHARE, "demo", IfElseSubstitution(moving, "moving_solids", "turning_solids")])
                ],
                # Node and view: one may be there long before the other. RViz shows the node's pictures.
                parameters=[{"listeners": 2, "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float)}],
                output="screen",
            ),
            Node(
                package="lie_picard_pose",
                executable="demo_view",
                arguments=["--picture", LaunchConfiguration("picture")],
                output="screen",
                on_exit=Shutdown(),
            ),
            RegisterEventHandler(OnProcessExit(on_exit=_end_with)),
        ]
    )
