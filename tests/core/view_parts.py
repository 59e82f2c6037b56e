"""Parts whose views leave poses open."""

import math

import numpy as np
import trimesh

from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.surface import Surface
from lie_picard.objects import MeshObject


def surface_of(mesh, colours=None):
    return Surface(np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int64), colours)


def mug(sections):
    """A cylinder about z with a ring for a handle at +x, metres; its body is round."""
    body, handle = trimesh.creation.cylinder(0.04, 0.09, sections=sections), trimesh.creation.torus(0.025, 0.006)
    handle.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, [1, 0, 0]))
    handle.apply_translation((0.045, 0, 0))
    whole = trimesh.boolean.union([body, handle], engine="manifold")
    return MeshObject("mug", surface_of(whole), partial=(PartialSymmetry(np.eye(3)[2], np.zeros(3), None, 0.8),))
