"""One sampling step as a graph: network, guidance and DDIM update, with the K timesteps baked into tables.

    onnx = step_graph(checkpoint.network(), sampler)                 # bytes of step.fp32.onnx

The runtime only loops over `step`; nothing is computed on the host between steps.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx.reference
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract.bundle import Latent, Sampler
from contract.frames import unscale_pixels
from contract.guidance import guided
from contract.trajectory import FRAME
from export.onnx_edit import prune
from models.denoiser import Denoiser

OPSET = 18
"""The oldest that the exporter writes, so that TensorRT 10.3 (JetPack 6) and every newer parser reads it."""

EXAMPLE_BATCH = 2
"""A batch of 1 would be taken for a constant."""

FOLDED = frozenset({"Concat", "Add"})
"""Operators that the exporter leaves between constants."""

CHATTER = ("torch", "torch.onnx", "onnxscript", "onnx_ir")
"""Loggers that report an export's inner progress; what goes wrong arrives as an exception."""


class Step(nn.Module):
    """x, condition and the row of the step tables in; the next x and the frame as this step sees it out."""

    coefficients: Tensor
    embeddings: Tensor

    def __init__(self, network: Denoiser, sampler: Sampler, latent: bool = False) -> None:
        super().__init__()
        self.latent = latent
        table = sampler.coefficients()
        timesteps = torch.tensor(sampler.timesteps, dtype=torch.int64)
        self.network = network
        self.guidance = sampler.guidance
        self.clip = sampler.clip_range if sampler.clip else None
        self.keeps_noise = bool(np.any(table[:, 4]))
        self.ends_in_x0 = table[-1, 2:].tolist() == [0.0, 1.0, 0.0]
        self.register_buffer("coefficients", torch.from_numpy(table).float())
        self.register_buffer("embeddings", network.embed_time(timesteps).float())

    def forward(
        self,
        x: Tensor,  # [B, C, H, W] float32
        condition: Tensor,  # [B, D] float32
        step: Tensor,  # [] int64, 0 to K - 1
    ) -> tuple[Tensor, ...]:
        """x_next like x, and frame uint8 [B, H, W, C], which steps on latents don't give."""
        # embedding, since torch up to 2.11 asks for the value of a tensor that indexes another
        a, b, c, d, e = F.embedding(step, self.coefficients).unbind()
        prediction = self._guided(x, F.embedding(step, self.embeddings), condition)
        x0 = a * x + b * prediction
        clamped = x0.clamp(-1.0, 1.0)
        if self.clip is not None:
            x0 = clamped if self.clip == 1.0 else x0.clamp(-self.clip, self.clip)
        x_next = c * x + d * x0
        if self.keeps_noise:
            x_next = x_next + e * prediction
        if self.latent:
            return (x_next,)
        frame = unscale_pixels(clamped if self.ends_in_x0 else x_next.clamp(-1.0, 1.0)).round().permute(0, 2, 3, 1)
        return x_next, frame.to(torch.uint8)

    def _guided(self, x: Tensor, embedding: Tensor, condition: Tensor) -> Tensor:
        """null + guidance (conditional - null), both halves in one doubled batch (arXiv 2207.12598)."""
        null = self.network.null_condition
        if self.guidance == 1.0 or null is None:
            return self.network.denoise(x, embedding.expand(x.shape[0], -1), condition)
        doubled = torch.cat([x, x])
        conditions = torch.cat([condition, null.expand_as(condition)])
        predictions = self.network.denoise(doubled, embedding.expand(doubled.shape[0], -1), conditions)
        conditional, unconditional = predictions.view(2, -1, *x.shape[1:]).unbind()
        return guided(conditional, unconditional, self.guidance)  # type: ignore[no-any-return]


class FrameDecoder(nn.Module):
    """Latents in, frames out."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor) -> Tensor:
        """float32 [B, c, h, w] to uint8 [B, H, W, C]."""
        image: Tensor = self.decoder(latent)
        frame: Tensor = unscale_pixels(image.clamp(-1.0, 1.0)).round().permute(0, 2, 3, 1)
        return frame.to(torch.uint8)


def decoder_graph(decoder: nn.Module, latent: Latent) -> bytes:
    """The decoder of a latent model as a checked ONNX file in float32: `latent` in, `frame` out."""
    example = torch.zeros(EXAMPLE_BATCH, *latent.shape)
    return export_graph(FrameDecoder(decoder), {"latent": example}, [FRAME], {})


def step_graph(network: Denoiser, sampler: Sampler, latent: bool = False) -> bytes:
    """The step graph as a checked ONNX file: float32, weights inside, only the batch dynamic.

    Its metadata says `steps`, so that the runtime can compare it with the manifest.
    """
    config = network.config
    inputs = {
        "x": torch.zeros(EXAMPLE_BATCH, *config.image),
        "condition": torch.zeros(EXAMPLE_BATCH, config.condition_width),
        "step": torch.tensor(0),
    }
    metadata = {"steps": str(len(sampler.timesteps))}
    outputs = ["x_next"] if latent else ["x_next", FRAME]
    return export_graph(Step(network, sampler, latent), inputs, outputs, metadata)


def export_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    metadata: Mapping[str, str],
) -> bytes:
    """A module as a checked ONNX file; `inputs` are examples in the order of its `forward`.

    The first axis of every input that has one is dynamic, and nothing else. The same weights give the same bytes.
    """
    with silent():
        model = _export(module, inputs, outputs)
    _fix_reshapes(model.graph)
    _fold_constants(model)
    _strip(model)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _export(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.onnx.export(
        module.eval().requires_grad_(False),
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=tuple({0: batch} if example.ndim else None for example in inputs.values()),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _fix_reshapes(graph: onnx.GraphProto) -> None:
    """Write out the shapes that only leave the batch open.

    The exporter closes every group normalisation with `Reshape(h, Shape(x))`: a computation on the host in
    the middle of the graph, which keeps an engine from capturing the step as a whole.
    """
    sides = {value.name: list(value.type.tensor_type.shape.dim) for value in graph.value_info}
    shaped = {node.output[0]: node.input[0] for node in graph.node if _is_whole_shape(node)}
    for node in graph.node:
        source = shaped.get(node.input[1]) if node.op_type == "Reshape" else None
        known = [side.dim_value for side in sides.get(source or "", [])[1:]]
        if known and all(known):
            name = f"{node.output[0]}_shape"
            graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, *known], np.int64), name))
            node.input[1] = name
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "Shape" and node.output[0] not in used]:
        graph.node.remove(node)


def _fold_constants(model: onnx.ModelProto) -> None:
    """Write out what only constants decide, such as the FiLM weights of all blocks side by side."""
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type in FOLDED]:
        if all(name in known for name in node.input):
            inputs = {name: onnx.numpy_helper.to_array(known[name]) for name in node.input}
            (value,) = onnx.reference.ReferenceEvaluator(node).run(None, inputs)
            known[node.output[0]] = onnx.numpy_helper.from_array(np.asarray(value), node.output[0])
            graph.initializer.append(known[node.output[0]])
            graph.node.remove(node)
    prune(graph)


def _is_whole_shape(node: onnx.NodeProto) -> bool:
    return node.op_type == "Shape" and all(a.name == "start" and a.i == 0 for a in node.attribute)


def _strip(model: onnx.ModelProto) -> None:
    """Leave out stack traces and file names of the exporting machine: the same weights give the same bytes."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for described in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        described.ClearField("metadata_props")
        described.ClearField("doc_string")
    for field in ("metadata_props", "doc_string"):
        model.ClearField(field)
        model.graph.ClearField(field)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep torch's export chatter off stdout and stderr."""
    loggers = [logging.getLogger(name) for name in CHATTER]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
