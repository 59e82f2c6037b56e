"""Everything that is known about a model's quality, in one go: what `lie-picard evaluate --output` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from lie_picard.data.seeds import stream_generator
from lie_picard.data.testset import CHUNK, GROUPS, cases
from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import calibration
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.evaluation.presence import evaluate_presence
from lie_picard.posterior.covariance import Calibration
from lie_picard.rendering.randomisation import TEXTURED, Randomisation
from lie_picard.sampling import SamplerOptions

_PUBLISHED_STEPS = 100


KINDS = ("clean", "randomised", "textured")  # of test images


def kinds(randomisation: Randomisation) -> dict[str, Randomisation | None]:
    """The kinds of test images by name."""
    return dict(zip(KINDS, (None, randomisation, TEXTURED), strict=True))


def assess(
    estimator: PoseEstimator,
    shapes: tuple[str, ...],
    sampler: SamplerOptions,
    options: EvaluationOptions,
    on_images: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Precision, recall and uniformity on each of the `kinds` of images, with and without the object's name, against
    the published sampler; presence; calibration.

    Only the first part uses all of `options.images`; the others a tenth or a fifth of them.
    """
    fewer = replace(options, images=max(1, options.images // 5), recall_images=0)
    published = SamplerOptions.published("picard", _PUBLISHED_STEPS)
    randomisation = options.randomisation or Randomisation()
    result: dict[str, Any] = {"sampler": asdict(sampler), "options": asdict(options)}
    for kind, how in kinds(randomisation).items():
        here = replace(options, randomisation=how)
        result[kind] = evaluate(estimator, shapes, sampler, here, None, on_images)
        few = replace(fewer, randomisation=how)
        result[f"{kind}, not named"] = evaluate(estimator, shapes, sampler, replace(few, named=False), None, on_images)
        compared = replace(few, compare=True, images=max(1, options.images // 20))
        result[f"{kind}, picard"] = evaluate(estimator, shapes, published, compared, None, on_images)
    if estimator.config.named:
        result["presence"] = evaluate_presence(estimator, shapes, fewer.images, randomisation, options.seed)
    evidence = _evidence(estimator, shapes, sampler, fewer, randomisation, "calibration check", on_images)
    result["calibration"] = _reports(evidence, estimator.model.calibration)
    return result


def total(shapes: tuple[str, ...], options: EvaluationOptions) -> int:
    """How many images `assess` reports to `on_images`."""
    few = max(1, options.images // 5)
    return len(KINDS) * len(shapes) * (options.images + 2 * few + max(1, options.images // 20))


def gallery(
    estimator: PoseEstimator, shapes: tuple[str, ...], seed: int
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Images with their object's name and true poses: one of each object and group (`testset.GROUPS`)."""
    for number, shape in enumerate(shapes):
        pictures = stream_generator("gallery", seed, number)
        case = next(cases(estimator.config, estimator.catalogue[shape], CHUNK, pictures))
        groups = [case.group(k) for k in range(len(case.images))]
        for which in (None, *GROUPS):
            if which in groups:
                k = groups.index(which)
                yield shape, case.images[k], case.poses.listed(k)


def calibrate(
    estimator: PoseEstimator,
    shapes: tuple[str, ...],
    sampler: SamplerOptions,
    options: EvaluationOptions,
    on_images: Callable[[int], None] | None = None,
    fit: bool = True,
    stream: str = "",
) -> dict[str, Any]:
    """Fit the estimator's calibration, put it into its model, and report before and after; or only report.

    Args:
        stream: of random numbers (`data.seeds.TEST_STREAMS`); "": images of its own for either purpose.
    """
    stream, how = stream or ("calibration" if fit else "calibration check"), options.randomisation or Randomisation()
    evidence = _evidence(estimator, shapes, sampler, options, how, stream, on_images)
    found = _reports(evidence, estimator.model.calibration)
    if not fit:
        return found
    every = [one for kind in evidence.values() for one in kind.values()]
    estimator.model.calibration = calibration.fit(every)
    return {"before": found, "after": _reports(evidence, estimator.model.calibration)}


def _reports(evidence: dict[str, dict[int, calibration.Evidence]], used: Calibration) -> dict[str, Any]:
    """One report a kind of images and number of samples, and the calibration that they are of."""
    return {
        "calibration": asdict(used),
        "rows": [
            {"kind": kind, "samples": count} | calibration.report(one, used)
            for kind, by_count in evidence.items()
            for count, one in by_count.items()
        ],
    }


def _evidence(
    estimator: PoseEstimator,
    shapes: tuple[str, ...],
    sampler: SamplerOptions,
    options: EvaluationOptions,
    randomisation: Randomisation,
    stream: str,
    on_images: Callable[[int], None] | None,
) -> dict[str, dict[int, calibration.Evidence]]:
    return {
        kind: calibration.gather(estimator, shapes, sampler, replace(options, randomisation=how), stream, on_images)
        for kind, how in kinds(randomisation).items()
    }
