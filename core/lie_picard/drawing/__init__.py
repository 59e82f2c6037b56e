"""Hypotheses as pictures: over the camera image, and on SO(3)."""
