"""What this machine's CPU can be asked to draw with."""

from __future__ import annotations

import pytest

from contract.errors import Unavailable
from runtime.backends.ov import check_openvino


def openvino_problem() -> str:
    """Why OpenVINO can't be tried here, empty where it can."""
    try:
        check_openvino()
    except Unavailable as error:
        return str(error)
    return ""


needs_openvino = pytest.mark.skipif(bool(openvino_problem()), reason=openvino_problem())

AUTO_TAKES = "cpu" if openvino_problem() else "openvino"
"""Of the backends that need no GPU."""


def why_not_others(driver: str) -> str:
    """What `auto` says of the backends that it passed over on a machine without a driver."""
    return f"trt, cuda: {driver}" + (f"; openvino: {openvino_problem()}" if openvino_problem() else "")
