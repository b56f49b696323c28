"""OpenVINO on the CPU: the whole trajectory compiled as one graph, a stream for each core.

    backend = open_openvino(Path("bundle"), manifest, "step.int8.onnx", batch=16)

OpenVINO computes modulation and residual sum in the convolution before, which ONNX Runtime doesn't. The K steps are
set behind each other before they are compiled: x never leaves the engine, and what only a frame needs is computed for
the last step alone. Each core draws its share of a batch, of a fixed size; short shares are filled up.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.bundle import MEND, Manifest, open_checked
from contract.errors import Unavailable
from runtime.shares import Frames, Job, Shares, cores
from runtime.step_graph import Batches, Guard, Port, check_step_graph

CHAINED = 8
"""The most steps that are compiled as one: every one of them takes its time and memory to compile."""

CONVERTER = "openvino.tools.ovc"

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
    try:
        with _without_converter():
            import openvino
    except ImportError:
        raise Unavailable(MISSING) from None
    return openvino


@contextmanager
def _without_converter() -> Iterator[None]:
    if CONVERTER in sys.modules:
        yield
        return
    sys.modules[CONVERTER] = None  # type: ignore[assignment]  # an import of it fails, which openvino expects
    try:
        yield
    finally:
        del sys.modules[CONVERTER]


def open_openvino(folder: Path, manifest: Manifest, file: str, batch: int) -> OpenVinoBackend:
    """Open a step graph for batches of about that size; Unavailable without openvino, Refused where the file isn't
    what it should be."""
    return OpenVinoBackend(import_openvino(), folder, manifest, file, batch)


class OpenVinoBackend:
    """One engine for shares of a batch, and one for single frames, which every core works on; each opens when it
    is first needed."""

    def __init__(self, openvino: Any, folder: Path, manifest: Manifest, file: str, batch: int) -> None:
        self.batch: int | None = None
        self.sizes: tuple[int, ...] = ()
        self.device = f"cpu, openvino {openvino.__version__.partition('-')[0]}"
        self._openvino, self._opened, self._manifest = openvino, (folder, manifest, file), manifest
        self._guarded = Guard(str(folder / file), MEND.format(folder=folder), "OpenVINO")
        self._shares = Shares(cores())
        self._rows = -(-batch // self._shares.workers)
        self._engines: dict[bool, Engine] = {}
        self._engine(batch == 1)

    @property
    def seconds(self) -> float:
        """Time spent inside the engine so far."""
        return self._shares.seconds

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Frames:
        """Run all K steps from noise [B, C, H, W] under condition [B, D]; frames uint8 [B, H, W, C]."""
        return next(self.sample_all([(x, condition)]))

    def sample_all(self, batches: Batches) -> Iterator[Frames]:
        """The frames of each batch in order; the next one is under way while a batch is taken care of."""
        return self._shares.drawn(self._jobs(x, condition) for x, condition in batches)

    def details(self) -> dict[str, Any]:
        """What it runs on."""
        return {"device": self.device}

    def close(self) -> None:
        """Free the engines and their memory."""
        self._shares.close()
        self._engines.clear()

    def _jobs(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> list[Job]:
        engine, size = self._engine(len(x) == 1), 1 if len(x) == 1 else self._rows
        cuts = (slice(first, first + size) for first in range(0, len(x), size))
        return [partial(self._draw, engine, x[cut], condition[cut]) for cut in cuts]

    def _draw(self, engine: Engine, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Frames:
        return self._guarded(lambda: engine.draw(x, condition))

    def _engine(self, single: bool) -> Engine:
        if single not in self._engines:
            rows, streams = (1, 1) if single else (self._rows, self._shares.workers)
            self._engines[single] = self._guarded(lambda: self._compile(rows, streams))
        return self._engines[single]

    def _compile(self, rows: int, streams: int) -> Engine:
        core, manifest = self._openvino.Core(), self._manifest
        model = core.read_model(open_checked(*self._opened))
        check_step_graph(self._guarded, _ports(model.inputs), _ports(model.outputs), _steps(model), manifest)
        steps, chained = manifest.sampler.steps, manifest.sampler.steps <= CHAINED
        model.reshape({"x": [rows, *manifest.image], "condition": [rows, manifest.schema.width], "step": []})
        if chained:
            model = _trajectory(self._openvino, model, steps)
        # Without a hint OpenVINO computes in bf16 where a processor has it, whatever the graph says.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": str(streams)}
        compiled = core.compile_model(model, "CPU", settings)
        return Engine([compiled.create_infer_request() for _ in range(streams)], rows, None if chained else steps)


class Engine:
    """A compiled graph of a fixed number of rows, and requests that run it side by side."""

    def __init__(self, requests: list[Any], rows: int, steps: int | None) -> None:
        self._rows = rows
        self._steps = steps
        """How often it has to be run, None where it holds the whole trajectory."""
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for request in requests:
            self._idle.put(request)

    def draw(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Frames:
        """Frames of at most so many rows."""
        count = len(x)
        x, condition = _filled(x, self._rows), _filled(condition, self._rows)
        request = self._idle.get()
        try:
            if self._steps is None:
                found = request.infer({"x": x, "condition": condition}, share_inputs=True)
            else:
                for step in range(self._steps):
                    feeds = {"x": x, "condition": condition, "step": np.array(step, np.int64)}
                    found = request.infer(feeds, share_inputs=True)
                    x = found["x_next"].copy()
            return np.array(found["frame"][:count])
        finally:
            self._idle.put(request)


def _filled(array: npt.NDArray[np.float32], rows: int) -> npt.NDArray[np.float32]:
    """With rows of zeros behind its own, as many as are asked for."""
    missing = rows - len(array)
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)]) if missing else array


def _trajectory(openvino: Any, step: Any, steps: int) -> Any:
    """All steps behind each other: x and condition in, the last step's frame out."""
    by_name = {port.any_name: port for port in step.inputs}
    x, condition = (by_name[name].get_node() for name in ("x", "condition"))
    current = x.output(0)
    for number in range(steps):
        clone = step.clone()
        sources = {
            "x": current,
            "condition": condition.output(0),
            "step": openvino.opset13.constant(np.array(number, np.int64)).output(0),
        }
        for port in clone.inputs:
            for reader in port.get_target_inputs():
                reader.replace_source_output(sources[port.any_name])
        made = {port.any_name: port.get_node().input_value(0) for port in clone.outputs}
        current = made["x_next"]
    frame = openvino.opset13.result(made["frame"])
    frame.get_output_tensor(0).set_names({"frame"})
    trajectory = openvino.Model([frame], [x, condition], "trajectory")
    _multiply_at_once(openvino.opset13, trajectory, x, steps)
    return trajectory


def _multiply_at_once(ops: Any, trajectory: Any, x: Any, steps: int) -> None:
    """Let products that don't depend on x, those of FiLM, read their weights once for all steps.

    For single frames, reading them is most of what such a product takes.
    """
    from_x, from_input = {x.get_name()}, {parameter.get_node().get_name() for parameter in trajectory.inputs}
    products: dict[str, list[Any]] = {}
    for node in trajectory.get_ordered_ops():
        sources = {value.get_node().get_name() for value in node.input_values()}
        for known in (from_x, from_input):
            if sources & known:
                known.add(node.get_name())
        if node.get_type_name() == "MatMul" and node.get_name() not in from_x:
            rows, weights = node.input_values()
            plain = rows.get_partial_shape().rank == 2 and not node.get_attributes()["transpose_a"]
            if plain and weights.get_node().get_name() not in from_input:
                products.setdefault(node.get_friendly_name(), []).append(node)
    for nodes in products.values():
        if len(nodes) == steps:  # one of every step, all by the same weights
            rows, transposed = ops.concat([node.input_value(0) for node in nodes], 0), nodes[0].get_attributes()
            product = ops.matmul(rows, nodes[0].input_value(1), False, transposed["transpose_b"])
            parts = ops.split(product, ops.constant(np.array(0, np.int64)), steps)
            for number, node in enumerate(nodes):
                for reader in node.output(0).get_target_inputs():
                    reader.replace_source_output(parts.output(number))


def _ports(ports: Any) -> list[Port]:
    return [Port(p.any_name, TYPES.get(p.element_type.get_type_name(), str(p.element_type)), _sides(p)) for p in ports]


def _sides(port: Any) -> list[int | str | None]:
    """The first side by a name where it is open, as ONNX names it."""
    sides: list[int | str | None] = [d.get_length() if d.is_static else None for d in port.partial_shape]
    return ["batch", *sides[1:]] if sides and sides[0] is None else sides


def _steps(model: Any) -> str | None:
    """How many steps the exporter says it is made for."""
    path = ["framework", "steps"]
    return str(model.get_rt_info(path).astype(str)) if model.has_rt_info(path) else None
