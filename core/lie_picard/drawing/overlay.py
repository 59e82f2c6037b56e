"""Hypotheses drawn into the camera image: each mode's outline as opaque as its weight, the followed pose, the truth."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from lie_picard.geometry.camera import Camera, Region
from lie_picard.geometry.mesh import Mesh

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
_Box = tuple[int, int, int, int]  # left, top, right, bottom

MAX_MODES = 64
_SHARP_COSINE = math.cos(math.radians(30.0))
_MIN_OPACITY = 0.18
_NEAR = 1e-3  # metres in front of the camera
_MARGIN = 1.3  # of what is projected, relative to what the image shows
_MAX_TANGENT = 20.0  # tangent of the largest angle from the axis at which lines are drawn
_FAR_PX = 30_000.0  # OpenCV draws with 16-bit fractions: points beyond are as good as infinitely far
_SHIFT = 4
_AXES: tuple[Colour, ...] = ((255, 70, 70), (70, 220, 70), (90, 140, 255))


def colour_of(index: int) -> Colour:
    """A distinct bright RGB colour for the index-th object."""
    red, green, blue = colorsys.hsv_to_rgb((0.08 + index * 0.381966) % 1.0, 0.65, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True, eq=False)
class Outline:
    """A mesh's edges, ready to find those that make up its outline from any side.

    Attributes:
        vertices: (V, 3) metres. edges: (E, 2) vertices of each edge. faces: (E, 2) the triangles beside it.
        sharp: (E,) whether they meet at more than 30 degrees. normals: (T, 3). offsets: (T,) of the triangles' planes.
    """

    vertices: Array
    edges: NDArray[np.int64]
    faces: NDArray[np.int64]
    sharp: NDArray[np.bool_]
    normals: Array
    offsets: Array

    @classmethod
    def of(cls, mesh: Mesh) -> Outline:
        """Of a mesh, closed or not; corners at the same place are one."""
        vertices, same = np.unique(mesh.vertices.round(9), axis=0, return_inverse=True)
        triangles = same.reshape(-1)[mesh.triangles]
        corners = vertices[triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        whole = lengths[:, 0] > 0
        triangles, corners, normals = triangles[whole], corners[whole], normals[whole] / lengths[whole]
        sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
        owner = np.tile(np.arange(len(triangles)), 3)
        edges, index = np.unique(sides, axis=0, return_inverse=True)
        order = np.argsort(index.reshape(-1), kind="stable")
        first = np.searchsorted(index.reshape(-1)[order], np.arange(len(edges)))
        last = np.searchsorted(index.reshape(-1)[order], np.arange(len(edges)), side="right") - 1
        faces = np.stack([owner[order[first]], owner[order[last]]], 1)
        sharp = np.einsum("ed,ed->e", normals[faces[:, 0]], normals[faces[:, 1]]) < _SHARP_COSINE
        sharp |= faces[:, 0] == faces[:, 1]  # the rim of an open surface
        return cls(vertices, edges, faces, sharp, normals, np.einsum("td,td->t", normals, corners[:, 0]))

    def lines(self, camera: Camera, rotations: Array, positions: Array) -> list[tuple[Array, Array]]:
        """Of poses (M, 3, 3), (M, 3) metres: pixels (S, 2, 2) of the silhouette, and of visible sharp edges within it.

        What the camera cannot see is left out.
        """
        eyes = -np.einsum("mij,mi->mj", rotations, positions)  # the camera's centre in the object's frame
        facing = eyes @ self.normals.T > self.offsets
        sides = facing[:, self.faces]
        rim = sides[..., 0] != sides[..., 1]
        within = self.sharp & sides.any(-1) & ~rim
        border = self.sharp & (self.faces[:, 0] == self.faces[:, 1])
        rim |= border
        found, planes = [], _view_planes(camera)
        for rotation, position, *chosen in zip(rotations, positions, rim, within & ~border, strict=True):
            points = self.vertices @ rotation.T + position
            silhouette, inner = (_pixels(camera, points[self.edges[one]], planes) for one in chosen)
            found.append((silhouette, inner))
        return found


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is drawn of one object.

    Attributes:
        name, outline, colour: of the object. position: (3,) metres, camera frame, of the point `centre` (3,) of the
            object's frame, above which it is labelled.
        rotations, positions: (M, 3, 3) and (M, 3) metres of its modes, camera_from_object. weights: (M,) theirs.
        best, truth: (4, 4) followed and true pose, camera_from_object, metres. note: behind the name in the label.
    """

    name: str
    outline: Outline
    colour: Colour
    position: Array
    rotations: Array
    positions: Array
    weights: Array
    best: Array | None = None
    truth: Array | None = None
    note: str = ""
    centre: Array = field(default_factory=lambda: np.zeros(3))


def draw_overlay(image: Image, camera: Camera, items: Sequence[Drawn]) -> Image:
    """A copy of the image with the objects drawn in.

    Args:
        image: (H, W, 3) RGB as the camera gives it (distorted if `camera` is).
    """
    result = image.copy()
    scale = max(1.0, min(image.shape[:2]) / 480)
    for item in items:
        order = np.argsort(-item.weights, kind="stable")[:MAX_MODES][::-1]  # the heaviest last, on top
        lines = item.outline.lines(camera, item.rotations[order], item.positions[order])
        weights = np.nan_to_num(item.weights[order])
        opacity = np.maximum(_MIN_OPACITY, weights / max(weights.max(initial=0.0), 1e-12))
        _blend(result, lines, opacity, item.colour, scale)
        if item.truth is not None:
            rim = item.outline.lines(camera, item.truth[None, :3, :3], item.truth[None, :3, 3])
            _blend(result, [(np.zeros((0, 2, 2)), rim[0][0])], np.ones(1), (255, 255, 255), scale, inner_strength=0.95)
    taken: list[_Box] = []
    for item in items:
        size = float(np.linalg.norm(item.outline.vertices - item.centre, axis=1).max())
        if item.best is not None:
            _axes(result, camera, item.best[:3, :3], item.best[:3, 3], size, scale)
        _label(result, camera, item, size, scale, taken)
    return result


def draw_regions(
    image: Image, regions: Sequence[tuple[Region, Colour, str, float]], notes: Sequence[str] = ()
) -> Image:
    """The image, drawn into: corners of each region with how it was come by and the locator's score, and notes below.

    Args:
        regions: with a colour, a word and a score, which is left out where it is NaN.
    """
    scale = max(1.0, min(image.shape[:2]) / 480)
    line, size = max(1, round(scale)), 0.4 * scale
    for region, colour, word, score in regions:
        x, y, side = region.x, region.y, region.width / 5
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            corner = x + dx * region.width, y + dy * region.height
            for step in ((side * (1 - 2 * dx), 0.0), (0.0, side * (1 - 2 * dy))):
                end = corner[0] + step[0], corner[1] + step[1]
                cv2.line(image, *(tuple(round(v) for v in point) for point in (corner, end)), colour, line)  # type: ignore[call-overload]
        text = word if math.isnan(score) else f"{word} {score:.2f}"
        _write(image, text, (x, y + region.height + 13 * scale), size, colour)
    for index, note in enumerate(notes):
        _write(image, note, (6 * scale, image.shape[0] - (8 + 14 * index) * scale), size, (255, 255, 255))
    return image


def _write(image: Image, text: str, place: tuple[float, float], size: float, colour: Colour) -> None:
    at = round(place[0]), round(place[1])
    for shade, width in (((0, 0, 0), 3), (colour, 1)):
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, shade, width, cv2.LINE_AA)


def enlarged(image: Image, camera: Camera, factor: int) -> tuple[Image, Camera]:
    """The image with every pixel as a square of `factor` pixels, and the camera that would have taken it."""
    # Pixel coordinates count from the centre of the first pixel.
    shift = np.array([[0, 0, (factor - 1) / 2], [0, 0, (factor - 1) / 2], [0, 0, 0]])
    matrix = np.diag([factor, factor, 1]) @ camera.matrix + shift
    large = Camera(matrix, camera.distortion, camera.width * factor, camera.height * factor, camera.fisheye)
    return np.repeat(np.repeat(image, factor, 0), factor, 1), large


def _pixels(camera: Camera, ends: Array, planes: Array) -> Array:
    """Edges (E, 2, 3) in metres, as far as they lie within the camera's planes -> (S, 2, 2)."""
    ends = _clipped(ends, planes)
    if not len(ends):
        return np.zeros((0, 2, 2))
    pixels = camera.project_or_nan(ends.reshape(-1, 3)).reshape(-1, 2, 2)
    return pixels[(np.abs(pixels) < _FAR_PX).all((1, 2))]  # also drops what is not finite


def _view_planes(camera: Camera) -> Array:
    """Planes (5, 4) within which the camera sees: beyond them lens polynomials fold back into the image."""
    width, height = camera.width, camera.height
    border = np.array([[x, y] for x in (0, width / 2, width) for y in (0, height / 2, height)]) - 0.5
    rays = camera.rays_or_nan(border)
    ahead = np.where(rays[:, 2:] > 0, rays[:, 2:], np.nan)
    slopes = np.abs(rays[:, :2] / ahead).max(0) * _MARGIN
    (x, y) = np.nan_to_num(slopes, nan=_MAX_TANGENT).clip(0, _MAX_TANGENT)
    return np.array([[-1, 0, x, 0], [1, 0, x, 0], [0, -1, y, 0], [0, 1, y, 0], [0, 0, 1, -_NEAR]])


def _clipped(ends: Array, planes: Array) -> Array:
    """The parts of lines (E, 2, 3) on the inner side of all planes (P, 4) (Cyrus-Beck). -> (S, 2, 3)."""
    heights = ends @ planes[:, :3].T + planes[:, 3]  # (E, 2, P)
    first, last = heights[:, 0], heights[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = first / (first - last)
    begin = np.where(first < 0, crossing, 0.0).max(1)
    end = np.where(last < 0, crossing, 1.0).min(1)
    seen = (begin <= end) & ~((first < 0) & (last < 0)).any(1)
    ends, steps = ends[seen], np.stack([begin, end], 1)[seen]
    return ends[:, :1] + steps[..., None] * (ends[:, 1:] - ends[:, :1])


def _blend(
    image: Image,
    lines: Sequence[tuple[Array, Array]],
    opacity: Array,
    colour: Colour,
    scale: float,
    inner_strength: float = 0.55,
) -> None:
    """Rng outlines of one colour, later ones over earlier ones, each with its opacity."""
    every = [part.reshape(-1, 2) for pair in lines for part in pair if len(part)]
    if not every:
        return
    points = np.concatenate(every)
    height, width = image.shape[:2]
    low = np.clip(np.floor(points.min(0)) - 4, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(points.max(0)) + 5, 0, (width, height)).astype(int)
    if (high <= low).any():
        return
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    for (rim, inner), share in zip(lines, opacity, strict=True):
        for part, strength, thickness in ((inner, inner_strength, round(scale)), (rim, 1.0, round(1.6 * scale))):
            if len(part):
                fixed = np.round((part - low) * (1 << _SHIFT)).astype(np.int32)
                value = round(255 * float(share) * strength)
                cv2.polylines(mask, list(fixed), False, value, max(1, thickness), cv2.LINE_AA, _SHIFT)
    window = image[low[1] : high[1], low[0] : high[0]]
    alpha = mask[..., None].astype(np.float32) / 255
    window[:] = (window * (1 - alpha) + np.array(colour, np.float32) * alpha).astype(np.uint8)


def _axes(image: Image, camera: Camera, rotation: Array, position: Array, size: float, scale: float) -> None:
    """The followed pose's axes, half as long again as the object is large."""
    tips = position + 0.75 * size * rotation.T
    ends = np.concatenate([position[None], tips])
    if not (ends[:, 2] > _NEAR).all():
        return
    pixels = camera.project_or_nan(ends)
    if not (np.abs(pixels) < _FAR_PX).all():
        return
    centre, *others = (tuple(np.round(p * (1 << _SHIFT)).astype(int).tolist()) for p in pixels)
    for width, colours in ((round(3.2 * scale), [(0, 0, 0)] * 3), (round(1.6 * scale), list(_AXES))):
        for tip, colour in zip(others, colours, strict=True):
            cv2.line(image, centre, tip, colour, width, cv2.LINE_AA, _SHIFT)


def _label(image: Image, camera: Camera, item: Drawn, size: float, scale: float, taken: list[_Box]) -> None:
    """The name of an object in the image above it, inside the image, off the labels before, readable on anything."""
    if item.position[2] <= _NEAR + size:
        return
    marks = item.position + size * np.array([[0.0, 0, 0], [-1, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1.15, 0]])
    pixels = camera.project_or_nan(marks)
    low, high = pixels.min(0), pixels.max(0)
    if not (np.abs(pixels) < _FAR_PX).all() or (high < 0).any() or (low >= image.shape[1::-1]).any():
        return
    (x, y), text = pixels[-1], f"{item.name} {item.note}".strip()
    font, size_of_text = cv2.FONT_HERSHEY_SIMPLEX, 0.42 * scale
    (wide, tall), below = cv2.getTextSize(text, font, size_of_text, 1)
    left = int(np.clip(x - wide / 2, 2, max(2, image.shape[1] - wide - 2)))
    lowest = max(tall + 2, image.shape[0] - below - 2)
    base = int(np.clip(y, tall + 2, lowest))
    step = tall + below + 2
    places = [base + k * step for k in (0, -1, 1, -2, 2, -3, 3)]
    boxes = [(left, place - tall, left + wide, place + below) for place in places if tall + 2 <= place <= lowest]
    box = next((one for one in boxes if not any(_overlap(one, other) for other in taken)), boxes[0])
    taken.append(box)
    for thickness, colour in ((round(3 * scale), (0, 0, 0)), (max(1, round(scale)), item.colour)):
        cv2.putText(image, text, (left, box[1] + tall), font, size_of_text, colour, thickness, cv2.LINE_AA)


def _overlap(first: _Box, second: _Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
