"""Opening a recording in whatever state it is, and saying what of it is lost."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

import yaml

from lie_picard.recording import mcap_file, sqlite_file
from lie_picard.recording.reader import Reader
from lie_picard.recording.stored import BagError, Budget, Channel, Survey, one_line
from lie_picard.recording.unpack import COMPRESSED, logs_of, place_of, recovered, saved, unpacked, whole_pages

__all__ = ["Bag", "BagError", "find"]

_SUFFIXES = ".mcap", ".db3"
_MAX_LINES = 3  # about one file
_MAX_METADATA = 1 << 24  # bytes


@dataclass(frozen=True)
class Bag:
    """A recording that can be opened.

    Attributes:
        path: as the user gave it. files: what is read of it: its own, or copies of what is readable.
        problems: what is wrong with it, one line each. whole: whether all that was recorded can be read.
        missing: number of messages by topic that it should hold, and that cannot be read.
        times: log times by topic, nanoseconds, each file's in the order in which it was written.
    """

    path: Path
    files: tuple[Path, ...]
    problems: tuple[str, ...] = ()
    whole: bool = True
    missing: Counter[str] = field(default_factory=Counter, compare=False, repr=False)
    times: dict[str, list[array[int]]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The last part of the path, without a storage file's ending."""
        return self.path.name if self.path.is_dir() else _plain(self.path).stem

    @property
    def key(self) -> str:
        """Changes when the recording does."""
        files = _contents(self.path) if self.path.is_dir() else [self.path, *logs_of(self.path)]
        parts = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @property
    def slim(self) -> Bag:
        """What is needed to open it."""
        return replace(self, times={}, missing=Counter())

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        """A reader of it.

        Raises:
            BagError: it changed since it was found.
        """
        with Reader(self.files) as reader:
            yield reader


def find(path: Path, rescue: Path) -> Bag:
    """The recording at a path: a rosbag2 folder or one of its files.

    Args:
        rescue: folder for readable copies of files that are compressed or damaged; made where it is needed. The
            recording itself is never written to.

    Raises:
        BagError: there is none, nothing of it can be read, or there is no room for copies.
    """
    try:
        files, problems, told, whole = _listed(path)
        parts = [_part(file, rescue, budget) for budget in [Budget(rescue)] for file in files]
    except OSError as error:
        raise BagError(f"{path}: {error.strerror or error}") from None
    expected: Counter[str] = Counter()
    times: dict[str, list[array[int]]] = {}
    usable = []
    for file, (source, survey) in zip(files, parts, strict=True):
        expected += survey.expected
        for topic, found in survey.times.items():
            times.setdefault(topic, []).append(found)
        if survey.times or survey.direct:
            usable.append(source)
        if sqlite_file.is_logged_ahead(file) and source == file and not (told or survey.closed):
            survey.lose(f"its write-ahead log {file.name}-wal is not there: what was recorded last may be missing")
        if survey.damages:
            shown = "; ".join(survey.damages[:_MAX_LINES])
            more = f"; {len(survey.damages) - _MAX_LINES} more" if len(survey.damages) > _MAX_LINES else ""
            read = sum(map(len, survey.times.values()))
            problems.append(f"{file.name} is damaged ({shown}{more}): {read} messages of it could be read")
        whole &= survey.whole
    if not usable:
        raise BagError(f"{path}: {'; '.join(problems)}")
    counts = Counter({topic: sum(map(len, found)) for topic, found in times.items()})
    missing = (expected | told) - counts
    problems += [f"{count} of {(expected | told)[topic]} messages on {topic} are missing"
                 for topic, count in sorted(missing.items())]  # fmt: skip
    return Bag(path, tuple(usable), tuple(problems), whole and not missing, missing, times)


def _plain(file: Path) -> Path:
    """A file's name without the ending of a compression."""
    return file.with_suffix("") if file.suffix in COMPRESSED else file


def _contents(path: Path) -> list[Path]:
    return sorted((file for file in path.iterdir() if file.is_file()), key=_order)


def _order(file: Path) -> list[str | int]:
    """Part 10 comes after part 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]


def _listed(path: Path) -> tuple[list[Path], list[str], Counter[str], bool]:
    """Storage files of a recording; what is wrong with their list; numbers of messages that metadata.yaml tells; and
    whether no file is missing.

    Raises:
        BagError: there are none.
    """
    if not path.exists():
        raise BagError(f"{path}: no such recording")
    if _plain(path).suffix == ".bag" and path.is_file():
        raise BagError(f"{path} is a ROS 1 bag: convert it by `rosbags-convert --src {path.name} --dst {path.stem}`")
    every = [file for file in (_contents(path) if path.is_dir() else [path] if path.is_file() else [])
             if _plain(file).suffix in _SUFFIXES]  # fmt: skip
    there = [file for file in every if file.stat().st_size]
    if not there:
        raise BagError(f"{path} is no recording: give a rosbag2 folder, or an .mcap or .db3 file that is not empty")
    if not path.is_dir():
        return there, [], Counter(), True
    empty = [f"{file.name} is empty" for file in every if file not in there]
    # Of a file that was being compressed when the recorder was killed, the original is whole.
    names = {file.name for file in there}
    there = [file for file in there if file == _plain(file) or _plain(file).name not in names]
    try:
        listed, told = _metadata(path / "metadata.yaml")
    except FileNotFoundError:
        problem = "metadata.yaml is missing (the recorder was killed?): the files are read without it"
        gaps = [*empty, *_gaps(every)]
        return there, [problem, *gaps], Counter(), not gaps
    except Exception as error:  # no YAML, or of another kind
        problem = f"metadata.yaml is damaged ({one_line(error)}): the files are read without it"
        gaps = [*empty, *_gaps(every)]
        return there, [problem, *gaps], Counter(), not gaps
    wanted = {PurePath(name).name for name in listed}
    plain = {_plain(PurePath(name)).name for name in wanted}  # type: ignore[arg-type]
    chosen = [file for file in there if _plain(file).name in plain]
    lost = sorted(plain - {_plain(file).name for file in chosen})
    extra = [file for file in there if file not in chosen]
    if extra and lost:
        return there, [f"metadata.yaml names other files than there are: {', '.join(lost)}", *empty], told, not empty
    problems = [f"{name} is missing or empty" for name in lost]
    if extra:
        names_ = ", ".join(file.name for file in extra)
        problems.append(f"not listed in metadata.yaml, and passed over: {names_}")
    return chosen, problems, told, not lost and not extra


def _metadata(file: Path) -> tuple[list[str], Counter[str]]:
    """Names of the storage files, and numbers of messages by topic.

    Raises:
        FileNotFoundError, or whatever is wrong with it.
    """
    if file.stat().st_size > _MAX_METADATA:
        raise ValueError("it is too large")
    content = yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    names = content["rosbag2_bagfile_information"]["relative_file_paths"]
    if not isinstance(names, list) or not names:
        raise ValueError("it names no files")
    return [str(name) for name in names], sqlite_file.counts_of(content)


def _gaps(files: list[Path]) -> list[str]:
    """Parts that are missing by the numbers of the others."""
    numbers: dict[str, set[int]] = {}
    for file in files:
        if found := re.fullmatch(r"(.*_)(\d+)", _plain(file).stem):
            numbers.setdefault(found[1], set()).add(int(found[2]))
    return [
        f"part {name}{k} is missing"
        for name, there in numbers.items()
        if max(there) < 100 * len(there)  # else they are no parts' numbers
        for k in sorted(set(range(max(there))) - there)
    ]


def _part(file: Path, rescue: Path, budget: Budget) -> tuple[Path, Survey]:
    """What is read instead of a file, itself where it is sound, and what a survey of it found.

    Raises:
        BagError: there is no room for a copy.
    """
    place, source, trouble = place_of(file, rescue), file, ""
    if file.suffix in COMPRESSED:
        source, trouble = unpacked(file, place, budget)
    elif file.suffix == ".db3" and logs_of(file):
        source, trouble = recovered(file, place, budget)
    survey = Survey()
    if source.suffix == ".mcap":
        walk = mcap_file.walk
    else:
        walk = sqlite_file.walk
        if (whole := whole_pages(source, place, budget)) != source:
            source = whole
            survey.lose("it ends within a page")
    for _ in _readable(walk(source, survey), survey):
        pass
    if not survey.direct and survey.times:
        copy = place / "rescued" / f"{_plain(file).stem}.mcap"
        saved(_readable(walk(source, again := Survey()), again), copy, file, budget)
        source = copy
    if trouble:
        survey.damages.insert(0, trouble)
        survey.whole = False
    return source, survey


def _readable(messages: Iterator[tuple[Channel, int, bytes]], survey: Survey) -> Iterator[tuple[Channel, int, bytes]]:
    """Messages up to whatever a storage library raises in a damaged file."""
    try:
        yield from messages
    except Exception as error:
        survey.lose(one_line(error))
