"""What a camera sees: buffers of rays first, then images, clean or randomised."""
