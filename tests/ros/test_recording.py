"""The demo recording, image by image as the node does it: the followed poses turn with the objects and never flip."""

import numpy as np
import pytest
import torch
import yaml
from helpers import SHARE
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from lie_picard import PoseEstimator, so3
from lie_picard.messages.read import rotation_of
from lie_picard.node.pipeline import Frame, Pipeline
from lie_picard.objects.symsol.solids import solid
from lie_picard_pose import parameters
from lie_picard_pose.conversions import WRITER
from lie_picard_pose.demo_recording import OBJECTS

DEFAULTS = {name: entry.default for name, entry in parameters.TABLE.items()}


@pytest.fixture(scope="module")
def run():
    """Best poses and their true poses, (T, 3, 3) by object, and the numbers of each image's modes."""
    changes = yaml.safe_load((SHARE / "config" / "demo.yaml").read_text())["/**"]["ros__parameters"]
    settings = parameters.settings_of(DEFAULTS | changes)
    pipeline = Pipeline(PoseEstimator.from_checkpoint("default", "cpu"), WRITER)
    best, truth, ids = ({name: [] for name in OBJECTS} for _ in range(3))
    info = None
    with AnyReader([SHARE / "demo" / "turning_solids"]) as bag:
        for connection, _, data in bag.messages():
            if connection.topic == "/camera_info":
                info = deserialize_message(bytes(data), CameraInfo)
            elif connection.topic == "/tf":
                for transform in deserialize_message(bytes(data), TFMessage).transforms:
                    name = transform.child_frame_id.removeprefix("truth/")
                    truth[name].append(rotation_of(transform.transform.rotation))
            else:
                result = pipeline(Frame(deserialize_message(bytes(data), Image), info), settings)
                for message in result.messages:
                    best[message.object_id].append(rotation_of(message.best.pose.orientation))
                    ids[message.object_id].append({h.mode_id for h in message.hypotheses})
    stack = lambda rows: torch.from_numpy(np.stack(rows))  # noqa: E731
    return {name: (stack(best[name]), stack(truth[name]), ids[name]) for name in OBJECTS}


@pytest.mark.parametrize("name", OBJECTS)
def test_the_followed_pose_turns_with_the_object_and_never_jumps(run, name):
    best, truth, _ = run[name]
    assert len(best) == len(truth) == 120
    jump = torch.rad2deg(so3.angle(best[1:], best[:-1]))
    turn = torch.rad2deg(so3.angle(truth[1:], truth[:-1]))
    assert float((jump - turn).max()) < 5
    errors = torch.rad2deg(torch.stack([solid(name).bare.distance(b, t) for b, t in zip(best, truth, strict=True)]))
    assert float(errors.median()) < 3


@pytest.mark.parametrize("name", ["tet", "cube", "icosa"])
def test_modes_keep_their_numbers(run, name):
    """Of the modes in an image, most were there in one of the ten before, under the same number."""
    _, _, ids = run[name]
    seen = [len(now & set().union(*ids[k - 10 : k])) / len(now) for k, now in enumerate(ids) if k >= 10]
    assert np.mean(seen) > 0.9
