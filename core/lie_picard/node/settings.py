"""The values of the parameters that node and recording tools share, checked as a whole, as one immutable value."""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lie_picard.estimation.poses import Target
from lie_picard.estimation.several import checkpoints
from lie_picard.files import file_version
from lie_picard.geometry import models_info
from lie_picard.geometry.camera import Region
from lie_picard.geometry.mesh import Mesh
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.model import checkpoint
from lie_picard.node import params_file
from lie_picard.node.table import REGION_SOURCES, TABLE, TRANSPORTS
from lie_picard.objects import OWN, Catalogue, Object, catalogue
from lie_picard.sampling import SamplerOptions

_TELLING = frozenset({"checkpoint", "objects", "diameters"})  # a pose node's, and nobody else's
OF_EVERY_NODE = "use_sim_time", "qos_overrides", "start_type_description_service"


@dataclass(frozen=True)
class Settings:
    """The parameters' values, checked together."""

    checkpoint: str
    targets: tuple[Target, ...]
    regions_from: str
    search_every: int
    transport: str
    depth: bool
    sync_tolerance: float
    symmetries: Mapping[str, Symmetry]
    meshes: Mapping[str, Mesh]
    rectified: bool
    image_bits: int
    samples: int
    options: SamplerOptions
    warm_start: bool
    seed: int | None
    max_rate: float
    least_presence: float
    max_age: float
    predict_ahead: float
    publish_tf: bool
    tf_prefix: str
    tf_modes: int


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Check values together and make them one thing.

    Raises:
        ValueError: one line that names the parameter and the remedy.
    """
    values = filled(values)
    objects, diameters = list(values["objects"]), list(values["diameters"])
    flat = [float(value) for value in regions_of(values, len(objects))]
    if not objects or len(set(objects)) != len(objects) or not all(objects):
        raise ValueError(f"objects must be distinct names, got {objects}")
    for name in objects:
        owner = re.sub(r"/(mode_\d+|predicted)$", "", name)
        if (owner != name and owner in objects) or name != name.strip("/"):
            raise ValueError(f"object '{name}' would be another frame in TF: use a name without '/'")
    if len(diameters) != len(objects) or len(flat) != 4 * len(objects):
        raise ValueError(
            f"{len(objects)} objects need {len(objects)} diameters and {4 * len(objects)} numbers in regions, "
            f"got {len(diameters)} and {len(flat)}"
        )
    file = values["checkpoint"]
    known = known_to(file)
    source, instances = values["regions_from"], values["instances"]
    told = [any(flat[k : k + 4]) for k in range(0, len(flat), 4)]
    if source == "auto" and all(told):
        source = "parameters"
    if instances > 1 and (source != "auto" or any(told)):
        raise ValueError(
            f"{instances} instances of an object are told apart where they are found in the image: leave regions out, "
            "and regions_from at auto"
        )
    targets: list[Target] = []
    for index, (name, given) in enumerate(zip(objects, diameters, strict=True)):
        diameter = given if given != 0 else _own_diameter(name, known, file)
        x, y, width, height = box = flat[4 * index : 4 * index + 4]
        whole = width == height == 0
        if not all(map(math.isfinite, box)) or not (whole or min(width, height) >= 2):
            raise ValueError(f"region {box} of '{name}': width and height must be at least 2 pixels, or both 0")
        region = None if whole else Region(x, y, width, height)
        if instances == 1:
            targets.append(Target(name, diameter, region))
        else:
            targets += [Target(f"{name}#{k}", diameter, region, name) for k in range(instances)]
    for name, choices in (("regions_from", REGION_SOURCES), ("transport", TRANSPORTS)):
        if values[name] not in choices:
            raise ValueError(f"unknown {name} '{values[name]}': choose from {', '.join(choices)}")
    if values["regions_from"] == "topics":
        unfit = next((name for name in objects if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)), None)
        if unfit is not None:
            raise ValueError(
                f"object '{unfit}' cannot name a topic: use letters, digits and _, or another regions_from"
            )
    return Settings(
        checkpoint=values["checkpoint"],
        targets=tuple(targets),
        regions_from=source,
        search_every=values["search_every"],
        transport=values["transport"],
        depth=values["depth"],
        sync_tolerance=values["sync_tolerance"],
        symmetries=_symmetries(values["symmetries"], targets, known),
        meshes=_meshes(list(values["meshes"]), targets, known),
        rectified=values["rectified"],
        image_bits=values["image_bits"],
        samples=values["samples"],
        options=SamplerOptions(
            values["method"],
            values["steps"],
            values["window"] or None,
            values["tolerance"],
            values["integrator"],
            values["restarts"],
        ),
        warm_start=values["warm_start"],
        seed=values["seed"] if values["seed"] >= 0 else None,
        max_rate=values["max_rate"],
        least_presence=values["least_presence"],
        max_age=values["max_age"],
        predict_ahead=values["predict_ahead"],
        publish_tf=values["publish_tf"],
        tf_prefix=values["tf_prefix"],
        tf_modes=values["tf_modes"],
    )


def on_its_own(settings: Settings, seed: int | None = None) -> Settings:
    """The same for every image on its own and always the same way: nothing depends on its neighbours or a stopwatch.

    Args:
        seed: None: the settings' own, or 0 where they have none.
    """
    options = settings.options
    if options.method == "auto":
        options = replace(options, method="ode")
    chosen = seed if seed is not None else settings.seed or 0
    return replace(settings, options=options, warm_start=False, seed=chosen)


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values in which the objects that a checkpoint carries stand for objects and diameters that were not given.

    With no such checkpoint, they are returned as they are.
    """
    known = carried_by(values["checkpoint"])
    objects, diameters = list(values["objects"]), list(values["diameters"])
    unnamed = objects == TABLE["objects"].default
    if known is None or not (diameters == TABLE["diameters"].default or (unnamed and not any(diameters))):
        return dict(values)
    objects = list(known) if unnamed else objects
    regions = regions_of(values, len(objects))
    return {**values, "objects": objects, "diameters": [0.0] * len(objects), "regions": regions}


def regions_of(values: Mapping[str, Any], objects: int) -> list[float]:
    """The parameter `regions`, four numbers an object: its default stands for each of so many."""
    given = list(values["regions"])
    return given * objects if given == TABLE["regions"].default else given


def carried_by(file: str) -> Catalogue | None:
    """The objects that checkpoints carry, the same ones until a file changes; None: none."""
    every = [_carried(one, file_version(checkpoint.resolve(one))) for one in checkpoints(file)]
    there = [one for one in every if one is not None]
    return functools.reduce(lambda known, more: more.joined(known), there) if there else None


@functools.lru_cache(maxsize=16)
def _carried(file: str, version: tuple[int, int]) -> Catalogue | None:
    return checkpoint.carried_by(file)


def known_to(file: str) -> Catalogue:
    """The objects that can be asked for by name: the checkpoints', and those that were added on this machine."""
    known = Catalogue("", {})
    for one in checkpoints(file):  # what the model knows by a name counts first
        known = known.joined(checkpoint.catalogue_for(carried_by(one), checkpoint.catalogue_of(one)))
    return known.joined(catalogue(OWN))


def _own_diameter(name: str, known: Catalogue, file: str) -> float:
    found = known.find(name)
    if found is not None and found.diameter is not None:
        return found.diameter
    sized = [*(carried_by(file) or ()), *catalogue(OWN)]
    if found is not None or not sized:
        for one in checkpoints(file):
            checkpoint.read_metadata(one)  # where it is missing or damaged, that is why
        raise ValueError(f"'{name}' is of any size: give its diameter in metres")
    folded = {one.casefold(): one for one in sized}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    meant = f"; did you mean '{folded[near[0]]}'?" if near else ""
    listed = ", ".join(dict.fromkeys(sized))
    raise ValueError(
        f"'{name}' is of any size: give its diameter in metres (not the default, which counts as none), or an object "
        f"whose size is known ({listed}){meant}"
    )


def _symmetries(path: str, targets: list[Target], known: Catalogue) -> dict[str, Symmetry]:
    """Of every object: as the file lists it, else as the catalogue knows it; one that neither knows is refused."""
    found = {target.object_id: known.symmetry(target.sought) for target in targets}
    if not path:
        return found
    listed = models_info.read(path)
    for target in targets:
        name = target.sought
        if models_info.key_of(listed, name) is not None or known.find(name) is None:
            found[target.object_id] = _read_symmetry(path, file_version(path), name, target.diameter)
    return found


def _meshes(files: list[str], targets: list[Target], known: Catalogue) -> dict[str, Mesh]:
    """Of the objects that have one."""
    names = list(dict.fromkeys(target.sought for target in targets))
    if len(files) != len(names) and any(files):
        raise ValueError(f"{len(names)} objects need {len(names)} meshes, empty ones where there is none, got {files}")
    found = {}
    for target in targets:
        index = names.index(target.sought)
        if index < len(files) and files[index]:
            found[target.object_id] = _read_mesh(files[index], file_version(files[index]), target.diameter)
        elif (shape := known.find(target.sought)) is not None:
            found[target.object_id] = _surface(shape, target.diameter)
    return found


# What is read is kept until its file changes: settings are made anew at every change of a parameter.
@functools.lru_cache(maxsize=64)
def _surface(shape: Object, diameter: float) -> Mesh:
    return shape.mesh(diameter)


@functools.lru_cache(maxsize=64)
def _read_mesh(path: str, version: tuple[int, int], diameter: float) -> Mesh:
    return Mesh.read(path, diameter)


@functools.lru_cache(maxsize=64)
def _read_symmetry(path: str, version: tuple[int, int], name: str, diameter: float) -> Symmetry:
    return Symmetry.from_models_info(path, name, diameter)


def read_values(path: Path, node: str = "") -> dict[str, Any]:
    """All values, as a node has them that is started with this parameters file (ROS 2's YAML): defaults for the rest.

    Args:
        node: name of the node, with its namespace or without; empty: the file's only pose node.

    Raises:
        ValueError: it cannot be read, names what there is not, or holds several pose nodes and `node` does not say
            which.
    """
    sections = params_file.read_sections(path)
    try:
        name = params_file.chosen(sections, node, _TELLING)
    except params_file.ParamsFileError as error:
        raise ValueError(f"params file {path} {error}") from None
    given = params_file.values_for(sections, name)
    # What is for several nodes may be another's.
    others = any(not one.is_pattern and not one.fits(name) for one in sections)
    own = params_file.values_for([one for one in sections if not (others and one.is_pattern)], name)
    unknown = {one for one in own.keys() - TABLE.keys() if one.split(".")[0] not in OF_EVERY_NODE}
    if unknown:
        raise ValueError(f"params file {path}: there is no parameter '{min(unknown)}', see docs/node.md")
    return {name: given.get(name, entry.default) for name, entry in TABLE.items()}
