"""What TensorRT for RTX compiles is kept, and is never more than time saved."""

from __future__ import annotations

from pathlib import Path

from contract.engine import Engine
from runtime import Generator
from runtime.backends.trt import cache_path
from tests.fake_bundle import STEPS
from tests.runtime.engine_bundle import PROFILE, Install, add_engine, onnx_of
from tests.runtime.fake_tensorrt import plan


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
