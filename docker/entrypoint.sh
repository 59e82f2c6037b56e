#!/usr/bin/env bash
# ROS, then the workspace and its virtual environment, then the command.
set -eo pipefail
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /lie-picard/scripts/env.sh
exec "$@"
