"""A caster of any surface, which chooses its engine by the device of the poses."""

from __future__ import annotations

import importlib.util
import threading
from typing import Any, Protocol

import torch
from torch import Tensor

from lie_picard.geometry.surface import Surface
from lie_picard.rendering.buffers import Buffers
from lie_picard.rendering.meshes.tables import MeshError, Tables

CREASE_DEG = 30.0
ENGINES = ("embree", "warp")


class EngineError(ValueError):
    """No engine can render meshes here; the message says what to install."""


class Engine(Protocol):
    """Casts rays at one surface on one device."""

    def cast(self, rotations: Tensor, translations: Tensor, rays: Tensor, zoom: Tensor) -> Buffers:
        """`rendering.buffers.Castable.cast`, all tensors float32 on the engine's device."""
        ...


def engine_for(device: torch.device) -> str:
    """The engine that is chosen for a device: Embree on CPUs where it is installed, else Warp.

    Raises:
        EngineError: none is installed that can.
    """
    if device.type == "cpu" and importlib.util.find_spec("embreex"):
        return "embree"
    if importlib.util.find_spec("warp"):
        return "warp"
    if device.type == "cpu":
        raise EngineError("rendering meshes needs Embree or Warp: pip install embreex (x86-64) or warp-lang (any CPU)")
    raise EngineError(f"rendering meshes on {device.type} needs Warp: pip install warp-lang")


class MeshCaster:
    """Casts rays at a surface of any number of triangles, open or closed (`rendering.buffers.Castable`).

    Where a triangle is hit from behind, its normal is turned to the camera: thin parts have two faces. What an engine
    needs is built when it is first used, once for each device; threads and processes may share a caster.
    """

    def __init__(self, surface: Surface, crease_deg: float = CREASE_DEG, engine: str | None = None) -> None:
        """Args:
        surface: in any unit in which translations are given too; a radius of about 1 suits single precision.
        crease_deg: triangles that meet at less have smooth normals (`Surface.normals`).
        engine: one of `ENGINES`, instead of the one that suits the device.
        """
        if engine is not None and engine not in ENGINES:
            raise EngineError(f"there is no engine '{engine}' for meshes: choose from {', '.join(ENGINES)}")
        self.surface, self.crease_deg, self.engine = surface, crease_deg, engine
        self._engines: dict[torch.device, Engine] = {}
        self._tables: Tables | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"surface": self.surface, "crease_deg": self.crease_deg, "engine": self.engine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def cast(self, rotations: Tensor, translations: Tensor, rays: Tensor, zoom: Tensor | None = None) -> Buffers:
        """`rendering.buffers.Castable.cast`; lengths in the surface's unit. Depth and normal are 0
        where nothing is hit.

        Raises:
            MeshError: the surface has no triangles, or none of finite corners. EngineError: nothing can render it.
        """
        zoom = rays.new_ones(1, 2).expand(len(rotations), 2) if zoom is None else zoom
        given = (part.detach().to(rotations.device, torch.float32) for part in (rotations, translations, rays, zoom))
        found = self._engine(rotations.device).cast(*given)
        if rays.dtype == torch.float32:
            return found
        depth, normal, albedo = (part.to(rays.dtype) for part in (found.depth, found.normal, found.albedo))
        return Buffers(found.hit, depth, normal, albedo)

    def _engine(self, device: torch.device) -> Engine:
        found = self._engines.get(device)
        if found is None:
            with self._lock:
                found = self._engines.get(device)
                if found is None:
                    found = self._engines[device] = self._built(device)
        return found

    def _built(self, device: torch.device) -> Engine:
        name = self.engine or engine_for(device)
        if name == "embree" and device.type != "cpu":
            raise EngineError(f"Embree renders on CPUs, not on {device.type}: pip install warp-lang")
        if self._tables is None:
            self._tables = Tables.of(self.surface, self.crease_deg)
        try:
            if name == "embree":
                from lie_picard.rendering.meshes.embree import EmbreeEngine

                return EmbreeEngine(self._tables)
            from lie_picard.rendering.meshes.warp_engine import WarpEngine

            return WarpEngine(self._tables, device)
        except ImportError as error:
            package = {"embree": "embreex", "warp": "warp-lang"}[name]
            raise EngineError(
                f"engine '{name}' for meshes cannot be loaded ({error}): pip install {package}"
            ) from error


__all__ = ["CREASE_DEG", "ENGINES", "Engine", "EngineError", "MeshCaster", "MeshError", "engine_for"]
