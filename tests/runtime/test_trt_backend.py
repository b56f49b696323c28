"""TensorRT engines in a bundle: opened, verified, refused with the command that fixes it, and what they draw.

Engines can't run without a GPU: there `FakeTensorRT` runs the same step graph on a `HostGpu`. The real TensorRT for
RTX builds a real engine, and is taken as far as it goes without a driver. What needs a GPU is marked `gpu`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.bundle import Manifest, read_manifest, write_manifest
from contract.engine import BatchProfile, Engine, engine_files, read_engines
from contract.errors import ParityError, Refused
from contract.gpu import driver_problem, gpu_target
from contract.schemas import CABIN
from runtime import Generator
from runtime.backends import trt as trt_backend
from runtime.backends.trt import cache_path
from runtime.backends.trt_engine import TrtEngine
from runtime.generate import main as generate
from runtime.verify import main as verify
from tests.fake_bundle import IMAGE, STEPS, expected_frames, fake_sampler, step_graph
from tests.runtime.engine_bundle import PROFILE, Install, add_engine, onnx_of
from tests.runtime.fake_tensorrt import plan
from tests.runtime.host_cpu import AUTO_TAKES, why_not_others
from tests.tensorrt_here import tensorrt_problem

ONE_LEVEL = 1
"""A sum in another order may round a pixel to the neighbouring level of 255."""

FROM_TWO = BatchProfile(2, 4, 8)


def altered() -> bytes:
    """A step graph that draws other frames than the reference says."""
    sampler = fake_sampler(STEPS)
    return step_graph(CABIN.width, IMAGE, replace(sampler, alpha_bar=tuple(a * 0.8 for a in sampler.alpha_bar)))


def difference(found: np.ndarray, expected: np.ndarray) -> int:
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.uint8
    return int(np.abs(found.astype(int) - expected).max())


@pytest.mark.parametrize("step_on_host", [False, True], ids=["step on the device", "step on the host"])
@pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
def test_an_engine_draws_the_frames_of_its_graph(
    own_bundle: Path, install: Install, integrated: bool, step_on_host: bool
) -> None:
    trt = install(integrated=integrated)
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE, step_on_host))
    with Generator.open(own_bundle, "trt") as generator:
        assert (generator.choice.file, generator.choice.precision, generator.batch) == (name, "fp32", 4)
        rows = generator.encode([{"lighting": "night"}, {}] * 5, seed=5)
        assert difference(generator.generate(rows, seed=5), expected_frames(rows, 5)) <= ONE_LEVEL
        assert generator.engine_seconds == pytest.approx(3 * STEPS / 1000)  # three batches of STEPS milliseconds each
        assert "sm87, tensorrt 10.3.0" in generator.details()["device"]
    assert trt.gpu.live == 0 and trt.gpu.closed


def test_a_larger_batch_is_split(own_bundle: Path, install: Install) -> None:
    install()
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE))
    with Generator.open(own_bundle, "trt", batch=20) as generator:
        rows = generator.encode([{}] * 50, seed=5)
        assert difference(generator.generate(rows, seed=5), expected_frames(rows, 5)) <= ONE_LEVEL
        assert set(generator.details()["cuda_graphs"]) == {"8"}


@pytest.mark.parametrize("flavor", ["tensorrt", "tensorrt_rtx"])
def test_every_batch_size_works_in_the_same_memory(own_bundle: Path, install: Install, flavor: str) -> None:
    trt = install("10.3.0" if flavor == "tensorrt" else "1.7.1.116", flavor)
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), flavor=flavor, tensorrt=trt.__version__)
    with Generator.open(own_bundle, "trt", batch=20) as generator:
        rows = generator.encode([{}] * 20, seed=5)
        for count in (1, 3, 20):
            assert difference(generator.generate(rows[:count], seed=5), expected_frames(rows[:count], 5)) <= ONE_LEVEL
    assert len(trt.scratch) == 3 and len(set(trt.scratch)) == 1
    assert trt.gpu.live == 0


@pytest.mark.parametrize(
    ("flavor", "built_on", "warned"),
    [
        ("tensorrt", {"device": "host", "multiprocessors": 8}, False),
        ("tensorrt", {"device": "host", "multiprocessors": 16}, True),
        ("tensorrt", {"device": "Orin", "multiprocessors": 8}, True),
        ("tensorrt", None, False),
        ("tensorrt_rtx", {"device": "host", "multiprocessors": 16}, False),
    ],
)
def test_warnings_are_kept_and_another_gpu_of_the_same_kind_is_one(
    own_bundle: Path, install: Install, flavor: str, built_on: dict[str, object] | None, warned: bool
) -> None:
    trt = install("10.3.0", flavor)
    known = {"built_on": built_on} if built_on else {}
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), flavor=flavor, tensorrt=trt.__version__, **known)
    with Generator.open(own_bundle, "trt") as generator:
        *ours, theirs = generator.details()["warnings"]
    assert theirs == "Using an engine plan file across different models of devices"
    assert bool(ours) == warned and all("runs on host with 8 multiprocessors" in text for text in ours)


def test_an_engine_of_another_tensorrt_is_refused_with_the_command(
    own_bundle: Path, install: Install, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    install("10.13.0")
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE))
    assert generate([str(own_bundle), "-o", str(tmp_path / "d"), "--backend", "trt"]) == 1
    command = f"python -m export.trt {own_bundle} --flavor tensorrt --precision fp32 --target sm87 --batch 1,4,8"
    error = capsys.readouterr().err
    assert error.endswith(f"built with tensorrt 10.3.0, found 10.13.0 here; build it for this machine: {command}\n")
    assert error.count("\n") == 1 and not (tmp_path / "d").exists()


BAD_PLANS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "no plan": (lambda _: b"ftrt", r"can't be loaded \(magicTag mismatch"),
    "other profile": (
        lambda b: plan(onnx_of(b), FROM_TWO),
        r"profile of batches \[2, 4, 8\], expected \[1",
    ),
    "fixed batch": (lambda b: plan(onnx_of(b), BatchProfile(8, 8, 8)), r"tensors .*FLOAT \[8, 3, 16, 16\].*expected"),
    "other width": (
        lambda _: plan(step_graph(10, IMAGE, fake_sampler(STEPS)), BatchProfile(1, 4, 8)),
        r"'condition': 'FLOAT \[-1, 10\]'.*expected .*'condition': 'FLOAT \[-1, 28\]'",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD_PLANS.values(), ids=BAD_PLANS)
def test_a_plan_that_is_not_what_the_manifest_says_is_refused(
    own_bundle: Path, install: Install, content: Callable[[Path], bytes], message: str
) -> None:
    trt = install()
    add_engine(own_bundle, content(own_bundle))
    with pytest.raises(Refused, match=message) as refusal:
        Generator.open(own_bundle, "trt")
    assert "build it again: python -m export.trt" in str(refusal.value)
    assert trt.gpu.closed and not trt.gpu.depth


def test_an_altered_engine_never_reaches_tensorrt(own_bundle: Path, install: Install) -> None:
    trt = install()
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE))
    (own_bundle / name).write_bytes(b"something else")
    with pytest.raises(Refused, match="sha256"):
        Generator.open(own_bundle, "trt")
    assert trt.deserialized == 0 and trt.gpu.closed


def test_a_stripped_plan_takes_its_weights_from_its_step_graph(own_bundle: Path, install: Install) -> None:
    onnx = onnx_of(own_bundle)
    source = {"stripped": True, "graph": "step.fp32.onnx", "graph_sha256": hashlib.sha256(onnx).hexdigest()}
    add_engine(own_bundle, plan(onnx, PROFILE, stripped=True), **source)
    install()
    with Generator.open(own_bundle, "trt") as generator:
        rows = generator.encode([{}] * 5, seed=5)
        assert difference(generator.generate(rows, seed=5), expected_frames(rows, 5)) <= ONE_LEVEL


WRONG_WEIGHTS = {
    "another graph": ({"graph_sha256": "0" * 64}, plan(b"", PROFILE), "built from another step.fp32.onnx"),
    "no graph": ({"graph": None}, plan(b"", PROFILE), "names no graph"),
    "missing graph": ({"graph": "step.fp16.onnx"}, plan(b"", PROFILE), "not in the manifest"),
    "not its weights": ({}, plan(altered(), PROFILE, stripped=True), "doesn't take its weights"),
}


@pytest.mark.parametrize(("changes", "content", "message"), WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
def test_other_weights_are_refused(
    own_bundle: Path, install: Install, changes: dict[str, Any], content: bytes, message: str
) -> None:
    sha256 = hashlib.sha256(onnx_of(own_bundle)).hexdigest()
    source = {"stripped": True, "graph": "step.fp32.onnx", "graph_sha256": sha256}
    add_engine(own_bundle, content, **source | changes)
    trt = install()
    with pytest.raises(Refused, match=message):
        Generator.open(own_bundle, "trt")
    assert trt.gpu.closed


def test_rtx_keeps_what_it_compiled_beside_the_bundle_or_under_state(
    own_bundle: Path, install: Install, tmp_path: Path
) -> None:
    rtx = {"flavor": "tensorrt_rtx", "tensorrt": "1.7.1.116"}
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), **rtx)
    for state, path in (
        (None, own_bundle.with_name(f"bundle.{name}.cache")),
        (tmp_path / "state", tmp_path / "state" / f"{name}.cache"),
    ):
        for start in range(2):
            trt = install("1.7.1.116", "tensorrt_rtx")
            with Generator.open(own_bundle, "trt", state=state) as generator:
                assert trt.caches[0].content == b"." * (STEPS * start)  # the second start finds the first one's
                generator.generate([{}])
            assert path.read_bytes() == b"." * (STEPS * (start + 1))
    assert not [entry for entry in own_bundle.iterdir() if entry.suffix == ".cache"]


def test_a_damaged_or_unwritable_cache_only_costs_time(own_bundle: Path, install: Install, tmp_path: Path) -> None:
    rtx = {"flavor": "tensorrt_rtx", "tensorrt": "1.7.1.116"}
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), **rtx)
    install("1.7.1.116", "tensorrt_rtx")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / f"{name}.cache").write_bytes(b"from another GPU")
    with Generator.open(own_bundle, "trt", state=tmp_path / "state") as generator:
        assert generator.generate([{}]).shape == (1, 16, 16, 3)
    (tmp_path / "file").write_text("no folder")
    install("1.7.1.116", "tensorrt_rtx")
    with Generator.open(own_bundle, "trt", state=tmp_path / "file") as generator:
        assert generator.generate([{}]).shape == (1, 16, 16, 3)


def test_plain_tensorrt_has_no_cache() -> None:
    plain = Engine("step.fp16.tensorrt.sm87.b1-4-8.engine", "fp16", "tensorrt", "10.3.0", ("sm87",), PROFILE)
    assert cache_path(Path("b"), plain, None) is None


def test_an_unverified_engine_is_verified_before_its_first_use_and_once(
    own_bundle: Path, install: Install, tmp_path: Path
) -> None:
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), FROM_TWO), FROM_TWO, verified=False)
    install()
    with Generator.open(own_bundle, "trt", state=tmp_path / "s") as generator:
        assert set(generator.details()["cuda_graphs"]) == {"2", "4", "8"}  # min, opt and max
    report = json.loads((tmp_path / "s" / "verified.json").read_text())
    assert report["bundle"] == read_manifest(own_bundle).digest
    (entry,) = report["replayed"]
    assert (entry["file"], entry["backend"], entry["batches"], entry["verified"]) == (name, "trt", [2, 4, 8], True)
    install()
    with Generator.open(own_bundle, "trt", state=tmp_path / "s") as generator:
        assert generator.details()["cuda_graphs"] == {}  # nothing was run
    assert not (own_bundle / "verified.json").exists()
    install()
    Generator.open(own_bundle, "trt").close()
    assert (own_bundle / "verified.json").exists()


def test_another_device_verifies_anew(own_bundle: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), verified=False)
    install()
    Generator.open(own_bundle, "trt").close()
    trt = install()
    trt.gpu.device = replace(trt.gpu.device, name="another")
    with Generator.open(own_bundle, "trt") as generator:
        assert generator.details()["cuda_graphs"]
    assert len(json.loads((own_bundle / "verified.json").read_text())["replayed"]) == 2


def test_an_engine_that_draws_other_frames_is_never_used(own_bundle: Path, install: Install) -> None:
    add_engine(own_bundle, plan(altered(), PROFILE), verified=False)
    for _ in range(2):  # a failure isn't forgotten, nor is it taken for a success
        trt = install()
        with pytest.raises(ParityError, match=r"expected at most 1; condition \d+ is the worst"):
            Generator.open(own_bundle, "trt")
        assert trt.gpu.closed
    assert not json.loads((own_bundle / "verified.json").read_text())["replayed"][0]["verified"]


def test_a_read_only_bundle_asks_for_a_place(own_bundle: Path, install: Install, tmp_path: Path) -> None:
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), verified=False)
    if os.geteuid() == 0:
        (own_bundle / "verified.json.tmp").mkdir()  # root may write anywhere but there
    else:
        own_bundle.chmod(0o500)
    install()
    with pytest.raises(Refused, match=r"verified\.json.*--state DIR"):
        Generator.open(own_bundle, "trt")
    install()
    with Generator.open(own_bundle, "trt", state=tmp_path / "state") as generator:
        assert generator.choice.file == name


def test_verify_replays_every_engine_that_fits(
    own_bundle: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install()
    good = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), verified=False)
    other = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), target=["sm86"], verified=False)
    assert verify([str(own_bundle), "--backend", "trt", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["file"] for entry in report["replayed"]] == [good] and report["hashed"] == 4
    assert "built for sm86, found sm87 here" in report["skipped"][f"trt {other}"]


def test_any_file_that_was_not_verified_is_verified_first(own_bundle: Path) -> None:
    """Also a step graph on the CPU: fp16, say, which was only emulated where it was exported."""
    manifest = read_manifest(own_bundle)
    unverified = {**manifest.parity, "step.fp32.onnx": {**manifest.parity["step.fp32.onnx"], "verified": False}}
    write_manifest(own_bundle, replace(manifest, parity=unverified))
    Generator.open(own_bundle, "cpu").close()
    (entry,) = json.loads((own_bundle / "verified.json").read_text())["replayed"]
    assert (entry["file"], entry["backend"], entry["conditions"]) == ("step.fp32.onnx", "cpu", 4)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"replayed": [1]}', b"null"])
def test_a_damaged_verified_json_is_as_good_as_none(own_bundle: Path, install: Install, content: bytes) -> None:
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), verified=False)
    (own_bundle / "verified.json").write_bytes(content)
    install()
    Generator.open(own_bundle, "trt").close()
    assert json.loads((own_bundle / "verified.json").read_text())["replayed"][0]["verified"]


# -------------------------------------------------------------------------------------- the real thing, without a GPU

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


# ----------------------------------------------------------------------------------------------------------- on a GPU


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
