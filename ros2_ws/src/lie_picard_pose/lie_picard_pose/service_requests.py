"""What service requests ask for, as settings and parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lie_picard.estimation.estimator import ImageError
from lie_picard.messages.read import region_of
from lie_picard.node.settings import Settings, filled, regions_of
from lie_picard.node.table import MAX_SAMPLES, TABLE
from lie_picard_msgs.srv import EstimatePose, SetObject

_WHOLE = [0.0, 0.0, 0.0, 0.0]


def settings_for(request: EstimatePose.Request, settings: Settings) -> Settings:
    """The node's settings with what the request says of its own.

    Raises:
        ImageError: unknown object, or too many samples.
    """
    known = {target.object_id: target for target in settings.targets}
    target = known.get(request.object_id) if request.object_id else settings.targets[0]
    if target is None:
        raise ImageError(f"unknown object '{request.object_id}': one of {', '.join(known)}")
    if (region := region_of(request.region)) is not None:
        target = replace(target, region=region)
    samples = request.samples or settings.samples
    if samples > MAX_SAMPLES:
        raise ImageError(f"{samples} samples are too many: at most {MAX_SAMPLES}")
    seed = request.seed if request.seed >= 0 else None
    # A request brings no mask or detections, and none of a topic's regions.
    source = "parameters" if settings.regions_from == "parameters" else "auto"
    return replace(settings, targets=(target,), samples=samples, seed=seed, regions_from=source)


def changed_objects(request: SetObject.Request, values: dict[str, Any]) -> dict[str, Any]:
    """The parameters of objects, a value each of them, after the request; they are checked where they are set.

    Raises:
        ValueError: an object that is not there is to be removed.
    """
    values = filled(values)
    objects, diameters = list(values["objects"]), list(values["diameters"])
    flat, meshes = regions_of(values, len(objects)), list(values["meshes"])
    regions = [flat[k : k + 4] for k in range(0, len(flat), 4)]
    columns: list[list[Any]] = [objects, diameters, regions]
    if each := meshes != TABLE["meshes"].default or len(objects) == 1:
        columns.append(meshes)
    if len({len(column) for column in columns}) > 1:
        raise ValueError("objects, diameters, regions and meshes do not fit each other: set them as parameters")
    name = request.object_id
    if request.remove:
        if name not in objects:
            raise ValueError(f"unknown object '{name}': one of {', '.join(objects)}")
        index = objects.index(name)
        for column in columns:
            del column[index]
        if not objects:
            raise ValueError(f"'{name}' is the only object: set another one first, or deactivate the node")
    else:
        if name not in objects:
            objects.append(name)
            diameters.append(0.0)
            regions.append(_WHOLE)
            if each:
                meshes.append("")
        index = objects.index(name)
        diameters[index] = request.diameter or diameters[index]
        if (box := region_of(request.region)) is not None:
            regions[index] = [float(box.x), float(box.y), float(box.width), float(box.height)]
    if not any(meshes):
        meshes = list(TABLE["meshes"].default)
    flat = [x for region in regions for x in region]
    return {"objects": objects, "diameters": diameters, "regions": flat, "meshes": meshes}
