"""Replay a recording through the live pose node, record what it publishes, and score it at the end.

`ros2 launch lie_picard_pose replay.launch.py bag:=my_bag params_file:=my_objects.yaml output:=report`
"""

import shutil
from pathlib import Path

import yaml
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription
from lie_picard.node import settings, table
from lie_picard.recording.bag import find
from lie_picard.recording.frames import Topics, resolve

SHARE = FindPackageShare("lie_picard_pose")
_SWITCH = ["true", "false", "True", "False"]
SWITCHES = {"loop": _SWITCH, "rviz": _SWITCH, "player": ["auto", "own", "ros2"]}

ARGUMENTS = {
    "bag": (None, "The recording: a rosbag2 folder."),
    "params_file": (None, "YAML file with the node's parameters: what to look for, where."),
    "node": ("", "Which of its nodes; empty: the only pose node."),
    "output": (
        "replay",
        "Folder for the node's results (an mcap) and the report; replaced where they exist.",
    ),
    "image": ("", "The recording's images; empty: found out."),
    "camera_info": ("", "Their calibration; empty: found out."),
    "truth": (
        "",
        "True poses, as evaluate-bag's: 'OBJECT=PLACE OBJECT=PLACE'; empty: frames truth/OBJECT.",
    ),
    "tf": ("", "Where several robots publish transforms: the topic, as evaluate-bag's --tf."),
    "rate": ("1.0", "How fast, relative to the recording."),
    "loop": ("false", "Play again and again; Ctrl-C ends it, and the last round is scored."),
    "player": (
        "auto",
        "ros2 (`ros2 bag play`), own (this package's), or auto: the former where it is installed.",
    ),
    "checkpoint": (
        "",
        "Model files (.safetensors) with commas between them, or default; empty: as params_file says.",
    ),
    "device": ("", "Where to compute: auto, cpu or cuda; empty: what params_file says."),
    "rviz": ("false", "Start RViz too."),
}


def _actions(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    output, bag = Path(value["output"]), Path(value["bag"])
    values = table.checked(settings.read_values(Path(value["params_file"]), value["node"]))
    if value["checkpoint"]:
        values["checkpoint"] = value["checkpoint"]
    chosen = settings.settings_of(values)
    with find(bag, output / "work" / "rescued").opened() as reader:
        topics = resolve(reader, Topics(image=value["image"], camera_info=value["camera_info"]), chosen)
        regions = [c.topic for c in reader.connections if c.msgtype == "sensor_msgs/msg/RegionOfInterest"]
        transforms = [c.topic for c in reader.connections if c.msgtype == "tf2_msgs/msg/TFMessage"]
    image = topics.image.removesuffix("/compressed")
    inputs = {name: topic for name, topic in vars(topics).items() if topic}
    results = output / "results"
    shutil.rmtree(results, ignore_errors=True)
    compressed = topics.image.endswith("/compressed")
    parameters = output / "work" / "parameters.yaml"
    parameters.parent.mkdir(parents=True, exist_ok=True)
    parameters.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "pose.launch.py"])),
        launch_arguments={
            "params_file": str(parameters),
            "use_sim_time": "true",
            "device": value["device"],
            "rviz": value["rviz"],
            "transport": "compressed" if compressed else "raw",
            **inputs,
            "image": image,
        }.items(),
    )
    player = Node(
        package="lie_picard_pose",
        executable="bag_player",
        arguments=[str(bag)],
        parameters=[
            {
                "rate": float(value["rate"]),
                "loop": value["loop"].lower() == "true",
                "clock": True,
                "player": value["player"],
                "also_heard": ["/pose_node/hypotheses"],
                "topics": [*dict.fromkeys([*inputs.values(), *regions, *transforms])],
            }
        ],
        output="screen",
    )
    recorder = Node(
        package="lie_picard_pose",
        executable="bag_recorder",
        arguments=[str(results), "--topics", "/pose_node/hypotheses", "--until-silent", topics.image],
        parameters=[{"use_sim_time": True}],
        output="screen",
    )
    score = ExecuteProcess(
        cmd=[
            *("lie-picard", "evaluate-bag", str(bag), "--params", value["params_file"], "--results", str(results)),
            *("--output", str(output), "--image", topics.image, "--camera-info", topics.camera_info),
            *(["--truth", *value["truth"].split()] if value["truth"] else []),
            *(["--set", f"checkpoint={value['checkpoint']}"] if value["checkpoint"] else []),
            *(part for name in ("node", "tf") if value[name] for part in (f"--{name}", value[name])),
        ],
        output="screen",
    )
    return [
        node,
        recorder,
        player,
        RegisterEventHandler(OnProcessExit(target_action=recorder, on_exit=[score])),
        RegisterEventHandler(OnProcessExit(target_action=score, on_exit=[Shutdown(reason="the replay is scored")])),
    ]


def generate_launch_description() -> LaunchDescription:
    """The node in simulated time, the player, the recorder, and the score once the player has gone."""
    arguments = [
        DeclareLaunchArgument(name, default_value=value, description=text, choices=SWITCHES.get(name))
        for name, (value, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_actions)])
