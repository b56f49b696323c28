"""What an inference engine has to offer, the table of those there are, and which one runs.

    backend, choice = open_backend(Path("bundle"), manifest, Request("auto", "auto"))
    frames = backend.sample(noise, condition)

A backend that is named and isn't there is an error; only `auto` goes on to the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from contract import engine
from contract.annotation import Annotation
from contract.bundle import Manifest
from contract.errors import Unavailable
from runtime.backends import onnx_interface, ort_cpu, ort_cuda, ov, trt

AUTO = "auto"


class Backend(Protocol):
    """One opened step graph or engine, and the loop over its K steps."""

    device: str
    """What it runs on, with versions: a result that was measured on another device says nothing of this one."""

    batch: int | None
    """Frames a call that it is made for, None where any number will do."""

    sizes: tuple[int, ...]
    """Batch sizes that a verification has to cover, empty where any one will do."""

    @property
    def seconds(self) -> float:
        """Time spent inside the engine so far; on a GPU its device time where the engine reports it."""

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Run all K steps from noise [B, C, H, W] under condition [B, D]; frames uint8 [B, H, W, C]."""

    def sample_all(
        self, batches: Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
    ) -> Iterator[npt.NDArray[np.uint8]]:
        """The frames of each batch in order; the next batch may be taken before the last one is done."""

    def details(self) -> dict[str, Any]:
        """Device and other figures, for `--json`."""

    def close(self) -> None:
        """Free what the engine holds; the backend can't be used afterwards."""


@runtime_checkable
class AnnotatingBackend(Protocol):
    """A backend that can also run the annotator on frames that are still on its device."""

    def open_annotator(self, precision: str) -> None:
        """Open the bundle's annotator of that precision there; Unavailable where it can't be had."""

    def annotate_all(
        self, batches: Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
    ) -> Iterator[tuple[npt.NDArray[np.uint8], Annotation]]:
        """The frames of each batch in order, as `sample_all` gives them, and what they show."""


@dataclass(frozen=True)
class Request:
    """What the user requested."""

    backend: str = AUTO
    precision: str = AUTO
    batch: int | None = None
    state: Path | None = None
    """Folder for what is kept between runs, where the bundle is on a read-only disk."""

    file: str | None = None
    """This very file of the bundle, whatever its precision."""


@dataclass(frozen=True)
class BackendSpec:
    """One row of the table of backends."""

    check: Callable[[], None]
    """Unavailable where this machine has no such backend, whatever the bundle holds."""

    find: Callable[[Manifest, str], list[str]]
    """Names of the bundle's files of a precision that this backend runs."""

    open: Callable[[Path, Manifest, Sequence[str], Request], tuple[Backend, str]]
    """Open the best of those files for this machine, and say which; Unavailable where it can't run any."""

    precisions: tuple[str, ...]
    """What `auto` takes, the first that the bundle has."""

    batch: int
    """Frames a call by default, for frames of up to 128 x 128."""

    missing: str
    """What to run where the bundle has no file for it."""

    on_gpu: bool = False
    """Whether the CPU's cores are free for other work, such as drawing noise, while the engine runs."""

    proven: bool = False
    """Whether the exporter compared the files with torch by this very engine, or says in the manifest that it
    couldn't."""


def _open_trt(folder: Path, manifest: Manifest, files: Sequence[str], request: Request) -> tuple[Backend, str]:
    return trt.open_engine(folder, manifest, files, request.batch, request.state)


def _open_cuda(folder: Path, manifest: Manifest, files: Sequence[str], request: Request) -> tuple[Backend, str]:
    return ort_cuda.open_cuda(folder, manifest, files[0]), files[0]


def _open_openvino(folder: Path, manifest: Manifest, files: Sequence[str], request: Request) -> tuple[Backend, str]:
    batch = request.batch or default_batch("openvino", manifest.image.height, manifest.image.width)
    return ov.open_openvino(folder, manifest, files[0], batch), files[0]


def _open_cpu(folder: Path, manifest: Manifest, files: Sequence[str], request: Request) -> tuple[Backend, str]:
    return ort_cpu.open_cpu(folder, manifest, files[0]), files[0]


EXPORT, EXPORT_TRT = "python -m export CHECKPOINT.pt", "python -m export.trt BUNDLE"

ON_CPU = ("fp32", "int8", "fp16")
"""fp16 is emulated on a CPU, and int8 is for those who ask for it."""

BACKENDS = {
    "trt": BackendSpec(
        trt.check_ready, engine.engine_files, _open_trt, ("fp16", "fp32"), 32, EXPORT_TRT, on_gpu=True, proven=True
    ),
    "cuda": BackendSpec(
        ort_cuda.check_cuda, onnx_interface.find, _open_cuda, ("fp16", "fp32"), 32, EXPORT, on_gpu=True
    ),
    "openvino": BackendSpec(ov.check_openvino, onnx_interface.find, _open_openvino, ON_CPU, 16, EXPORT),
    "cpu": BackendSpec(ort_cpu.check_cpu, onnx_interface.find, _open_cpu, ON_CPU, 8, EXPORT, proven=True),
}
"""Every backend, in the order in which `auto` tries them."""


@dataclass(frozen=True)
class Choice:
    """Which backend, precision and file were chosen, and why."""

    backend: str
    precision: str
    file: str
    reason: str


def open_backend(folder: Path, manifest: Manifest, request: Request) -> tuple[Backend, Choice]:
    """Open the backend of that name, or with `auto` the first that works here.

    Raises Unavailable with the reason and a fix, for `auto` with the reason of every backend.
    """
    if request.backend not in (AUTO, *BACKENDS):
        raise Unavailable(f"backend {request.backend}: expected one of {', '.join((AUTO, *BACKENDS))}")
    reasons: dict[str, list[str]] = {}
    for name in BACKENDS if request.backend == AUTO else (request.backend,):
        try:
            BACKENDS[name].check()
            opened, file = BACKENDS[name].open(folder, manifest, _files(manifest, name, request), request)
            return opened, Choice(name, str(manifest.files[file].precision), file, _joined(reasons))
        except Unavailable as error:
            reasons.setdefault(str(error), []).append(name)
    raise Unavailable(_joined(reasons))


def default_batch(backend: str, height: int, width: int) -> int:
    """Frames a call: the backend's own number up to 128 x 128, and fewer as frames grow, so that memory holds."""
    return max(1, min(BACKENDS[backend].batch, BACKENDS[backend].batch * 128 * 128 // (height * width)))


def _joined(reasons: dict[str, list[str]]) -> str:
    """`trt, cuda: no NVIDIA driver here`"""
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())


def _files(manifest: Manifest, backend: str, request: Request) -> list[str]:
    """The bundle's files that the backend may take: the first precision first, or the very file requested."""
    spec, precision = BACKENDS[backend], request.precision
    if request.file is not None:
        entry = manifest.files.get(request.file)
        if entry is None or request.file not in spec.find(manifest, str(entry.precision)):
            raise Unavailable(f"{request.file}: no file of the bundle that the backend {backend} runs")
        return [request.file]
    wanted = spec.precisions if precision == AUTO else (precision,)
    if files := [file for name in wanted for file in spec.find(manifest, name)]:
        return files
    there = {str(entry.precision) for entry in manifest.files.values() if entry.precision}
    there = {name for name in there if spec.find(manifest, name)}
    only = f"only {', '.join(sorted(there))}" if there else "none at all"
    kind = "engine" if backend == "trt" else "step graph"
    raise Unavailable(
        f"the bundle has no {'' if precision == AUTO else precision + ' '}{kind} for it, {only}; "
        f"make one: {spec.missing} --precision {wanted[0]}"
    )
