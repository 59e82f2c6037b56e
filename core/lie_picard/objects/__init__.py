"""What can be looked for: one protocol, and catalogues of objects by name."""

from lie_picard.objects.catalogue import (
    BUILT_IN,
    OWN,
    Catalogue,
    Object,
    SymmetricPoses,
    TruePoses,
    UnknownObjectError,
    catalogue,
    register,
)
from lie_picard.objects.mesh_object import MeshObject, MeshObjectError
from lie_picard.objects.symsol.distractors import polyhedra, unseen_shapes

__all__ = [
    "BUILT_IN",
    "OWN",
    "Catalogue",
    "MeshObject",
    "MeshObjectError",
    "Object",
    "SymmetricPoses",
    "TruePoses",
    "UnknownObjectError",
    "catalogue",
    "polyhedra",
    "register",
    "unseen_shapes",
]
