"""The GPU pipeline over a real step graph: its frames are right however the streams interleave, batch and profile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.engine import BatchProfile
from contract.errors import Unavailable
from contract.gpu import driver_problem, first_gpu
from contract.noise import initial_noises
from contract.schemas import CABIN
from runtime.backends.cuda import Gpu, HostMemory, cuda_bindings_calls, pycuda_calls
from runtime.backends.cuda_graph_choice import TRIALS, WARM_UP
from runtime.backends.cuda_loop import MAX_SIZES, GpuPipeline, schedule
from tests.fake_bundle import IMAGE, STEPS, expected_frames
from tests.runtime.host_gpu import STEP_MS, HostGpu, OrtStepEngine, UncapturableEngine
from tests.runtime.levels import ONE_LEVEL, difference

SEED = 3

PROFILE = BatchProfile(1, 4, 8)
TO_DECIDE = 2 * (WARM_UP + TRIALS)


def conditions(count: int) -> np.ndarray:
    return CABIN.encode([CABIN.complete({}, np.random.default_rng(index)) for index in range(count)])


def batches(sizes: list[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rows, first = conditions(sum(sizes)), 0
    for size in sizes:
        yield initial_noises(SEED, range(first, first + size), tuple(IMAGE)), rows[first : first + size]
        first += size


def pipeline(
    bundle: Path, gpu: HostGpu, profile: BatchProfile = PROFILE, engine: type[OrtStepEngine] = OrtStepEngine
) -> tuple[GpuPipeline, OrtStepEngine]:
    made = engine(gpu, (bundle / "step.fp32.onnx").read_bytes(), profile)
    return GpuPipeline(gpu, made, IMAGE, CABIN.width, STEPS), made


def check(found: list[np.ndarray], sizes: list[int]) -> None:
    assert [len(frames) for frames in found] == sizes
    drawn = np.concatenate(found)
    assert difference(drawn, expected_frames(conditions(sum(sizes)), SEED)) <= ONE_LEVEL


@pytest.mark.parametrize("seed", range(3))
def test_two_readers_of_one_pipeline_get_their_own_frames(bundle: Path, seed: int) -> None:
    made, _ = pipeline(bundle, HostGpu(seed))
    sizes = [4, 4, 4, 4]
    one, found, others = made.sample_all(batches(sizes)), list[np.ndarray](), list[np.ndarray]()
    for frames in one:
        found.append(frames)
        others.append(np.concatenate(list(made.sample_all(batches([4, 4, 2])))))
    check(found, sizes)
    for drawn in others:
        check([drawn], [10])
    made.close()


@pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
@pytest.mark.parametrize("seed", range(4))
def test_frames_are_right_however_the_streams_interleave(bundle: Path, seed: int, integrated: bool) -> None:
    sizes = [4, 4, 4, 2, 4, 1, 1, 3, 4, 4]
    gpu = HostGpu(seed, integrated)
    made, _ = pipeline(bundle, gpu)
    check(list(made.sample_all(batches(sizes))), sizes)
    made.close()


class Hasty(HostGpu):
    """One that doesn't wait between streams."""

    def wait(self, stream: object, event: object) -> None:
        pass


def test_the_test_would_notice_a_missing_wait(bundle: Path) -> None:
    wrong = 0
    for seed in range(4):
        made, _ = pipeline(bundle, Hasty(seed))
        found = np.concatenate(list(made.sample_all(batches([4, 4]))))
        wrong += int(np.abs(found.astype(int) - expected_frames(conditions(8), SEED)).max() > ONE_LEVEL)
    assert wrong


@pytest.mark.parametrize(
    ("profile", "size", "contexts"),
    [
        (BatchProfile(1, 4, 8), 20, [8]),
        (BatchProfile(4, 4, 4), 10, [4]),
        (BatchProfile(4, 8, 8), 3, [4]),
        (BatchProfile(2, 2, 2), 1, [2]),
        (BatchProfile(3, 5, 5), 11, [5]),
    ],
)
def test_large_batches_are_split_and_small_ones_padded(
    bundle: Path, profile: BatchProfile, size: int, contexts: list[int]
) -> None:
    made, engine = pipeline(bundle, HostGpu(), profile)
    check(list(made.sample_all(batches([size]))), [size])
    assert engine.contexts == contexts
    made.close()


@pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
def test_a_tail_is_padded_to_a_batch_size_that_is_open(bundle: Path, integrated: bool) -> None:
    made, engine = pipeline(bundle, HostGpu(integrated=integrated))
    check(list(made.sample_all(batches([4, 4, 1]))), [4, 4, 1])
    check(list(made.sample_all(batches([8, 3]))), [8, 3])
    assert engine.contexts == [4, 8]
    check(list(made.sample_all(batches([1]))), [1])  # by itself it is no tail: a single frame is wanted fast
    assert engine.contexts == [4, 8, 1]
    made.close()


def test_sample_is_one_batch(bundle: Path) -> None:
    made, _ = pipeline(bundle, HostGpu())
    x, rows = next(batches([4]))
    check([made.sample(x, rows)], [4])
    made.close()


def test_the_next_batch_is_taken_before_the_last_one_is_waited_for(bundle: Path) -> None:
    taken = 0

    def counted() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal taken
        for batch in batches([4] * 4):
            taken += 1
            yield batch

    made, _ = pipeline(bundle, HostGpu())
    frames = made.sample_all(counted())
    seen = []
    for _ in range(4):
        next(frames)
        seen.append(taken)
    assert seen == [2, 3, 4, 4]
    made.close()


@pytest.mark.parametrize(("graph_ms", "way"), [(STEPS * STEP_MS / 2, "graph"), (STEPS * STEP_MS * 2, "plain")])
def test_the_faster_way_is_kept(bundle: Path, graph_ms: float, way: str) -> None:
    gpu = HostGpu(graph_ms=graph_ms)
    made, _ = pipeline(bundle, gpu)
    sizes = [4] * (TO_DECIDE + 6)
    check(list(made.sample_all(batches(sizes))), sizes)
    measured = made.graphs()["4"]
    assert measured["way"] == way
    assert measured["plain_ms"] == [STEPS * STEP_MS] * TRIALS and measured["graph_ms"] == [graph_ms] * TRIALS
    before = gpu.launches
    check(list(made.sample_all(batches([4, 4]))), [4, 4])
    assert gpu.launches - before == (2 if way == "graph" else 0)
    made.close()


@pytest.mark.parametrize("late", [False, True], ids=["asked", "found out while capturing"])
def test_what_cannot_be_captured_runs_plainly(bundle: Path, late: bool, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = HostGpu()
    made, engine = pipeline(bundle, gpu, engine=UncapturableEngine if late else OrtStepEngine)
    engine.can_capture = late
    sizes = [4] * (TO_DECIDE + 2)
    check(list(made.sample_all(batches(sizes))), sizes)
    assert gpu.launches == 0 and "captured" in made.graphs()["4"]["refused"]
    error = capsys.readouterr().err
    assert error.startswith("CUDA graph for batches of 4 not used") and error.count("\n") == 1
    made.close()
    assert gpu.live == 0


class ForgetfulGpu(HostGpu):
    """One whose graphs lose their last step."""

    def _end_capture(self, stream: Any) -> Any:
        return super()._end_capture(stream)[:-1]


class CrampedGpu(HostGpu):
    """One without memory for a graph."""

    def _end_capture(self, stream: Any) -> Any:
        stream.captured = None
        raise MemoryError("cuGraphInstantiate")


@pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
@pytest.mark.parametrize(("kind", "reason"), [(ForgetfulGpu, "frames differ"), (CrampedGpu, "no memory")])
def test_a_graph_that_draws_other_frames_is_never_used(
    bundle: Path, kind: type[HostGpu], reason: str, integrated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = kind(graph_ms=0.1, integrated=integrated)
    made, _ = pipeline(bundle, gpu)
    sizes = [4] * (TO_DECIDE + 2)
    check(list(made.sample_all(batches(sizes))), sizes)
    assert reason in made.graphs()["4"]["refused"]
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    assert made.seconds == pytest.approx(len(sizes) * STEPS * STEP_MS / 1000)  # the check isn't counted
    made.close()
    assert gpu.live == 0


def test_device_time_is_that_of_the_steps(bundle: Path) -> None:
    made, _ = pipeline(bundle, HostGpu())
    list(made.sample_all(batches([4, 4])))
    assert made.seconds == pytest.approx(2 * STEPS * STEP_MS / 1000)
    made.close()


def test_everything_is_given_back(bundle: Path) -> None:
    gpu = HostGpu()
    made, engine = pipeline(bundle, gpu)
    sizes = [1, 2, 3, 4, 5, 6, 7, 8, 1] * 2
    check(list(made.sample_all(batches(sizes))), sizes)
    assert len(made.graphs()) == MAX_SIZES
    made.close()
    assert gpu.live == 0 and gpu.closed and engine.closed and gpu.depth == 0


def test_a_reader_that_stops_leaves_nothing_in_flight(bundle: Path) -> None:
    gpu = HostGpu()
    made, _ = pipeline(bundle, gpu)
    frames = made.sample_all(batches([4] * 5))
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    check(list(made.sample_all(batches([4, 4]))), [4, 4])
    made.close()
    assert gpu.live == 0


def test_an_error_in_a_batch_leaves_nothing_in_flight(bundle: Path) -> None:
    def failing() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from batches([4, 4])
        raise Unavailable("no more")

    gpu = HostGpu()
    made, _ = pipeline(bundle, gpu)
    with pytest.raises(Unavailable, match="no more"):
        list(made.sample_all(failing()))
    check(list(made.sample_all(batches([4, 4]))), [4, 4])
    made.close()
    assert gpu.live == 0


class SmallGpu(HostGpu):
    """One without room for batches of 8."""

    def pinned(self, shape: tuple[int, ...], dtype: object) -> HostMemory:
        if shape[0] == 8:
            raise MemoryError("cuMemHostAlloc")
        return super().pinned(shape, dtype)  # type: ignore[arg-type]


def test_a_batch_that_does_not_fit_leaves_the_others_running(bundle: Path) -> None:
    gpu: Gpu = SmallGpu()
    made, _ = pipeline(bundle, gpu)  # type: ignore[arg-type]
    before = gpu.live  # type: ignore[attr-defined]
    with pytest.raises(MemoryError):
        list(made.sample_all(batches([8])))
    assert gpu.live == before  # type: ignore[attr-defined]
    check(list(made.sample_all(batches([4]))), [4])
    made.close()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_buffers_take_turns(steps: int) -> None:
    order = schedule(steps)
    assert [row for _, _, row in order] == list(range(steps))
    assert order[0][0] == 0  # the noise
    assert all(read != write for read, write, _ in order)
    assert all(first[1] == second[0] for first, second in itertools.pairwise(order))


# ------------------------------------------------------------------------------------------------- on a GPU, in torch

SIZES = [4] * (TO_DECIDE + 4) + [8] * (TO_DECIDE + 4) + [3, 1, 20, 4]
"""Enough of two sizes for their graphs to be measured, then tails, a batch to split, and one that was open before."""


def test_the_engine_in_torch_draws_the_frames_of_the_graph() -> None:
    from tests.runtime.torch_engine import TorchStepEngine

    gpu = HostGpu(seed=1)
    made = GpuPipeline(gpu, TorchStepEngine(PROFILE, on=gpu), IMAGE, CABIN.width, STEPS)
    check(list(made.sample_all(batches(SIZES))), SIZES)
    made.close()
    assert gpu.live == 0


@pytest.mark.gpu
@pytest.mark.skipif(bool(driver_problem()), reason=driver_problem() or "")
@pytest.mark.parametrize(("package", "calls"), [("cuda.bindings", cuda_bindings_calls), ("pycuda", pycuda_calls)])
def test_frames_are_right_on_the_gpu(package: str, calls: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The loop on real streams, with real copies, events and graphs, which must be captured and agree."""
    pytest.importorskip(package)
    if not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("this torch has no CUDA")
    from tests.runtime.torch_engine import TorchStepEngine

    gpu = Gpu(first_gpu(), *calls())
    with gpu:
        made = GpuPipeline(gpu, TorchStepEngine(PROFILE), IMAGE, CABIN.width, STEPS)
        check(list(made.sample_all(batches(SIZES))), SIZES)
        check([made.sample(*batch) for batch in batches([4])], [4])
    graphs = made.graphs()
    assert graphs["8"]["way"] in ("plain", "graph") and graphs["4"]["way"] in ("plain", "graph")
    assert len(graphs["8"]["graph_ms"]) == len(graphs["4"]["graph_ms"]) == TRIALS, graphs
    assert made.seconds > 0 and capsys.readouterr().err == ""  # no graph was refused
    made.close()
    print(gpu.device, gpu.binding, graphs)
