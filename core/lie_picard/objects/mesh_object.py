"""Objects made of a mesh: any surface, with its colours and textures."""

from __future__ import annotations

import dataclasses

import numpy as np
from torch import Tensor

from lie_picard.geometry.mesh import Mesh
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects.catalogue import Object
from lie_picard.objects.view_poses import ViewPoses
from lie_picard.rendering.buffers import Buffers, ViewGeometry
from lie_picard.rendering.meshes import MeshCaster

_ORIGIN = np.zeros(3)
_TOLERANCE = 1e-3  # of the radius, between surfaces and the diameter that is stated


class MeshObjectError(ValueError):
    """A surface and a diameter that do not belong together; the message says how."""


class MeshObject(Object):
    """A rigid part known by its surface (`objects.Object`).

    It costs nothing to make: what rendering needs is built at the first `cast`, once for each device. It can be
    pickled, shared by threads, and used in processes that are forked or spawned.
    """

    diameter: float

    def __init__(
        self,
        name: str,
        surface: Surface,
        symmetry: Symmetry | None = None,
        shape_symmetry: Symmetry | None = None,
        diameter: float | None = None,
        simplified: Surface | None = None,
        crease_deg: float = 30.0,
        partial: tuple[PartialSymmetry, ...] = (),
    ) -> None:
        """Args:
            name: in catalogues, checkpoints, messages.
            surface: in the object's frame, metres, about the centre of its circumscribed sphere.
            symmetry: the turns after which it looks the same, colours included; None: no turn does.
            shape_symmetry: those of the shape alone; None: the same.
            diameter: of the circumscribed sphere, metres; None: of the surface's.
            simplified: a surface of fewer triangles in the same frame, to render instead.
            crease_deg: triangles that meet at less are shaded as one smooth surface.
            partial: motions that carry a part of the surface onto it, object's frame, metres.

        Raises:
            MeshObjectError: the surfaces do not fit the diameter.
        """
        self.name = name
        self.surface, self.simplified = surface, simplified
        self.partial = tuple(partial)
        self.symmetry = symmetry or Symmetry.none()
        self._shape_symmetry = shape_symmetry or self.symmetry
        found = surface.mesh.diameter if len(surface.vertices) else 0.0
        self.diameter = found if diameter is None else diameter
        for what, one in (("surface", surface), ("simplified surface", simplified)):
            if one is None:
                continue
            wide = one.mesh.diameter if len(one.vertices) else 0.0
            if not 0 < wide <= self.diameter * (1 + 2 * _TOLERANCE):
                raise MeshObjectError(
                    f"the {what} of '{name}' fits a sphere of {wide:.4g} m around its origin, the object one of "
                    f"{self.diameter:.4g} m: give it in metres about the centre of its circumscribed sphere"
                )
        self._caster = MeshCaster((simplified or surface).moved(_ORIGIN, 2 / self.diameter), crease_deg)

    @property
    def shape_symmetry(self) -> Symmetry:
        """Of the shape alone, without its colours."""
        return self._shape_symmetry

    def cast(self, rotations: Tensor, translations: Tensor, rays: Tensor, zoom: Tensor | None = None) -> Buffers:
        """`rendering.buffers.Castable.cast`, in units of the circumscribed sphere's radius."""
        return self._caster.cast(rotations, translations, rays, zoom)

    def mesh(self, diameter: float) -> Mesh:
        """Its surface, the circumscribed sphere of a diameter in metres around the origin."""
        mesh = self.surface.mesh
        if diameter == self.diameter:
            return mesh
        return dataclasses.replace(mesh, vertices=mesh.vertices * (diameter / self.diameter))

    def true_poses(self, truth: Tensor, view: ViewGeometry) -> ViewPoses:
        """Which poses look like the true ones (B, 3, 3) in images that were taken so."""
        return ViewPoses(self, truth, view)
