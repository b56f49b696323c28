"""The TensorRT names that the code uses exist in 10.3, 10.16, 11.4 and TensorRT for RTX."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trt_api.check import LISTINGS, Release, main, missing, uses_of

ROOT = Path(__file__).parents[2]
FILES = [
    path for room in ("contract", "export", "runtime") for path in sorted((ROOT / room).rglob("*.py"))
    if path.name != "registry.py" and uses_of(path.read_text()).chains  # whose `trt` is the runtime's own module
]  # fmt: skip

RELEASES = sorted(path.stem for path in LISTINGS.glob("tensorrt*.txt"))
BUILDER = ROOT / "export" / "engines" / "builder.py"


def test_the_files_that_call_tensorrt_are_found() -> None:
    assert {"builder.py", "inspect.py", "trt_engine.py", "engine.py"} <= {path.name for path in FILES}
    assert len(list(LISTINGS.glob("tensorrt*.txt"))) == 4
    assert len(uses_of(BUILDER.read_text()).chains) > 15 and len(uses_of(BUILDER.read_text()).members) > 15


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_name_exists_in_every_release(path: Path) -> None:
    assert missing(path.read_text()) == []


def test_a_removed_flag_is_seen_in_the_builder_unless_asked_for_first() -> None:
    line = "    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED\n"
    source = BUILDER.read_text()
    assert source.count(line) == 1
    planted = source.replace(line, line + "    config.set_flag(trt.BuilderFlag.FP16)\n")
    releases = {text.rpartition(" ")[2] for text in missing(planted)}
    assert releases == {"tensorrt-11.4.0", "tensorrt_rtx-1.7.1"}
    guard = '    if hasattr(trt.BuilderFlag, "FP16"):\n        config.set_flag(trt.BuilderFlag.FP16)\n'
    assert missing(source.replace(line, line + guard)) == []


@pytest.mark.parametrize("source, found", [
    ("import tensorrt as trt\nbuilder = trt.Builder(log)\nconfig = builder.create_builder_config()\n"
     "config.int8_calibrator = None\n", ["tensorrt-11.4.0", "tensorrt_rtx-1.7.1"]),
    ("builder = trt.Builder(log)\nbuilder.build_cuda_engine(network)\n", RELEASES),
    ("trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH", ["tensorrt-11.4.0", "tensorrt_rtx-1.7.1"]),
    ("self._trt.ComputeCapability.SM86", ["tensorrt-10.16.1", "tensorrt-10.3.0", "tensorrt-11.4.0"]),
    ("config.int8_calibrator = None", []),
    ("trt.Logger.WARNING\ntrt.volume([1])", []),
])  # fmt: skip
def test_what_the_check_sees(source: str, found: list[str]) -> None:
    assert {text.rpartition(" ")[2] for text in missing(source)} == set(found)


def test_a_listing_is_read() -> None:
    release = Release.read(LISTINGS / "tensorrt-10.3.0.txt")
    assert release.has(("BuilderFlag", "FP16")) and not release.has(("BuilderFlag", "FP4"))
    assert release.has_member("set_flag") and not release.has_member("set_compute_capability")


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(BUILDER)]) == 0 and "0 missing" in capsys.readouterr().out
    (tmp_path / "old.py").write_text("trt.BuilderFlag.FP16")
    assert main([str(tmp_path / "old.py")]) == 1 and "trt.BuilderFlag.FP16 is not in" in capsys.readouterr().out
    (tmp_path / "none.py").write_text("print()")
    assert main([str(tmp_path / "none.py")]) == 2
