"""Ray-casting of triangle meshes with colours and textures: one caster, engines for CPUs and GPUs."""

from lie_picard.rendering.meshes.caster import ENGINES, EngineError, MeshCaster, engine_for

__all__ = ["ENGINES", "EngineError", "MeshCaster", "engine_for"]
