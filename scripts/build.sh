#!/usr/bin/env bash
# Build the ROS workspace with colcon. Where the distribution has no tf2_msgs (wheels), a package of that name is built too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
cd ros2_ws
paths=(src)
[[ "$(cat ../.venv/.ros)" != *" wheels" ]] || paths+=(without_ros/tf2_msgs)
log=$(mktemp)
if ! python -m colcon build --event-handlers console_cohesion- --base-paths "${paths[@]}" \
  --cmake-args -DBUILD_TESTING=OFF "-DPython3_EXECUTABLE=$(command -v python)" >"$log" 2>&1; then
  cat "$log" >&2
  echo "build: colcon failed, see above; full logs in ros2_ws/log/latest_build" >&2
  exit 1
fi
grep -E '^Summary' "$log"
rm -f "$log"
touch install/.complete
