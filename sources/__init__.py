"""Where labelled frames come from."""
