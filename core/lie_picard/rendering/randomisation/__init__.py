"""Domain randomisation of a renderer's buffers: light, materials, surroundings, camera."""

from lie_picard.rendering.randomisation.options import OFF_CENTRE, TEXTURED, Randomisation, Rng
from lie_picard.rendering.randomisation.surroundings import PhotographsError, photograph_crops, photograph_of
from lie_picard.rendering.randomisation.world import World, develop, draw_views, photograph

__all__ = [
    "OFF_CENTRE",
    "TEXTURED",
    "PhotographsError",
    "Randomisation",
    "Rng",
    "World",
    "develop",
    "draw_views",
    "photograph",
    "photograph_crops",
    "photograph_of",
]
