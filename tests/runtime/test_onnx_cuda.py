"""ONNX Runtime's CUDA backend: fixed buffers and one binding a step give the frames of the graph.

Where there is no GPU the same bindings run on the CPU provider, which has no graphs but every other part.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from contract.bundle import read_manifest
from contract.errors import Unavailable
from contract.gpu import driver_problem
from contract.noise import initial_noises
from contract.schemas import CABIN
from runtime import Generator
from runtime.backends.cuda_graph_choice import GRAPH
from runtime.backends.ort import new_session
from runtime.backends.ort_cuda import CUDA, MAX_SIZES, BatchState, CudaOnnxBackend, check_cuda
from tests.fake_bundle import IMAGE, expected_frames
from tests.runtime.levels import ONE_LEVEL, difference

SEED = 3


class Uncapturable(CudaOnnxBackend):
    """As if a node of the step graph ran on the CPU, so that no graph can be had."""

    def _open(self, content: bytes, provider: str) -> Any:
        return new_session(self._ort, content, provider)


@pytest.fixture(params=[CudaOnnxBackend, Uncapturable], ids=["graphs", "no graphs"])
def backend(request: pytest.FixtureRequest, bundle: Path) -> CudaOnnxBackend:
    manifest = read_manifest(bundle)
    made: CudaOnnxBackend = request.param(
        onnxruntime, bundle, manifest, "step.fp32.onnx", "CPUExecutionProvider", "cpu"
    )
    return made


def test_frames_are_right_through_every_phase_of_the_choice(backend: CudaOnnxBackend) -> None:
    rows = CABIN.encode([CABIN.complete({}, np.random.default_rng(index)) for index in range(4)])
    expected = expected_frames(rows, SEED)
    for _ in range(12):  # plain, graphs, then whichever was faster
        frames = backend.sample(initial_noises(SEED, range(4), tuple(IMAGE)), rows)
        assert difference(frames, expected) <= ONE_LEVEL
    told = backend.details()["cuda_graphs"]["4"]
    assert told["way"] in ("plain", "graph") and ("refused" in told) == isinstance(backend, Uncapturable)
    backend.close()


class Stale(CudaOnnxBackend):
    """As if a graph had been captured with other frames' addresses: what it runs leaves the last step out."""

    def _run(self, size: BatchState, x: np.ndarray, way: str) -> Any:
        if way == GRAPH:
            size = replace(size, bindings=size.bindings[:-1], options={GRAPH: size.options[GRAPH][:-1]})
        return super()._run(size, x, way)


class Failing(CudaOnnxBackend):
    """As if ONNX Runtime failed to capture."""

    def _run(self, size: BatchState, x: np.ndarray, way: str) -> Any:
        if way == GRAPH:
            raise RuntimeError("capture\n failed")
        return super()._run(size, x, way)


@pytest.mark.parametrize(("kind", "reason"), [(Stale, "frames differ"), (Failing, "capture failed")])
def test_a_graph_that_fails_or_differs_is_never_used(
    bundle: Path, kind: type[CudaOnnxBackend], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu = ("CPUExecutionProvider", "cpu")
    made = kind(onnxruntime, bundle, read_manifest(bundle), "step.fp32.onnx", *cpu)
    rows = CABIN.encode([CABIN.complete({}, np.random.default_rng(index)) for index in range(4)])
    for _ in range(12):
        frames = made.sample(initial_noises(SEED, range(4), tuple(IMAGE)), rows)
        assert difference(frames, expected_frames(rows, SEED)) <= ONE_LEVEL
    assert reason in made.details()["cuda_graphs"]["4"]["refused"]
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    made.close()


def test_sizes_beyond_the_fixed_ones_are_drawn_too(backend: CudaOnnxBackend) -> None:
    count = MAX_SIZES + 3
    rows = CABIN.encode([CABIN.complete({}, np.random.default_rng(index)) for index in range(count)])
    expected = expected_frames(rows, SEED)
    for size in [*range(1, count + 1), 2, count]:
        frames = backend.sample(initial_noises(SEED, range(size), tuple(IMAGE)), rows[:size])
        assert difference(frames, expected[:size]) <= ONE_LEVEL
    assert len(backend.details()["cuda_graphs"]) == MAX_SIZES
    backend.close()


@pytest.mark.skipif(not driver_problem(), reason="there is a driver here")
def test_without_a_driver_it_is_not_there() -> None:
    with pytest.raises(Unavailable) as refusal:
        check_cuda()
    assert str(refusal.value) == driver_problem()


@pytest.mark.gpu
@pytest.mark.skipif(bool(driver_problem()), reason=driver_problem() or "")
def test_the_gpu_draws_the_frames_of_the_graph(bundle: Path) -> None:
    if CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA provider")
    with Generator.open(bundle, "cuda", batch=4) as generator:
        rows = generator.encode([{"lighting": "night"}, {}] * 40, seed=SEED)
        frames = generator.generate(rows, SEED)
        details = generator.details()
    assert difference(frames, expected_frames(rows, SEED)) <= ONE_LEVEL
    assert details["cuda_graphs"]["4"]["way"] in ("plain", "graph")
    print(details)
