"""Where a recipe's images come from: rendered, a data set in SYMSOL's format, or one in BOP's."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lie_picard.data import symsol_files
from lie_picard.data.bop import Dataset, agrees, crops, object_names
from lie_picard.data.stream import Batch, Stream, batches, stored_batches
from lie_picard.files import expanded
from lie_picard.objects import Catalogue, MeshObject
from lie_picard.rendering.clean import Crop
from lie_picard.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_log = logging.getLogger(__name__)


def tell_of_tables(recipe: Recipe, known: Catalogue) -> None:
    """Say what keeps a training from beginning at once."""
    shapes = [known.find(name) for name in recipe.model.objects]
    slow = [one.name for one in shapes if isinstance(one, MeshObject) and one.depends_on_view]
    if slow:
        print(f"what each view of {', '.join(slow)} leaves open is looked up in tables that are made first: some "
              "seconds an object; training.averaged_target=false does without", file=sys.stderr)  # fmt: skip


def known_objects(recipe: Recipe, known: Catalogue) -> Catalogue:
    """The catalogue that a recipe's objects are of; an empty one where a data set shows other shapes by these names."""
    if recipe.data.bop:
        return _known_models(recipe, known)
    if not recipe.data.symsol:
        return known
    stored = symsol_files.read(expanded(recipe.data.symsol), "train", recipe.model.objects)
    others = [one.shape for one in stored if one.shape not in known or not symsol_files.agrees(one, known[one.shape])]
    if not others:
        return known
    _log.warning("the data set's %s are none of the catalogue '%s': nothing but the names is taken as known",
                 ", ".join(others), known.name)  # fmt: skip
    return Catalogue("", {})


def _known_models(recipe: Recipe, known: Catalogue) -> Catalogue:
    """The same where the data set is BOP's: its models tell whether they are the catalogue's objects."""
    models = Dataset(recipe.data.bop, object_names(recipe.data.bop_objects)).models
    numbers = {name: number for number, name in models.names.items()}
    alike = all(name in known and name in numbers and agrees(models[numbers[name]], known[name])
                for name in recipe.model.objects)  # fmt: skip
    if alike:
        return known
    shapes = {name: models[numbers[name]].shape for name in recipe.model.objects if name in numbers}
    return Catalogue.of("", *(shape for shape in shapes.values() if shape is not None))


def batches_of(recipe: Recipe, fabric: Fabric, step: int, known: Catalogue) -> Iterator[Batch]:
    """This process's share of every batch from `step` on."""
    model, data, options = recipe.model, recipe.data, recipe.training
    if options.batch % fabric.world_size:
        raise ValueError(f"training.batch = {options.batch} cannot be shared by {fabric.world_size} processes")
    share = options.batch // fabric.world_size
    start, stride = step * fabric.world_size + fabric.global_rank, fabric.world_size
    if data.symsol:
        folder = expanded(data.symsol)
        return stored_batches(folder, model, share, options.seed, start, stride, fabric.device)
    if data.bop:
        source = crops.Source(
            expanded(data.bop), data.bop_split, object_names(data.bop_objects), data.bop_visible,
            data.randomised, data.absent, data.randomisation,
        )  # fmt: skip
        return crops.batches(source, model, share, options.seed, start, stride, fabric.device)
    stream = Stream(
        tuple(known[name] for name in model.objects), model.image_size, model.channels,
        Crop(model.distance, model.fill), share, data.randomised, data.absent, data.randomisation, data.together,
        data.off, data.parts, data.textured, data.repeats, data.prints,
    )  # fmt: skip
    return batches(stream, options.seed, start, fabric.device, stride)
