"""Every CUDA call of the runtime: one small API over pycuda, or over NVIDIA's cuda-bindings where pycuda is absent.

    gpu = open_gpu()                                      # Unavailable without a driver, a GPU or a binding
    with gpu:                                             # its context is current inside the block
        stream, memory = gpu.stream(), gpu.memory(1024)
        graph = gpu.capture(stream, lambda: gpu.copy(memory.address, memory.address + 512, 512, stream))
        gpu.launch(graph, stream)

The driver itself is asked first, by its own C functions: some TensorRT runtimes crash a process without one.
Device 0 is taken; CUDA_VISIBLE_DEVICES says which one that is.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.errors import Unavailable

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
INSTALL = "run: pip install pycuda (compiles against a CUDA toolkit) or pip install cuda-bindings"
OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY of the driver."""

THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads of the process may go on allocating during a capture."""

NON_BLOCKING, DEVICE_MAP = 1, 2
"""CU_STREAM_NON_BLOCKING; CU_MEMHOSTALLOC_DEVICEMAP."""


def driver_problem() -> str | None:
    """Why this machine has no usable NVIDIA driver and GPU, None where it has; never raises, never crashes."""
    try:
        driver = ctypes.CDLL(DRIVER)
        count = ctypes.c_int(0)
        status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return f"no NVIDIA driver here ({DRIVER} can't be loaded)"
    if status or not count.value:
        return f"the NVIDIA driver finds no GPU here (CUDA error {status})" if status else "no GPU here"
    return None


def driver_present() -> bool:
    """Whether a driver and a GPU are there."""
    return driver_problem() is None


def open_gpu() -> Gpu:
    """Open device 0 with the first binding there is; Unavailable says what is missing."""
    if problem := driver_problem():
        raise Unavailable(problem)
    try:
        return PycudaGpu()
    except ImportError:
        try:
            return BindingsGpu()
        except ImportError:
            raise Unavailable(f"neither pycuda nor cuda-bindings is installed; {INSTALL}") from None


@dataclass(frozen=True)
class Memory:
    """Memory of the device, from `address` on; `owner` keeps it alive."""

    address: int
    nbytes: int
    owner: Any


@dataclass(frozen=True)
class HostMemory:
    """Pinned memory of the host."""

    array: npt.NDArray[Any]
    """The memory as numpy sees it."""

    address: int
    """The same memory as the device sees it."""

    owner: Any


@dataclass(frozen=True)
class Info:
    """What is known of a GPU."""

    name: str
    compute_capability: tuple[int, int]
    integrated: bool
    """Whether it shares the host's memory (Jetson, DRIVE), so that pinned memory needs no copy."""

    binding: str
    """Package that makes the calls, with its version."""

    @property
    def sm(self) -> str:
        """The compute capability as engines are labelled by it: `sm87`."""
        return "sm{}{}".format(*self.compute_capability)


class Gpu(ABC):
    """An open device. Streams, events and graphs are opaque; every method wants the context to be current."""

    info: Info

    @abstractmethod
    def __enter__(self) -> Gpu: ...

    @abstractmethod
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Also turns the binding's own errors into MemoryError and Unavailable."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the context, after everything made in it has been freed."""

    @abstractmethod
    def memory(self, nbytes: int) -> Memory:
        """Device memory; MemoryError where there isn't enough."""

    @abstractmethod
    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> HostMemory:
        """Pinned host memory that the device can also reach by itself (zero-copy on integrated GPUs)."""

    @abstractmethod
    def free(self, memory: Memory | HostMemory) -> None: ...

    @abstractmethod
    def upload(self, address: int, array: npt.NDArray[Any], stream: Any) -> None:
        """Start copying a pinned contiguous array to the device."""

    @abstractmethod
    def download(self, array: npt.NDArray[Any], address: int, stream: Any) -> None:
        """Start copying from the device into a pinned contiguous array."""

    @abstractmethod
    def copy(self, to: int, source: int, nbytes: int, stream: Any) -> None:
        """Start copying inside the device (or between it and mapped memory)."""

    @abstractmethod
    def stream(self) -> Any:
        """A stream that doesn't wait for the default stream."""

    @abstractmethod
    def handle(self, stream: Any) -> int:
        """The stream as TensorRT takes it."""

    @abstractmethod
    def wait(self, stream: Any, event: Any) -> None:
        """Let what follows on the stream wait for the event."""

    @abstractmethod
    def event(self) -> Any:
        """An event that takes the time."""

    @abstractmethod
    def destroy(self, event_or_stream: Any) -> None: ...

    @abstractmethod
    def record(self, event: Any, stream: Any) -> None: ...

    @abstractmethod
    def finish(self, event_or_stream: Any) -> None:
        """Wait on the host for an event, or for all that a stream was given."""

    @abstractmethod
    def milliseconds(self, start: Any, stop: Any) -> float:
        """Device time between two finished events."""

    @abstractmethod
    def launch(self, graph: Any, stream: Any) -> None: ...

    @abstractmethod
    def free_graph(self, graph: Any) -> None: ...

    @abstractmethod
    def _begin_capture(self, stream: Any) -> None: ...

    @abstractmethod
    def _end_capture(self, stream: Any) -> Any:
        """The captured work, ready to launch."""

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """What `work` puts on the stream as a graph, without running it; Unavailable where it can't be captured."""
        self._begin_capture(stream)
        try:
            work()
        except BaseException:
            with contextlib.suppress(Unavailable):  # ends the capture, which `work` has broken
                self.free_graph(self._end_capture(stream))
            raise
        return self._end_capture(stream)


class BindingsGpu(Gpu):
    """The driver's API by way of cuda-bindings."""

    def __init__(self) -> None:
        driver: Any = importlib.import_module("cuda.bindings.driver")
        self._driver = driver
        self._call("cuInit", 0)
        device = self._call("cuDeviceGet", 0)
        attribute = driver.CUdevice_attribute
        major = self._call("cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
        minor = self._call("cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device)
        integrated = self._call("cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_INTEGRATED, device)
        name = self._call("cuDeviceGetName", 128, device).split(b"\0")[0].decode()
        self.info = Info(
            name,
            (major, minor),
            bool(integrated),
            _version("cuda.bindings"),
        )
        self._device, self._context = device, self._call("cuDevicePrimaryCtxRetain", device)

    def _call(self, name: str, *arguments: Any) -> Any:
        """A driver function's result; its error as MemoryError or Unavailable."""
        status, *results = getattr(self._driver, name)(*arguments)
        _check(name, int(status), getattr(status, "name", ""))
        return results[0] if results else None

    def __enter__(self) -> BindingsGpu:
        self._call("cuCtxPushCurrent", self._context)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._call("cuCtxPopCurrent")

    def close(self) -> None:
        self._call("cuDevicePrimaryCtxRelease", self._device)

    def memory(self, nbytes: int) -> Memory:
        pointer = self._call("cuMemAlloc", nbytes)
        return Memory(int(pointer), nbytes, pointer)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> HostMemory:
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        pointer = int(self._call("cuMemHostAlloc", nbytes, DEVICE_MAP))
        array = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(pointer)).view(dtype).reshape(shape)
        return HostMemory(array, int(self._call("cuMemHostGetDevicePointer", pointer, 0)), pointer)

    def free(self, memory: Memory | HostMemory) -> None:
        self._call("cuMemFree" if isinstance(memory, Memory) else "cuMemFreeHost", memory.owner)

    def upload(self, address: int, array: npt.NDArray[Any], stream: Any) -> None:
        self._call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: npt.NDArray[Any], address: int, stream: Any) -> None:
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, stream)

    def copy(self, to: int, source: int, nbytes: int, stream: Any) -> None:
        self._call("cuMemcpyDtoDAsync", to, source, nbytes, stream)

    def stream(self) -> Any:
        return self._call("cuStreamCreate", NON_BLOCKING)

    def handle(self, stream: Any) -> int:
        return int(stream)

    def wait(self, stream: Any, event: Any) -> None:
        self._call("cuStreamWaitEvent", stream, event, 0)

    def event(self) -> Any:
        return self._call("cuEventCreate", 0)

    def record(self, event: Any, stream: Any) -> None:
        self._call("cuEventRecord", event, stream)

    def finish(self, event_or_stream: Any) -> None:
        is_event = isinstance(event_or_stream, self._driver.CUevent)
        self._call("cuEventSynchronize" if is_event else "cuStreamSynchronize", event_or_stream)

    def destroy(self, event_or_stream: Any) -> None:
        is_event = isinstance(event_or_stream, self._driver.CUevent)
        self._call("cuEventDestroy" if is_event else "cuStreamDestroy", event_or_stream)

    def milliseconds(self, start: Any, stop: Any) -> float:
        return float(self._call("cuEventElapsedTime", start, stop))

    def launch(self, graph: Any, stream: Any) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        self._call("cuGraphExecDestroy", graph)

    def _begin_capture(self, stream: Any) -> None:
        self._call("cuStreamBeginCapture", stream, self._driver.CUstreamCaptureMode(THREAD_LOCAL))

    def _end_capture(self, stream: Any) -> Any:
        graph = self._call("cuStreamEndCapture", stream)
        try:
            return self._call("cuGraphInstantiate", graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)


class PycudaGpu(Gpu):
    """pycuda, and for graphs, which it doesn't offer, the driver's own C functions."""

    def __init__(self) -> None:
        cuda: Any = importlib.import_module("pycuda.driver")
        self._cuda = cuda
        cuda.init()
        device = cuda.Device(0)
        integrated = device.get_attribute(cuda.device_attribute.INTEGRATED)
        capability = tuple(device.compute_capability())
        self.info = Info(device.name(), capability, bool(integrated), _version("pycuda"))
        self._context = device.retain_primary_context()
        self._library = ctypes.CDLL(DRIVER)

    def __enter__(self) -> PycudaGpu:
        self._context.push()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._context.pop()
        if isinstance(error, self._cuda.MemoryError):
            raise MemoryError(str(error)) from error
        if isinstance(error, self._cuda.Error):
            raise Unavailable(f"CUDA: {error}") from error

    def close(self) -> None:
        self._context.detach()

    def memory(self, nbytes: int) -> Memory:
        owner = self._cuda.mem_alloc(nbytes)
        return Memory(int(owner), nbytes, owner)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> HostMemory:
        array = self._cuda.pagelocked_empty(shape, dtype, mem_flags=DEVICE_MAP)
        return HostMemory(array, int(array.base.get_device_pointer()), array.base)

    def free(self, memory: Memory | HostMemory) -> None:
        memory.owner.free()

    def upload(self, address: int, array: npt.NDArray[Any], stream: Any) -> None:
        self._cuda.memcpy_htod_async(address, array, stream)

    def download(self, array: npt.NDArray[Any], address: int, stream: Any) -> None:
        self._cuda.memcpy_dtoh_async(array, address, stream)

    def copy(self, to: int, source: int, nbytes: int, stream: Any) -> None:
        self._cuda.memcpy_dtod_async(to, source, nbytes, stream)

    def stream(self) -> Any:
        return self._cuda.Stream(NON_BLOCKING)

    def handle(self, stream: Any) -> int:
        return int(stream.handle)

    def wait(self, stream: Any, event: Any) -> None:
        stream.wait_for_event(event)

    def event(self) -> Any:
        return self._cuda.Event()

    def record(self, event: Any, stream: Any) -> None:
        event.record(stream)

    def finish(self, event_or_stream: Any) -> None:
        event_or_stream.synchronize()

    def destroy(self, event_or_stream: Any) -> None:
        """pycuda's objects do it themselves, with their last reference."""

    def milliseconds(self, start: Any, stop: Any) -> float:
        return float(start.time_till(stop))

    def launch(self, graph: Any, stream: Any) -> None:
        self._call("cuGraphLaunch", graph, ctypes.c_void_p(stream.handle))

    def free_graph(self, graph: Any) -> None:
        self._call("cuGraphExecDestroy", graph)

    def _begin_capture(self, stream: Any) -> None:
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream.handle), THREAD_LOCAL)

    def _end_capture(self, stream: Any) -> Any:
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamEndCapture", ctypes.c_void_p(stream.handle), ctypes.byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        finally:
            self._call("cuGraphDestroy", graph)
        return executable

    def _call(self, name: str, *arguments: Any) -> None:
        _check(name, getattr(self._library, name)(*arguments), "")


def _version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package.replace('.', '-'))}"


def _check(function: str, status: int, name: str) -> None:
    if status == OUT_OF_MEMORY:
        raise MemoryError(function)
    if status:
        raise Unavailable(f"CUDA: {function} says {name or 'error'} ({status})")
