"""A `Gpu` on the memory of the host, whose streams run as late, and in as awkward an order, as CUDA allows.

What is queued stays queued until the host waits. Then streams take turns at random, held back only by their own
order and by the events they wait for: a pipeline that forgets to wait for an event draws wrong frames here.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from contract.engine import BatchProfile
from contract.errors import Unavailable
from contract.gpu import Device
from runtime.backends.cuda import Gpu, HostMemory, Memory

ALIGNMENT = 256
TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}
STEP_MS = 1.0
"""Device time of one step."""


@dataclass(eq=False)
class Event:
    timed: bool = False
    asked: int = 0
    done: int = 0
    time: float = 0.0


@dataclass(eq=False)
class Stream:
    number: int
    queue: deque[tuple[Callable[[], bool], Callable[[], None]]] = field(default_factory=deque)
    """(may run now, run) of everything that hasn't run yet"""

    captured: list[Callable[[], None]] | None = None


class HostGpu(Gpu):
    """`graph_ms` is the device time of a whole graph, whatever is in it."""

    def __init__(self, seed: int = 0, integrated: bool = False, graph_ms: float = 1.0) -> None:
        self.device, self.binding = Device("host", (8, 7), 8, integrated), "tests"
        self.graph_ms, self.clock, self.launches = graph_ms, 0.0, 0
        self.depth, self.live, self.closed = 0, 0, False
        self.streams: list[Stream] = []
        self._rng = np.random.default_rng(seed)

    def __enter__(self) -> HostGpu:
        assert not self.closed
        self.depth += 1
        return self

    def __exit__(self, *error: object) -> None:
        self.depth -= 1

    def close(self) -> None:
        assert not self.depth
        self.closed = True

    def memory(self, nbytes: int) -> Memory:
        array = self._aligned(nbytes)
        return Memory(array.ctypes.data, nbytes, array)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> HostMemory:
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        array = self._aligned(nbytes)[:nbytes].view(dtype).reshape(shape)
        return HostMemory(array, array.ctypes.data, array)

    def free(self, memory: Memory | HostMemory) -> None:
        memory.owner.reshape(-1).view(np.uint8)[:] = 0xFF  # so that work still under way with it would show
        self.live -= 1

    def upload(self, address: int, array: npt.NDArray[Any], stream: Any) -> None:
        self.put(stream, lambda: _move(address, array.ctypes.data, array.nbytes))

    def download(self, array: npt.NDArray[Any], address: int, stream: Any) -> None:
        self.put(stream, lambda: _move(array.ctypes.data, address, array.nbytes))

    def copy(self, to: int, source: int, nbytes: int, stream: Any) -> None:
        self.put(stream, lambda: _move(to, source, nbytes))

    def stream(self) -> Stream:
        self.streams.append(Stream(len(self.streams) + 1))
        return self.streams[-1]

    def handle(self, stream: Any) -> int:
        return int(stream.number)

    def wait(self, stream: Any, event: Any) -> None:
        wanted = event.asked
        stream.queue.append((lambda: event.done >= wanted, lambda: None))

    def event(self, timed: bool = False) -> Event:
        return Event(timed)

    def record(self, event: Any, stream: Any) -> None:
        event.asked += 1
        asked = event.asked

        def reached() -> None:
            event.done, event.time = asked, self.clock

        stream.queue.append((lambda: True, reached))

    def finish(self, stream: Any) -> None:
        self._run(lambda: not stream.queue)

    def free_stream(self, stream: Any) -> None:
        assert not stream.queue, "it still has work"

    def reach(self, event: Any) -> None:
        asked = event.asked
        self._run(lambda: event.done >= asked)

    def free_event(self, event: Any) -> None:
        assert event.done == event.asked, "it is still waited for"

    def milliseconds(self, start: Any, stop: Any) -> float:
        assert start.timed and stop.timed, "an event without a time"
        return float(stop.time - start.time)

    def launch(self, graph: Any, stream: Any) -> None:
        self.launches += 1

        def run() -> None:
            before = self.clock
            for work in graph:
                work()
            self.clock = before + self.graph_ms

        self.put(stream, run)

    def free_graph(self, graph: Any) -> None:
        self.live -= 1

    def put(self, stream: Stream, work: Callable[[], None]) -> None:
        """Queue work on a stream, or keep it where the stream is being captured."""
        assert self.depth, "no context is current"
        if stream.captured is not None:
            stream.captured.append(work)
        else:
            stream.queue.append((lambda: True, work))

    def _begin_capture(self, stream: Any) -> None:
        stream.captured = []

    def _end_capture(self, stream: Any) -> Any:
        graph, stream.captured = stream.captured, None
        self.live += 1
        return graph

    def _run(self, until: Callable[[], bool]) -> None:
        while not until():
            able = [stream for stream in self.streams if stream.queue and stream.queue[0][0]()]
            assert able, "every stream waits for an event that is never recorded"
            able[self._rng.integers(len(able))].queue.popleft()[1]()

    def _aligned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Memory full of rubbish at an aligned address."""
        self.live += 1
        raw = self._rng.integers(0, 255, nbytes + 2 * ALIGNMENT, dtype=np.uint8)
        return raw[-raw.ctypes.data % ALIGNMENT :]


class OrtStepEngine:
    """A real step graph, or annotator, in ONNX Runtime, on a HostGpu's streams and plain addresses."""

    def __init__(self, gpu: HostGpu, onnx: bytes, profile: BatchProfile) -> None:
        self.profile, self.step_on_host = profile, False
        self.contexts: list[int] = []
        self.can_capture, self.closed = True, False
        self._gpu = gpu
        self._session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Sides of what it makes, without the batch axis."""
        return {node.name: tuple(node.shape[1:]) for node in self._session.get_outputs()}

    def context(self, rows: int) -> int:
        assert self.profile.min <= rows <= self.profile.max
        self.contexts.append(rows)
        return rows

    def step(self, context: int, addresses: Mapping[str, int], stream: int) -> None:
        assert all(address % ALIGNMENT == 0 for address in addresses.values())

        def view(node: Any) -> npt.NDArray[Any]:
            return _view(addresses[node.name], (context, *node.shape[1:]) if node.shape else (), TYPES[node.type])

        given = {node.name: view(node) for node in self._session.get_inputs()}
        made = {node.name: view(node) for node in self._session.get_outputs()}
        assert set(addresses) == {*given, *made}

        def run() -> None:
            found = self._session.run(list(made), {name: array.copy() for name, array in given.items()})
            for array, value in zip(made.values(), found, strict=True):
                array[:] = value
            self._gpu.clock += STEP_MS

        self._gpu.put(self._gpu.streams[stream - 1], run)

    def capturable(self, context: int, stream: int) -> bool:
        return self.can_capture

    def close(self) -> None:
        self.closed = True


class UncapturableEngine(OrtStepEngine):
    """One that only finds out while it is being captured."""

    def step(self, context: int, addresses: Mapping[str, int], stream: int) -> None:
        if self._gpu.streams[stream - 1].captured is not None:
            raise Unavailable("this work can't be captured")
        super().step(context, addresses, stream)


def _view(address: int, shape: tuple[int, ...], dtype: type[np.generic]) -> npt.NDArray[Any]:
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address)).view(dtype).reshape(shape)


def _move(to: int, source: int, nbytes: int) -> None:
    ctypes.memmove(to, source, nbytes)
