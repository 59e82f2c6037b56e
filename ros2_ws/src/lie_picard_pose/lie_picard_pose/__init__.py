"""The ROS face of lie_picard: messages in and out, nothing else."""
