# `make demo` and `make test` are all a newcomer needs; both set everything up first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PROGRAMS := ros2_ws/install/lie_picard_pose/lib/lie_picard_pose
PACKAGES := $(shell find ros2_ws/src ros2_ws/without_ros launch -type f -not -path '*/__pycache__/*' 2>/dev/null)

# Tests mostly wait for programs to start, and use one core: several files at once take half the time.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 1); echo $$((n < 4 ? n : 4)))

.PHONY: matching-ros help setup demo test fuzz soak bench bench-gpu lint docs clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: matching-ros ros2_ws/install/.complete  ## virtual environment, ROS 2 and the workspace; LIE_PICARD_ROS=kilted takes its wheels

matching-ros:
	@scripts/setup.sh --check

.venv/.complete: requirements/python.txt requirements/colcon.txt $(wildcard requirements/ros-*.txt) core/pyproject.toml scripts/setup.sh scripts/relocate_ros_wheels.py
	@scripts/setup.sh

ros2_ws/install/.complete: .venv/.complete $(PACKAGES) scripts/build.sh scripts/env.sh
	@echo "== building the ROS workspace"
	@scripts/build.sh

demo: setup  ## replay two recordings through the pose node and show what it publishes; DEMO="--recording moving" for one
	@source scripts/env.sh && $(PROGRAMS)/demo $(DEMO)

test: setup  ## all tests, WORKERS=2 at once (default: a core each, 4 at most); TEST="tests/core -k picard" for some
	@source scripts/env.sh && python -m pytest -n $(WORKERS) --dist loadfile $(TEST)

fuzz: setup  ## search for examples that break the properties of the core
	@source scripts/env.sh && FUZZ=$(or $(FUZZ),20) python -m pytest $(or $(TEST),tests/core)

soak: setup  ## the node at 30 Hz for ten minutes: latency, memory, frames in TF; SOAK="--hours 4" for longer
	@source scripts/env.sh && $(PROGRAMS)/load_test $(or $(SOAK),--seconds 600)

bench: setup  ## the sampler's speed on this machine
	@source scripts/env.sh && lie-picard bench $(BENCH)

bench-gpu:  ## all that a GPU can show (needs no setup: docs/gpu), into docs/gpu; GPU="--minutes 10" changes it
	@scripts/gpu_report.sh $(GPU)

lint: setup  ## ruff, mypy, and hadolint for the Dockerfile
	@source scripts/env.sh && ruff check . && ruff format --check . && mypy
	@source scripts/env.sh && { ! command -v hadolint >/dev/null || hadolint docker/Dockerfile; }

docs: matching-ros .venv/.docs  ## the documentation as a site: open .cache/site/index.html (Python 3.11 or newer)
	@source scripts/env.sh && NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict

.venv/.docs: .venv/.complete requirements/docs.txt
	@.venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "docs: needs Python 3.11 or newer")'
	@echo "== packages for the documentation"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/docs.txt && touch $@

clean:  ## remove what setup made
	rm -rf .venv ros2_ws/build ros2_ws/install ros2_ws/log .cache
