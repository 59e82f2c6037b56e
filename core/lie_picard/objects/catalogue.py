"""Objects: what every one tells of itself, and catalogues that find them by name."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lie_picard.geometry.mesh import Mesh
from lie_picard.geometry.partial import PartialSymmetry
from lie_picard.geometry.symmetry import Symmetry
from lie_picard.objects.alike import Family, Shares
from lie_picard.rendering.buffers import Castable, ViewGeometry


class UnknownObjectError(ValueError):
    """An object of which nothing but its name is known; the message says what that prevents, and the remedy."""


class TruePoses(Protocol):
    """Which poses look like the true one, in each of B images of one object."""

    @property
    def truth(self) -> Tensor:
        """(B, 3, 3) camera_from_object of the rendering."""
        ...

    def distance(self, rotations: Tensor, image: int) -> Tensor:
        """Angle in radians from samples (N, 3, 3) of an image to its nearest true pose. -> (N,)."""
        ...

    def listed(self, image: int, step_deg: float = 10.0) -> Tensor | None:
        """True poses of an image, continuous ones on a grid. -> (n, 3, 3); None where they fill all of SO(3)."""
        ...

    def axis(self, image: int) -> Tensor | None:
        """(3,) axis in the object's frame along whose turns the true poses of an image form curves, if any."""
        ...

    def seen(self, image: int) -> tuple[bool, ...]:
        """Which of the marks that tell equal-shaped poses apart an image shows; empty where there are none."""
        ...


@dataclass(frozen=True)
class SymmetricPoses:
    """True poses of an object whose every view is as ambiguous as the object itself (`TruePoses`).

    Attributes:
        symmetry: of the object. truth: (B, 3, 3) of the rendering.
    """

    symmetry: Symmetry
    truth: Tensor

    def distance(self, rotations: Tensor, image: int) -> Tensor:
        """`TruePoses.distance`."""
        return self.symmetry.distance(self.truth[image], rotations)

    def listed(self, image: int, step_deg: float = 10.0) -> Tensor | None:
        """`TruePoses.listed`."""
        return None if self.symmetry.is_ball else self.symmetry.equivalents(self.truth[image], step_deg)

    def axis(self, image: int) -> Tensor | None:
        """`TruePoses.axis`."""
        axes = self.symmetry.axes
        return torch.from_numpy(axes[0]).to(self.truth) if len(axes) == 1 else None

    def seen(self, image: int) -> tuple[bool, ...]:
        """`TruePoses.seen`: no marks."""
        return ()


class Object(Castable, abc.ABC):
    """A rigid, coloured object that can be looked for. Subclasses say what follows, and `cast` and `mesh`.

    Attributes:
        name: in catalogues, checkpoints, messages. diameter: of its circumscribed sphere, metres; None: of any size.
        symmetry: the turns after which it looks the same where nothing of it is hidden.
        partial: turns that carry a part of it onto itself, metres (of an object of any size: radii of the sphere).
    """

    name: str
    symmetry: Symmetry
    diameter: float | None = None
    partial: tuple[PartialSymmetry, ...] = ()

    @property
    def shape_symmetry(self) -> Symmetry:
        """Of the shape alone, without its colours."""
        return self.symmetry

    @property
    def landmarks(self) -> Tensor:
        """(K, 3) unit directions, object frame, to the colours that tell poses of equal shape apart."""
        return torch.zeros(0, 3)

    @property
    def is_coloured(self) -> bool:
        """Whether colours of its own are known, which prints on it must neither hide nor imitate."""
        return len(self.landmarks) > 0

    @abc.abstractmethod
    def mesh(self, diameter: float) -> Mesh:
        """Its surface, the circumscribed sphere of a diameter in metres around the origin."""

    def true_poses(self, truth: Tensor, view: ViewGeometry) -> TruePoses:
        """Which poses look like the true ones (B, 3, 3) in images that were taken so."""
        return SymmetricPoses(self.symmetry, truth)

    @property
    def depends_on_view(self) -> bool:
        """Whether some views leave more poses open than the symmetry does (`alike`)."""
        return False

    @property
    def family(self) -> Family:
        """The motions that may leave an image of it as it is."""
        return Family.of(self.symmetry)

    def alike(self, truth: Tensor, view: ViewGeometry | None) -> Shares | None:
        """Which of them images of the true poses (B, 3, 3) allow; None: all of them in every image.

        Args:
            view: how the images were taken; None: unknown, and what a view would have to tell counts as seen.
        """
        return None


class Catalogue(Mapping[str, Object]):
    """Objects by name. An object is made when it is first asked for."""

    def __init__(self, name: str, makers: Mapping[str, Callable[[], Object]]) -> None:
        """Args:
        name: of the catalogue, as checkpoints carry it. makers: give the same object at every call.
        """
        self.name, self._makers = name, dict(makers)

    @classmethod
    def of(cls, name: str, *objects: Object) -> Catalogue:
        """A catalogue of these objects."""
        return cls(name, {one.name: (lambda one=one: one) for one in objects})  # type: ignore[misc]

    def __getitem__(self, name: str) -> Object:
        """The object of that name.

        Raises:
            UnknownObjectError: there is none.
        """
        if name in self._makers:
            return self._makers[name]()
        known = f"has only {', '.join(self)}" if self else "is empty"
        raise UnknownObjectError(
            f"nothing is known of the shape of '{name}' (catalogue '{self.name}' {known}): "
            "give images of it with --data where the command takes them, or an object of the catalogue"
        )

    def get(self, name: str, default: Any = None) -> Any:
        """The object of that name, or the default."""
        return self[name] if name in self._makers else default

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def joined(self, others: Catalogue) -> Catalogue:
        """These objects, and others of other names."""
        return Catalogue(self.name, {**others._makers, **self._makers})

    def find(self, name: str | None) -> Object | None:
        """The object of that name, or None."""
        return self[name] if name in self._makers else None

    def symmetry(self, name: str | None) -> Symmetry:
        """Of the object of that name; none is known of others."""
        found = self.find(name)
        return Symmetry.none() if found is None else found.symmetry


OWN = "own"  # the objects that `lie-picard object add` made on this machine
BUILT_IN = "symsol"  # what is trained where nothing is said, and what checkpoints of before 0.2 were rendered from
_MODULES = {BUILT_IN: "lie_picard.objects.symsol"}
_registered: dict[str, Catalogue] = {}


def register(one: Catalogue) -> Catalogue:
    """Let checkpoints that name this catalogue find it in this process; one of the same name is replaced."""
    _registered[one.name] = one
    return one


def catalogue(name: str) -> Catalogue:
    """The catalogue of that name; an empty one where it is not known here: then objects are names, and no more."""
    if name == OWN and name not in _registered:
        found: Catalogue = importlib.import_module("lie_picard.objects.own").own_catalogue()
        return found
    if name in _MODULES and name not in _registered:
        register(importlib.import_module(_MODULES[name]).CATALOGUE)
    return _registered.get(name) or Catalogue(name, {})
