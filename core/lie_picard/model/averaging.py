"""The mean of several models' weights.

Models that were trained on from the same weights lie in one basin of the loss. The mean of their weights has less of
the noise that the last steps of each left, and is mostly better than any of them (Wortsman et al., 2022: model soups).
It is one model, and costs what one costs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lie_picard.model.config import ModelConfig
from lie_picard.model.score_model import ScoreModel
from lie_picard.objects.carried import differing
from lie_picard.posterior.covariance import Calibration

_BODY = "encoder.", "head."


def averaged(models: Sequence[ScoreModel], weights: Sequence[float], heads: ScoreModel | None = None) -> ScoreModel:
    """A model whose every weight is the weighted mean of theirs. It is not calibrated, and has no flow map.

    Args:
        heads: takes recognition and position from this model instead.

    Raises:
        ValueError: no models, weights that are none, or models of different kinds.
    """
    if not models or len(models) != len(weights) or not all(weight > 0 for weight in weights):
        raise ValueError("an average needs models, and a weight above 0 for each")
    first = models[0]
    plain = dataclasses.replace(first.config, flow_map=False)  # a map belongs to one score: distil again
    for other in [*models, *([] if heads is None else [heads])]:
        if (difference := _difference(first.config, other.config)) or first.catalogue != other.catalogue:
            raise ValueError(f"the models are of different kinds ({difference or 'catalogue'}): their mean is none")
        if first.known is not None and other.known is not None and (parts := differing(first.known, other.known)):
            raise ValueError(f"the models know different parts by the name of {', '.join(parts)}: their mean is none")
    total = sum(weights)
    states = [{k: v for k, v in model.state_dict().items() if not k.startswith("flow_map.")} for model in models]
    mean = _mean(states, [weight / total for weight in weights])
    if heads is not None:
        mean |= {name: one for name, one in heads.state_dict().items() if not name.startswith((*_BODY, "flow_map."))}
    found = ScoreModel(plain)
    found.load_state_dict(mean)
    found.catalogue, found.known, found.calibration = first.catalogue, first.known, Calibration()
    # Locators are networks of their own; that of the first model that has one is as good as any.
    found.locator = next((model.locator for model in models if model.locator is not None), None)
    told = [(model.auxiliary, weight) for model, weight in zip(models, weights, strict=True) if model.auxiliary]
    if told:
        names = set.intersection(*(set(one) for one, _ in told))
        alike = {name for name in names if len({one[name].shape for one, _ in told}) == 1}
        share = sum(weight for _, weight in told)
        found.auxiliary = _mean([{name: one[name] for name in sorted(alike)} for one, _ in told],
                                [weight / share for _, weight in told])  # fmt: skip
    return found.eval()


def _mean(states: Sequence[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Counts, which are no floating-point numbers, are those of the first."""
    result = {}
    for name, one in states[0].items():
        if one.is_floating_point():
            total = sum(state[name].double() * share for state, share in zip(states, shares, strict=True))
            assert isinstance(total, Tensor)
            result[name] = total.to(one.dtype)
        else:
            result[name] = one
    return result


def _difference(one: ModelConfig, other: ModelConfig) -> str:
    mine, theirs = (dataclasses.asdict(config) for config in (one, other))
    names: list[Any] = [name for name in mine if mine[name] != theirs[name] and name != "flow_map"]
    return ", ".join(names)
