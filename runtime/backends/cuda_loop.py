"""K steps of an engine on a GPU without the host between them, and copies that overlap with the next batch.

    pipeline = GpuPipeline(gpu, engine, image, width=26, steps=10)
    for frames in pipeline.sample_all(batches): ...            # one batch is computed while the next is brought up

x and x_next are two buffers that take turns, so that nothing leaves the device from the noise to the last frame.
Each batch size has its own execution context, buffers and (where it is faster) CUDA graph: a graph holds the
addresses and the context that it was captured with. The first batch of a graph is also run plainly, and the graph is
only used where the two agree byte for byte.

    host ──upload stream──▶ staging ──▶ x ⇄ x_next, K times ──▶ staging ──download stream──▶ host

On an integrated GPU the staging buffers are the host's own pinned memory and the two copies fall away. With an
annotator attached, frames are read where the last step has left them, and its few numbers are brought up with them.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from contract.errors import Unavailable
from contract.frames import ImageShape
from runtime.backends.cuda import Gpu, HostMemory, Memory
from runtime.backends.cuda_buffers import BatchState, InFlight, Shapes, TransferBuffers, allocate, open_lane
from runtime.backends.cuda_engine import FrameReader, StepEngine
from runtime.backends.cuda_graph_choice import GRAPH, PLAIN, warn_refused

MAX_SIZES = 4
"""Batch sizes that are kept open; the one used longest ago makes room. More than the two batches in flight."""

ALIGNMENT = 256
"""Bytes that TensorRT wants every address aligned to (IExecutionContext::setTensorAddress)."""

T = TypeVar("T")

Batches = Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


def schedule(steps: int) -> list[tuple[int, int, int]]:
    """(buffer read, buffer written, row of the step tables) of every step; the noise is in buffer 0."""
    return [(step % 2, 1 - step % 2, step) for step in range(steps)]


class GpuPipeline:
    """The loop over the K steps on a GPU; a backend of the runtime."""

    def __init__(self, gpu: Gpu, engine: StepEngine, image: ImageShape, width: int, steps: int) -> None:
        self.seconds = 0.0
        self._gpu, self._engine, self._profile, self._steps = gpu, engine, engine.profile, schedule(steps)
        channels, height, columns = image
        self._shapes: Shapes = {
            "x": (tuple(image), np.float32),
            "condition": ((width,), np.float32),
            "frame": ((height, columns, channels), np.uint8),
        }
        self._reader: FrameReader | None = None
        self._flying: list[InFlight] = []
        self._sizes: dict[int, BatchState] = {}
        with gpu:
            self._compute, self._upload, self._download = gpu.stream(), gpu.stream(), gpu.stream()
            self._step_values = self._load_steps(steps)

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Run all K steps from noise [B, C, H, W] under condition [B, D]; frames uint8 [B, H, W, C]."""
        return next(self.sample_all([(x, condition)]))

    def sample_all(self, batches: Batches) -> Iterator[npt.NDArray[np.uint8]]:
        """The frames of each batch in order, two pieces in flight at most."""
        with contextlib.closing(self._run(batches, ("frame",))) as finished:
            for results in finished:
                yield results["frame"]

    def attach(self, reader: FrameReader) -> None:
        """Let `read_all` run this on frames; the pipeline closes it. Batch sizes that are open are opened anew."""
        with self._gpu:
            self._close_sizes()
        self._reader = reader
        self._shapes = {**self._shapes, **{name: (sides, np.float32) for name, sides in reader.outputs.items()}}

    def read_all(self, batches: Batches) -> Generator[Mapping[str, npt.NDArray[Any]], None, None]:
        """`frame` of each batch in order, and every output of the reader, float32 with the batch axis first."""
        assert self._reader is not None, "attach() comes first"
        return self._run(batches, ("frame", *self._reader.outputs))

    def _run(self, batches: Batches, names: Sequence[str]) -> Generator[Mapping[str, npt.NDArray[Any]], None, None]:
        """These arrays of each batch.

        A piece that is smaller than one before it is a tail: it opens no batch size, but is padded to an open one.
        """
        largest = 0
        flying: deque[tuple[InFlight, Mapping[str, npt.NDArray[Any]] | None]] = deque()
        try:
            for x, condition in batches:
                shapes = {name: self._shapes[name] for name in names}
                results = {name: np.empty((len(x), *sides), dtype) for name, (sides, dtype) in shapes.items()}
                pieces = self._profile.pieces(len(x))
                for piece in pieces:
                    self._land_others([ticket for ticket, _ in flying])
                    rows = piece.stop - piece.start
                    size = self._rows(rows, tail=rows < largest)
                    largest = max(largest, rows)
                    part = {name: array[piece] for name, array in results.items()}
                    ticket = self._submit(x[piece], condition[piece], part, size)
                    flying.append((ticket, results if piece is pieces[-1] else None))
                    if len(flying) > 1:
                        yield from self._land(*flying.popleft())
            while flying:
                yield from self._land(*flying.popleft())
        finally:  # the reader stopped, or something failed: the lanes must be idle before they are used again
            for ticket, _ in flying:
                with contextlib.suppress(Unavailable):
                    self._collect(ticket)

    def graphs(self) -> dict[str, Any]:
        """For each batch size that was run: plain launches or a CUDA graph, and what was measured."""
        return {str(rows): size.choice.to_dict() for rows, size in self._sizes.items()}

    def close(self) -> None:
        """Finish what is queued and give everything back; the pipeline can't be used afterwards."""
        gpu = self._gpu
        with gpu:
            for stream in (self._upload, self._compute, self._download):
                gpu.finish(stream)
            self._close_sizes()
            gpu.free(self._step_values)
            self._engine.close()
            if self._reader:
                self._reader.close()
            for stream in (self._upload, self._compute, self._download):
                gpu.free_stream(stream)
            del self._upload, self._compute, self._download
        gpu.close()

    def _close_sizes(self) -> None:
        while self._sizes:
            self._sizes.popitem()[1].owned.close()

    def _land_others(self, own: Sequence[InFlight]) -> None:
        """Wait for what another iterator, which its reader left for a while, has in flight: lanes are used again."""
        for ticket in [each for each in self._flying if all(each is not mine for mine in own)]:
            self._collect(ticket)

    def _land(self, ticket: InFlight, results: T | None) -> Iterator[T]:
        """Wait for a piece; the results of its batch where it is the last one."""
        self._collect(ticket)
        if results is not None:
            yield results

    def _rows(self, rows: int, tail: bool) -> int:
        """The batch size that a piece is run at."""
        rows = self._profile.padded(rows)
        return min((size for size in self._sizes if size >= rows), default=rows) if tail else rows

    def _submit(
        self,
        x: npt.NDArray[np.float32],
        condition: npt.NDArray[np.float32],
        results: Mapping[str, npt.NDArray[Any]],
        rows: int,
    ) -> InFlight:
        """Queue the copies, the K steps and the reading of one piece at a batch size; returns at once."""
        with self._gpu as gpu:
            size = self._size(rows)
            size.lanes.rotate()
            lane, copies = size.lanes[0], not gpu.device.integrated
            lane.fill(x=x, condition=condition)
            if copies:
                for name in ("x", "condition"):
                    gpu.upload(lane.staging[name], lane.host[name].array, self._upload)
                gpu.record(lane.uploaded, self._upload)
                gpu.wait(self._compute, lane.uploaded)
            way = self._way(size, lane)
            self._load(size, lane)
            gpu.record(lane.started, self._compute)
            self._queue(size, way)
            gpu.record(lane.stopped, self._compute)
            if len(results) > 1:
                self._queue_reading(size)
            for name in results:
                gpu.copy(lane.staging[name], size.memory[name].address, size.memory[name].nbytes, self._compute)
            gpu.record(lane.computed, self._compute)
            if copies:
                gpu.wait(self._download, lane.computed)
                for name in results:
                    gpu.download(lane.host[name].array, lane.staging[name], self._download)
            gpu.record(lane.done, self._download if copies else self._compute)
        self._flying.append(ticket := InFlight(size, lane, way, results))
        return ticket

    def _collect(self, ticket: InFlight) -> None:
        """Wait for a piece, note its time on the device, and take its results out of the pinned memory; once."""
        if ticket.landed:
            return
        ticket.landed, lane = True, ticket.lane
        self._flying = [each for each in self._flying if each is not ticket]
        with self._gpu as gpu:
            gpu.reach(lane.done)
            milliseconds = gpu.milliseconds(lane.started, lane.stopped)
        self.seconds += milliseconds / 1000
        ticket.size.choice.record(ticket.way, milliseconds)
        for name, result in ticket.results.items():
            result[:] = lane.host[name].array[: len(result)]

    def _load(self, size: BatchState, lane: TransferBuffers) -> None:
        """Queue the copies of noise and condition to where the first step reads them."""
        for name, memory in (("x", size.memory["x0"]), ("condition", size.memory["condition"])):
            self._gpu.copy(memory.address, lane.staging[name], memory.nbytes, self._compute)

    def _way(self, size: BatchState, lane: TransferBuffers) -> str:
        """The way that this size prefers, or is to be timed; its graph is captured and checked first."""
        way = size.choice.next()
        return self._capture(size, lane) if way == GRAPH and size.graph is None else way

    def _capture(self, size: BatchState, lane: TransferBuffers) -> str:
        """Capture the K steps and check them; PLAIN, and why, where they can't be had as a graph."""
        try:
            if not self._engine.capturable(size.context, self._gpu.handle(self._compute)):
                raise Unavailable("the engine says that its work can't be captured")
            size.graph = self._gpu.capture(self._compute, lambda: self._queue_steps(size))
            size.owned.callback(self._gpu.free_graph, size.graph)
            if not np.array_equal(self._frames(size, lane, PLAIN), self._frames(size, lane, GRAPH)):
                raise Unavailable("its frames differ from those of plain launches")
        except (Unavailable, MemoryError) as error:
            reason = str(error) if isinstance(error, Unavailable) else f"no memory for it ({error})"
            size.choice.refuse(reason)
            warn_refused(len(lane.host["x"].array), reason)
            return PLAIN
        return GRAPH

    def _frames(self, size: BatchState, lane: TransferBuffers, way: str) -> npt.NDArray[np.uint8]:
        """The frames of the batch that was uploaded, run this way and waited for."""
        self._load(size, lane)
        self._queue(size, way)
        frames = np.empty_like(lane.host["frame"].array, dtype=np.uint8)
        self._gpu.download(lane.host["frame"].array, size.memory["frame"].address, self._compute)
        self._gpu.finish(self._compute)
        frames[:] = lane.host["frame"].array
        return frames

    def _queue(self, size: BatchState, way: str) -> None:
        """Queue the K steps."""
        if way == GRAPH:
            self._gpu.launch(size.graph, self._compute)
        else:
            self._queue_steps(size)

    def _queue_steps(self, size: BatchState) -> None:
        handle, memory = self._gpu.handle(self._compute), size.memory
        fixed = {name: memory[name].address for name in ("condition", "frame")}
        for read, write, step in self._steps:
            x = {"x": memory[f"x{read}"].address, "x_next": memory[f"x{write}"].address}
            self._engine.step(size.context, fixed | x | {"step": self._step_address(step)}, handle)

    def _queue_reading(self, size: BatchState) -> None:
        """Queue the annotator on the frames that the last step has left."""
        assert self._reader is not None
        addresses = {name: size.memory[name].address for name in self._reader.outputs}
        frames = {"frames": size.memory["frame"].address}
        self._reader.step(size.reading, frames | addresses, self._gpu.handle(self._compute))

    def _size(self, rows: int) -> BatchState:
        """The batch size, opened where it isn't, now the last that would make room."""
        size = self._sizes.pop(rows, None) or self._open_size(rows)
        self._sizes[rows] = size
        if len(self._sizes) > MAX_SIZES:
            self._sizes.pop(next(iter(self._sizes))).owned.close()
        return size

    def _open_size(self, rows: int) -> BatchState:
        gpu = self._gpu
        with contextlib.ExitStack() as owned:
            places = {"x0": "x", "x1": "x"} | {name: name for name in self._shapes if name != "x"}
            memory = {place: allocate(gpu, owned, rows, self._shapes, name) for place, name in places.items()}
            lanes = deque(open_lane(gpu, owned, rows, self._shapes) for _ in range(2))
            context, reading = self._engine.context(rows), self._reader.context(rows) if self._reader else None
            size = BatchState(context, memory, lanes, owned.pop_all(), reading=reading)
        return size

    def _load_steps(self, steps: int) -> Memory | HostMemory:
        """The step numbers int64, each at an aligned address, once and for all."""
        host = self._gpu.pinned((steps, ALIGNMENT // 8), np.int64)
        host.array[:] = np.arange(steps)[:, None]
        if self._engine.step_on_host:
            return host
        device = self._gpu.memory(host.array.nbytes)
        self._gpu.upload(device.address, host.array, self._compute)
        self._gpu.finish(self._compute)
        self._gpu.free(host)
        return device

    def _step_address(self, step: int) -> int:
        values = self._step_values
        base = values.array.ctypes.data if isinstance(values, HostMemory) else values.address
        return int(base) + step * ALIGNMENT
