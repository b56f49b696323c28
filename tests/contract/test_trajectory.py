"""A trajectory is a graph that any consumer runs, made of bytes without the onnx package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.bundle import read_manifest
from contract.noise import initial_noises
from contract.trajectory import read, trajectory, write
from runtime.backends.ort_cpu import open_cpu
from tests.fake_bundle import write_fake_bundle


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2000), st.just(2), st.binary(max_size=300))))
def test_messages_are_read_as_they_were_written(fields: list[tuple[int, int, bytes]]) -> None:
    assert list(read(write(fields))) == fields


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_fake_bundle(tmp_path / "b")
    return tmp_path / "b"


def test_bytes_that_nobody_changed_stay(bundle: Path) -> None:
    for path in bundle.glob("*.onnx"):
        assert write(list(read(path.read_bytes()))) == path.read_bytes()


def test_one_call_draws_what_the_steps_draw(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    content = trajectory((bundle / "step.fp32.onnx").read_bytes(), manifest.sampler.steps)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content)
    assert [port.name for port in session.get_inputs()] == ["noise", "condition"]
    assert [port.name for port in session.get_outputs()] == ["frame"]
    backend = open_cpu(bundle, manifest, "step.fp32.onnx")
    noise = initial_noises(3, range(5), tuple(manifest.image))
    condition = np.random.default_rng(0).uniform(-1, 1, (5, manifest.schema.width)).astype(np.float32)
    expected = backend.sample(noise.copy(), condition)
    backend.close()
    np.testing.assert_array_equal(session.run(["frame"], {"noise": noise, "condition": condition})[0], expected)


def test_weights_are_stored_once_and_only_the_last_frame_is_made(bundle: Path) -> None:
    step = (bundle / "step.fp32.onnx").read_bytes()
    one, four = (onnx.load_from_string(trajectory(step, steps)).graph for steps in (1, 4))
    assert len(four.initializer) == len(one.initializer) + 3
    assert sum(node.op_type == "Cast" for node in four.node) == sum(node.op_type == "Cast" for node in one.node)
