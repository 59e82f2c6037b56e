"""The ROS distributions that `make setup` knows: their files, and what it refuses."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = ["jazzy", "kilted"]
# Packages that are not the same in both: Kilted dissolved one, and split another in two.
JAZZY_ALONE, KILTED_ALONE = {"python-cmake-module"}, {"ament-cmake-ros-core"}


def packages(distribution):
    lines = (ROOT / "requirements" / f"ros-{distribution}.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith(("#", "-r "))]
    matches = [re.fullmatch(rf"ros-{distribution}-([a-z0-9-]+)==[\d.]+", line) for line in pinned]
    assert pinned and all(matches), pinned
    return {match[1] for match in matches}


@pytest.fixture
def checkout(tmp_path):
    """The parts of the repository that setup.sh looks at before it installs anything."""
    for name in ("requirements", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def check(checkout, **environment):
    """`setup.sh --check` in a shell where no ROS is sourced but by `environment`."""
    clean = {k: v for k, v in os.environ.items() if k not in ("ROS_DISTRO", "LIE_PICARD_ROS", "LIE_PICARD_WHEELS")}
    return subprocess.run(
        ["bash", "scripts/setup.sh", "--check"], cwd=checkout, env=clean | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def made_for(checkout, ros):
    (checkout / ".venv").mkdir(exist_ok=True)
    (checkout / ".venv" / ".ros").write_text(f"{ros}\n")


def test_every_distribution_takes_the_same_packages_pinned():
    assert [file.stem for file in sorted((ROOT / "requirements").glob("ros-*.txt"))] == [
        f"ros-{d}" for d in DISTRIBUTIONS
    ]
    jazzy, kilted = packages("jazzy"), packages("kilted")
    assert jazzy - kilted == JAZZY_ALONE and kilted - jazzy == KILTED_ALONE


def test_ci_runs_every_distribution_with_and_without_an_installed_ros():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert text.count(f"ros: [{', '.join(DISTRIBUTIONS)}]") == 2


@pytest.mark.parametrize("name", ["klited", "Kilted", "jazzy kilted", "kilted wheels", "../ros-jazzy", "*", "k", " "])
def test_an_unknown_distribution_is_refused_in_one_line_with_the_known_ones(checkout, name):
    done = check(checkout, LIE_PICARD_ROS=name)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == f"setup: LIE_PICARD_ROS is '{name}': it must be one of jazzy, kilted\n"


@pytest.mark.parametrize("name", ["", *DISTRIBUTIONS])
def test_a_known_distribution_or_none_is_taken(checkout, name):
    assert check(checkout, LIE_PICARD_ROS=name).returncode == 0


@pytest.mark.parametrize("wished", ["", "kilted"])
def test_an_environment_stays_with_its_distribution(checkout, wished):
    made_for(checkout, "kilted wheels")
    assert check(checkout, LIE_PICARD_ROS=wished).returncode == 0
    assert check(checkout, LIE_PICARD_ROS=wished, ROS_DISTRO="kilted", LIE_PICARD_WHEELS="1").returncode == 0


@pytest.mark.parametrize(
    ("made", "environment", "now"),
    [
        ("kilted wheels", {"LIE_PICARD_ROS": "jazzy"}, "jazzy wheels"),
        ("jazzy wheels", {"LIE_PICARD_ROS": "kilted"}, "kilted wheels"),
        ("kilted wheels", {"ROS_DISTRO": "kilted"}, "kilted"),
        ("kilted", {"LIE_PICARD_ROS": "kilted"}, "kilted wheels"),
        ("jazzy", {"ROS_DISTRO": "kilted"}, "kilted"),
    ],
)
def test_another_distribution_asks_for_make_clean(checkout, made, environment, now):
    made_for(checkout, made)
    done = check(checkout, **environment)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"'{made}'" in done.stderr and f"'{now}'" in done.stderr and "make clean" in done.stderr


def test_a_wish_that_contradicts_the_sourced_ros_is_refused(checkout):
    done = check(checkout, LIE_PICARD_ROS="kilted", ROS_DISTRO="jazzy")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "jazzy is sourced" in done.stderr
    assert check(checkout, LIE_PICARD_ROS="jazzy", ROS_DISTRO="jazzy").returncode == 0


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_shell_gets_the_distribution_that_the_environment_was_made_for(checkout, distribution):
    made_for(checkout, f"{distribution} wheels")
    line = "source scripts/env.sh; echo $ROS_DISTRO $LIE_PICARD_WHEELS"
    done = subprocess.run(["bash", "-euc", line], cwd=checkout, capture_output=True, text=True, check=True)
    assert done.stdout == f"{distribution} 1\n"
