"""Recordings of drivers that others have published: one file for each layout on disk."""
