"""How accurate, how well calibrated and how fast a model and its samplers are."""
