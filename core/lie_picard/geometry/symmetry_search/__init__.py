"""Symmetries found of a surface: the group, how nearly each candidate holds, and those of a part of it alone."""

from __future__ import annotations

from lie_picard.geometry.symmetry_search.found import TOLERANCE, FoundSymmetry, assess, find_symmetry
from lie_picard.geometry.symmetry_search.group import in_words
from lie_picard.geometry.symmetry_search.nearly import Nearly
from lie_picard.geometry.symmetry_search.partial import partial_symmetries

__all__ = ["TOLERANCE", "FoundSymmetry", "Nearly", "assess", "find_symmetry", "in_words", "partial_symmetries"]
