"""Hypotheses as RViz markers."""

from __future__ import annotations

from typing import Any

from lie_picard.messages.read import rotation_of
from lie_picard.messages.write import Writer
from lie_picard.settings import Settings

_AXES = ((1.0, 0.2, 0.2), (0.2, 1.0, 0.2), (0.3, 0.5, 1.0))


def markers(writer: Writer, header: Any, messages: list[Any], settings: Settings) -> Any:
    """One LINE_LIST of axes an object (many markers stall RViz), each mode as opaque as its weight, and the name."""
    t = writer.types
    # Objects that are no longer looked for must not stay in the picture.
    result = t.MarkerArray(markers=[t.Marker(header=header, action=t.Marker.DELETEALL)])
    diameters = {target.object_id: target.diameter for target in settings.targets}
    for index, message in enumerate(messages):
        size = diameters[message.object_id]
        lines = t.Marker(header=header, ns="modes", id=index, type=t.Marker.LINE_LIST, action=t.Marker.ADD)
        lines.scale.x = 0.02 * size
        lines.pose.orientation.w = 1.0
        heaviest = message.hypotheses[0].weight
        for hypothesis in message.hypotheses:
            pose, alpha = hypothesis.pose.pose, max(0.1, hypothesis.weight / heaviest)
            tips = rotation_of(pose.orientation).T * (0.7 * size)
            for tip, colour in zip(tips, _AXES, strict=True):
                p = pose.position
                lines.points += [p, t.Point(x=p.x + tip[0], y=p.y + tip[1], z=p.z + tip[2])]
                red, green, blue = colour
                lines.colors += [t.ColorRGBA(r=red, g=green, b=blue, a=alpha)] * 2
        name = t.Marker(header=header, ns="names", id=index, type=t.Marker.TEXT_VIEW_FACING, action=t.Marker.ADD)
        name.pose.position = t.Point(**_lifted(message, size))
        name.pose.orientation.w = 1.0
        name.scale.z = 0.2 * size
        name.color = t.ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        name.text = f"{message.object_id}: {len(message.hypotheses)} modes, heaviest {heaviest:.0%}"
        result.markers += [lines, name]
    return result


def _lifted(message: Any, size: float) -> dict[str, float]:
    p = message.hypotheses[0].pose.pose.position
    return {"x": p.x, "y": p.y - 0.7 * size, "z": p.z}
