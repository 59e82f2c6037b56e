"""The catalogue of objects of one's own: the folders of the store, read when they are asked for."""

from __future__ import annotations

import functools
from pathlib import Path

from lie_picard.files import file_version
from lie_picard.objects import folder
from lie_picard.objects.catalogue import OWN, Catalogue
from lie_picard.objects.mesh_object import MeshObject


def own_catalogue(root: str | Path | None = None) -> Catalogue:
    """Every object of a store (`folder.store`), as it is now.

    Its objects raise `folder.FolderError` when they are asked for and are damaged.
    """
    place = folder.store(root)
    return Catalogue(OWN, {name: functools.partial(read_object, place / name) for name in folder.names(place)})


def read_object(place: Path) -> MeshObject:
    """The object of a folder; the same one until its files change."""
    return _read(place, file_version(place / folder.HEAD))


@functools.lru_cache(maxsize=64)
def _read(place: Path, version: tuple[int, int]) -> MeshObject:
    part = folder.read(place)
    return MeshObject(
        part.name, part.surface, part.symmetry, part.shape_symmetry, part.diameter, part.training,
        file=str((place / folder.MESH).absolute()), partial=part.partial,
    )  # fmt: skip
