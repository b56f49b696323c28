"""One engine, built by TensorRT: every call of its builder and parser is here.

    built = build(spec, content, image, width, kept, timing_cache, phase)      # the plan, and what to say of it

It runs in a process of its own (export/engines/worker.py), since a builder can't be interrupted and may crash.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from contract.engine import AMPERE_PLUS, kept_log
from contract.errors import Refused
from contract.frames import ImageShape
from contract.gpu import gpu_target
from export.engines.flavors import Flavor
from export.engines.inspect import check_network, inspect_engine
from export.engines.spec import EngineSpec, built_on

Phase = Callable[[str], object]
"""Takes the name of each phase of a build."""


@dataclass
class Built:
    """A serialized engine."""

    plan: bytes
    notes: dict[str, Any] = field(default_factory=dict)
    """`inspected`, and what the inspector found; `built_on`, where there is a GPU; TensorRT's `warnings`."""

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
    convolution isn't in the requested precision.
    """
    trt = importlib.import_module(spec.flavor)
    log = kept_log(trt)
    builder = trt.Builder(log)
    # The precision is in the graph: since 11.0 there is no other way, before that it has to be requested.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    phase("parse")
    parser = _parse(trt, network, log, graph, spec.graph)  # it owns the weights until the engine is built
    # The annotator's only engine is in fp32, of which there is nothing to check.
    names = check_network(trt, network, spec.precision, kept) if spec.role == "step" else []
    config = builder.create_builder_config()
    _configure(trt, config, spec)
    _add_profile(builder, network, config, spec, image, width)
    _aim(trt, config, spec)
    cache = _use_timing_cache(config, timing_cache) if Flavor(spec.flavor, spec.version).times_tactics else None
    config.progress_monitor = _monitor(trt, phase)
    phase("build")
    plan = builder.build_serialized_network(network, config)
    del parser
    if plan is None:
        raise Refused(f"{spec.name}: TensorRT built nothing: {log.last or 'and gives no reason'}")
    notes = _inspect(trt, log, plan, names, spec) | built_on() | ({"warnings": log.warnings} if log.warnings else {})
    return Built(bytes(plan), notes, bytes(cache.serialize()) if cache is not None else None)


def _parse(trt: Any, network: Any, log: Any, graph: bytes, name: str) -> Any:
    parser = trt.OnnxParser(network, log)
    if parser.parse(graph):
        return parser
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    reasons = [f"node {error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors[:1]]
    raise Refused(f"{name}: TensorRT's parser refuses {(reasons or [log.last])[0][:600]}; nothing was written")


def _configure(trt: Any, config: Any, spec: EngineSpec) -> None:
    settings = spec.settings
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if settings.level is not None:
        config.builder_optimization_level = settings.level
    if settings.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace << 20)
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # TensorRT for RTX: what CUDA graphs need
    if spec.strip_weights:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)  # the same weights come back, so that nothing is lost by it


def _add_profile(builder: Any, network: Any, config: Any, spec: EngineSpec, image: ImageShape, width: int) -> None:
    """Batch sizes of the inputs; a fixed one makes every shape of the network static."""
    of_a_step = {"x": tuple(image), "condition": (width,)}
    shapes = of_a_step if spec.role == "step" else {"frames": (image.height, image.width, image.channels)}
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


def _monitor(trt: Any, phase: Phase) -> Any:
    """A monitor that reports phases; TensorRT's own steps are no measure of time."""

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
