"""Calibration, choice of layers, quantization."""
