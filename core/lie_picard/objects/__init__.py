"""What can be looked for."""
