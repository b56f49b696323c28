"""The real TensorRT: without a driver as far as it goes, and with a GPU all the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contract.bundle import Manifest, read_manifest
from contract.engine import engine_files, read_engines
from contract.errors import Refused
from contract.gpu import driver_problem, gpu_target
from contract.schemas import CABIN
from runtime import Generator
from runtime.backends import trt as trt_backend
from runtime.backends.trt_engine import TrtEngine
from runtime.generate import main as generate
from runtime.verify import main as verify
from tests.fake_bundle import IMAGE, expected_frames
from tests.runtime.engine_bundle import add_engine, onnx_of
from tests.runtime.host_cpu import AUTO_TAKES, why_not_others
from tests.runtime.levels import ONE_LEVEL, difference
from tests.tensorrt_here import tensorrt_problem

needs_no_driver = pytest.mark.skipif(not driver_problem(), reason="there is a driver here")


def build(trt: Any, onnx: bytes, target: Any = None) -> bytes:
    """A plan for the fake bundle's graph, by whichever TensorRT this is, for this GPU or a named one."""
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))  # it owns the weights until the engine is built
    assert parser.parse(onnx)
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for name, sides in (("x", tuple(IMAGE)), ("condition", (CABIN.width,))):
        profile.set_shape(name, (1, *sides), (4, *sides), (8, *sides))
    config.add_optimization_profile(profile)
    if target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(target, 0)
    content = builder.build_serialized_network(network, config)
    del parser
    assert content is not None, "the builder made nothing"
    return bytes(content)


@pytest.fixture(scope="module")
def rtx_plan(bundle: Path) -> bytes:
    """An engine that the real TensorRT for RTX builds from the fake bundle's step graph, for compute capability 8.9."""
    trt = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx==1.7.1.116")
    return build(trt, onnx_of(bundle), trt.ComputeCapability.SM89)


def with_rtx(bundle: Path, content: bytes) -> Manifest:
    trt = pytest.importorskip("tensorrt_rtx")
    add_engine(
        bundle, content, verified=False, flavor="tensorrt_rtx", tensorrt=trt.__version__, target=["sm89", "sm120"]
    )
    return read_manifest(bundle)


@needs_no_driver
def test_without_a_driver_trt_is_one_clear_line(
    own_bundle: Path, tmp_path: Path, rtx_plan: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with_rtx(own_bundle, rtx_plan)
    for command in (
        lambda: generate([str(own_bundle), "-o", str(tmp_path / "d"), "--backend", "trt"]),
        lambda: verify([str(own_bundle), "--backend", "trt"]),
    ):
        assert command() == 1
        captured = capfd.readouterr()
        assert captured.err.endswith(f": trt: {driver_problem()}\n".split(": trt", 1)[1])
        assert captured.err.count("\n") == 1 and captured.out == ""
    assert not (tmp_path / "d").exists() and not (own_bundle / "verified.json").exists()


@needs_no_driver
def test_without_a_driver_auto_goes_on_and_says_why(
    own_bundle: Path, rtx_plan: bytes, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with_rtx(own_bundle, rtx_plan)
    assert generate([str(own_bundle), "-o", str(tmp_path / "d"), "-n", "1"]) == 0
    why = why_not_others(str(driver_problem()))
    assert capsys.readouterr().err == f"runtime.generate: auto: {AUTO_TAKES} fp32 ({why})\n"


@needs_no_driver
def test_the_real_runtime_that_loads_nothing_is_refused_in_one_line(
    own_bundle: Path, rtx_plan: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Past the look for a driver, which keeps users from coming here: the real deserializer gives None."""
    trt = pytest.importorskip("tensorrt_rtx")
    manifest = with_rtx(own_bundle, rtx_plan)
    (described,) = read_engines(manifest, engine_files(manifest, "fp32"))
    with pytest.raises(Refused, match=r"can't be loaded \(.*cuda.*\); build it again") as refusal:
        TrtEngine(trt, described, rtx_plan, "build it again")
    assert "\n" not in str(refusal.value)
    assert "[TRT]" not in capfd.readouterr().err  # what TensorRT says is in the one line, not beside it


@pytest.mark.gpu
@pytest.mark.skipif(bool(tensorrt_problem()), reason=tensorrt_problem() or "")
def test_an_engine_built_here_draws_the_frames_of_its_graph(own_bundle: Path) -> None:
    """With whichever TensorRT there is; 40 batches, so that a CUDA graph is measured and perhaps kept."""
    flavor, trt = next(iter(trt_backend._flavors().items()))
    content = build(trt, onnx_of(own_bundle), trt.ComputeCapability.CURRENT if flavor == "tensorrt_rtx" else None)
    add_engine(own_bundle, content, verified=False, flavor=flavor, tensorrt=trt.__version__, target=[gpu_target()])
    with Generator.open(own_bundle, "trt", "fp32", batch=4) as generator:
        rows = generator.encode([{"lighting": "night"}, {}] * 80, seed=5)
        assert difference(generator.generate(rows, seed=5), expected_frames(rows, 5)) <= ONE_LEVEL
        details = generator.details()
        assert details["cuda_graphs"]["4"]["way"] in ("plain", "graph") and generator.engine_seconds > 0
    print(details)
