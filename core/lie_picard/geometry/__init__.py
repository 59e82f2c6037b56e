"""Lenses and regions, surfaces, symmetry groups. Nothing here knows a network."""
