"""What every test run says of its machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from contract.silence import silence_engines

silence_engines()  # before any test imports an engine

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's background job, whose programs would ignore it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("any machine", deadline=None)  # the machine may be busy with other work
settings.load_profile("any machine")

PACKAGES = (
    "numpy",
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
    "pycuda",
    "cuda-bindings",
)


def pytest_report_header() -> list[str]:
    """Versions of what the tests run on, and the providers that ONNX Runtime has here."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    lines = [f"{platform.machine()}, " + ", ".join(found)]
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        lines.append("providers: " + ", ".join(onnxruntime.get_available_providers()))
    return lines


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Networks as small as those of the tests run on one thread: two would spend their time waiting for each other."""
    if not importlib.util.find_spec("torch"):
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def calm_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the step graphs of every precision, exported from `calm_checkpoint`; not to be written to."""
    from export.__main__ import main  # torch takes seconds to import, and tests of the runtime don't need it
    from models.checkpoint import write_checkpoint
    from tests.export.calm_checkpoint import calm_checkpoint

    folder = tmp_path_factory.mktemp("calm")
    write_checkpoint(folder / "calm.pt", calm_checkpoint())
    assert main([str(folder / "calm.pt"), "-o", str(folder / "b"), "--precision", "fp32", "fp16", "int8"]) == 0
    return folder / "b"
