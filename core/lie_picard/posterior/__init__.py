"""From samples to weighted modes, their covariances, and modes that keep their ids over time."""
