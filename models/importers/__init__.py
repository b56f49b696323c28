"""Checkpoints of other software."""
