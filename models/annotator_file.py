"""Where `read_annotator` and `write_annotator` used to be."""

from models.checkpoint import read_annotator, write_annotator

__all__ = ["read_annotator", "write_annotator"]
