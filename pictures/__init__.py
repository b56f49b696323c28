"""Grids of captioned images: every contact sheet and sample page is drawn here."""
