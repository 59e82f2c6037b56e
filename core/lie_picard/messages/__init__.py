"""ROS messages by their fields, without ROS: the classes of a running node and those of `rosbags` alike.

The node and the tools for recordings share this code, so what they make of an image is the same.
"""
