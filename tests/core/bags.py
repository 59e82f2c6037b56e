"""Small recordings for tests: a cube and a cone in front of a camera, in every dress that a recording comes in."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import torch
import yaml

from lie_picard import so3
from lie_picard.data.scene import Placed, render_scene
from lie_picard.data.seeds import test_generator
from lie_picard.geometry.camera import Camera
from lie_picard.objects.symsol.solids import solid
from lie_picard.recording.message_types import header_of, types, writer
from lie_picard.recording.recorder import Recorder

CAMERA = Camera(np.array([[700.0, 0, 99.5], [0, 700.0, 59.5], [0, 0, 1]]), np.zeros(0), 200, 120)
FRAME, DIAMETER, START_NS, STEP_NS = "camera", 0.1, 1_700_000_000_000_000_000, 100_000_000
KINDS = {
    "/image": "sensor_msgs/msg/Image",
    "/image/compressed": "sensor_msgs/msg/CompressedImage",
    "/camera_info": "sensor_msgs/msg/CameraInfo",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/truth/cube": "geometry_msgs/msg/PoseStamped",
}


@functools.cache
def scene(frames: int, seed: int = 3) -> tuple[list[Placed], np.ndarray]:
    """Two solids that turn by 3 degrees an image, and what the camera sees. -> solids, (T, H, W)."""
    generator = test_generator(seed)
    placed = []
    for name, x in (("cube", -0.045), ("cone", 0.045)):
        first = so3.uniform(1, generator=generator, dtype=torch.float64)
        axis = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
        turns = so3.about_axis(axis, torch.deg2rad(3.0 * torch.arange(frames, dtype=torch.float64)))
        placed.append(Placed(solid(name), DIAMETER, np.array([x, 0.0, 0.9]), first @ turns))
    return placed, render_scene(CAMERA, placed)


def parameters(folder, frames: int = 1, **changes):
    """A node's parameters file for the scene."""
    placed, _ = scene(frames)
    regions = [v for one in placed for r in [one.region(CAMERA)] for v in (r.x, r.y, r.width, r.height)]
    values = {"objects": ["cube", "cone"], "diameters": [DIAMETER] * 2, "regions": regions, "samples": 8} | changes
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return file


def header(frame: int, frame_id: str = FRAME):
    """Of the frame-th image."""
    return header_of(START_NS + frame * STEP_NS, frame_id)


def info():
    """The camera's calibration."""
    return types().CameraInfo(
        header=header(0), width=CAMERA.width, height=CAMERA.height, distortion_model="plumb_bob", d=np.zeros(5),
        k=CAMERA.matrix.reshape(-1), p=np.hstack([CAMERA.matrix, np.zeros((3, 1))]).reshape(-1),
    )  # fmt: skip


def transform(frame: int, parent: str, child: str, pose: np.ndarray):
    """A (4, 4) pose of a frame in another."""
    return writer().transform_stamped(header(frame, parent), child, writer().pose_of(pose[:3, :3], pose[:3, 3]))


def pose_of(placed: Placed, frame: int) -> np.ndarray:
    """(4, 4) camera_from_object."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = placed.rotations[frame].numpy(), placed.position
    return pose


def write(folder, frames: int = 12, compressed: bool = False, sqlite: bool = False, truth: str = "tf", seed: int = 3):
    """A recording with the truth as `tf` (truth/<object> in the camera), `topic` (the cube's alone) or `none`."""
    placed, images = scene(frames, seed)
    t = types()
    with Recorder(folder, KINDS, sqlite) as recorder:
        for k in range(frames):
            now = START_NS + k * STEP_NS
            recorder.write("/camera_info", now, info())
            if truth == "tf":
                found = [transform(k, FRAME, f"truth/{one.name}", pose_of(one, k)) for one in placed]
                recorder.write("/tf", now, t.TFMessage(transforms=found))
            elif truth == "topic":
                pose = pose_of(placed[0], k)
                message = t.PoseStamped(header=header(k), pose=writer().pose_of(pose[:3, :3], pose[:3, 3]))
                recorder.write("/truth/cube", now, message)
            rgb = np.repeat(images[k][..., None], 3, 2)
            if compressed:
                data = cv2.imencode(".png", rgb[..., ::-1])[1].reshape(-1)
                message = t.CompressedImage(header=header(k), format="rgb8; png compressed bgr8", data=data)
                recorder.write("/image/compressed", now, message)
            else:
                message = t.Image(header=header(k), height=CAMERA.height, width=CAMERA.width, encoding="rgb8",
                                  step=3 * CAMERA.width, data=rgb.reshape(-1))  # fmt: skip
                recorder.write("/image", now, message)
    return folder
