"""TensorRT's Python module as far as the runtime calls it, over ONNX Runtime and a HostGpu.

So everything from the manifest to the frames can be tested where there is no GPU. That these names exist in every
supported release is tested against the API listings; here they behave as documented, errors included.

    trt = FakeTensorRT(gpu, "10.3.0")
    content = plan(onnx, BatchProfile(1, 4, 8))
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import Any

import onnxruntime

from contract.engine import BatchProfile
from tests.runtime.host_gpu import HostGpu, OrtStepEngine

MAGIC = b"fake plan\n"


TensorLocation = enum.Enum("TensorLocation", "DEVICE HOST")
TensorIOMode = enum.Enum("TensorIOMode", "INPUT OUTPUT")
DataType = enum.Enum("DataType", "FLOAT INT64 UINT8")
Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING")
Strategy = enum.Enum("Strategy", "LAZY EAGER")
Allocation = enum.Enum("Allocation", "STATIC ON_PROFILE_CHANGE USER_MANAGED")

SCRATCH = 4096
"""Bytes of context memory for each frame of a batch."""


class ILogger:
    Severity = Severity

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


KINDS = {"tensor(float)": DataType.FLOAT, "tensor(int64)": DataType.INT64, "tensor(uint8)": DataType.UINT8}


def plan(onnx: bytes, profile: BatchProfile, step_on_host: bool = False, stripped: bool = False) -> bytes:
    """What the builder would have made of a step graph."""
    about = {"profile": [profile.min, profile.opt, profile.max], "step_on_host": step_on_host, "stripped": stripped}
    return MAGIC + json.dumps(about).encode() + b"\n" + onnx


class FakeTensorRT:
    """The module `tensorrt`, or with `rtx` the module `tensorrt_rtx`."""

    ILogger, TensorLocation, TensorIOMode, DataType = ILogger, TensorLocation, TensorIOMode, DataType
    DynamicShapesKernelSpecializationStrategy = Strategy
    ExecutionContextAllocationStrategy = Allocation

    def __init__(self, gpu: HostGpu, version: str, rtx: bool = False) -> None:
        self.__version__ = version
        self.gpu, self.rtx = gpu, rtx
        self.deserialized = 0
        self.caches: list[Cache] = []
        self.scratch: list[int] = []
        """Addresses of the context memory, one a context."""

    def Runtime(self, logger: ILogger) -> Runtime:
        return Runtime(self, logger)

    def Refitter(self, engine: Engine, logger: ILogger) -> Refitter:
        return Refitter(engine)

    def OnnxParserRefitter(self, refitter: Refitter, logger: ILogger) -> Refitter:
        return refitter


class Runtime:
    def __init__(self, trt: FakeTensorRT, logger: ILogger) -> None:
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        assert self._trt.gpu.depth, "no context is current"
        self._trt.deserialized += 1
        if not content.startswith(MAGIC):
            self._logger.log(Severity.ERROR, "magicTag mismatch:\n not a plan of this version")
            return None
        for _ in range(2):
            self._logger.log(Severity.WARNING, "Using an engine plan file across\n different models of devices")
        about, _, onnx = content.removeprefix(MAGIC).partition(b"\n")
        return Engine(self._trt, self._logger, json.loads(about), onnx)


class Engine:
    def __init__(self, trt: FakeTensorRT, logger: ILogger, about: Mapping[str, Any], onnx: bytes) -> None:
        self._trt, self.logger, self.onnx = trt, logger, onnx
        self.profile = BatchProfile(*about["profile"])
        self._host, self.stripped = about["step_on_host"], about["stripped"]
        session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        inputs, outputs = session.get_inputs(), session.get_outputs()
        self._modes = {node.name: TensorIOMode.INPUT for node in inputs}
        self._modes |= {node.name: TensorIOMode.OUTPUT for node in outputs}
        self._kinds = {node.name: KINDS[node.type] for node in (*inputs, *outputs)}
        batch = self.profile.max if self.profile.min == self.profile.max else -1
        self._shapes = {
            node.name: tuple(side if isinstance(side, int) else batch for side in node.shape)
            for node in (*inputs, *outputs)
        }
        self.num_io_tensors = len(self._shapes)
        self.device_memory_size_v2 = SCRATCH * self.profile.max
        if not trt.rtx:
            return
        self.create_runtime_config = lambda: RuntimeConfig(trt)

    def get_tensor_name(self, index: int) -> str:
        return list(self._shapes)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self._modes[name]

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._kinds[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.HOST if self._host and name == "step" else TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        assert index == 0
        sizes = (self.profile.min, self.profile.opt, self.profile.max)
        return [(size, *self._shapes[name][1:]) for size in sizes]

    def create_execution_context(self, how: RuntimeConfig | Allocation = Allocation.STATIC) -> Context:
        assert self._trt.gpu.depth, "no context is current"
        config = how if isinstance(how, RuntimeConfig) else None
        assert (config is not None) == self._trt.rtx and not self.stripped
        assert (config.allocation if config else how) is Allocation.USER_MANAGED, "every context allocates for itself"
        batched = {name for name, shape in self._shapes.items() if shape and self._modes[name] is TensorIOMode.INPUT}
        return Context(self._trt, OrtStepEngine(self._trt.gpu, self.onnx, self.profile), config, batched)


class Refitter:
    """Refitter and OnnxParserRefitter in one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def refit_from_bytes(self, onnx: bytes) -> bool:
        return onnx == self._engine.onnx

    def refit_cuda_engine(self) -> bool:
        self._engine.stripped = False
        return True


class Context:
    def __init__(
        self, trt: FakeTensorRT, engine: OrtStepEngine, config: RuntimeConfig | None, batched: set[str]
    ) -> None:
        self._trt, self._engine, self._config, self._batched = trt, engine, config, batched
        self._scratch = 0
        self._rows: dict[str, int] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._rows[name] = shape[0]
        return self._engine.profile.min <= shape[0] <= self._engine.profile.max

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory and size >= SCRATCH * max(self._rows.values())
        self._scratch = memory
        self._trt.scratch.append(memory)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert self._scratch, "the context has no memory"
        assert set(self._rows) == self._batched and len(set(self._rows.values())) == 1
        if self._config is not None and self._config.cache is not None:
            self._config.cache.content += b"."  # kernels were compiled
        self._engine.step(next(iter(self._rows.values())), dict(self._addresses), stream)
        return True


class RuntimeConfig:
    def __init__(self, trt: FakeTensorRT) -> None:
        self.dynamic_shapes_kernel_specialization_strategy = Strategy.LAZY
        self.cache: Cache | None = None
        self.allocation = Allocation.STATIC
        self._trt = trt

    def set_execution_context_allocation_strategy(self, strategy: Allocation) -> None:
        self.allocation = strategy

    def create_runtime_cache(self) -> Cache:
        self._trt.caches.append(Cache())
        return self._trt.caches[-1]

    def set_runtime_cache(self, cache: Cache) -> bool:
        assert self.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
        self.cache = cache
        return True


class Cache:
    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, content: bytes) -> bool:
        if not content.startswith(b"."):
            return False
        self.content = content
        return True

    def serialize(self) -> bytes:
        return self.content
