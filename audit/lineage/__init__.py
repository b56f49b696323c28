"""Which artefacts descend from whom."""
