"""Whether this machine can build and run an engine, for the tests that need one."""

from __future__ import annotations

from contract.errors import Unavailable
from contract.gpu import gpu_target
from export.engines.flavors import RTX_SUPPORTED, find_flavor
from runtime.backends.trt import check_ready


def tensorrt_problem() -> str | None:
    """Why no engine can be built and run here, None where one can."""
    try:
        check_ready()
        flavor = find_flavor("auto")
    except Unavailable as error:
        return str(error)
    here = gpu_target()
    if flavor.rtx and here not in RTX_SUPPORTED:
        return f"TensorRT for RTX isn't made for {here}"
    return None
