"""TensorRT and TensorRT for RTX: the bundle's engines, chosen, loaded and run on the GPU.

    backend, file = open_engine(Path("bundle"), manifest, engine_files(manifest, "fp16"), batch=8, state=None)
    frames = backend.sample(noise, condition)          # uint8 [B, H, W, C]

A driver is looked for before any TensorRT runtime is made, since some of them crash a process without one.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from contract.bundle import Manifest, open_checked
from contract.engine import (
    AMPERE_PLUS,
    FLAVORS,
    BuiltOn,
    Engine,
    Machine,
    choose_engine,
    kept_log,
    read_engines,
    rebuild_command,
)
from contract.errors import Refused, Unavailable
from contract.files import write_whole
from contract.frames import ImageShape
from contract.gpu import Device, driver_problem, tensorrt_package
from runtime.backends.cuda import Gpu, Memory, open_gpu
from runtime.backends.cuda_loop import GpuPipeline

PROFILE = 0
"""An engine of this project has one optimization profile."""


def check_ready() -> None:
    """Unavailable where this machine runs no engine at all, with what is missing first."""
    if problem := driver_problem():
        raise Unavailable(problem)
    if not _flavors():
        raise Unavailable(
            "neither tensorrt nor tensorrt_rtx can be imported; on a Jetson tensorrt comes with JetPack (apt install "
            f"python3-libnvinfer), elsewhere run: pip install {tensorrt_package()}, or for an RTX card pip install "
            "tensorrt-rtx"
        )


def open_engine(
    folder: Path, manifest: Manifest, files: Sequence[str], batch: int | None = None, state: Path | None = None
) -> tuple[TrtBackend, str]:
    """Open the one of these engines that suits this machine and batch best; also its name.

    `state` is where TensorRT for RTX keeps its runtime cache, beside the bundle by default. Unavailable where none
    fits, with the command that builds one; Refused where the file isn't what the manifest says.
    """
    check_ready()
    flavors, gpu = _flavors(), open_gpu()
    try:
        machine = Machine(gpu.device.sm, {name: str(module.__version__) for name, module in flavors.items()})
        engine = choose_engine(read_engines(manifest, files), machine, batch, folder)
        fix = f"build it again: {rebuild_command(engine, machine, folder)}"
        content, weights = open_checked(folder, manifest, engine.file), _weights(folder, manifest, engine, fix)
        with gpu, contextlib.ExitStack() as undo:
            loaded = TrtEngine(flavors[engine.flavor], engine, content, fix)
            undo.callback(loaded.close)  # nothing of TensorRT may outlive the context
            loaded.prepare(gpu, manifest, cache_path(folder, engine, state), weights)
            pipeline = GpuPipeline(gpu, loaded, manifest.image, manifest.schema.width, manifest.sampler.steps)
            undo.pop_all()
    except BaseException:
        gpu.close()
        raise
    where = f"{gpu.device.name} {gpu.device.sm}, {engine.flavor} {machine.versions[engine.flavor]}, {gpu.binding}"
    return TrtBackend(pipeline, engine, where, _other_gpu(engine, gpu.device) + loaded.warnings), engine.file


def cache_path(folder: Path, engine: Engine, state: Path | None) -> Path | None:
    """Where TensorRT for RTX keeps the kernels that it compiles for this machine; None for TensorRT, which has none.

    Never inside the bundle: what is executed from there is hashed in its manifest.
    """
    if engine.flavor != "tensorrt_rtx":
        return None
    folder = folder.resolve()
    return state / f"{engine.file}.cache" if state else folder.with_name(f"{folder.name}.{engine.file}.cache")


class TrtBackend:
    """An engine and the GPU that it runs on, as a backend of the runtime."""

    def __init__(self, pipeline: GpuPipeline, engine: Engine, device: str, warnings: list[str]) -> None:
        self.engine, self.device, self._warnings = engine, device, warnings
        self.batch: int | None = engine.batch.opt
        self.sizes = engine.batch.sizes
        self.sample, self.sample_all = pipeline.sample, pipeline.sample_all
        self._pipeline: GpuPipeline | None = pipeline

    @property
    def seconds(self) -> float:
        """Device time of the K steps so far, copies not counted."""
        return self._pipeline.seconds if self._pipeline else 0.0

    def details(self) -> dict[str, Any]:
        """What was run on what, and how each batch size launches its steps."""
        graphs = self._pipeline.graphs() if self._pipeline else {}
        about = {"device": self.device, "engine": self.engine.file, "cuda_graphs": graphs}
        return about | ({"warnings": self._warnings} if self._warnings else {})

    def close(self) -> None:
        """Give back the GPU's memory; the backend can't be used afterwards."""
        if self._pipeline:
            self._pipeline.close()
            self._pipeline = None


class TrtEngine:
    """One deserialized engine; every TensorRT call of the runtime is here."""

    def __init__(self, trt: Any, engine: Engine, content: bytes, fix: str) -> None:
        self.profile, self.step_on_host = engine.batch, False
        self._trt, self._name, self._fix = trt, engine.file, fix
        self._config = self._cache = None
        self._cache_path: Path | None = None
        self._gpu: Gpu | None = None
        self._scratch: Memory | None = None
        self._log = kept_log(trt)
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            self.close()
            raise self._refusal("can't be loaded")

    @property
    def warnings(self) -> list[str]:
        """What TensorRT has warned of so far."""
        return list(self._log.warnings)

    def prepare(self, gpu: Gpu, manifest: Manifest, cache: Path | None, weights: bytes | None) -> None:
        """Check it against the manifest, give a stripped plan its weights, take up what was compiled before, and
        allocate what its layers work in."""
        self._image, self._width = manifest.image, manifest.schema.width
        self._check_tensors()
        self.step_on_host = bool(self._engine.get_tensor_location("step") == self._trt.TensorLocation.HOST)
        if weights is not None:
            self._refit(weights)
        if cache is not None:
            self._cache_path = cache
            self._config, self._cache = self._runtime_config(cache)
        # One block serves every batch size: their contexts run on one stream, never two at a time.
        self._gpu, self._scratch = gpu, gpu.memory(max(1, self._engine.device_memory_size_v2))

    def _refit(self, onnx: bytes) -> None:
        trt = self._trt
        refitter = trt.Refitter(self._engine, self._log)
        parser = trt.OnnxParserRefitter(refitter, self._log)
        if not parser.refit_from_bytes(onnx) or not refitter.refit_cuda_engine():
            raise self._refusal("doesn't take its weights")

    def context(self, rows: int) -> Any:
        """An execution context for batches of this size; it works in the memory that all of them share."""
        assert self._scratch is not None, "prepare() comes first"
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy if self._config is None else self._config)
        if context is None:
            raise MemoryError(self._log.last or "create_execution_context")
        shapes = _shapes(self._image, self._width, rows)
        for name in ("x", "condition"):
            if not context.set_input_shape(name, shapes[name]):
                raise self._refusal(f"takes no {name} of {list(shapes[name])}")
        context.set_device_memory(self._scratch.address, self._scratch.nbytes)
        return context

    def step(self, context: Any, addresses: Mapping[str, int], stream: int) -> None:
        """Queue one step on the stream."""
        for name, address in addresses.items():
            context.set_tensor_address(name, address)
        if not context.execute_async_v3(stream):
            raise Unavailable(f"{self._name}: TensorRT can't run a step: {self._log.last}")

    def capturable(self, context: Any, stream: int) -> bool:
        """TensorRT for RTX knows whether it is still compiling; TensorRT finds out while capturing."""
        return bool(context.is_stream_capturable(stream)) if hasattr(context, "is_stream_capturable") else True

    def close(self) -> None:
        """Keep the runtime cache and let go of the engine, before the GPU's context goes."""
        self._keep_cache()
        if self._gpu is not None and self._scratch is not None:
            self._gpu.free(self._scratch)
        self._gpu = self._scratch = None
        self._cache = self._config = self._engine = self._runtime = None

    def _refusal(self, what: str) -> Refused:
        said = f" ({self._log.last})" if self._log.last else ""
        return Refused(f"{self._name}: {what}{said}; {self._fix}")

    def _check_tensors(self) -> None:
        """Hold names, types, shapes and the profile against the manifest, before anything is allocated."""
        trt, engine = self._trt, self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found = {
            name: (engine.get_tensor_mode(name), engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name)))
            for name in names
        }
        rows = self.profile.max if self.profile.static else -1
        shapes = _shapes(self._image, self._width, rows)
        given, made = trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT
        expected = {
            "x": (given, trt.DataType.FLOAT, shapes["x"]),
            "condition": (given, trt.DataType.FLOAT, shapes["condition"]),
            "step": (given, trt.DataType.INT64, ()),
            "x_next": (made, trt.DataType.FLOAT, shapes["x"]),
            "frame": (made, trt.DataType.UINT8, shapes["frame"]),
        }
        if found != expected:
            raise self._refusal(f"tensors {_plain(found)}, expected {_plain(expected)} by the manifest")
        if rows > 0:
            return
        bounds = tuple(shape[0] for shape in engine.get_tensor_profile_shape("x", PROFILE))
        wanted = (self.profile.min, self.profile.opt, self.profile.max)
        if bounds != wanted:
            raise self._refusal(f"profile of batches {list(bounds)}, expected {list(wanted)} by the manifest")

    def _runtime_config(self, path: Path) -> tuple[Any, Any]:
        """TensorRT for RTX: kernels for the very shapes, compiled before they run, and kept for the next start."""
        if not hasattr(self._engine, "create_runtime_config"):
            return None, None
        config = self._engine.create_runtime_config()
        if hasattr(config, "set_execution_context_allocation_strategy"):
            config.set_execution_context_allocation_strategy(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if hasattr(config, "dynamic_shapes_kernel_specialization_strategy"):
            # Compiled lazily, a captured graph would hold the slow fallback kernels for good.
            eager = getattr(self._trt, "DynamicShapesKernelSpecializationStrategy").EAGER  # noqa: B009
            config.dynamic_shapes_kernel_specialization_strategy = eager
        if not hasattr(config, "create_runtime_cache") or not hasattr(config, "set_runtime_cache"):
            return config, None
        cache = config.create_runtime_cache()
        if path.is_file() and hasattr(cache, "deserialize"):
            cache.deserialize(path.read_bytes())  # one of another GPU, driver or version is not taken
        config.set_runtime_cache(cache)
        return config, cache

    def _keep_cache(self) -> None:
        """Write the runtime cache; a disk that takes none costs the next start its time, and nothing else."""
        if self._cache is None or self._cache_path is None:
            return
        content = bytes(self._cache.serialize() or b"")
        with contextlib.suppress(OSError):
            if content and not (self._cache_path.is_file() and self._cache_path.read_bytes() == content):
                self._cache_path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._cache_path, content)


def _other_gpu(engine: Engine, device: Device) -> list[str]:
    """A warning where the engine's kernels were chosen on another GPU of the same compute capability."""
    here = BuiltOn(device.name, device.multiprocessors)
    chosen_there = engine.flavor == "tensorrt" and engine.target != (AMPERE_PLUS,)
    if not chosen_there or engine.built_on in (None, here):
        return []
    return [f"built on {engine.built_on}, runs on {here}: build it here for the best speed"]


def _weights(folder: Path, manifest: Manifest, engine: Engine, fix: str) -> bytes | None:
    """The step graph of a stripped plan: the very one that it was built from."""
    if not engine.stripped or engine.graph is None:
        return None
    content = open_checked(folder, manifest, engine.graph)
    if manifest.files[engine.graph].sha256 != engine.graph_sha256:
        raise Refused(f"{engine.file}: built from another {engine.graph} than the bundle has now; {fix}")
    return content


def _flavors() -> dict[str, ModuleType]:
    """The TensorRT packages that can be imported here."""
    found = {}
    for name in FLAVORS:
        with contextlib.suppress(ImportError, OSError):
            found[name] = importlib.import_module(name)
    return found


def _shapes(image: ImageShape, width: int, rows: int) -> dict[str, tuple[int, ...]]:
    channels, height, columns = image
    x = (rows, channels, height, columns)
    return {"x": x, "condition": (rows, width), "frame": (rows, height, columns, channels)}


def _plain(tensors: Mapping[str, tuple[Any, Any, tuple[int, ...]]]) -> dict[str, str]:
    """Tensors for a message: `{"x": "FLOAT [-1, 3, 64, 64]"}`."""
    return {name: f"{dtype.name} {list(shape)}" for name, (_, dtype, shape) in tensors.items()}
