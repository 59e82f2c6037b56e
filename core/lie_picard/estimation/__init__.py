"""Image and camera in, poses out."""
