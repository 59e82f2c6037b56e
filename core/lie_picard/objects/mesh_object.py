"""Objects made of a mesh: any surface, with its colours and textures."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from lie_picard.geometry.mesh import Mesh
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.surface import Surface
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects.alike import Family, Shares
from lie_picard.objects.catalogue import Object, SymmetricPoses, TruePoses
from lie_picard.objects.view_poses import ViewPoses
from lie_picard.objects.view_table import ViewTable
from lie_picard.rendering.buffers import Buffers, ViewGeometry
from lie_picard.rendering.meshes import CREASE_DEG, MeshCaster

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
        crease_deg: float = CREASE_DEG,
        engine: str | None = None,
        file: str = "",
        partial: Sequence[PartialSymmetry] = (),
    ) -> None:
        """Args:
            name: in catalogues, checkpoints, messages.
            surface: in the object's frame, metres, about the centre of its circumscribed sphere.
            symmetry: the turns after which it looks the same, colours included; None: no turn does.
            shape_symmetry: those of the shape alone; None: the same.
            diameter: of the circumscribed sphere, metres; None: of the surface's.
            simplified: a surface of fewer triangles in the same frame, to render instead.
            crease_deg: triangles that meet at less are shaded as one smooth surface.
            engine: of `rendering.meshes.ENGINES`; None: the one that suits the device.
            file: absolute path of the surface in metres, for programs that show it themselves; empty: none.
            partial: symmetries of parts of the surface, metres; they tell what a view leaves open.

        Raises:
            MeshObjectError: the surfaces do not fit the diameter. EngineError: there is no such engine.
        """
        self.name = name
        self.surface, self.simplified, self.file = surface, simplified, file
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
        self.partial = tuple(partial)
        self._caster = MeshCaster((simplified or surface).moved(_ORIGIN, 2 / self.diameter), crease_deg, engine)

    @property
    def shape_symmetry(self) -> Symmetry:
        """Of the shape alone, without its colours."""
        return self._shape_symmetry

    def unpainted(self) -> MeshObject:
        """The same shape, of which nothing is known about colours."""
        simplified = None if self.simplified is None else Surface.of(self.simplified.mesh)
        shape, caster = self._shape_symmetry, self._caster
        return MeshObject(self.name, Surface.of(self.surface.mesh), shape, shape, self.diameter, simplified,
                          caster.crease_deg, caster.engine, self.file, self.partial)  # fmt: skip

    @property
    def is_coloured(self) -> bool:
        """Whether its surface says anything of colours."""
        return self.surface.is_coloured

    def cast(self, rotations: Tensor, translations: Tensor, rays: Tensor, zoom: Tensor | None = None) -> Buffers:
        """`rendering.buffers.Castable.cast`, in units of the circumscribed sphere's radius."""
        return self._caster.cast(rotations, translations, rays, zoom)

    def mesh(self, diameter: float) -> Mesh:
        """Its surface, the simplified one where there is one, the circumscribed sphere of a diameter in metres."""
        scale = diameter / self.diameter
        mesh = (self.simplified or self.surface).moved(_ORIGIN, scale).mesh
        return dataclasses.replace(mesh, file=self.file, scale=scale) if self.file else mesh

    def true_poses(self, truth: Tensor, view: ViewGeometry) -> TruePoses:
        """Which poses look like the true ones (B, 3, 3) in images that were taken so, as far as these show."""
        return ViewPoses(self, truth, view) if self.depends_on_view else SymmetricPoses(self.symmetry, truth)

    @property
    def depends_on_view(self) -> bool:
        """Whether some views leave more poses open than the symmetry does: where a part or a colour is hidden."""
        own, shape = self.symmetry, self._shape_symmetry
        alike = len(own.rotations) == len(shape.rotations) and len(own.axes) == len(shape.axes)
        return not alike or bool(self.partial) or self.surface.is_coloured

    @property
    def family(self) -> Family:
        """The motions that may leave an image of it as it is."""
        return self._views.family if self.depends_on_view else Family.of(self.symmetry)

    def alike(self, truth: Tensor, view: ViewGeometry | None) -> Shares | None:
        """`Object.alike`, looked up by the direction of view."""
        if not self.depends_on_view:
            return None
        if view is None:
            return Shares.alone(self.family, len(truth), truth)
        return self._views.at(truth, view)

    @functools.cached_property
    def _views(self) -> ViewTable:
        return ViewTable.of(self)
