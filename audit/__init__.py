"""What the frames of a model are worth: figures that were measured, each with its interval."""
