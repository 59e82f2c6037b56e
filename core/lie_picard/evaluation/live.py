"""How good a model is while it is trained: measured now and then, drawn, and how long a goal will take."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lie_picard.estimation.estimator import PoseEstimator
from lie_picard.evaluation import assess
from lie_picard.evaluation.accuracy import EvaluationOptions, evaluate
from lie_picard.evaluation.tables import plain_ticks
from lie_picard.files import atomic_write
from lie_picard.rendering.randomisation import Randomisation
from lie_picard.sampling import SamplerOptions

# Measure: its name in scalars, and what it is multiplied by.
_MEASURES = {"median": ("median_deg", 1.0), "mean": ("mean_deg", 1.0), "within_2": ("within_2deg", 100.0),
             "within_5": ("within_5deg", 100.0), "within_10": ("within_10deg", 100.0),
             "recall": ("recall", 100.0)}  # fmt: skip
_FEWEST = 3  # measurements that a forecast takes
_FARTHEST = 10.0  # times as long as the run has lasted: beyond, nothing is foretold


class GoalError(ValueError):
    """A goal that cannot be understood."""


class Goal(NamedTuple):
    """An accuracy to reach, by images of a kind.

    Attributes:
        kind: one of `assess.KINDS`. measure: median, mean (degrees), within_2, within_5, within_10, recall (percent).
    """

    kind: str
    measure: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Of "median=2" or "randomised.within_10=80"; clean images where no kind is named.

        Raises:
            GoalError: it says something else.
        """
        name, _, number = text.partition("=")
        kind, _, measure = name.rpartition(".")
        kind = kind or assess.KINDS[0]
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if kind not in assess.KINDS or measure not in _MEASURES or not value > 0:
            raise GoalError(
                f"'{text}' is no goal: give [KIND.]MEASURE=NUMBER, KIND one of {', '.join(assess.KINDS)}, MEASURE one "
                f"of {', '.join(_MEASURES)}, such as median=2 or randomised.within_10=80"
            )
        if not cls(kind, measure, value).falls and value > 100:
            raise GoalError(f"'{text}': {measure} is in percent, at most 100")
        return cls(kind, measure, value)

    @property
    def falls(self) -> bool:
        """Whether less of it is better."""
        return self.measure in ("median", "mean")

    def of(self, scalars: Mapping[str, float]) -> float:
        """The measure among a validation's scalars; NaN where it was not measured."""
        name, factor = _MEASURES[self.measure]
        return factor * scalars.get(f"{self.kind}/{name}", math.nan)

    def met(self, scalars: Mapping[str, float]) -> bool:
        """Whether a validation reached it."""
        found = self.of(scalars)
        return found <= self.value if self.falls else found >= self.value

    def __str__(self) -> str:
        return f"{self.kind} {self.measure} {'<=' if self.falls else '>='} {self.value:g}"


@dataclass
class Live:
    """The measurements of a run, kept in a JSON file and drawn beside it.

    Attributes:
        path: of the JSON; the picture has the same name and ends in .png. goals: all of them are to be met.
        tell: takes a line for the user.
    """

    path: Path
    goals: Sequence[Goal] = ()
    tell: Callable[[str], None] = print
    rows: list[dict[str, float]] = field(default_factory=list)

    def resume(self) -> None:
        """Go on from what an earlier part of the run left; a file that is damaged is left behind."""
        try:
            rows = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return
        if isinstance(rows, list) and all(isinstance(row, dict) and "minutes" in row for row in rows):
            self.rows = rows

    def enough(self, scalars: Mapping[str, float]) -> bool:
        """Whether a validation met all goals."""
        return all(goal.met(scalars) for goal in self.goals)

    def add(self, step: int, seconds: float, scalars: Mapping[str, float]) -> None:
        """Take a validation: keep it, draw it, tell of it."""
        self.rows = [row for row in self.rows if row["step"] < step]  # a resumed run goes over some steps again
        self.rows.append({"step": step, "minutes": seconds / 60} | dict(scalars))
        with atomic_write(self.path) as partial:
            partial.write_text(json.dumps(self.rows, indent=1) + "\n")
        draw(self.rows, self.goals, self.path.with_suffix(".png"))
        self.tell(self.line())

    def line(self) -> str:
        """The last measurement in words."""
        last = self.rows[-1]
        parts = [f"{last['minutes']:.1f} min"]
        for kind in assess.KINDS:
            if f"{kind}/median_deg" in last:
                text = f"{kind} median {last[f'{kind}/median_deg']:.1f} deg"
                if f"{kind}/within_10deg" in last:
                    text += f", {100 * last[f'{kind}/within_10deg']:.0f}% within 10"
                if f"{kind}/recall" in last:
                    text += f", recall {100 * last[f'{kind}/recall']:.0f}%"
                parts.append(text)
        for goal in self.goals:
            if goal.met(last):
                parts.append(f"{goal}: met")
            else:
                left = forecast(self.rows, goal)
                parts.append(f"{goal}: {'not in sight yet' if left is None else f'in about {max(1, round(left))} min'}")
        return "; ".join(parts)


def forecast(rows: Sequence[Mapping[str, float]], goal: Goal) -> float | None:
    """Minutes from the last measurement until a goal is met, by a power law through the later half of them.

    Of shares, what is missing to all falls by such a law. None: too few measurements, or they do not lead there.
    """
    pairs = []
    for row in rows:
        value = goal.of(row) if goal.falls else 100 - goal.of(row)
        if value > 0 and row["minutes"] > 0:
            pairs.append((row["minutes"], value))
    pairs = pairs[-max(_FEWEST, (len(pairs) + 1) // 2) :]
    wanted = goal.value if goal.falls else 100 - goal.value
    if len(pairs) < _FEWEST or wanted <= 0:
        return None
    minutes, values = np.log(np.array(pairs)).T
    slope, level = np.polyfit(minutes, values, 1)
    if slope >= -1e-3:
        return None
    end = math.exp(min((math.log(wanted) - level) / slope, 50.0))
    now = pairs[-1][0]
    return None if end > _FARTHEST * now else max(0.0, end - now)


def draw(rows: Sequence[Mapping[str, float]], goals: Sequence[Goal], path: Path) -> None:
    """Medians and the share within 10 degrees over the minutes, for each kind of images, and the goals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    minutes = [row["minutes"] for row in rows]
    for number, kind in enumerate(assess.KINDS):
        colour = f"C{number}"
        for axis, measure in ((left, "median"), (right, "within_10"), (right, "recall")):
            values = [Goal(kind, measure, 0).of(row) for row in rows]
            if not all(map(math.isnan, values)):
                style = "--" if measure == "recall" else "-"
                name = f"{kind}: recall" if measure == "recall" else kind
                axis.plot(minutes, values, style, color=colour, marker=".", label=name)
        for goal in goals:
            axis = left if goal.falls else right
            if goal.kind == kind and goal.measure in ("median", "within_10", "recall"):
                axis.axhline(goal.value, color=colour, linewidth=0.8, linestyle=":")
    left.set(xlabel="minutes", ylabel="median error, degrees", yscale="log")
    right.set(xlabel="minutes", ylabel="within 10 degrees, and recall, %", ylim=(0, 102))
    plain_ticks(left.yaxis)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    left.legend(fontsize="small")
    right.legend(fontsize="small", loc="lower right")
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def measure(
    estimator: PoseEstimator,
    randomisation: Randomisation,
    options: EvaluationOptions,
    kinds: Sequence[str] = assess.KINDS,
) -> dict[str, float]:
    """Precision, and recall against a perfect sampler's, of each kind of images, in the mean over the objects.

    By images that are neither the training's nor the tests'. Keys: "clean/median_deg", ...
    """
    found = assess.kinds(randomisation)
    objects = estimator.config.objects
    look = functools.partial(evaluate, estimator, objects, SamplerOptions("ode"), stream="validation")
    scalars: dict[str, float] = {}
    for kind in kinds:
        rows: list[dict[str, Any]] = look(dataclasses.replace(options, randomisation=found[kind]))
        for name in ("mean_deg", "median_deg", "within_2deg", "within_5deg", "within_10deg"):
            scalars[f"{kind}/{name}"] = float(rows[-1][name])
        reached = [
            row["modes_reached"] / row["modes_reached_if_uniform"]
            for row in rows
            if "modes_reached" in row and row["solid"] in objects
        ]
        if reached:
            scalars[f"{kind}/recall"] = sum(reached) / len(reached)
    return scalars
