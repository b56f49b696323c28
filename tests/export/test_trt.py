"""Real engines, built on the CPU by TensorRT for RTX: what the manifest says of them, what is kept, what is refused."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import onnx
import pytest

from contract.bundle import FileEntry, read_manifest, write_manifest
from contract.engine import BatchProfile, kept_log
from contract.errors import Refused
from contract.files import sha256_of
from contract.frames import ImageShape
from export.engines.builder import _configure
from export.engines.spec import BuilderSettings, EngineSpec, expected_seconds
from export.engines.worker import build_engine
from export.trt import main
from models.checkpoint import write_checkpoint
from tests.export.calm_checkpoint import calm_checkpoint
from tests.test_imports import run_without
from tests.tiny_checkpoint import tiny_checkpoint

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which a subprocess counts as hung."""

pytestmark = pytest.mark.usefixtures("trt")

RTX = ["--flavor", "tensorrt_rtx"]


def _name(precision: str, targets: str = "sm86+sm89", batch: str = "1-2-4") -> str:
    return f"step.{precision}.tensorrt_rtx.{targets}.b{batch}.engine"


def _copy(bundle: Path, target: Path) -> Path:
    return Path(shutil.copytree(bundle, target))


def _content(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def built(calm_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with an engine of each precision."""
    folder = _copy(calm_bundle, tmp_path_factory.mktemp("built") / "b")
    arguments = ["--precision", "fp32", "fp16", "int8", "--target", "sm89", "sm86", "--batch", "1,2,4"]
    assert main([str(folder), *RTX, *arguments]) == 0
    return folder


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_manifest_says_how_an_engine_was_made(built: Path, calm_bundle: Path, precision: str) -> None:
    manifest, before = read_manifest(built), read_manifest(calm_bundle)
    name = _name(precision)
    entry, parity = manifest.files[name], manifest.parity[name]
    graph = f"step.{'int8-trt' if precision == 'int8' else precision}.onnx"
    assert entry.precision == precision and entry.sha256 == sha256_of(built / name)
    assert entry.extra["flavor"] == "tensorrt_rtx" and entry.extra["tensorrt"] == metadata.version("tensorrt_rtx")
    assert entry.extra["target"] == ["sm86", "sm89"] and entry.extra["batch"] == {"min": 1, "opt": 2, "max": 4}
    assert (entry.extra["graph"], entry.extra["graph_sha256"]) == (graph, before.files[graph].sha256)
    assert entry.extra["seconds"] > 0 and (built / name).stat().st_size > 100_000
    if not Path("/dev/nvidiactl").exists():
        assert entry.extra["inspected"] is False and "no NVIDIA driver" in entry.extra["reason"]
        assert parity["verified"] is False and "measured" not in parity and "no NVIDIA driver" in parity["reason"]
    assert {file: manifest.files[file] for file in before.files} == before.files, "the rest is as it was"
    assert {file: manifest.parity[file] for file in before.parity} == before.parity


def test_what_is_unchanged_is_kept(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, command = _copy(built, tmp_path / "b"), [*RTX, "--target", "sm86", "sm89", "--precision", "fp16", "int8"]
    before = _content(folder)
    assert main([str(folder), *command, "--batch", "1,2,4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["kept"] for entry in report["engines"].values()] == [True, True] and _content(folder) == before
    assert main([str(folder), *command, "--batch", "1,2,4", "--level", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["kept"] for entry in report["engines"].values()] == [False, False], "another way of making them"
    assert report["engines"][_name("fp16")]["options"]["level"] == 2
    assert sha256_of(built / _name("fp16")) == before[_name("fp16")], "nothing is written through a link"


def test_a_damaged_engine_is_refused(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _copy(built, tmp_path / "b")
    with open(folder / _name("fp16"), "ab") as file:
        file.write(b"x")
    assert main([str(folder), *RTX, "--target", "sm86", "sm89", "--batch", "1,2,4"]) == 1
    assert f"{_name('fp16')}: sha256 is" in capsys.readouterr().err


def test_a_fixed_batch_makes_static_shapes_and_an_older_engine_stays(built: Path, tmp_path: Path) -> None:
    assert main([str(built), "-o", str(tmp_path / "c"), *RTX, "--target", "sm120", "--batch", "3"]) == 0
    manifest = read_manifest(tmp_path / "c")
    assert manifest.files[_name("fp16", "sm120", "3-3-3")].extra["batch"] == {"min": 3, "opt": 3, "max": 3}
    assert _name("fp16") in manifest.files and (tmp_path / "c" / _name("fp16")).is_file()
    assert _name("fp16", "sm120", "3-3-3") not in os.listdir(built)


def test_from_a_checkpoint_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "calm.pt", calm_checkpoint())
    command = [str(tmp_path / "calm.pt"), "-o", str(tmp_path / "b"), *RTX, "--target", "sm86", "--batch", "2", "--json"]
    reports = []
    for _ in range(2):
        assert main(command) == 0
        reports.append(json.loads(capsys.readouterr().out))
    name = _name("fp16", "sm86", "2-2-2")
    assert [report["engines"][name]["kept"] for report in reports] == [False, True]
    assert reports[0]["parity"] == reports[1]["parity"]
    files = {"manifest.json", "reference.npz", "step.fp32.onnx", "step.fp16.onnx", name}
    assert set(os.listdir(tmp_path / "b")) == files
    assert os.listdir(tmp_path) == ["calm.pt", "b"] or sorted(os.listdir(tmp_path)) == ["b", "calm.pt"]


def test_the_document_s_network_in_fp16(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "doc.pt", tiny_checkpoint(size=64))
    command = ["-o", str(tmp_path / "b"), *RTX, "--target", "sm86", "--batch", "1,2,4", "--steps", "3"]
    assert main([str(tmp_path / "doc.pt"), *command]) == 0
    manifest = read_manifest(tmp_path / "b")
    assert manifest.image == ImageShape(3, 64, 64) and _name("fp16", "sm86") in manifest.files


def _without_graphs(bundle: Path, target: Path, *names: str) -> Path:
    """A copy that lacks these step graphs."""
    folder, manifest = _copy(bundle, target), read_manifest(bundle)
    for name in names:
        (folder / name).unlink()
    files = {name: entry for name, entry in manifest.files.items() if name not in names}
    parity = {name: entry for name, entry in manifest.parity.items() if name not in names}
    write_manifest(folder, replace(manifest, files=files, parity=parity))
    return folder


def test_a_bundle_is_enough_where_torch_cannot_be_imported(calm_bundle: Path, tmp_path: Path) -> None:
    folder = _without_graphs(calm_bundle, tmp_path / "b", "step.fp16.onnx")
    command = (folder, *RTX, "--target", "sm86", "--batch", "2")
    done = run_without({"torch", "onnxscript", "models", "training"}, "export.trt", *command)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(folder)
    assert manifest.parity["step.fp16.onnx"]["measured"] >= 40, (
        "made of the one in fp32, and held against torch's frames"
    )
    assert manifest.files["step.fp16.onnx"] == read_manifest(calm_bundle).files["step.fp16.onnx"]
    assert _name("fp16", "sm86", "2-2-2") in manifest.files
    done = run_without({"torch", "onnx", "onnxscript", "models", "training"}, "export.trt", *command, "--level", "1")
    assert done.returncode == 0, "with the graph there, onnx isn't needed either: " + done.stderr


def test_without_the_packages_a_missing_graph_is_reported(calm_bundle: Path, tmp_path: Path) -> None:
    folder = _without_graphs(calm_bundle, tmp_path / "b", "step.fp16.onnx")
    before = _content(folder)
    done = run_without({"torch", "onnx"}, "export.trt", folder, *RTX, "--target", "sm86")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "pip install onnx onnxruntime" in done.stderr
    assert _content(folder) == before
    done = run_without({"torch"}, "export.trt", tmp_path / "calm.pt", "-o", tmp_path / "c", *RTX, "--target", "sm86")
    assert (
        done.returncode == 1
        and "a checkpoint can't be read here: torch" in done.stderr
        and "give a bundle" in done.stderr
    )


def test_without_any_tensorrt_the_bundle_is_made_and_the_way_is_reported(calm_bundle: Path, tmp_path: Path) -> None:
    folder = _without_graphs(calm_bundle, tmp_path / "b", "step.fp16.onnx")
    done = run_without({"tensorrt", "tensorrt_rtx", "torch"}, "export.trt", folder, "--batch", "8")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "tensorrt isn't installed and tensorrt_rtx isn't installed" in done.stderr and "pip install" in done.stderr
    assert f"then run: python -m export.trt {folder} --precision fp16 --batch 8" in done.stderr
    assert read_manifest(folder).parity["step.fp16.onnx"]["measured"] >= 40


def test_a_refused_graph_is_named_by_its_node(
    calm_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _copy(calm_bundle, tmp_path / "b")
    content = (folder / "step.int8.onnx").read_bytes()  # ONNX Runtime's form: uint8 with a zero point, int32 biases
    (folder / "step.int8-trt.onnx").write_bytes(content)
    manifest = read_manifest(folder)
    entry = FileEntry(hashlib.sha256(content).hexdigest(), "int8", {"for": "tensorrt"})
    write_manifest(folder, replace(manifest, files={**manifest.files, "step.int8-trt.onnx": entry}))
    before = _content(folder)
    assert main([str(folder), *RTX, "--precision", "fp16", "int8", "--target", "sm86"]) == 1
    error = capsys.readouterr().err
    named = re.search(r"parser refuses node (\S+) \((Quantize|Dequantize)Linear\)", error)  # which differs by machine
    assert named
    graph = onnx.load(folder / "step.int8-trt.onnx").graph
    (node,) = (node for node in graph.node if (node.name, node.op_type) == (named[1], f"{named[2]}Linear"))
    types = {constant.data_type for constant in graph.initializer if constant.name in node.input}
    assert types & {onnx.TensorProto.UINT8, onnx.TensorProto.INT32}, "what TensorRT doesn't take"
    assert "nothing was written" in error and error.count("\n") == 1
    assert _content(folder) == before and os.listdir(tmp_path) == ["b"]


def _start(folder: Path, *arguments: str, limit: int | None = None) -> subprocess.Popen[str]:
    def lower() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "export.trt", str(folder), *RTX, "--target", "sm86", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=lower, start_new_session=True
    )


def test_an_interrupt_leaves_the_bundle_as_it_was(built: Path, tmp_path: Path) -> None:
    folder = _copy(built, tmp_path / "b")
    before = _content(folder)
    process = _start(folder, "--precision", "fp16", "fp32", "int8")
    part = tmp_path / f".b.{process.pid}.part"
    until = time.monotonic() + PATIENCE
    while not (part / "step.int8-trt.onnx").exists() and time.monotonic() < until:
        time.sleep(0.005)
    children = _children(process.pid)
    while not children and process.poll() is None and time.monotonic() < until:
        children = _children(process.pid)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the builder, too
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and "interrupted" in error and error.count("\n") == 1
    assert _content(folder) == before and os.listdir(tmp_path) == ["b"]
    while (alive := [child for child in children if Path(f"/proc/{child}").exists()]) and time.monotonic() < until:
        time.sleep(0.01)
    assert children and not alive, "no builder goes on"


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in path.read_text().split()]
    except OSError:
        return []


def test_a_terminal_shows_time_phase_and_what_is_left(built: Path, tmp_path: Path) -> None:
    folder = _copy(built, tmp_path / "b")
    reader, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # a size, as real terminals have it
    command = [sys.executable, "-m", "export.trt", str(folder), *RTX, "--target", "sm86", "--batch", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=terminal, stdout=subprocess.DEVNULL)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # a terminal without a writer ends in an error
        while piece := os.read(reader, 4096):
            shown += piece
    os.close(reader)
    assert process.wait(PATIENCE) == 0
    lines = [line.strip() for line in shown.decode().split("\r")]
    assert any(re.fullmatch(r"fp16 engine: 0 s, about \d+ s left, start", line) for line in lines), lines
    assert len({line.rpartition(", ")[2] for line in lines if line}) > 1, "phases"
    assert lines[-1] == "", "nothing is left of it"


def test_a_full_disk_leaves_the_bundle_as_it_was(built: Path, tmp_path: Path) -> None:
    folder = _copy(built, tmp_path / "b")
    before = _content(folder)
    process = _start(folder, "--batch", "2", limit=1 << 20)  # no file may grow beyond 1 MiB, and an engine does
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and error.count("\n") == 1
    assert "engine: File too large" in error
    assert _content(folder) == before and os.listdir(tmp_path) == ["b"]


def _spec(built: Path, **changes: object) -> EngineSpec:
    version = metadata.version("tensorrt_rtx")
    sha256 = read_manifest(built).files["step.fp16.onnx"].sha256
    spec = EngineSpec("fp16", "step.fp16.onnx", sha256, "tensorrt_rtx", version, ("sm86",), BatchProfile(1, 2, 4))
    return replace(spec, **changes)  # type: ignore[arg-type]


def test_a_builder_that_dies_is_an_error_like_others(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dying_trt.py").write_text("import os\nos.kill(os.getpid(), 11)\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec, width = _spec(built, flavor="dying_trt"), read_manifest(built).schema.width
    with pytest.raises(Refused, match=r"dying_trt ended without a word \(exit status -11\)"):
        build_engine(spec, built / spec.graph, tmp_path / "e.engine", ImageShape(3, 16, 16), width)
    assert not (tmp_path / "e.engine").exists()


def test_a_missing_graph_is_the_caller_s_error(built: Path, tmp_path: Path) -> None:
    width = read_manifest(built).schema.width
    with pytest.raises(FileNotFoundError):
        build_engine(_spec(built), tmp_path / "none.onnx", tmp_path / "e.engine", ImageShape(3, 16, 16), width)


def test_engines_are_built_so_that_cuda_graphs_can_hold_their_memory() -> None:
    trt = importlib.import_module("tensorrt_rtx")
    config = trt.Builder(kept_log(trt)).create_builder_config()
    flag = trt.BuilderFlag.REQUIRE_USER_ALLOCATION
    assert not config.get_flag(flag)
    _configure(trt, config, EngineSpec("fp16", "g", "0", "tensorrt_rtx", "1", ("sm86",), BatchProfile(1, 2, 4)))
    assert config.get_flag(flag)


def test_a_spec_is_made_by_what_it_says(built: Path) -> None:
    spec, entry = _spec(built, targets=("sm86", "sm89")), read_manifest(built).files[_name("fp16")]
    assert spec.name == _name("fp16") and spec.describes(entry)
    changes = (
        {"graph_sha256": "0" * 64}, {"version": "1.8.0"}, {"targets": ("sm86",)}, {"batch": BatchProfile(1, 2, 8)},
        {"settings": BuilderSettings(level=1)}, {"settings": BuilderSettings(workspace=64)}, {"strip_weights": True},
        {"precision": "int8"},
    )  # fmt: skip
    assert not any(replace(spec, **change).describes(entry) for change in changes)
    assert not spec.describes(None)
    assert expected_seconds(spec, read_manifest(built).files) == entry.extra["seconds"]
    assert expected_seconds(replace(spec, flavor="tensorrt"), read_manifest(built).files) is None
