"""Denoising by Intel's Open Image Denoise, where the package `oidn` is installed (x86-64 Linux).

    clean = denoise(radiance)                        # float32 [H, W, 3], linear

Without it frames are path-traced with more samples instead (`sources.cabin.driver.PLAIN_SAMPLES`).
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]

CPU_DEVICE = 1
FLOAT3 = 3


@lru_cache(maxsize=1)
def _library() -> Any:
    """The denoiser's C library, or None. Its threading library lies beside it and is loaded first."""
    found = importlib.util.find_spec("oidn")
    for place in list(found.submodule_search_locations or []) if found else []:
        folder = Path(place) / "lib.linux.x64"
        cores = sorted(folder.glob("libtbb.so.*")), sorted(folder.glob("libOpenImageDenoise.so.*"))
        if not all(cores):
            continue
        try:
            ctypes.CDLL(str(cores[0][0]), mode=ctypes.RTLD_GLOBAL)
            library = ctypes.CDLL(str(cores[1][0]))
        except OSError:
            return None
        pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
        library.oidnNewDevice.restype = library.oidnNewFilter.restype = pointer
        library.oidnNewDevice.argtypes = [ctypes.c_int]
        library.oidnNewFilter.argtypes = [pointer, text]
        library.oidnSetDevice1i.argtypes = [pointer, text, ctypes.c_int]
        library.oidnSetDevice1b.argtypes = [pointer, text, ctypes.c_bool]
        library.oidnSetFilter1b.argtypes = [pointer, text, ctypes.c_bool]
        library.oidnSetSharedFilterImage.argtypes = [pointer, text, pointer, ctypes.c_int, size, size, size, size, size]
        library.oidnGetDeviceError.argtypes = [pointer, ctypes.POINTER(text)]
        for name in ("oidnCommitDevice", "oidnCommitFilter", "oidnExecuteFilter", "oidnReleaseFilter"):
            getattr(library, name).argtypes = [pointer]
        return library
    return None


def available() -> bool:
    return _library() is not None


@lru_cache(maxsize=1)
def _device() -> Any:
    """One device a process, single-threaded: frames are spread over processes, and results never depend on it."""
    library = _library()
    device = library.oidnNewDevice(CPU_DEVICE)
    library.oidnSetDevice1i(device, b"numThreads", 1)
    library.oidnSetDevice1b(device, b"setAffinity", False)
    library.oidnCommitDevice(device)
    return device


def denoise(radiance: Image) -> Image:
    """Linear radiance without its sampling noise."""
    library, device = _library(), _device()
    height, width = radiance.shape[:2]
    given = {b"color": radiance, b"output": np.empty_like(radiance)}
    images = {name: np.ascontiguousarray(image, np.float32) for name, image in given.items()}
    kernel = library.oidnNewFilter(device, b"RT")
    for name, image in images.items():
        library.oidnSetSharedFilterImage(kernel, name, image.ctypes.data, FLOAT3, width, height, 0, 0, 0)
    library.oidnSetFilter1b(kernel, b"hdr", True)
    library.oidnCommitFilter(kernel)
    library.oidnExecuteFilter(kernel)
    message = ctypes.c_char_p()
    failed = library.oidnGetDeviceError(device, ctypes.byref(message))
    library.oidnReleaseFilter(kernel)
    if failed:
        raise RuntimeError(f"Open Image Denoise: error {failed}, {(message.value or b'').decode()}")
    return np.asarray(images[b"output"])
