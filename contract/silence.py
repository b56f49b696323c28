"""Nothing that this software runs on reports to its maker.

silence_engines()                                     # before `import onnxruntime`
"""

from __future__ import annotations

import os

SWITCHES = {"ORT_DISABLE_TELEMETRY": "1"}
"""Environment variables that engines read once, when they are imported. ONNX Runtime reports by default from 1.29 on;
OpenVINO has no such variable, see `runtime.backends.ov.import_openvino`."""


def silence_engines() -> None:
    """Switch the reports off for this process and those that it starts, whatever the environment says."""
    os.environ.update(SWITCHES)
