"""Draw docs/images/view_ambiguity.png: `python scripts/view_ambiguity.py FILE` (needs trimesh and manifold3d)."""

import math
import sys
from pathlib import Path

import numpy as np
import torch
import trimesh

from lie_picard import so3
from lie_picard.drawing.ambiguity import plot_ambiguity
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects.mesh_object import MeshObject
from lie_picard.rendering.clean import Crop, render


def mug() -> MeshObject:
    """A closed cylinder with a handle along x; every turn about its axis is a partial symmetry."""
    body = trimesh.creation.cylinder(0.04, 0.09, sections=96)
    handle = trimesh.creation.torus(0.025, 0.006)
    handle.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, [1, 0, 0]))
    handle.apply_translation((0.045, 0, 0))
    whole = trimesh.boolean.union([body, handle], engine="manifold")
    axis = PartialSymmetry(np.array([0.0, 0.0, 1.0]), np.zeros(3), None, 0.8)
    surface = Surface(np.asarray(whole.vertices), np.asarray(whole.faces, np.int64))
    return MeshObject("mug", surface, partial=(axis,))


def die() -> MeshObject:
    """A cube with one red face and one green face beside it."""
    box = trimesh.creation.box((0.02, 0.02, 0.02)).subdivide()
    colours = np.full((len(box.faces), 3, 3), 0.8, np.float32)
    colours[box.face_normals[:, 2] > 0.5] = (0.8, 0.1, 0.1)
    colours[box.face_normals[:, 0] > 0.5] = (0.1, 0.6, 0.1)
    surface = Surface(np.asarray(box.vertices), np.asarray(box.faces, np.int64), colours)
    quarter = [
        so3.about_axis(torch.eye(3).double()[k], torch.tensor([math.pi / 2]).double())[0].numpy() for k in (0, 2)
    ]
    return MeshObject("die", surface, shape_symmetry=Symmetry.generated(quarter))


def main() -> None:
    """Five images: a mug's handle at the side, hidden; a die of which both marks, one and none are seen."""
    lean = so3.exp(torch.tensor([[1.9, 0.0, 0.0]]))  # the object's z axis up in the image, seen slightly from above
    low = so3.exp(torch.tensor([[-0.7, 0.0, 0.0]]))  # and then from below
    up = torch.tensor([0.0, 0.0, 1.0])

    def pose(about_deg: float) -> torch.Tensor:
        return lean @ so3.about_axis(up, torch.tensor([math.radians(about_deg)]))

    pictures = []
    for caption, body, truth in [
        ("mug, handle seen", mug(), pose(20)),
        ("mug, handle hidden", mug(), pose(90)),
        ("die, both marks seen", die(), pose(-60)),
        ("die, green mark hidden", die(), pose(70)),
        ("die, both marks hidden", die(), low @ pose(70)),
    ]:
        poses = body.true_poses(truth, Crop().view(1))
        print(caption, "-", poses.describe(0)["text"])
        pictures.append((caption, render(body, truth, 128, channels=3)[0], poses))
    plot_ambiguity(Path(sys.argv[1]), pictures)


main()
