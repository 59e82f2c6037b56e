"""`lie-picard evaluate-bag`: arguments, progress, and what is left when it is interrupted."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lie_picard.files import atomic_write, file_name, finite
from lie_picard.node import settings, table
from lie_picard.recording import html, scheduler
from lie_picard.recording import scoring as evaluate
from lie_picard.recording.annotate import Annotation
from lie_picard.recording.frames import Topics
from lie_picard.recording.node_results import score_results
from lie_picard.recording.worst import Worst


def _seconds(text: str) -> float:
    """A time above 0, as argparse's type."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    p.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="rosbag2 folders, or .mcap or .db3 files")
    p.add_argument("--params", type=Path, required=True, metavar="FILE", help="the pose node's parameters file: what "
                   "to look for, where, how")  # fmt: skip
    p.add_argument("--node", default="", metavar="NAME", help="which of the file's nodes, where there are several")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a parameter of it")
    p.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="for report.html, report.json, the "
                   "annotated recordings, and what is needed to go on after an interruption")  # fmt: skip
    p.add_argument("--truth", nargs="*", default=[], metavar="OBJECT=PLACE", help="true poses: a topic of poses "
                   "(begins with /) or a frame of TF; default: the frame truth/OBJECT")  # fmt: skip
    p.add_argument("--truth-gap", type=_seconds, default=1.0, metavar="S", help="longest time between two true poses "
                   "that one in between is made of, seconds")  # fmt: skip
    p.add_argument("--tf", nargs="+", default=[], metavar="TOPIC", help="transforms to take the truth from, each with "
                   "the tf_static beside it; default: all, where no two have the same frames")  # fmt: skip
    p.add_argument("--models-info", type=Path, metavar="FILE", help="BOP's models_info.json: symmetries by object name")
    for name in Topics.fields():
        p.add_argument(f"--{name.replace('_', '-')}", default="", metavar="TOPIC", help="default: found out")
    p.add_argument("--device", default="auto", help="auto, cpu or cuda")
    p.add_argument("--workers", type=int, default=0, help="processes; 0: one for a single recording, else one a core")
    scheduler.add_arguments(p)
    p.add_argument("--results", type=Path, metavar="BAG", help="score the hypotheses that a live node published for "
                   "the recording, and that were recorded here, instead of estimating")  # fmt: skip
    p.add_argument("--no-annotate", action="store_true", help="write no annotated recordings")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score, and write all that was asked for. Returns what report.json holds.

    Raises:
        KeyboardInterrupt: after a report of what had been done was written.
        ValueError: one line with the remedy.
    """
    options = _options(args)
    work = args.output / "work"
    work.mkdir(parents=True, exist_ok=True)
    recordings, useless = evaluate.prepare(args.bags, options, work)
    interrupted, asked = False, _Asked()
    with tqdm(total=sum(r.images for r in recordings), unit="image", disable=None, desc="estimating") as bar:

        def on_images(count: int) -> None:
            bar.update(count)
            asked.check()

        try:
            if options.results is None:
                evaluate.estimate(recordings, options, work, on_images)
        except KeyboardInterrupt:
            interrupted = True
    worst = Worst(options.settings)
    tallies = [evaluate.Tally() for _ in recordings]
    with tqdm(total=sum(r.images for r in recordings), unit="image", disable=None, desc="scoring") as bar:
        try:
            for recording, tally in zip(recordings, tallies, strict=True):
                annotated = None if args.no_annotate else args.output / f"{file_name(recording.name)}-annotated"
                _score(recording, tally, worst, options, work, annotated, bar.update)
        except KeyboardInterrupt:
            interrupted = True
    result = evaluate.conclude(recordings, useless, tallies, options)
    result["complete"] &= not interrupted
    result = finite(result)
    with atomic_write(args.output / "report.json") as partial:
        partial.write_text(json.dumps(result, allow_nan=False) + "\n")
    with atomic_write(args.output / "report.html") as partial:
        partial.write_text(html.render(result, worst.pictures()))
    if interrupted:
        raise KeyboardInterrupt(f"the report in {args.output} is of {sum(t.images for t in tallies)} images; the same "
                                "command goes on from there")  # fmt: skip
    return result


def _score(
    recording: evaluate.Recording,
    tally: evaluate.Tally,
    worst: Worst,
    options: evaluate.Options,
    work: Path,
    annotated: Path | None,
    on_image: Callable[[], object],
) -> None:
    """Take the images of a recording in; interrupted, the annotated recording is closed as far as it is."""
    with contextlib.ExitStack() as stack:
        annotation = None if annotated is None else stack.enter_context(Annotation(annotated, options.settings))
        source = score_results if options.results else evaluate.score
        interruption = None
        try:
            for image in source(recording, options, work):
                tally.add(image)
                if annotation:
                    annotation.add(image)
                worst.add(recording, image)
                on_image()
        except KeyboardInterrupt as error:
            interruption = error
    if interruption:
        raise interruption


class _Asked:
    """Remembers Ctrl-C: an exception that is raised inside a library's callback or destructor is lost there."""

    def __init__(self) -> None:
        self._asked = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: object) -> None:
        self._asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise again what was lost."""
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt


def _options(args: argparse.Namespace) -> evaluate.Options:
    values = table.changed(settings.read_values(args.params, args.node), args.set)
    if args.models_info:
        values["symmetries"] = str(args.models_info)
    chosen = settings.on_its_own(settings.settings_of(table.checked(values)), args.seed)
    sizes = {target.object_id: target.diameter for target in chosen.targets}
    if args.results and len(args.bags) > 1:
        raise ValueError("--results are those of one recording: score the others one by one")
    if args.workers < 0:
        raise ValueError(f"--workers must be at least 0, got {args.workers}")
    return evaluate.Options(
        settings=chosen,
        topics=Topics(**{name: getattr(args, name) for name in Topics.fields()}),
        truth=_pairs(args.truth, "--truth", sizes),
        truth_gap_s=args.truth_gap,
        tf=args.tf,
        device=args.device,
        workers=args.workers,
        scheduler=scheduler.of_arguments(args),
        results=args.results,
    )


def _pairs(texts: Sequence[str], option: str, objects: dict[str, float]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value or name not in objects:
            raise ValueError(f"{option} {text}: give OBJECT=..., one of {', '.join(objects)}")
        pairs[name] = value
    return pairs
