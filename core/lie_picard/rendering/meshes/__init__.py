"""Ray-casting of triangle meshes with colours and textures: one caster, engines for CPUs and GPUs."""

from lie_picard.rendering.meshes.caster import CREASE_DEG, ENGINES, EngineError, MeshCaster, MeshError, engine_for

__all__ = ["CREASE_DEG", "ENGINES", "EngineError", "MeshCaster", "MeshError", "engine_for"]
