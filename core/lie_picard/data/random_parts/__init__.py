"""Random parts to pre-train on: as many as are wanted, each by its number, with what describes its shape."""

from lie_picard.data.random_parts.bank import PartBank
from lie_picard.data.random_parts.bodies import PartsError
from lie_picard.data.random_parts.parts import RandomPart, described_part, random_part, random_surface
from lie_picard.data.random_parts.signature import signature

__all__ = ["PartBank", "PartsError", "RandomPart", "described_part", "random_part", "random_surface", "signature"]
