"""ROS recordings without ROS: read, scored against the truth, annotated, reported."""
