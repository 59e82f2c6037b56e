"""Samplers: integrators as tables (`scheme`), one file a way to solve them, one kind of solution."""

from lie_picard.sampling.newton import sample_newton
from lie_picard.sampling.ode import sample_ode
from lie_picard.sampling.options import METHODS, Plan, SamplerOptions, sample
from lie_picard.sampling.picard import sample_picard
from lie_picard.sampling.scheme import INTEGRATORS, Scheme, euler, heun, multistep
from lie_picard.sampling.solution import Score, Solution, Status, joined
from lie_picard.sampling.walk import draw_walk_noise, sample_walk
from lie_picard.sampling.warm import WarmStart

__all__ = [
    "INTEGRATORS",
    "METHODS",
    "Plan",
    "SamplerOptions",
    "Scheme",
    "Score",
    "Solution",
    "Status",
    "WarmStart",
    "draw_walk_noise",
    "euler",
    "heun",
    "joined",
    "multistep",
    "sample",
    "sample_newton",
    "sample_ode",
    "sample_picard",
    "sample_walk",
]
