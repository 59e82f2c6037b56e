"""How good, how honest and how fast a model and its samplers are."""
