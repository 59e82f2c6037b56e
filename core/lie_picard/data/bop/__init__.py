"""Data sets in BOP's format: read, and written from rendered scenes."""

from lie_picard.data.bop.annotations import BopError, Instance
from lie_picard.data.bop.folder import Dataset, Image, Target
from lie_picard.data.bop.models import Model, Models, agrees, object_names

__all__ = ["BopError", "Dataset", "Image", "Instance", "Model", "Models", "Target", "agrees", "object_names"]
