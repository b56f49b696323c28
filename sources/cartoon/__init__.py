"""Procedural driver frames, ray-marched signed distances."""
