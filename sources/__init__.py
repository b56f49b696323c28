"""Labelled frames: where training and audits get them."""
