"""TensorRT and TensorRT for RTX: the bundle's engines, chosen, loaded and run on the GPU.

    backend, file = open_engine(Path("bundle"), manifest, engine_files(manifest, "fp16"), batch=8, state=None)
    frames = backend.sample(noise, condition)          # uint8 [B, H, W, C]

A driver is looked for before any TensorRT runtime is made, since some of them crash a process without one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.annotation import Annotation
from contract.bundle import Manifest, open_checked
from contract.engine import (
    AMPERE_PLUS,
    FLAVORS,
    BuiltOn,
    Engine,
    Machine,
    annotator_engine,
    choose_engine,
    read_engines,
    rebuild_command,
)
from contract.errors import Refused, Unavailable
from contract.gpu import Device, driver_problem, tensorrt_package
from runtime.backends.cuda import Gpu, open_gpu
from runtime.backends.cuda_loop import Batches, GpuPipeline
from runtime.backends.trt_engine import TrtEngine, annotator_tensors, step_tensors


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
            loaded.prepare(gpu, step_tensors(manifest), cache_path(folder, engine, state), weights)
            pipeline = GpuPipeline(gpu, loaded, manifest.image, manifest.schema.width, manifest.sampler.steps)
            undo.pop_all()
    except BaseException:
        gpu.close()
        raise
    reader = functools.partial(_open_reader, flavors[engine.flavor], gpu, folder, manifest, engine, machine, state)
    where = f"{gpu.device.name} {gpu.device.sm}, {engine.flavor} {machine.versions[engine.flavor]}, {gpu.binding}"
    return TrtBackend(pipeline, engine, where, _other_gpu(engine, gpu.device) + loaded.warnings, reader), engine.file


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

    def __init__(
        self,
        pipeline: GpuPipeline,
        engine: Engine,
        device: str,
        warnings: list[str],
        open_reader: Callable[[str], TrtEngine],
    ) -> None:
        self.engine, self.device, self._warnings, self._open_reader = engine, device, warnings, open_reader
        self.batch: int | None = engine.batch.opt
        self.sizes = engine.batch.sizes
        self.sample, self.sample_all = pipeline.sample, pipeline.sample_all
        self._pipeline: GpuPipeline | None = pipeline

    def open_annotator(self, precision: str) -> None:
        """Open the bundle's engine of the annotator; Unavailable where there is none for this machine and profile."""
        assert self._pipeline is not None
        self._pipeline.attach(self._open_reader(precision))

    def annotate_all(self, batches: Batches) -> Iterator[tuple[npt.NDArray[np.uint8], Annotation]]:
        """The frames of each batch, and what the annotator read from them on the GPU."""
        assert self._pipeline is not None
        with contextlib.closing(self._pipeline.read_all(batches)) as finished:
            for results in finished:
                yield results["frame"], Annotation(*(results[name] for name in Annotation._fields))

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


def _open_reader(
    trt: ModuleType,
    gpu: Gpu,
    folder: Path,
    manifest: Manifest,
    engine: Engine,
    machine: Machine,
    state: Path | None,
    precision: str,
) -> TrtEngine:
    """The engine of the annotator that goes with the engine of the step graph."""
    found = annotator_engine(manifest, precision, engine, machine)
    if found is None:
        raise Unavailable(f"no engine of the {precision} annotator for this machine and batches of {engine.batch}")
    fix = f"build it again: {rebuild_command(engine, machine, folder)} --annotator"
    content, weights = open_checked(folder, manifest, found.file), _weights(folder, manifest, found, fix)
    with gpu, contextlib.ExitStack() as undo:
        loaded = TrtEngine(trt, found, content, fix)
        undo.callback(loaded.close)
        loaded.prepare(gpu, annotator_tensors(manifest), cache_path(folder, found, state), weights)
        undo.pop_all()
    return loaded


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
