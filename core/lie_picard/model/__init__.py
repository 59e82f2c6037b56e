"""The score model: encoder, heads, configuration, checkpoints."""
