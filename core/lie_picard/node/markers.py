"""Hypotheses as RViz markers: all modes' axes of an object as one LINE_LIST, a ghost of its mesh per mode, its name.

Of an object that was found in the image also the outline of its sphere, in the colour of its state.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from lie_picard.estimation.following import FOLLOWED, GIVEN, LOCATED
from lie_picard.geometry.mesh import Mesh
from lie_picard.geometry.simplify import collapsed
from lie_picard.geometry.surface import Surface
from lie_picard.messages.read import rotation_of
from lie_picard.messages.write import STATES, Writer
from lie_picard.node.settings import Settings

_AXES = ((1.0, 0.2, 0.2), (0.2, 1.0, 0.2), (0.3, 0.5, 1.0))
_GHOSTS = 12  # of the heaviest modes: many markers stall RViz
_GHOST = 0.35  # opacity of the heaviest
_RING = 48  # corners of a sphere's outline
_STATES = {STATES[LOCATED]: (LOCATED, (1.0, 0.8, 0.1)), STATES[FOLLOWED]: (FOLLOWED, (0.3, 1.0, 0.4))}
_LISTED, _FEWER = 2_500, 500  # triangles in a message: of larger meshes, fewer stand for them


def markers(writer: Writer, header: Any, messages: list[Any], settings: Settings) -> Any:
    """A MarkerArray of PoseHypothesisArrays; everything in it is as opaque as its mode is heavy.

    A mesh file is named, as RViz reads it itself; triangles of an embedded solid, and of a part that the checkpoint
    carries, are in the message.
    """
    t = writer.types
    # Objects that are no longer looked for must not stay in the picture.
    result = t.MarkerArray(markers=[t.Marker(header=header, action=t.Marker.DELETEALL)])
    diameters = {target.object_id: target.diameter for target in settings.targets}
    for index, message in enumerate(messages):
        size, heaviest = diameters[message.object_id], message.hypotheses[0].weight
        lines = t.Marker(header=header, ns="modes", id=index, type=t.Marker.LINE_LIST, action=t.Marker.ADD)
        lines.scale.x = 0.02 * size
        lines.pose.orientation.w = 1.0
        for hypothesis in message.hypotheses:
            pose, alpha = hypothesis.pose.pose, max(0.1, hypothesis.weight / heaviest)
            tips = rotation_of(pose.orientation).T * (0.7 * size)
            for tip, (red, green, blue) in zip(tips, _AXES, strict=True):
                p = pose.position
                lines.points += [p, t.Point(x=p.x + tip[0], y=p.y + tip[1], z=p.z + tip[2])]
                lines.colors += [t.ColorRGBA(r=red, g=green, b=blue, a=alpha)] * 2
        name = t.Marker(header=header, ns="names", id=index, type=t.Marker.TEXT_VIEW_FACING, action=t.Marker.ADD)
        p = message.hypotheses[0].pose.pose.position
        name.pose.position = t.Point(x=p.x, y=p.y - 0.7 * size, z=p.z)
        name.pose.orientation.w = 1.0
        name.scale.z = 0.2 * size
        name.color = t.ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        count = len(message.hypotheses)
        name.text = f"{message.object_id}: {count} mode{'s' if count > 1 else ''}, heaviest {heaviest:.0%}"
        result.markers += [lines, name]
        if message.state != STATES[GIVEN]:
            state, colour = _STATES[message.state]
            score = message.location_score
            name.text += f", {state}" + ("" if math.isnan(score) else f" {score:.2f}")
            result.markers.append(_ring(writer, header, message.best.pose.position, size / 2, index, colour))
        mesh = settings.meshes.get(message.object_id)
        if mesh is not None:
            result.markers += _ghosts(writer, header, message, mesh)
    return result


def _ring(writer: Writer, header: Any, centre: Any, radius: float, index: int, colour: Any) -> Any:
    """The outline of a sphere, as the camera sees it."""
    t = writer.types
    ring = t.Marker(header=header, ns="regions", id=index, type=t.Marker.LINE_STRIP, action=t.Marker.ADD)
    ring.scale.x, ring.pose.position, ring.pose.orientation.w = 0.04 * radius, centre, 1.0
    red, green, blue = colour
    ring.color = t.ColorRGBA(r=red, g=green, b=blue, a=1.0)
    turns = [2 * math.pi * k / _RING for k in range(_RING + 1)]
    ring.points = [t.Point(x=radius * math.cos(turn), y=radius * math.sin(turn), z=0.0) for turn in turns]
    return ring


def _ghosts(writer: Writer, header: Any, message: Any, mesh: Mesh) -> list[Any]:
    t, heaviest = writer.types, message.hypotheses[0].weight
    ghosts = []
    for index, hypothesis in enumerate(message.hypotheses[:_GHOSTS]):
        ghost = t.Marker(header=header, ns=f"ghosts/{message.object_id}", id=index, action=t.Marker.ADD)
        ghost.pose = hypothesis.pose.pose
        ghost.scale = t.Vector3(x=mesh.scale, y=mesh.scale, z=mesh.scale)
        ghost.color = t.ColorRGBA(r=0.6, g=0.75, b=1.0, a=_GHOST * hypothesis.weight / heaviest)
        if mesh.file:
            ghost.type, ghost.mesh_resource = t.Marker.MESH_RESOURCE, f"file://{mesh.file}"
        else:
            ghost.type, ghost.points = t.Marker.TRIANGLE_LIST, _corners(writer, mesh)
        ghosts.append(ghost)
    return ghosts


@functools.lru_cache(maxsize=64)
def _corners(writer: Writer, mesh: Mesh) -> list[Any]:
    """Three points a triangle."""
    if len(mesh.triangles) > _LISTED:
        mesh = collapsed(Surface.of(mesh), _FEWER).mesh
    return [writer.point_of(corner) for corner in mesh.vertices[mesh.triangles].reshape(-1, 3)]
