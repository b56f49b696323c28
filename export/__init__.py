"""Checkpoint to bundle: `python -m export CKPT.pt -o bundle`."""
