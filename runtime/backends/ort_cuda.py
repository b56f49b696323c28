"""ONNX Runtime on its CUDA provider: fixed buffers for each batch size, so that its steps can run as CUDA graphs.

    backend = open_cuda(Path("bundle"), manifest, "step.fp16.onnx")

ONNX Runtime captures one run under the number in `gpu_graph_id`, together with the addresses it was bound to. Each
step of each batch size therefore has its own binding and its own number, and x alternates between two buffers.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.annotation import Annotation
from contract.bundle import ANNOTATORS, Manifest, open_checked
from contract.errors import Unavailable
from contract.gpu import driver_problem
from runtime.backends.cuda_graph_choice import GRAPH, PLAIN, GraphChoice, warn_refused
from runtime.backends.onnx_interface import Batches
from runtime.backends.ort import OnnxBackend, import_onnxruntime, new_session

CUDA = "CUDAExecutionProvider"

GRAPH_ID, NO_GRAPH = "gpu_graph_id", "-1"

MAX_REASON = 300
"""Characters that are kept of ONNX Runtime's own error."""

MAX_SIZES = 4
"""Batch sizes that get fixed buffers; ONNX Runtime keeps captured graphs until the session ends."""


def check_cuda() -> None:
    """Unavailable without a driver or an onnxruntime with a CUDA provider."""
    if problem := driver_problem():
        raise Unavailable(problem)
    if CUDA not in import_onnxruntime("cuda").get_available_providers():
        raise Unavailable("this onnxruntime has no CUDA provider; in place of .[cpu] run: pip install '.[cuda]'")


def open_cuda(folder: Path, manifest: Manifest, file: str) -> CudaOnnxBackend:
    """Open a step graph on the GPU; Unavailable without a CUDA provider that starts here."""
    ort = import_onnxruntime("cuda")
    preload_cuda(ort)
    return CudaOnnxBackend(ort, folder, manifest, file, CUDA, "cuda")


def preload_cuda(ort: Any) -> None:
    """Load CUDA and cuDNN where pip has installed them, which is no place that the system's loader looks in.

    ONNX Runtime prints what it doesn't find; whether that matters shows when the provider starts.
    """
    if hasattr(ort, "preload_dlls"):  # since 1.21
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()


@dataclass
class BatchState:
    """Buffers, bindings and the choice of launch for one batch size."""

    x: Any
    condition: Any
    frame: Any
    bindings: list[Any]
    """One a step, in order."""

    options: dict[str, list[Any]]
    """Run options of each step, for plain launches and for graphs."""

    choice: GraphChoice = field(default_factory=GraphChoice)
    captured: bool = False
    """Whether its graphs exist and drew one batch as plain launches do."""


class CudaOnnxBackend(OnnxBackend):
    """A session whose x, x_next, condition and steps stay on the GPU, at the same addresses in every run."""

    def __init__(self, ort: Any, folder: Path, manifest: Manifest, file: str, provider: str, device: str) -> None:
        self._sizes: dict[int, BatchState] = {}
        self._graphs = False
        self._ids = itertools.count(1)
        self._folder, self._manifest, self._provider = folder, manifest, provider
        self._reader: Any = None
        super().__init__(ort, folder, manifest, file, provider, device)

    def details(self) -> dict[str, Any]:
        """Device, and how each batch size launches its steps."""
        return super().details() | {"cuda_graphs": {str(rows): s.choice.to_dict() for rows, s in self._sizes.items()}}

    def open_annotator(self, precision: str) -> None:
        """Open the annotator in fp32 on the GPU; Unavailable for other precisions, which are made for CPUs."""
        if precision != "fp32":
            raise Unavailable(f"the {precision} annotator is made for CPUs")
        content = open_checked(self._folder, self._manifest, ANNOTATORS[precision])
        self._reader = self._errors(lambda: new_session(self._ort, content, self._provider))

    def annotate_all(self, batches: Batches) -> Iterator[tuple[npt.NDArray[np.uint8], Annotation]]:
        """The frames of each batch, and what the annotator reads from them before they leave the GPU."""
        for x, condition in batches:
            frames = self.sample(x, condition)
            read = functools.partial(self._read, frames)
            yield frames, Annotation(*self._errors(read))

    def close(self) -> None:
        """Free the sessions and their memory."""
        self._sizes.clear()
        self._reader = None
        super().close()

    def _open(self, content: bytes, provider: str) -> Any:
        """With graphs where every node of the step runs on the GPU, and without where one doesn't."""
        try:
            session = new_session(self._ort, content, provider, {"enable_cuda_graph": "1"})
        except Exception:  # ONNX Runtime's errors share no base class; a graph that is bad anyway fails again below
            return new_session(self._ort, content, provider)
        self._graphs, self._run_options = True, self._options(NO_GRAPH)
        return session

    def _sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Any:
        if self._latent or (len(x) not in self._sizes and len(self._sizes) == MAX_SIZES):
            return super()._sample(x, condition)
        if len(x) not in self._sizes:
            self._sizes[len(x)] = self._new_size(len(x))
        size = self._sizes[len(x)]
        size.condition.update_inplace(condition)
        way = size.choice.next()
        if way == GRAPH and not size.captured:
            return self._capture(size, x)
        started = time.perf_counter()
        frames = self._run(size, x, way)
        size.choice.record(way, (time.perf_counter() - started) * 1000)
        return frames

    def _read(self, frames: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        binding, size = self._reader.io_binding(), self._sizes.get(len(frames))
        if size:
            binding.bind_ortvalue_input("frames", size.frame)  # where the last step has left them
        else:
            binding.bind_cpu_input("frames", frames)
        for name in Annotation._fields:
            binding.bind_output(name, self._where)
        self._reader.run_with_iobinding(binding)
        found: list[npt.NDArray[np.float32]] = binding.copy_outputs_to_cpu()
        return found

    def _run(self, size: BatchState, x: npt.NDArray[np.float32], way: str) -> Any:
        size.x.update_inplace(x)
        for binding, options in zip(size.bindings, size.options[way], strict=True):
            self._session.run_with_iobinding(binding, options)
        return size.frame.numpy()

    def _capture(self, size: BatchState, x: npt.NDArray[np.float32]) -> Any:
        """The frames of a batch, run plainly and as graphs, which are refused where they fail or differ."""
        frames, started = self._run(size, x, PLAIN).copy(), time.perf_counter()
        reason = None
        try:
            if not np.array_equal(frames, self._run(size, x, GRAPH)):
                reason = "its frames differ from those of plain launches"
        except Exception as error:  # ONNX Runtime's errors share no base class
            reason = " ".join(str(error).split())[:MAX_REASON]
        size.choice.record(GRAPH, (time.perf_counter() - started) * 1000)
        if reason is None:
            size.captured = True
        else:
            size.choice.refuse(reason)
            warn_refused(len(x), reason)
            size.frame.update_inplace(frames)  # what is read from there later are the frames handed out
        return frames

    def _new_size(self, rows: int) -> BatchState:
        channels, height, width = self._image
        x = [self._empty((rows, channels, height, width), np.float32) for _ in range(2)]
        condition = self._empty((rows, self._condition_width), np.float32)
        frame = self._empty((rows, height, width, channels), np.uint8)
        bindings = []
        for step, value in enumerate(self._step_values):
            binding = self._session.io_binding()
            inputs = {"x": x[step % 2], "condition": condition, "step": value}
            for name, tensor in inputs.items():
                binding.bind_ortvalue_input(name, tensor)
            binding.bind_ortvalue_output("x_next", x[1 - step % 2])
            binding.bind_ortvalue_output("frame", frame)
            bindings.append(binding)
        options = {
            PLAIN: [self._options(NO_GRAPH) for _ in bindings],
            GRAPH: [self._options(str(next(self._ids))) for _ in bindings],
        }
        size = BatchState(x[0], condition, frame, bindings, options)
        if not self._graphs:
            size.choice.refuse("a node of the step graph runs on the CPU")
        return size

    def _empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Any:
        return self._ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, self._where, 0)

    def _options(self, graph: str) -> Any:
        options = self._ort.RunOptions()
        options.add_run_config_entry(GRAPH_ID, graph)
        return options
