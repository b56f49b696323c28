"""Throughput and latency: every backend beside its peers, on the same weights, conditions and noise.

    pytest benchmarks                      # `make bench`; writes build/benchmarks/summary.json and index.html
    pytest benchmarks --renew-baseline     # make this run's ratios the baseline
    pytest benchmarks -m soak              # what takes many minutes: 20 000 frames to disk, clips, workers

Every threshold is a ratio within one run; times are reported, never checked.
"""

from contract.silence import silence_engines

silence_engines()  # competitors and layers import ONNX Runtime by themselves
