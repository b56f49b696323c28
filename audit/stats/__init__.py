"""Statistics that every audit shares."""
