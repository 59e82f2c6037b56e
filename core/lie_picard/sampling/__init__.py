"""Samplers: one file a method, one signature, one kind of solution."""

from lie_picard.sampling.ode import sample_ode
from lie_picard.sampling.options import METHODS, SamplerOptions, sample
from lie_picard.sampling.picard import sample_picard
from lie_picard.sampling.solution import Score, Solution, Status
from lie_picard.sampling.walk import draw_walk, sample_walk

__all__ = [
    "METHODS",
    "SamplerOptions",
    "Score",
    "Solution",
    "Status",
    "draw_walk",
    "sample",
    "sample_ode",
    "sample_picard",
    "sample_walk",
]
