"""The step graph in ONNX Runtime: what its CPU and its CUDA provider share.

    backend = OnnxBackend(onnxruntime, Path("bundle"), manifest, "step.fp32.onnx", CPU, "cpu")
    frames = backend.sample(noise, condition)          # uint8 [B, H, W, C]

onnxruntime is imported when a backend is opened, since it may not be there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.bundle import FIX, Manifest
from contract.cores import cores
from contract.errors import Unavailable
from contract.silence import silence_engines
from contract.trajectory import FRAME, NOISE
from runtime.backends.onnx_interface import Batches, EngineErrors, check_step_graph, graph_of

FATAL = 4
"""ONNX Runtime's log level: its errors come as exceptions, and a second copy on stderr helps nobody."""

CPU = "CPUExecutionProvider"


class OnnxBackend:
    """One session; x, x_next and the condition stay on the device through all K steps."""

    def __init__(self, ort: Any, folder: Path, manifest: Manifest, file: str, provider: str, device: str) -> None:
        self._seconds = 0.0
        self.batch: int | None = None
        self.sizes: tuple[int, ...] = ()
        self.device = f"{device}, onnxruntime {ort.__version__}"
        self._ort, self._where = ort, device
        self._image, self._steps, self._condition_width = manifest.image, manifest.sampler.steps, manifest.schema.width
        self._run_options = None
        self._errors = EngineErrors(str(folder / file), FIX.format(folder=folder))
        self._latent = manifest.latent is not None
        content = graph_of(folder, manifest, file)
        self._session = self._errors(lambda: self._open(content, provider))
        if self._session.get_providers()[0] != provider:
            raise Unavailable(f"{provider} doesn't start here (no GPU, or another CUDA or cuDNN than it needs)")
        metadata = self._session.get_modelmeta().custom_metadata_map
        check_step_graph(
            self._errors, self._session.get_inputs(), self._session.get_outputs(), metadata.get("steps"), manifest
        )
        self._step_values = [
            ort.OrtValue.ortvalue_from_numpy(np.array(k, np.int64), device, 0) for k in range(self._steps)
        ]

    @property
    def seconds(self) -> float:
        """Time spent inside the engine so far."""
        return self._seconds

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Run all K steps from noise [B, C, H, W], which may be overwritten, under condition [B, D]; frames uint8
        [B, H, W, C]."""
        started = time.perf_counter()
        frames: npt.NDArray[np.uint8] = self._errors(lambda: self._sample(x, condition))
        self._seconds += time.perf_counter() - started
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
        if self._latent:
            return session.run([FRAME], {NOISE: x, "condition": condition}, self._run_options)[0]
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


def import_onnxruntime(extra: str) -> Any:
    silence_engines()
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
    threads: int | None = None,
) -> Any:
    """A session on one provider; the provider's options and the session's config as ONNX Runtime names them.

    `threads` work on one call of it, by default one for each core that this process may use.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads or cores()
    settings.log_severity_level = FATAL
    for key, value in (config or {}).items():
        settings.add_session_config_entry(key, value)
    # Without its fallback, which prints to stdout and continues with another provider than the requested one.
    return ort.InferenceSession(content, settings, providers=[(provider, options or {})], enable_fallback=0)
