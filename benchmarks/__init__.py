"""Throughput checks: ratios within one run, never absolute times."""
