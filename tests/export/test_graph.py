"""The step graph: its interface, what it leaves out, and the same trajectory as the reference sampler."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch

from contract.bundle import Sampler
from contract.schedule import Diffusion, trailing
from export.sampler import choose_sampler
from export.step_graph import Step, step_graph
from models.diffusion import ddim
from models.document import Document, DocumentConfig
from tests.tiny_checkpoint import tiny_edge_checkpoint

FRAME = 1
"""Of 255: a pixel between two values may be rounded to either."""

X = 1e-4
"""Absolute, images being in [-1, 1]: float32 sums in another order, through four steps."""


def _network() -> Document:
    torch.manual_seed(3)
    return Document(DocumentConfig(size=16, base=4)).eval().requires_grad_(False)


def _sampler(diffusion: Diffusion, guidance: float = 1.0, clip: bool = True) -> Sampler:
    timesteps = trailing(diffusion.timesteps, 4)
    alpha_bar = diffusion.alpha_bar()[timesteps]
    return Sampler(tuple(timesteps.tolist()), tuple(alpha_bar.tolist()), diffusion.prediction, guidance, clip)


def _inputs(batch: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    generator = np.random.default_rng(batch)
    x = generator.standard_normal((batch, 3, 16, 16), dtype=np.float32)
    return x, generator.random((batch, 10), dtype=np.float32)


@pytest.fixture(scope="module")
def guided() -> tuple[Document, Diffusion, Sampler, bytes]:
    network, diffusion = _network(), Diffusion(1000, "cosine-zero", "v")
    network.null_condition = torch.nn.Parameter(torch.linspace(-2, 2, 10))
    sampler = _sampler(diffusion, guidance=2.5)
    return network, diffusion, sampler, step_graph(network, sampler)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_guided_trajectory_is_the_reference_s(guided: tuple[Document, Diffusion, Sampler, bytes], batch: int) -> None:
    network, diffusion, sampler, graph = guided
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    x, condition = _inputs(batch)
    arguments = (torch.from_numpy(x), torch.from_numpy(condition), sampler.timesteps, sampler.guidance)
    expected_x, expected = ddim(network, diffusion, *arguments)
    for step in range(4):
        x, frame = session.run(["x_next", "frame"], {"x": x, "condition": condition, "step": np.array(step)})
    assert frame.dtype == np.uint8 and frame.shape == (batch, 16, 16, 3)
    assert np.abs(x - expected_x.numpy()).max() < X
    assert np.abs(frame.astype(int) - expected.numpy().astype(int)).max() <= FRAME


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("schedule, prediction", [("cosine", "epsilon"), ("cosine-zero", "x0")])
def test_every_prediction_with_and_without_clipping(schedule: str, prediction: str, clip: bool) -> None:
    network, diffusion = _network(), Diffusion(1000, schedule, prediction)
    sampler = _sampler(diffusion, clip=clip)
    step, (x, condition) = Step(network, sampler), map(torch.from_numpy, _inputs(3))
    expected_x, expected = ddim(network, diffusion, x, condition, sampler.timesteps, clip=clip)
    for k in range(4):
        x, frame = step(x, condition, torch.tensor(k))
    assert (x - expected_x).abs().max() <= X * expected_x.abs().max().clamp(min=1.0)
    assert (frame.int() - expected.int()).abs().max() <= FRAME


def test_interface(guided: tuple[Document, Diffusion, Sampler, bytes]) -> None:
    model = onnx.load_from_string(guided[3])
    shapes = {}
    for value in (*model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        shapes[value.name] = (tensor.elem_type, [side.dim_value or side.dim_param for side in tensor.shape.dim])
    assert shapes == {
        "x": (onnx.TensorProto.FLOAT, ["batch", 3, 16, 16]),
        "condition": (onnx.TensorProto.FLOAT, ["batch", 10]),
        "step": (onnx.TensorProto.INT64, []),
        "x_next": (onnx.TensorProto.FLOAT, ["batch", 3, 16, 16]),
        "frame": (onnx.TensorProto.UINT8, ["batch", 16, 16, 3]),
    }
    assert {prop.key: prop.value for prop in model.metadata_props} == {"steps": "4"}
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [18]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    named = {d.dim_param for value in model.graph.value_info for d in value.type.tensor_type.shape.dim}
    assert named <= {"", "batch", "2*batch"}


def test_the_frame_is_cast_last_and_resized_as_trained(guided: tuple[Document, Diffusion, Sampler, bytes]) -> None:
    nodes = onnx.load_from_string(guided[3]).graph.node
    assert [node.op_type for node in nodes if "frame" in node.output] == ["Cast"]
    resizes = [{a.name: a.s for a in node.attribute} for node in nodes if node.op_type == "Resize"]
    assert len(resizes) == 3
    for attributes in resizes:
        assert attributes["coordinate_transformation_mode"] == b"align_corners" and attributes["mode"] == b"linear"


def test_only_the_batch_is_computed_from_a_shape() -> None:
    checkpoint = tiny_edge_checkpoint()  # it has the group normalisations that the document's network lacks
    nodes = onnx.load_from_string(step_graph(checkpoint.network(), choose_sampler(checkpoint))).graph.node
    assert sum(node.op_type == "InstanceNormalization" for node in nodes) == 5
    shapes = [{a.name: a.i for a in node.attribute} for node in nodes if node.op_type == "Shape"]
    assert shapes == [{"start": 0, "end": 1}]


def test_nothing_of_the_exporting_machine_is_in_it(guided: tuple[Document, Diffusion, Sampler, bytes]) -> None:
    network, _, sampler, graph = guided
    assert b".py" not in graph and b"models." not in graph and os.getcwd().encode() not in graph
    assert step_graph(network, sampler) == graph, "the same weights give the same bytes"
