# shellcheck shell=bash
# Source this file (bash) to use the workspace: `source scripts/env.sh`. Puts Python, ROS 2 and the built packages on their paths.
_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export VIRTUAL_ENV=$_root/.venv
_ros=$(cat "$VIRTUAL_ENV/.ros" 2>/dev/null || true)
if [[ "$_ros" != *" wheels" ]]; then  # a ROS is installed: only the workspace comes on top
  if [ -f "$_root/ros2_ws/install/setup.bash" ]; then
    _options=$(set +o | grep nounset)
    set +u  # colcon's scripts read unset variables
    # shellcheck disable=SC1091
    source "$_root/ros2_ws/install/setup.bash"
    eval "$_options"
    unset _options
  fi
else
  export LIE_PICARD_WHEELS=1 ROS_VERSION=2 ROS_DISTRO=${_ros% wheels}
  export RMW_IMPLEMENTATION=${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}
  export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
  _libraries=$VIRTUAL_ENV/lib _prefixes=$VIRTUAL_ENV _packages=
  for _dir in "$VIRTUAL_ENV"/lib/python3*/site-packages/ros_*.libs; do _libraries+=:$_dir; done
  for _dir in "$_root"/ros2_ws/install/*/; do
    _dir=${_dir%/}
    _prefixes=$_dir:$_prefixes
    [ -d "$_dir/lib" ] && _libraries+=:$_dir/lib
    for _site in "$_dir"/lib/python3*/site-packages; do [ -d "$_site" ] && _packages+=$_site:; done
  done
  export LD_LIBRARY_PATH=$_libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export AMENT_PREFIX_PATH=$_prefixes CMAKE_PREFIX_PATH=$_prefixes
  export PYTHONPATH=$_packages${PYTHONPATH:-}
  unset _libraries _prefixes _packages _dir _site
fi
export PATH=$VIRTUAL_ENV/bin:$PATH
# The wheels have no `ros2`: the package's programs are commands by their own names (pose_node, bag_player, ...).
[ -z "${LIE_PICARD_WHEELS:-}" ] || export PATH=$PATH:$_root/ros2_ws/install/lie_picard_pose/lib/lie_picard_pose
unset _root _ros
