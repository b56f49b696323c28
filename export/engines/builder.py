"""One engine, built by TensorRT: every call of its builder and parser is here.

    built = build(spec, content, image, width, kept, timing_cache, phase)      # the plan, and what to say of it

It runs in a process of its own (export/engines/worker.py), since a builder can't be interrupted and may crash.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from contract.errors import Refused, Unavailable
from contract.frames import ImageShape
from export.engines.flavors import Flavor, gpu_target
from export.engines.inspect import check_network, inspect_engine
from export.engines.spec import AMPERE_PLUS, EngineSpec

Phase = Callable[[str], object]
"""Told the name of each phase of a build."""


@dataclass
class Built:
    """A serialized engine."""

    plan: bytes
    notes: dict[str, Any] = field(default_factory=dict)
    """`inspected`, and `dla_fallback` where a DLA was asked for."""

    timing_cache: bytes | None = None


def build(
    spec: EngineSpec,
    graph: bytes,
    image: ImageShape,
    width: int,
    kept: Collection[str],
    timing_cache: bytes,
    phase: Phase,
) -> Built:
    """Parse, check, build, inspect.

    Refused where the parser or the builder refuses, with the node's name and the reason; ParityError where a
    convolution isn't in the precision asked for; Unavailable where this machine lacks what was asked.
    """
    trt = importlib.import_module(spec.flavor)
    log = _kept_log(trt)
    builder = trt.Builder(log)
    # The precision is in the graph: since 11.0 there is no other way, before that it has to be asked for.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    phase("parse")
    parser = _parse(trt, network, log, graph, spec.graph)  # it owns the weights until the engine is built
    names = check_network(trt, network, spec.precision, kept)
    config = builder.create_builder_config()
    notes = _configure(trt, builder, network, config, spec)
    _add_profile(builder, network, config, spec, image, width)
    _aim(trt, config, spec)
    cache = _use_timing_cache(config, timing_cache) if Flavor(spec.flavor, spec.version).times_tactics else None
    config.progress_monitor = _monitor(trt, phase)
    phase("build")
    plan = builder.build_serialized_network(network, config)
    del parser
    if plan is None:
        raise Refused(f"{spec.name}: TensorRT built nothing: {log.last or 'and gives no reason'}")
    notes |= _inspect(trt, log, plan, names, spec)
    return Built(bytes(plan), notes, bytes(cache.serialize()) if cache is not None else None)


def _parse(trt: Any, network: Any, log: Any, graph: bytes, name: str) -> Any:
    parser = trt.OnnxParser(network, log)
    if parser.parse(graph):
        return parser
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = [f"node {error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors[:1]]
    raise Refused(f"{name}: TensorRT's parser refuses {(told or [log.last])[0][:600]}; nothing was written")


def _configure(trt: Any, builder: Any, network: Any, config: Any, spec: EngineSpec) -> dict[str, Any]:
    options = spec.options
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace << 20)
    if options.strip_weights:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)  # the same weights come back, so that nothing is lost by it
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        # Else the plan carries a runtime, that is code, which the runtime would have to be allowed to run.
        config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
    return {} if options.dla is None else _use_dla(trt, builder, network, config, options.dla)


def _use_dla(trt: Any, builder: Any, network: Any, config: Any, core: int) -> dict[str, Any]:
    """Place layers on a DLA core; which of them run on the GPU instead is told, since TensorRT says nothing of it."""
    if core >= builder.num_DLA_cores:
        raise Unavailable(f"--dla {core}: this machine has {builder.num_DLA_cores} DLA cores; leave --dla out")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return {"dla_fallback": [layer.name for layer in layers if not config.can_run_on_DLA(layer)]}


def _add_profile(builder: Any, network: Any, config: Any, spec: EngineSpec, image: ImageShape, width: int) -> None:
    """Batch sizes of the inputs; a fixed one makes every shape of the network static."""
    shapes = {"x": tuple(image), "condition": (width,)}
    if spec.batch.static:
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            if tensor.name in shapes:
                tensor.shape = (spec.batch.opt, *shapes[tensor.name])
        return
    profile = builder.create_optimization_profile()
    for name, sides in shapes.items():
        profile.set_shape(name, *((size, *sides) for size in (spec.batch.min, spec.batch.opt, spec.batch.max)))
    config.add_optimization_profile(profile)


def _aim(trt: Any, config: Any, spec: EngineSpec) -> None:
    """What to build for, beside the GPU that is here."""
    if spec.targets == (AMPERE_PLUS,):
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    several = hasattr(config, "num_compute_capabilities") and hasattr(config, "set_compute_capability")
    if several and hasattr(trt, "ComputeCapability"):
        config.num_compute_capabilities = len(spec.targets)
        for index, target in enumerate(spec.targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)


def _use_timing_cache(config: Any, content: bytes) -> Any:
    """The cache in use: what was kept, or a new one where that is of another TensorRT or GPU."""
    for kept in (content, b""):
        cache = config.create_timing_cache(kept)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _inspect(trt: Any, log: Any, plan: Any, names: list[str], spec: EngineSpec) -> dict[str, Any]:
    """What the engine inspector says, where a driver allows to load the engine; some runtimes crash without one."""
    here = gpu_target()
    if here is None:
        return {"inspected": False, "reason": "no NVIDIA driver here"}
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        if here in spec.targets:
            raise Refused(f"{spec.name}: was built, but can't be loaded: {log.last}; nothing was written")
        return {"inspected": False, "reason": f"built for {'+'.join(spec.targets)}, this GPU is {here}"}
    inspector = engine.create_engine_inspector()
    information = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return inspect_engine(information, names, spec.precision)


def _kept_log(trt: Any) -> Any:
    """A logger that prints nothing and remembers the last error."""

    class KeptLog(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.last = message.strip()[:600]

    return KeptLog()


def _monitor(trt: Any, phase: Phase) -> Any:
    """A monitor that tells the outermost phases; TensorRT's own steps are no measure of time."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phase(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:
            return True

    return Monitor()
