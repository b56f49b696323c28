"""Where frames go: dataset formats and the raw stream."""
