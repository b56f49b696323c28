"""Torch: the networks, the training loss, the reference samplers, and checkpoints on disk."""
