"""Every CUDA call of the runtime, through pycuda, or through NVIDIA's cuda-bindings where pycuda is absent.

    gpu = open_gpu()                                      # Unavailable without a driver, a GPU or a binding
    with gpu:                                             # its context is current inside the block
        stream, memory = gpu.stream(), gpu.memory(1024)
        graph = gpu.capture(stream, lambda: gpu.copy(memory.address, memory.address + 512, 512, stream))
        gpu.launch(graph, stream)

`Gpu` speaks the CUDA driver API by its C names; a binding is a function that makes one such call.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.errors import Unavailable
from contract.gpu import DRIVER, Device, bindings_package, driver_problem, first_gpu

OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY of the driver."""

NON_BLOCKING, DEVICE_MAP, BLOCKING_SYNC, DISABLE_TIMING = 1, 2, 1, 2
"""CU_STREAM_NON_BLOCKING; CU_MEMHOSTALLOC_DEVICEMAP; CU_EVENT_BLOCKING_SYNC; CU_EVENT_DISABLE_TIMING."""

Call = Callable[..., Any]
"""Name of a driver function and its arguments in, its result out; MemoryError or Unavailable where it fails."""


class CaptureMode(enum.IntEnum):
    """CUstreamCaptureMode."""

    THREAD_LOCAL = 1
    """Other threads of the process may go on allocating during a capture."""


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


class Gpu:
    """The first GPU. Streams, events and graphs are opaque; every method wants the context to be current."""

    def __init__(self, device: Device, call: Call, binding: str) -> None:
        self.device, self.binding = device, binding
        self._call = call
        self._handle = call("cuDeviceGet", 0)
        self._context = call("cuDevicePrimaryCtxRetain", self._handle)

    def __enter__(self) -> Gpu:
        self._call("cuCtxPushCurrent", self._context)
        return self

    def __exit__(self, *error: object) -> None:
        self._call("cuCtxPopCurrent")

    def close(self) -> None:
        """Let go of the context, after everything made in it has been freed."""
        self._call("cuDevicePrimaryCtxRelease", self._handle)

    def memory(self, nbytes: int) -> Memory:
        """Device memory; MemoryError where there isn't enough."""
        owner = self._call("cuMemAlloc", nbytes)
        return Memory(int(owner), nbytes, owner)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> HostMemory:
        """Pinned host memory that the device can also reach by itself (zero-copy on integrated GPUs)."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        owner = self._call("cuMemHostAlloc", nbytes, DEVICE_MAP)
        array = np.ctypeslib.as_array(_host_bytes(int(owner), nbytes))
        address = int(self._call("cuMemHostGetDevicePointer", owner, 0))
        return HostMemory(array.view(dtype).reshape(shape), address, owner)

    def free(self, memory: Memory | HostMemory) -> None:
        self._call("cuMemFree" if isinstance(memory, Memory) else "cuMemFreeHost", memory.owner)

    def upload(self, address: int, array: npt.NDArray[Any], stream: Any) -> None:
        """Start copying a pinned contiguous array to the device."""
        self._call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: npt.NDArray[Any], address: int, stream: Any) -> None:
        """Start copying from the device into a pinned contiguous array."""
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, stream)

    def copy(self, to: int, source: int, nbytes: int, stream: Any) -> None:
        """Start copying inside the device (or between it and mapped memory)."""
        self._call("cuMemcpyDtoDAsync", to, source, nbytes, stream)

    def stream(self) -> Any:
        """A stream that doesn't wait for the default stream."""
        return self._call("cuStreamCreate", NON_BLOCKING)

    def handle(self, stream: Any) -> int:
        """The stream as TensorRT takes it."""
        return int(getattr(stream, "handle", stream))  # pycuda's are objects

    def finish(self, stream: Any) -> None:
        """Wait on the host for all that the stream was given."""
        self._call("cuStreamSynchronize", stream)

    def free_stream(self, stream: Any) -> None:
        self._call("cuStreamDestroy", stream)

    def event(self, timed: bool = False) -> Any:
        """An event; one that takes the time costs more. Waiting for it leaves the core to others, which a Jetson has
        few of."""
        return self._call("cuEventCreate", BLOCKING_SYNC if timed else BLOCKING_SYNC | DISABLE_TIMING)

    def record(self, event: Any, stream: Any) -> None:
        self._call("cuEventRecord", event, stream)

    def wait(self, stream: Any, event: Any) -> None:
        """Let what follows on the stream wait for the event."""
        self._call("cuStreamWaitEvent", stream, event, 0)

    def reach(self, event: Any) -> None:
        """Wait on the host for the event."""
        self._call("cuEventSynchronize", event)

    def milliseconds(self, start: Any, stop: Any) -> float:
        """Device time between two timed events that were reached."""
        return float(self._call("cuEventElapsedTime", start, stop))

    def free_event(self, event: Any) -> None:
        self._call("cuEventDestroy", event)

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

    def launch(self, graph: Any, stream: Any) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        self._call("cuGraphExecDestroy", graph)

    def _begin_capture(self, stream: Any) -> None:
        self._call("cuStreamBeginCapture", stream, CaptureMode.THREAD_LOCAL)

    def _end_capture(self, stream: Any) -> Any:
        """The captured work, ready to launch."""
        graph = self._call("cuStreamEndCapture", stream)
        try:
            return self._call("cuGraphInstantiate", graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)


def open_gpu() -> Gpu:
    """Open the first GPU with the first binding there is; Unavailable says what is missing."""
    if problem := driver_problem():
        raise Unavailable(problem)
    for binding in (pycuda_calls, cuda_bindings_calls):
        with contextlib.suppress(ImportError):
            return Gpu(first_gpu(), *binding())
    install = f"run: pip install pycuda (compiles against a CUDA toolkit) or pip install {bindings_package()}"
    raise Unavailable(f"neither pycuda nor cuda-bindings is installed; {install}")


def cuda_bindings_calls() -> tuple[Call, str]:
    """Driver calls through cuda-bindings, which offers every one of them by its name."""
    driver: Any = importlib.import_module("cuda.bindings.driver")

    def call(name: str, *arguments: Any) -> Any:
        status, *results = getattr(driver, name)(*arguments)
        _check(name, int(status), status.name)
        return results[0] if results else None

    call("cuInit", 0)
    return call, f"cuda-bindings {importlib.metadata.version('cuda-bindings')}"


def pycuda_calls() -> tuple[Call, str]:
    """Driver calls through pycuda's objects; graphs, which it doesn't offer, through the driver's own C functions."""
    cuda: Any = importlib.import_module("pycuda.driver")
    cuda.init()
    library, contexts = ctypes.CDLL(DRIVER), []

    def retain(device: Any) -> Any:
        contexts.append(device.retain_primary_context())
        return contexts[-1]

    def graph_call(name: str, *arguments: Any) -> None:
        _check(name, getattr(library, name)(*arguments), "")

    def end_capture(stream: Any) -> ctypes.c_void_p:
        graph = ctypes.c_void_p()
        graph_call("cuStreamEndCapture", _pointer(stream), ctypes.byref(graph))
        return graph

    def instantiate(graph: ctypes.c_void_p, flags: int) -> ctypes.c_void_p:
        executable = ctypes.c_void_p()
        graph_call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(flags))
        return executable

    functions: dict[str, Call] = {
        "cuDeviceGet": cuda.Device,
        "cuDevicePrimaryCtxRetain": retain,
        "cuDevicePrimaryCtxRelease": lambda device: contexts.pop().detach(),
        "cuCtxPushCurrent": lambda context: context.push(),
        "cuCtxPopCurrent": cuda.Context.pop,
        "cuMemAlloc": cuda.mem_alloc,
        "cuMemFree": lambda memory: memory.free(),
        "cuMemHostAlloc": lambda nbytes, flags: _PycudaPinned(cuda.pagelocked_empty(nbytes, np.uint8, mem_flags=flags)),
        "cuMemHostGetDevicePointer": lambda pinned, flags: pinned.array.base.get_device_pointer(),
        "cuMemFreeHost": lambda pinned: pinned.array.base.free(),
        "cuMemcpyHtoDAsync": lambda to, source, n, stream: cuda.memcpy_htod_async(to, _host_bytes(source, n), stream),
        "cuMemcpyDtoHAsync": lambda to, source, n, stream: cuda.memcpy_dtoh_async(_host_bytes(to, n), source, stream),
        "cuMemcpyDtoDAsync": cuda.memcpy_dtod_async,
        "cuStreamCreate": cuda.Stream,
        "cuStreamSynchronize": lambda stream: stream.synchronize(),
        "cuStreamDestroy": lambda stream: None,  # with the last reference to it
        "cuEventCreate": cuda.Event,
        "cuEventRecord": lambda event, stream: event.record(stream),
        "cuStreamWaitEvent": lambda stream, event, flags: stream.wait_for_event(event),
        "cuEventSynchronize": lambda event: event.synchronize(),
        "cuEventElapsedTime": lambda start, stop: start.time_till(stop),
        "cuEventDestroy": lambda event: None,
        "cuStreamBeginCapture": lambda s, mode: graph_call("cuStreamBeginCapture_v2", _pointer(s), int(mode)),
        "cuStreamEndCapture": end_capture,
        "cuGraphInstantiate": instantiate,
        "cuGraphDestroy": lambda graph: graph_call("cuGraphDestroy", graph),
        "cuGraphLaunch": lambda graph, stream: graph_call("cuGraphLaunch", graph, _pointer(stream)),
        "cuGraphExecDestroy": lambda graph: graph_call("cuGraphExecDestroy", graph),
    }

    def call(name: str, *arguments: Any) -> Any:
        try:
            return functions[name](*arguments)
        except cuda.MemoryError as error:
            raise MemoryError(name) from error
        except cuda.Error as error:
            raise Unavailable(f"CUDA: {error}") from error

    return call, f"pycuda {importlib.metadata.version('pycuda')}"


class _PycudaPinned:
    """Pinned memory as an address, like that of the driver."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __int__(self) -> int:
        return int(self.array.ctypes.data)


def _pointer(stream: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(stream.handle)


def _host_bytes(address: int, nbytes: int) -> Any:
    """Memory of the host as the buffer that pycuda takes."""
    return (ctypes.c_uint8 * nbytes).from_address(address)


def _check(function: str, status: int, name: str) -> None:
    if status == OUT_OF_MEMORY:
        raise MemoryError(function)
    if status:
        raise Unavailable(f"CUDA: {function} says {name or 'error'} ({status})")
