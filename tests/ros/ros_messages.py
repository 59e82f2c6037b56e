"""Messages that the tests send: a calibrated camera that sees one solid."""

from __future__ import annotations

import numpy as np
import torch
from sensor_msgs.msg import CameraInfo, Image

from lie_picard import so3
from lie_picard.data.scene import Placed, render_scene
from lie_picard.data.seeds import test_generator
from lie_picard.geometry.camera import Camera
from lie_picard.objects.symsol.solids import solid as shape_of

CAMERA = Camera(np.array([[1500.0, 0, 159.5], [0, 1500.0, 119.5], [0, 0, 1]]), np.zeros(0), 320, 240)
DIAMETER = 0.1
FRAME = "camera_optical_frame"


def placed(name: str, seed: int = 0, position: tuple[float, float, float] = (0.01, -0.005, 1.0)) -> Placed:
    """A solid at a random rotation in front of the camera."""
    rotations = so3.uniform(1, generator=test_generator(seed), dtype=torch.float64)
    return Placed(shape_of(name), DIAMETER, np.array(position), rotations)


def image(solid: Placed, stamp: tuple[int, int] = (12, 34), encoding: str = "rgb8") -> Image:
    """What the camera sees."""
    grey = render_scene(CAMERA, [solid])[0]
    pixels = grey if encoding == "mono8" else np.repeat(grey[..., None], 3, 2)
    message = Image(height=240, width=320, encoding=encoding, step=pixels[0].nbytes)
    message.data.frombytes(pixels.tobytes())
    message.header.frame_id = FRAME
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    return message


def camera_info(camera: Camera = CAMERA) -> CameraInfo:
    """The camera's calibration."""
    info = CameraInfo(height=camera.height, width=camera.width, distortion_model="plumb_bob")
    info.header.frame_id = FRAME
    info.k = camera.matrix.reshape(-1)
    info.p = np.hstack([camera.matrix, np.zeros((3, 1))]).reshape(-1)
    info.d = camera.distortion.tolist()
    return info


def regions(solid: Placed) -> str:
    """The node's `regions` parameter for a solid."""
    r = solid.region(CAMERA)
    return f"[{r.x}, {r.y}, {r.width}, {r.height}]"


def depth(solid: Placed, beyond: float = 3.0) -> np.ndarray:
    """What a depth camera sees: (240, 320) float32 metres along the optical axis, a wall at `beyond`."""
    v, u = np.meshgrid(np.arange(CAMERA.height), np.arange(CAMERA.width), indexing="ij")
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(CAMERA.matrix).T
    radius = solid.diameter / 2
    centre = torch.from_numpy(solid.position / radius).float()[None]
    buffers = solid.shape.cast(solid.rotations[:1].float(), centre, torch.from_numpy(rays).float())
    z = torch.where(buffers.hit[0], buffers.depth[0] * radius, torch.tensor(beyond))
    return z.reshape(CAMERA.height, CAMERA.width).numpy().astype(np.float32)
