"""The step graph in ONNX Runtime: what its CPU and its CUDA provider share.

    backend = OnnxBackend(onnxruntime, Path("bundle"), manifest, "step.fp32.onnx", CPU, "cpu")
    frames = backend.sample(noise, condition)          # uint8 [B, H, W, C]

onnxruntime is imported when a backend is opened, since it may not be there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from contract.bundle import MEND, Manifest, open_checked
from contract.errors import Refused, Unavailable

FATAL = 4
"""ONNX Runtime's log level: its errors come as exceptions, and a second copy on stderr helps nobody."""

Batches = Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]

Shapes = Mapping[str, tuple[str, list[int] | None]]
"""Name of an input or output -> its type, and its sides behind the batch; None for a scalar."""

T = TypeVar("T")

CPU = "CPUExecutionProvider"


def find(manifest: Manifest, precision: str) -> list[str]:
    """Names of the bundle's step graphs of that precision for ONNX Runtime; those for TensorRT aren't."""
    found = []
    for name, entry in manifest.files.items():
        own = name.startswith("step.") and name.endswith(".onnx") and entry.extra.get("for") in (None, "onnxruntime")
        if own and entry.precision == precision:
            found.append(name)
    return found


class OnnxBackend:
    """One session; x, x_next and the condition stay on the device through all K steps."""

    def __init__(self, ort: Any, folder: Path, manifest: Manifest, file: str, provider: str, device: str) -> None:
        self.seconds = 0.0
        self.batch: int | None = None
        self.sizes: tuple[int, ...] = ()
        self.device = f"{device}, onnxruntime {ort.__version__}"
        self._ort, self._where, self._name = ort, device, str(folder / file)
        self._image, self._steps, self._condition_width = manifest.image, manifest.sampler.steps, manifest.schema.width
        self._mend, self._run_options = MEND.format(folder=folder), None
        self._guarded = Guard(self._name, self._mend)
        content = open_checked(folder, manifest, file)
        self._session = self._guarded(lambda: self._open(content, provider))
        if self._session.get_providers()[0] != provider:
            raise Unavailable(f"{provider} doesn't start here (no GPU, or another CUDA or cuDNN than it needs)")
        self._check_graph(manifest)
        self._step_values = [
            ort.OrtValue.ortvalue_from_numpy(np.array(k, np.int64), device, 0) for k in range(self._steps)
        ]

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Run all K steps from noise [B, C, H, W], which they may write over, under condition [B, D]; frames uint8
        [B, H, W, C]."""
        started = time.perf_counter()
        frames: npt.NDArray[np.uint8] = self._guarded(lambda: self._sample(x, condition))
        self.seconds += time.perf_counter() - started
        return frames

    def sample_all(self, batches: Batches) -> Iterator[npt.NDArray[np.uint8]]:
        """The frames of each batch in order, one batch after the other."""
        return (self.sample(x, condition) for x, condition in batches)

    def details(self) -> dict[str, Any]:
        """What it runs on."""
        return {"device": self.device}

    def close(self) -> None:
        """Free the session and its memory."""
        self._session, self._step_values = None, []

    def _open(self, content: bytes, provider: str) -> Any:
        return new_session(self._ort, content, provider)

    def _sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Any:
        return self._loop(self._session, x, condition)

    def _loop(self, session: Any, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Any:
        value, device, image = self._ort.OrtValue, self._where, self._image
        # Two buffers take turns as x and x_next, so that no step allocates or leaves the device.
        current = value.ortvalue_from_numpy(x, device, 0)
        following = value.ortvalue_from_shape_and_type(x.shape, np.float32, device, 0)
        frame = value.ortvalue_from_shape_and_type(
            [len(x), image.height, image.width, image.channels], np.uint8, device, 0
        )
        binding = session.io_binding()
        binding.bind_ortvalue_input("condition", value.ortvalue_from_numpy(condition, device, 0))
        binding.bind_ortvalue_output("frame", frame)
        for step in self._step_values:
            binding.bind_ortvalue_input("step", step)
            binding.bind_ortvalue_input("x", current)
            binding.bind_ortvalue_output("x_next", following)
            session.run_with_iobinding(binding, self._run_options)
            current, following = following, current
        return frame.numpy()

    def _check_graph(self, manifest: Manifest) -> None:
        """Hold the graph's names, types and shapes against the manifest, before anything is allocated."""
        channels, height, width = manifest.image
        x = ("tensor(float)", [channels, height, width])
        expected = {"x": x, "condition": ("tensor(float)", [manifest.schema.width]), "step": ("tensor(int64)", None)}
        self._guarded.compare("inputs", self._session.get_inputs(), expected)
        frame = ("tensor(uint8)", [height, width, channels])
        self._guarded.compare("outputs", self._session.get_outputs(), {"x_next": x, "frame": frame})
        steps = self._session.get_modelmeta().custom_metadata_map.get("steps")
        if steps not in (None, str(self._steps)):  # another exporter may leave it out
            raise Refused(f"{self._name}: made for {steps} steps, expected {self._steps} by the manifest; {self._mend}")


@dataclass(frozen=True)
class Guard:
    """Turns what is wrong with a file of the bundle into Refused, by the file's name."""

    name: str

    mend: str
    """The command that makes it anew."""

    def __call__(self, call: Callable[[], T]) -> T:
        """Call into ONNX Runtime; its own errors, which share no base class, become Refused."""
        try:
            return call()
        except (MemoryError, Unavailable):
            raise
        except Exception as error:
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise Refused(f"{self.name}: ONNX Runtime says: {text[:300]}; {self.mend}") from error

    def compare(self, what: str, found: Any, expected: Shapes) -> None:
        """Refused where the inputs or outputs of a session aren't those that the manifest asks for."""
        shapes = {node.name: (node.type, list(node.shape)) for node in found}
        wanted = {name: (kind, [] if sides is None else [None, *sides]) for name, (kind, sides) in expected.items()}
        # The first axis is the batch: any name for it will do, a fixed number won't.
        open_batch = {
            name: (kind, [None if isinstance(sides[0], str) else sides[0], *sides[1:]] if sides else [])
            for name, (kind, sides) in shapes.items()
        }
        if open_batch != wanted:
            raise Refused(f"{self.name}: {what} {open_batch}, expected {wanted} by the manifest; {self.mend}")


def import_onnxruntime(extra: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise Unavailable(f"onnxruntime isn't installed; run: pip install '.[{extra}]'") from None
    onnxruntime.set_default_logger_severity(FATAL)
    return onnxruntime


def new_session(
    ort: Any,
    content: bytes,
    provider: str,
    options: dict[str, str] | None = None,
    config: Mapping[str, str] | None = None,
    threads: int = 0,
) -> Any:
    """A session on one provider; the provider's options and the session's config as ONNX Runtime names them.

    `threads` work on one call of it; 0 leaves their number to ONNX Runtime.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = FATAL
    for key, value in (config or {}).items():
        settings.add_session_config_entry(key, value)
    # Without its fallback, which prints to stdout and goes on with another provider than the one asked for.
    return ort.InferenceSession(content, settings, providers=[(provider, options or {})], enable_fallback=0)
