"""OpenVINO on the CPU: the whole trajectory compiled as one graph, a stream for each core.

    backend = open_openvino(Path("bundle"), manifest, "step.int8.onnx", batch=16)

OpenVINO fuses modulation and residual sum into the preceding convolution, which ONNX Runtime doesn't. The K steps are
chained into one graph before it is compiled: x never leaves the engine, and what only a frame needs is computed for
the last step alone. Each core draws its part of a batch, of a fixed size; short parts are padded.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.bundle import FIX, Manifest
from contract.cores import cores
from contract.errors import Unavailable
from contract.trajectory import NOISE, STEP_MARK, trajectory
from runtime.backends.cpu_pool import CpuPool, Frames, Job
from runtime.backends.onnx_interface import Batches, EngineErrors, Port, check_step_graph, graph_of, summary

CHAINED = 8
"""The most steps that are compiled as one: every one of them takes its time and memory to compile."""

CONVERTER, IMPORTING = "openvino.tools.ovc", threading.Lock()

TYPES = {"f32": "tensor(float)", "i64": "tensor(int64)", "u8": "tensor(uint8)"}
"""ONNX Runtime's names of OpenVINO's types."""


MISSING = "openvino isn't installed; run: pip install '.[openvino]'"


def check_openvino() -> None:
    """Unavailable without openvino, which isn't imported for that."""
    try:
        found = importlib.util.find_spec("openvino")
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise Unavailable(MISSING)


def import_openvino() -> Any:
    """The package without its model converter, which reports over the network whenever it is imported."""
    modules: dict[str, Any] = sys.modules
    with IMPORTING:
        if "openvino" not in modules:
            modules[CONVERTER] = None  # its import fails, which openvino expects
        try:
            import openvino
        except ImportError:
            raise Unavailable(MISSING) from None
        finally:
            if CONVERTER in modules and modules[CONVERTER] is None:
                del modules[CONVERTER]
        # OpenVINO makes its table of numpy's types when the first array comes, and lets go of the interpreter's lock
        # meanwhile: two threads whose first arrays come at once would wait for each other for good.
        openvino.Tensor(np.zeros(1, np.float32))
        return openvino


def open_openvino(folder: Path, manifest: Manifest, file: str, batch: int) -> OpenVinoBackend:
    """Open a step graph for batches of about that size; Unavailable without openvino, Refused where the file isn't
    what it should be."""
    return OpenVinoBackend(import_openvino(), folder, manifest, file, batch)


class OpenVinoBackend:
    """A stream for each core, or with a batch of 1 one stream that all cores work on."""

    def __init__(self, openvino: Any, folder: Path, manifest: Manifest, file: str, batch: int) -> None:
        self.batch: int | None = batch
        self.sizes: tuple[int, ...] = ()
        self.device = f"cpu, openvino {openvino.__version__.partition('-')[0]}"
        self._errors = EngineErrors(str(folder / file), FIX.format(folder=folder), "OpenVINO")
        streams = min(cores(), batch)
        self._pool, self._rows = CpuPool(streams), -(-batch // streams)
        self._engine: Engine | None = self._open(openvino, folder, manifest, file, streams)

    @property
    def seconds(self) -> float:
        """Time spent inside the engine so far."""
        return self._pool.seconds

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Frames:
        """Run all K steps from noise [B, C, H, W] under condition [B, D]; frames uint8 [B, H, W, C]."""
        return next(self.sample_all([(x, condition)]))

    def sample_all(self, batches: Batches) -> Iterator[Frames]:
        """The frames of each batch in order; the next one is under way while the caller handles a batch."""
        return self._pool.draw(self._jobs(x, condition) for x, condition in batches)

    def details(self) -> dict[str, Any]:
        """What it runs on."""
        return {"device": self.device}

    def close(self) -> None:
        """Free the engine and its memory."""
        self._pool.close()
        self._engine = None

    def _jobs(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> list[Job]:
        assert self._engine is not None  # a closed backend takes no batches
        cuts = (slice(first, first + self._rows) for first in range(0, len(x), self._rows))
        return [partial(self._draw, self._engine, x[cut], condition[cut]) for cut in cuts]

    def _draw(self, engine: Engine, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Frames:
        return self._errors(lambda: engine.draw(x, condition))

    def _open(self, openvino: Any, folder: Path, manifest: Manifest, file: str, streams: int) -> Engine:
        content = graph_of(folder, manifest, file)
        core = openvino.Core()
        model = self._errors(lambda: core.read_model(content))
        check_step_graph(self._errors, _ports(model.inputs), _ports(model.outputs), _steps(model), manifest)
        steps, shape = manifest.sampler.steps, [self._rows, *manifest.x_shape]
        condition = [self._rows, manifest.schema.width]
        chained = steps <= CHAINED
        if manifest.latent and not chained:
            raise Unavailable(
                f"{file}: {steps} steps of a latent model, more than the {CHAINED} that OpenVINO compiles"
            )
        try:
            if chained:
                whole = content if manifest.latent else self._errors(lambda: trajectory(content, steps))
                model = _trajectory(openvino, whole, steps, {NOISE: shape, "condition": condition})
            else:
                model.reshape({"x": shape, "condition": condition, "step": []})
            # Without a hint OpenVINO computes in bf16 where a processor has it, whatever the graph says.
            settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": str(streams)}
            settings["INFERENCE_NUM_THREADS"] = str(cores())
            compiled = core.compile_model(model, "CPU", settings)
            requests = [compiled.create_infer_request() for _ in range(streams)]
        except RuntimeError as error:
            raise Unavailable(f"{file}: OpenVINO can't compile it here ({summary(error)})") from error
        return Engine(requests, self._rows, None if chained else steps)


class Engine:
    """A compiled graph of a fixed number of rows, and requests that run it side by side."""

    def __init__(self, requests: list[Any], rows: int, steps: int | None) -> None:
        self._rows = rows
        self._steps = steps
        """How often it has to run, None where it holds the whole trajectory."""
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for request in requests:
            self._idle.put(request)

    def draw(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Frames:
        """Frames uint8 [B, H, W, C] from noise [B, C, H, W] under condition [B, D]; B is at most the engine's rows."""
        count = len(x)
        x, condition = _padded(x, self._rows), _padded(condition, self._rows)
        request = self._idle.get()
        try:
            if self._steps is None:
                found = request.infer({NOISE: x, "condition": condition}, share_inputs=True)
            else:
                for step in range(self._steps):
                    feeds = {"x": x, "condition": condition, "step": np.array(step, np.int64)}
                    found = request.infer(feeds, share_inputs=True)
                    x = found["x_next"]
            frames: Frames = found["frame"][:count]
            return frames
        finally:
            self._idle.put(request)


def _padded(array: npt.NDArray[np.float32], rows: int) -> npt.NDArray[np.float32]:
    """Padded with rows of zeros up to `rows`."""
    missing = rows - len(array)
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)]) if missing else array


def _trajectory(openvino: Any, content: bytes, steps: int, shapes: dict[str, list[int]]) -> Any:
    """All steps as one graph of fixed shapes: noise and condition in, the last step's frame out."""
    model = openvino.Core().read_model(content)
    model.reshape(shapes)
    _multiply_at_once(openvino.opset13, model, steps)
    return model


def _multiply_at_once(ops: Any, model: Any, steps: int) -> None:
    """Let products that don't depend on x, those of FiLM, read their weights once for all steps.

    For single frames, reading them is most of what such a product takes.
    """
    from_x = {port.get_node().get_name() for port in model.inputs if port.any_name == NOISE}
    products: dict[str, list[Any]] = {}
    for node in model.get_ordered_ops():
        if any(value.get_node().get_name() in from_x for value in node.input_values()):
            from_x.add(node.get_name())
        elif node.get_type_name() == "MatMul" and _by_stored_weights(node):
            products.setdefault(node.get_friendly_name().partition(STEP_MARK)[0], []).append(node)
    for nodes in products.values():
        if len(nodes) == steps:  # one of every step, all by the same weights
            rows = ops.concat([node.input_value(0) for node in nodes], 0)
            transposed = nodes[0].get_attributes()["transpose_b"]
            product = ops.matmul(rows, nodes[0].input_value(1), False, transposed)
            parts = ops.split(product, ops.constant(np.array(0, np.int64)), steps)
            for number, node in enumerate(nodes):
                for reader in node.output(0).get_target_inputs():
                    reader.replace_source_output(parts.output(number))


def _by_stored_weights(product: Any) -> bool:
    """Rows [N, D] by a matrix that stands in the file, and so is the same in every step."""
    rows, weights = product.input_values()
    constant = weights.get_node().get_type_name() == "Constant"
    matrices = rows.get_partial_shape().rank == 2 and weights.get_partial_shape().rank == 2
    return bool(constant and matrices and not product.get_attributes()["transpose_a"])


def _ports(ports: Any) -> list[Port]:
    return [
        Port(p.any_name, _type(p), [d.get_length() if d.is_static else None for d in p.partial_shape]) for p in ports
    ]


def _type(port: Any) -> str:
    name = str(port.element_type.get_type_name())
    return TYPES.get(name, name)


def _steps(model: Any) -> str | None:
    """How many steps the exporter says it is made for."""
    path = ["framework", "steps"]
    return str(model.get_rt_info(path).astype(str)) if model.has_rt_info(path) else None
