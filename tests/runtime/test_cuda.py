"""`runtime/backends/cuda.py`: a driver is asked for without a crash, and every call goes through a real binding.

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
from runtime.backends.cuda import BindingsGpu, Gpu, PycudaGpu, driver_present, driver_problem, open_gpu

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0

BINDINGS: dict[str, type[Gpu]] = {"cuda.bindings": BindingsGpu, "pycuda": PycudaGpu}


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
    """Run Python with that driver in front of any other; what it printed."""
    variables = os.environ | environment
    if libraries:
        variables["LD_LIBRARY_PATH"] = f"{libraries}:{variables.get('LD_LIBRARY_PATH', '')}"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ASK = "from runtime.backends.cuda import driver_problem; print(driver_problem())"


def test_a_driver_is_found(driver: Path) -> None:
    assert run(ASK, driver) == "None"


def test_a_driver_without_a_gpu_is_told_apart(driver: Path) -> None:
    assert run(ASK, driver, FAKE_NO_GPU="1") == "no GPU here"


@pytest.mark.parametrize("content", [b"", b"no library at all", b"\x7fELF cut"])
def test_a_broken_driver_library_is_no_driver(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(content)
    assert "can't be loaded" in run(ASK, tmp_path)


def test_asking_never_raises_here() -> None:
    problem = driver_problem()
    assert driver_present() == (problem is None)
    if problem:
        with pytest.raises(Unavailable) as refusal:
            open_gpu()
        assert str(refusal.value) == problem


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
    said = run(script, driver)
    assert "pip install pycuda" in said and "pip install cuda-bindings" in said


CALLS = """
import ctypes, os, sys
import numpy as np
from contract.errors import Unavailable
from runtime.backends import cuda

sys.setdlopenflags(os.RTLD_LAZY)  # pycuda names more of the driver than it calls here
live = ctypes.c_int.in_dll(ctypes.CDLL("libcuda.so.1"), "fake_live")
gpu = cuda.{kind}()
assert (gpu.info.name, gpu.info.sm) == ("Fake GPU", "sm87"), gpu.info
assert gpu.info.integrated is {integrated}
assert gpu.info.binding.startswith("{package} "), gpu.info
with gpu:
    stream, other = gpu.stream(), gpu.stream()
    assert isinstance(gpu.handle(stream), int) and gpu.handle(stream) != gpu.handle(other)
    given, taken = gpu.pinned((4, 5), np.float32), gpu.pinned((4, 5), np.float32)
    assert given.array.shape == (4, 5) and given.array.dtype == np.float32
    assert given.address == given.array.ctypes.data
    given.array[:], taken.array[:] = np.arange(20).reshape(4, 5), 0
    near, far = gpu.memory(80), gpu.memory(80)
    assert near.nbytes == 80 and near.address != far.address
    start, stop = gpu.event(), gpu.event()
    gpu.record(start, stream)
    gpu.upload(near.address, given.array, stream)
    gpu.wait(other, start)
    graph = gpu.capture(stream, lambda: gpu.copy(far.address, near.address, 80, stream))
    gpu.download(taken.array, far.address, stream)
    gpu.finish(stream)
    assert not np.array_equal(taken.array, given.array), "captured work was done at once"
    gpu.launch(graph, stream)
    gpu.download(taken.array, far.address, stream)
    gpu.record(stop, stream)
    gpu.finish(stop)
    assert np.array_equal(taken.array, given.array)
    assert gpu.milliseconds(start, stop) == 4.0
    gpu.free_graph(graph)
    for memory in (near, far, given, taken):
        gpu.free(memory)
    try:
        gpu.capture(stream, lambda: 1 / 0)
    except ZeroDivisionError:
        pass
    gpu.free_graph(gpu.capture(stream, lambda: None))
    for made in (start, stop, stream, other):
        gpu.destroy(made)
try:
    with gpu:
        gpu.memory(1 << 40)
except MemoryError:
    pass
else:
    raise AssertionError("a terabyte was had")
try:
    with gpu:
        gpu.copy(0, 0, 0, None)
except Unavailable as error:
    assert "CUDA" in str(error)
else:
    raise AssertionError("an error of the driver went by")
del start, stop, stream, other, made, given, taken, near, far, memory
gpu.close()
print("left", live.value)
"""


@pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
@pytest.mark.parametrize("package", BINDINGS)
def test_every_call_goes_through_the_binding(driver: Path, package: str, integrated: bool) -> None:
    if not importlib.util.find_spec(package.split(".")[0]):
        pytest.skip(f"{package} isn't installed")
    script = CALLS.format(kind=BINDINGS[package].__name__, package=package, integrated=integrated)
    assert run(script, driver, **({"FAKE_INTEGRATED": "1"} if integrated else {})) == "left 0"


@pytest.mark.gpu
@pytest.mark.skipif(not driver_present(), reason=driver_problem() or "")
@pytest.mark.parametrize("package", BINDINGS)
def test_memory_goes_to_the_gpu_and_back(package: str) -> None:
    pytest.importorskip(package)
    gpu = BINDINGS[package]()
    with gpu:
        stream, start, stop = gpu.stream(), gpu.event(), gpu.event()
        host, back = gpu.pinned((1000,), np.float32), gpu.pinned((1000,), np.float32)
        host.array[:] = np.arange(1000)
        near, far = gpu.memory(4000), gpu.memory(4000)
        gpu.record(start, stream)
        gpu.upload(near.address, host.array, stream)
        graph = gpu.capture(stream, lambda: gpu.copy(far.address, near.address, 4000, stream))
        gpu.launch(graph, stream)
        gpu.download(back.array, far.address, stream)
        gpu.record(stop, stream)
        gpu.finish(stop)
        np.testing.assert_array_equal(back.array, host.array)
        gpu.copy(far.address, host.address, 4000, stream)  # zero-copy: the device reads the host's memory itself
        gpu.finish(stream)
        assert gpu.milliseconds(start, stop) > 0
        gpu.free_graph(graph)
        for memory in (near, far, host, back):
            gpu.free(memory)
    gpu.close()
