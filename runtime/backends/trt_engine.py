"""One TensorRT engine on the GPU: loaded, held against the manifest, run. Every TensorRT call of the runtime is here.

engine = TrtEngine(trt, described, content, fix)
engine.prepare(gpu, step_tensors(manifest), cache=None, weights=None)
engine.step(engine.context(rows=8), addresses, stream)
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from contract.annotation import annotation_sides
from contract.bundle import ANNOTATORS, Manifest
from contract.engine import Engine, kept_log
from contract.errors import Refused, Unavailable
from contract.files import write_whole
from runtime.backends.cuda import Gpu, Memory

PROFILE = 0
"""An engine of this project has one optimization profile."""

INPUT, OUTPUT = "INPUT", "OUTPUT"
"""Names in TensorIOMode."""


class Tensor(NamedTuple):
    """An input or output that an engine has to have."""

    mode: str
    dtype: str
    """Name in DataType."""

    sides: tuple[int, ...] | None
    """Without the batch axis; None for a scalar."""

    def shape(self, rows: int) -> tuple[int, ...]:
        return () if self.sides is None else (rows, *self.sides)


def step_tensors(manifest: Manifest) -> dict[str, Tensor]:
    """Those of the step graph."""
    image, x = manifest.image, tuple(manifest.image)
    return {
        "x": Tensor(INPUT, "FLOAT", x),
        "condition": Tensor(INPUT, "FLOAT", (manifest.schema.width,)),
        "step": Tensor(INPUT, "INT64", None),
        "x_next": Tensor(OUTPUT, "FLOAT", x),
        "frame": Tensor(OUTPUT, "UINT8", (image.height, image.width, image.channels)),
    }


def annotator_tensors(manifest: Manifest) -> dict[str, Tensor]:
    """Those of the annotator, whose graph's entry in the manifest has been checked."""
    image, extra = manifest.image, manifest.files[ANNOTATORS["fp32"]].extra
    sides = annotation_sides(manifest.schema, len(extra["landmarks"]), extra["features"])
    frames = {"frames": Tensor(INPUT, "UINT8", (image.height, image.width, image.channels))}
    return frames | {name: Tensor(OUTPUT, "FLOAT", tuple(shape)) for name, shape in sides.items()}


class TrtEngine:
    """One deserialized engine, of the step graph or of the annotator."""

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

    def prepare(self, gpu: Gpu, tensors: Mapping[str, Tensor], cache: Path | None, weights: bytes | None) -> None:
        """Check it against what the manifest promises, give a stripped plan its weights, take up what was compiled
        before, and allocate what its layers work in."""
        self._tensors = tensors
        self._check_tensors()
        if "step" in tensors:
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
        for name in self._batched_inputs():
            shape = self._tensors[name].shape(rows)
            if not context.set_input_shape(name, shape):
                raise self._refusal(f"takes no {name} of {list(shape)}")
        context.set_device_memory(self._scratch.address, self._scratch.nbytes)
        return context

    def step(self, context: Any, addresses: Mapping[str, int], stream: int) -> None:
        """Queue one run on the stream: a step, or a reading."""
        for name, address in addresses.items():
            context.set_tensor_address(name, address)
        if not context.execute_async_v3(stream):
            raise Unavailable(f"{self._name}: TensorRT can't run it: {self._log.last}")

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

    @property
    def outputs(self) -> Mapping[str, tuple[int, ...]]:
        """Sides of what it makes, without the batch axis."""
        return {name: tensor.sides or () for name, tensor in self._tensors.items() if tensor.mode == OUTPUT}

    def _batched_inputs(self) -> list[str]:
        return [name for name, tensor in self._tensors.items() if tensor.mode == INPUT and tensor.sides is not None]

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
        expected = {
            name: (getattr(trt.TensorIOMode, tensor.mode), getattr(trt.DataType, tensor.dtype), tensor.shape(rows))
            for name, tensor in self._tensors.items()
        }
        if found != expected:
            raise self._refusal(f"tensors {_plain(found)}, expected {_plain(expected)} by the manifest")
        if rows > 0:
            return
        bounds = tuple(shape[0] for shape in engine.get_tensor_profile_shape(self._batched_inputs()[0], PROFILE))
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


def _plain(tensors: Mapping[str, tuple[Any, Any, tuple[int, ...]]]) -> dict[str, str]:
    """Tensors for a message: `{"x": "FLOAT [-1, 3, 64, 64]"}`."""
    return {name: f"{dtype.name} {list(shape)}" for name, (_, dtype, shape) in tensors.items()}
