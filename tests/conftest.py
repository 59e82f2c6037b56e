"""What all tests share."""

import contextlib
import fcntl
import itertools
import os
import tempfile
from pathlib import Path

import pytest

try:
    from hypothesis import settings
except ImportError:  # on a bare machine, where only the GPU tests run
    settings = None

# Before torch is imported, also in what tests start: threads that wait for each other actively take the cores from
# those that they wait for, where others keep the machine busy. There tests are three times as fast, elsewhere the same.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Costs that a test measures are not kept for the user; nodes that tests start inherit this.
_cache = tempfile.TemporaryDirectory(prefix="lie_picard_tests_", ignore_cleanup_errors=True)
os.environ["XDG_CACHE_HOME"] = _cache.name

# `make test` tries the same examples every time, `make fuzz` new ones. A timing is never an assertion.
FUZZ = int(os.environ.get("FUZZ", "1"))
if settings is not None:
    settings.register_profile("here", deadline=None, derandomize=FUZZ == 1, max_examples=100 * FUZZ, print_blob=True)
    settings.load_profile("here")


@pytest.fixture(scope="session", autouse=True)
def shared_memory_given_back():
    """Fast DDS leaves segments of up to 17 MB in /dev/shm where a process is killed, as tests do: memory runs out."""
    folder = Path("/dev/shm")
    before = _segments(folder)
    yield
    for name in sorted(_segments(folder) - before):
        with contextlib.suppress(OSError):
            if name.endswith("_el"):  # the lock that a living owner holds
                with (folder / name).open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / name.removesuffix("_el")).unlink(missing_ok=True)
                (folder / name).unlink()
            elif name.startswith("sem."):
                whose = name.removeprefix("sem.").removesuffix("_mutex")
                if not (folder / whose).exists():
                    (folder / name).unlink()


def _segments(folder: Path) -> set[str]:
    kinds = ("fastrtps_*", "fastdds_*", "sem.fastrtps_*", "sem.fastdds_*")
    return {path.name for kind in kinds for path in folder.glob(kind)}


# 0 is left to the machine's own robots; above 101, ports meet those that Linux gives out itself. Each begins elsewhere:
# what a test leaves on the way does not meet the next one.
_domains = itertools.islice(itertools.cycle(range(1, 102)), os.getpid() % 101, None)


@pytest.fixture
def free_domain():
    """A ROS domain that nobody else uses, other runs of the tests on this machine included."""
    folder = Path(tempfile.gettempdir()) / f"ros_domains_of_{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for number in _domains:
        with (folder / str(number)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
