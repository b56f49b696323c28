"""Sources of labelled frames: the procedural cabin, and folders on disk."""
