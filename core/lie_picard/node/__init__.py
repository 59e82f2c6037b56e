"""The pose node without ROS: parameters, the way from messages to messages, markers and pictures."""
