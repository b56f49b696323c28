"""`contract/gpu.py` and `runtime/backends/cuda.py`: a driver is looked for without a crash, and every call goes through
a real binding.

The calls end in a driver library that the test compiles, which works on the memory of the host. What only a GPU can
show is marked `gpu`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contract.errors import Unavailable
from contract.gpu import driver_problem, first_gpu
from runtime.backends.cuda import Gpu, cuda_bindings_calls, open_gpu, pycuda_calls

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which a subprocess counts as hung."""

BINDINGS = {"cuda.bindings": cuda_bindings_calls, "pycuda": pycuda_calls}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libcuda.so.1 that works on the host's memory."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler to make the stand-in for the driver with")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).with_name("fake_driver.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", folder / "libcuda.so.1", source, "-ldl"]
    subprocess.run(command, check=True, timeout=PATIENCE)
    return folder


def run(script: str, libraries: Path | None, **environment: str) -> str:
    """Run Python with that driver before any other; what it printed."""
    variables = os.environ | environment
    if libraries:
        variables["LD_LIBRARY_PATH"] = f"{libraries}:{variables.get('LD_LIBRARY_PATH', '')}"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ASK = "from contract.gpu import driver_problem, gpu_target; print(driver_problem(), gpu_target())"


def test_a_gpu_is_described(driver: Path) -> None:
    assert run(ASK, driver) == "None sm87"
    described = run("from contract.gpu import first_gpu; print(first_gpu())", driver, FAKE_INTEGRATED="1")
    assert described == "Device(name='Fake GPU', compute_capability=(8, 7), multiprocessors=16, integrated=True)"


def test_a_driver_without_a_gpu_is_told_apart(driver: Path) -> None:
    assert run(ASK, driver, FAKE_NO_GPU="1") == "no GPU here None"


@pytest.mark.parametrize("content", [b"", b"no library at all", b"\x7fELF cut"])
def test_a_broken_driver_library_is_no_driver(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(content)
    assert "can't be loaded" in run(ASK, tmp_path)


@pytest.mark.parametrize(
    ("version", "packages"),
    [
        ("13000", "cuda-bindings tensorrt"),
        ("14010", "cuda-bindings tensorrt"),
        ("12080", "'cuda-bindings<13' tensorrt-cu12"),
        ("0", "cuda-bindings tensorrt"),
    ],
)
def test_the_packages_to_install_fit_the_driver(driver: Path, version: str, packages: str) -> None:
    ask = "from contract.gpu import bindings_package, tensorrt_package; print(bindings_package(), tensorrt_package())"
    assert run(ask, driver, FAKE_CUDA=version) == packages


@pytest.mark.skipif(not driver_problem(), reason="there is a driver here")
def test_opening_says_what_is_missing() -> None:
    with pytest.raises(Unavailable) as refusal:
        open_gpu()
    assert str(refusal.value) == driver_problem()


def test_without_a_binding_the_error_says_what_to_install(driver: Path) -> None:
    script = """
import sys
sys.modules["cuda"] = sys.modules["cuda.bindings"] = sys.modules["pycuda"] = None
from contract.errors import Unavailable
from runtime.backends.cuda import open_gpu
try:
    open_gpu()
except Unavailable as error:
    print(error)
"""
    message = run(script, driver)
    assert "pip install pycuda" in message and "pip install cuda-bindings" in message


CALLS = """
import ctypes, os, sys
import numpy as np
from contract.errors import Unavailable
from contract.gpu import first_gpu
from runtime.backends import cuda

sys.setdlopenflags(os.RTLD_LAZY)  # pycuda names more of the driver than it calls here
live = ctypes.c_int.in_dll(ctypes.CDLL("libcuda.so.1"), "fake_live")
gpu = cuda.Gpu(first_gpu(), *cuda.{calls}())
assert gpu.device.sm == "sm87" and gpu.binding.startswith("{package} "), gpu.binding
with gpu:
    stream, other = gpu.stream(), gpu.stream()
    assert isinstance(gpu.handle(stream), int) and gpu.handle(stream) != gpu.handle(other)
    given, taken = gpu.pinned((4, 5), np.float32), gpu.pinned((4, 5), np.float32)
    assert given.array.shape == (4, 5) and given.array.dtype == np.float32
    assert given.address == given.array.ctypes.data
    given.array[:], taken.array[:] = np.arange(20).reshape(4, 5), 0
    near, far = gpu.memory(80), gpu.memory(80)
    assert near.nbytes == 80 and near.address != far.address
    start, stop, ready = gpu.event(timed=True), gpu.event(timed=True), gpu.event()
    gpu.record(start, stream)
    gpu.upload(near.address, given.array, stream)
    gpu.record(ready, stream)
    gpu.wait(other, ready)
    graph = gpu.capture(stream, lambda: gpu.copy(far.address, near.address, 80, stream))
    gpu.download(taken.array, far.address, stream)
    gpu.finish(stream)
    assert not np.array_equal(taken.array, given.array), "captured work was done at once"
    gpu.launch(graph, stream)
    gpu.download(taken.array, far.address, stream)
    gpu.record(stop, stream)
    gpu.reach(stop)
    assert np.array_equal(taken.array, given.array)
    assert gpu.milliseconds(start, stop) == 4.0
    try:
        gpu.milliseconds(start, ready)
    except Unavailable:
        pass
    else:
        raise AssertionError("an event without timing gave a time")
    gpu.free_graph(graph)
    for memory in (near, far, given, taken):
        gpu.free(memory)
    try:
        gpu.capture(stream, lambda: 1 / 0)
    except ZeroDivisionError:
        pass
    gpu.free_graph(gpu.capture(stream, lambda: None))
    for event in (start, stop, ready):
        gpu.free_event(event)
    for made in (stream, other):
        gpu.free_stream(made)
no_memory, no_stream = lambda: gpu.memory(1 << 40), lambda: gpu.copy(0, 0, 0, None)
for wrong, expected in ((no_memory, MemoryError), (no_stream, Unavailable)):
    try:
        with gpu:
            wrong()
    except expected:
        continue
    raise AssertionError("an error of the driver went by")
del start, stop, ready, stream, other, made, event, given, taken, near, far, memory
gpu.close()
print("left", live.value)
"""


@pytest.mark.parametrize("package", BINDINGS)
def test_every_call_goes_through_the_binding(driver: Path, package: str) -> None:
    if not importlib.util.find_spec(package.split(".")[0]):
        pytest.skip(f"{package} isn't installed")
    script = CALLS.format(calls=BINDINGS[package].__name__, package=package.replace(".", "-"))
    assert run(script, driver) == "left 0"


@pytest.mark.gpu
@pytest.mark.skipif(bool(driver_problem()), reason=driver_problem() or "")
@pytest.mark.parametrize("package", BINDINGS)
def test_memory_goes_to_the_gpu_and_back(package: str) -> None:
    pytest.importorskip(package)
    gpu = Gpu(first_gpu(), *BINDINGS[package]())
    with gpu:
        stream, start, stop, done = gpu.stream(), gpu.event(timed=True), gpu.event(timed=True), gpu.event()
        host, back = gpu.pinned((1000,), np.float32), gpu.pinned((1000,), np.float32)
        host.array[:] = np.arange(1000)
        near, far = gpu.memory(4000), gpu.memory(4000)
        gpu.record(start, stream)
        gpu.upload(near.address, host.array, stream)
        graph = gpu.capture(stream, lambda: gpu.copy(far.address, near.address, 4000, stream))
        gpu.launch(graph, stream)
        gpu.download(back.array, far.address, stream)
        gpu.record(stop, stream)
        gpu.record(done, stream)
        gpu.reach(done)
        np.testing.assert_array_equal(back.array, host.array)
        gpu.copy(far.address, host.address, 4000, stream)  # zero-copy: the device reads the host's memory itself
        gpu.finish(stream)
        assert gpu.milliseconds(start, stop) > 0
        gpu.free_graph(graph)
        for memory in (near, far, host, back):
            gpu.free(memory)
    gpu.close()
