"""From a camera image and a region to what the model saw in training: a virtual camera that looks at the object.

A plain rectangular crop shows an object beside the optical axis from another side than its pose says. Here the
camera is turned towards the region's centre and zoomed until the object fills the image as in training; lens
distortion is undone by the same resampling. The turn is what takes the model's answer back to the camera frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.lens import Fisheye, Perspective, lens

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Map = NDArray[np.float32]

_FAR_PX = 30_000.0  # OpenCV counts source pixels in 16 bits
_TOLERANCE_PX = 1e-3  # of rays and projection as inverses of each other

_MIDDLE = 0.25  # share of the image from its border within which no optical axis is
_SQUARE = 1.15  # ratio of focal lengths up to which pixels are about square
_FOCAL = 0.13, 15.0  # focal length over the image's width


class CameraError(ValueError):
    """Calibration or region that cannot be used; the message says which number and what to do."""


@dataclass(frozen=True)
class Region:
    """Bounding box, in pixels, of the object's circumscribed sphere in the image."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Camera:
    """A calibrated camera.

    Attributes:
        matrix: (3, 3) intrinsics K in pixels.
        distortion: coefficients in OpenCV's order; empty for a rectified image, four for a fisheye.
        fisheye: whether the lens follows OpenCV's fisheye ("equidistant") model.
        width, height: of the image in pixels.
    """

    matrix: Array
    distortion: Array
    width: int
    height: int
    fisheye: bool = False

    def __post_init__(self) -> None:
        matrix = self.matrix
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise CameraError(
                f"the camera is not calibrated (K[0] = {matrix.flat[0]:g}): publish camera_info with focal lengths > 0"
            )
        if not np.allclose(matrix[2], (0, 0, 1)) or matrix[1, 0] != 0:
            raise CameraError(
                f"K is no camera matrix, its rows end in {matrix[1:].tolist()}: publish [0, fy, cy], [0, 0, 1]"
            )
        lengths = (4,) if self.fisheye else (0, 4, 5, 8, 12, 14)
        if self.distortion.size not in lengths or not np.isfinite(self.distortion).all():
            raise CameraError(
                f"{self.distortion.size} distortion coefficients, of which "
                f"{int(np.isfinite(self.distortion).sum())} are finite, fit no lens model: "
                f"publish {' or '.join(map(str, lengths))} finite numbers"
            )
        if self.width < 1 or self.height < 1:
            raise CameraError(
                f"camera_info says the image is {self.width} x {self.height} pixels: set width and height"
            )

    def rays(self, pixels: Array) -> Array:
        """Unit viewing directions in the camera frame. (N, 2) pixels -> (N, 3).

        Raises:
            CameraError: the lens is not invertible at one of them.
        """
        rays = self.rays_or_nan(pixels)
        if np.isnan(rays).any():
            x, y = pixels[np.isnan(rays).any(1)][0]
            raise CameraError(
                f"no direction is seen at pixel ({x:.5g}, {y:.5g}) of {self.width} x {self.height}: the lens "
                "distortion is not invertible there; calibrate with points up to the border, or use a region farther "
                "inside"
            )
        return rays

    def project(self, points: Array) -> Array:
        """Pixels of points in the camera frame, distortion included: the inverse of `rays`. (N, 3) -> (N, 2).

        Raises:
            CameraError: one of them is behind the camera, or beyond where the lens is invertible.
        """
        pixels = self.project_or_nan(points)
        if np.isnan(pixels).any():
            x, y, z = points[np.isnan(pixels).any(1)][0]
            raise CameraError(
                f"the camera does not see the point ({x:.4g}, {y:.4g}, {z:.4g}): it is behind it, or beyond where the "
                "lens distortion is invertible"
            )
        return pixels

    def rays_or_nan(self, pixels: Array) -> Array:
        """`rays`, NaN where there is none. (N, 2) -> (N, 3)."""
        (fx, skew, cx), (_, fy, cy), _ = self.matrix
        y = (pixels[:, 1] - cy) / fy
        x = (pixels[:, 0] - cx - skew * y) / fx
        rays = self._lens.rays(np.stack([x, y], 1), _TOLERANCE_PX / float(max(fx, fy)))
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))

    def project_or_nan(self, points: Array) -> Array:
        """`project`, NaN for what is not seen. (N, 3) -> (N, 2)."""
        return np.asarray(self._lens.project(points) @ self.matrix[:2, :2].T + self.matrix[:2, 2])

    @property
    def doubt(self) -> str | None:
        """Why this calibration is hardly that of such images; None: nothing speaks against it.

        Cameras look about straight ahead, have square pixels and see between 4 and 150 degrees. A calibration
        of another camera, or of images that were cropped or scaled since, often does not fit.
        """
        (fx, _, cx), (_, fy, cy), _ = self.matrix
        if not (_MIDDLE < (cx + 0.5) / self.width < 1 - _MIDDLE and _MIDDLE < (cy + 0.5) / self.height < 1 - _MIDDLE):
            return (
                f"its optical axis is at pixel ({cx:.0f}, {cy:.0f}) of {self.width} x {self.height}: were the images "
                "cropped or scaled after the calibration?"
            )
        if not 1 / _SQUARE < fx / fy < _SQUARE:
            return f"its pixels are not square (fx {fx:.0f}, fy {fy:.0f})"
        if not _FOCAL[0] < fx / self.width < _FOCAL[1]:
            wide = math.degrees(2 * math.atan(self.width / (2 * fx)))
            return f"it sees {wide:.0f} degrees (fx {fx:.0f} for {self.width} pixels): is it in pixels?"
        return None

    @property
    def _lens(self) -> Perspective | Fisheye:
        return lens(np.ascontiguousarray(self.distortion, np.float64).tobytes(), self.fisheye)


@dataclass(frozen=True)
class View:
    """The virtual camera for one region: how to cut the image, and how to come back.

    Attributes:
        camera_from_view: (3, 3) rotation of the virtual camera's frame.
        angular_radius: of the object's circumscribed sphere, rad.
        map_x, map_y: (S f, S f) float32 source pixels of the virtual image, f-fold oversampled.
        size: side S of the virtual image in pixels.
    """

    camera_from_view: Array
    angular_radius: float
    map_x: NDArray[np.float32]
    map_y: NDArray[np.float32]
    size: int

    def cut(self, image: Image) -> Image:
        """The virtual image (S, S[, 3]) of a camera image (H, W[, 3]); black where the camera sees nothing."""
        fine = cv2.remap(image, self.map_x, self.map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return cv2.resize(fine, (self.size, self.size), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]

    def position(self, diameter: float) -> Array:
        """Object's centre in the camera frame, same unit as `diameter` (of the circumscribed sphere). -> (3,)."""
        return self.camera_from_view[:, 2] * (diameter / 2 / math.sin(self.angular_radius))


def look_at(camera: Camera, region: Region, size: int, fill: float) -> View:
    """The virtual camera that centres the region's sphere and lets it cover `fill` of the half image.

    Raises:
        CameraError: the region is empty or lies outside the image.
    """
    _check(region, camera)
    x, y = region.x + region.width / 2, region.y + region.height / 2
    # Pixel coordinates count from the centre of the first pixel, region edges from its border.
    edges = np.array([[region.x, y], [region.x + region.width, y], [x, region.y], [x, region.y + region.height]]) - 0.5
    direction, angular_radius = _sphere_within(camera.rays(edges))
    rotation = turn_z_to(direction)
    half_tangent = math.tan(angular_radius) / fill
    oversampling = min(4, max(1, math.ceil(max(region.width, region.height) / fill / size)))
    map_x, map_y = _maps(camera, rotation, half_tangent, size * oversampling)
    return View(rotation, angular_radius, map_x, map_y, size)


def _maps(camera: Camera, rotation: Array, half_tangent: float, side: int) -> tuple[Map, Map]:
    """Where a camera sees the pixels of a square pinhole camera that is turned: two (side, side), outside where not."""
    offsets = ((np.arange(side) + 0.5) / side * 2 - 1) * half_tangent
    edge, ends = np.repeat(offsets, 2), np.tile(offsets[[0, -1]], side)
    border = _directions(np.concatenate([edge, ends]), np.concatenate([ends, edge]), rotation)
    if not (np.abs(camera.project_or_nan(border)) < _FAR_PX).all():  # the lens does not see all of it
        grid_x, grid_y = np.meshgrid(offsets, offsets)
        pixels = camera.project_or_nan(_directions(grid_x.ravel(), grid_y.ravel(), rotation))
        pixels[~(np.abs(pixels) < _FAR_PX).all(1)] = -10
        maps = pixels.astype(np.float32).reshape(side, side, 2)
        return maps[..., 0].copy(), maps[..., 1].copy()
    focal = side / 2 / half_tangent
    pinhole = np.array([[focal, 0, side / 2 - 0.5], [0, focal, side / 2 - 0.5], [0, 0, 1]])
    # Twenty times faster than projecting every pixel's ray, which counts where the region moves with each image.
    make = cv2.fisheye.initUndistortRectifyMap if camera.fisheye else cv2.initUndistortRectifyMap
    made = make(camera.matrix, camera.distortion, rotation.T, pinhole, (side, side), cv2.CV_32FC1)
    map_x, map_y = (np.asarray(one, np.float32) for one in made)
    if skew := camera.matrix[0, 1]:  # OpenCV leaves it out
        map_x += skew / camera.matrix[1, 1] * (map_y - camera.matrix[1, 2])
    return map_x, map_y


def _directions(x: Array, y: Array, rotation: Array) -> Array:
    """Rays of a turned pinhole camera, (N,) tangents each. -> (N, 3)."""
    return np.stack([x, y, np.ones_like(x)], -1) @ rotation.T


def sphere_region(camera: Camera, centre: Array, radius: float) -> Region:
    """Bounding box of the image of a sphere in front of an undistorted camera. (3,), same unit -> pixels.

    A sphere's outline is a conic; its dual, K (c c^T / r^2 - I) K^T up to scale, gives the tangents along the axes.
    """
    dual = camera.matrix @ (np.outer(centre, centre) / radius**2 - np.eye(3)) @ camera.matrix.T
    low, high = [], []
    for axis in (0, 1):
        middle = dual[axis, 2] / dual[2, 2]
        half = math.sqrt(max(0.0, middle**2 - dual[axis, axis] / dual[2, 2]))
        low.append(float(middle - half + 0.5))
        high.append(float(middle + half + 0.5))
    return Region(low[0], low[1], high[0] - low[0], high[1] - low[1])


def _check(region: Region, camera: Camera) -> None:
    values = (region.x, region.y, region.width, region.height)
    if not all(math.isfinite(v) for v in values) or region.width < 2 or region.height < 2:
        raise CameraError(f"region {values} is empty: give x, y, width, height in pixels, at least 2 x 2")
    if (
        region.x + region.width <= 0
        or region.y + region.height <= 0
        or region.x >= camera.width
        or region.y >= camera.height
    ):
        raise CameraError(f"region {values} lies outside the {camera.width} x {camera.height} image")


def _sphere_within(edges: Array) -> tuple[Array, float]:
    """Direction and angular radius of the sphere that touches a box, from the rays (4, 3) to its four edges.

    An edge of the box spans a plane with the camera's centre that touches the sphere: n . c = sin(alpha) for its
    inward normal n and the sphere's unit direction c. Four such planes, linear in (c, sin(alpha)) up to scale.
    """
    if (edges[:, 2] < 0.01).any():
        raise CameraError("the region reaches 90 degrees off the optical axis: use a region farther inside the image")
    left, right = edges[0, 0] / edges[0, 2], edges[1, 0] / edges[1, 2]
    top, bottom = edges[2, 1] / edges[2, 2], edges[3, 1] / edges[3, 2]
    normals = np.array([[1, 0, -left], [-1, 0, right], [0, 1, -top], [0, -1, bottom]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    *direction, sine = np.linalg.svd(np.hstack([normals, -np.ones((4, 1))]))[2][-1]
    length = math.copysign(float(np.linalg.norm(direction)), direction[2])
    if not 0 < sine / length < 1:
        raise CameraError("region is no image of a sphere in front of the camera: give its bounding box in pixels")
    return np.array(direction) / length, math.asin(sine / length)


def turn_z_to(direction: Array) -> Array:
    """The smallest rotation that takes (0, 0, 1) to `direction`. (3,) -> (3, 3)."""
    x, y, z = direction / np.linalg.norm(direction)
    k = 1 / (1 + z)  # the viewing direction lies in front of the camera: z > 0
    return np.array([[1 - k * x * x, -k * x * y, x], [-k * x * y, 1 - k * y * y, y], [-x, -y, z]])


def fit(image: Image, size: int, channels: int) -> Image:
    """An RGB (H, W, 3) or grey (H, W) image in the size and colours of a model. -> (S, S[, 3])."""
    if image.ndim == 3 and channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
    elif image.ndim == 2 and channels == 3:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)  # type: ignore[assignment]
    if image.shape[:2] == (size, size):
        return image
    shrink = max(image.shape[:2]) > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)  # type: ignore[return-value]
