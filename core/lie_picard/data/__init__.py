"""Labelled images: endless streams for training, test sets, scenes, files."""
