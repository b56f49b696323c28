"""The GPU of this machine, as its driver describes it.

    first_gpu()                     # Device("Orin", (8, 7), multiprocessors=8, integrated=True), or Unavailable
    driver_problem()                # why there is none, or None

The driver is asked through its own C functions: no CUDA package is needed, and some TensorRT runtimes crash a process
without a driver, so this comes first. Nothing here crashes. CUDA_VISIBLE_DEVICES says which GPU is the first.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

from contract.errors import Unavailable

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

NEWEST_CUDA = 13
"""The major release that NVIDIA's packages are for unless their name or version says otherwise."""

MULTIPROCESSORS, INTEGRATED, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 18, 75, 76
"""CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT and so on of the CUDA driver API."""


@dataclass(frozen=True)
class Device:
    """One GPU."""

    name: str
    compute_capability: tuple[int, int]

    multiprocessors: int
    """Two GPUs of one compute capability may differ in it, and engines are tuned for it."""

    integrated: bool = False
    """Whether it shares the host's memory (Jetson, DRIVE), so that pinned memory needs no copy."""

    @property
    def sm(self) -> str:
        """The compute capability as engines are labelled by it: `sm87`."""
        return "sm{}{}".format(*self.compute_capability)


def first_gpu() -> Device:
    """The first GPU here; Unavailable says why there is none."""
    try:
        driver = ctypes.CDLL(DRIVER)
        count = ctypes.c_int()
        status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
        if not status and count.value:
            return _describe(driver)
    except (OSError, AttributeError):
        raise Unavailable(f"no NVIDIA driver here ({DRIVER} can't be loaded)") from None
    raise Unavailable(f"the NVIDIA driver finds no GPU here (CUDA error {status})" if status else "no GPU here")


def driver_problem() -> str | None:
    """Why this machine has no usable NVIDIA driver and GPU, None where it has."""
    try:
        first_gpu()
    except Unavailable as error:
        return str(error)
    return None


def gpu_target() -> str | None:
    """`sm87` of the first GPU here, None where there is none."""
    try:
        return first_gpu().sm
    except Unavailable:
        return None


def driver_cuda() -> int | None:
    """The newest major release of CUDA that the driver runs, 12 or 13; None without a driver."""
    version = ctypes.c_int()
    try:
        status = ctypes.CDLL(DRIVER).cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if status or not version.value else version.value // 1000


def bindings_package() -> str:
    """cuda-bindings as pip takes it for the driver here: the newest need a driver of their own release."""
    cuda = driver_cuda()
    return "cuda-bindings" if cuda is None or cuda >= NEWEST_CUDA else f"'cuda-bindings<{cuda + 1}'"


def tensorrt_package() -> str:
    """TensorRT as pip takes it for the driver here: `tensorrt` itself is for the newest release of CUDA."""
    cuda = driver_cuda()
    return "tensorrt" if cuda is None or cuda >= NEWEST_CUDA else f"tensorrt-cu{cuda}"


def _describe(driver: ctypes.CDLL) -> Device:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    _check(driver.cuDeviceGet(ctypes.byref(device), 0))
    _check(driver.cuDeviceGetName(name, len(name), device))

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        _check(driver.cuDeviceGetAttribute(ctypes.byref(value), number, device))
        return value.value

    capability = attribute(CAPABILITY_MAJOR), attribute(CAPABILITY_MINOR)
    return Device(
        name.value.decode(errors="replace"), capability, attribute(MULTIPROCESSORS), bool(attribute(INTEGRATED))
    )


def _check(status: int) -> None:
    if status:
        raise Unavailable(f"the NVIDIA driver doesn't describe its GPU (CUDA error {status})")
