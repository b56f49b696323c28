"""The network that reads labels back from frames: every field of a schema, the landmarks, and how sure it is.

    annotator = Annotator(AnnotatorConfig(size=64, landmarks=("nose_tip",)), schema)
    annotation = annotator.annotate(frames)                  # frames uint8 [N, H, W, C]

Convolutions with batch normalisation and ReLU, which fold into plain convolutions at export. Its confidence is
calibrated on held-out frames: a temperature for each class field (arXiv 1706.04599), a factor for the expected
error of each number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor, nn

from contract.annotation import Annotation, class_fields, number_fields
from contract.conditions import Schema
from contract.driver_hashes import stated_once
from contract.errors import Refused
from contract.frames import scale_pixels
from contract.limits import Channels
from contract.record import convert
from models.checks import check_weights
from models.denoiser import ImageConfig, Size

BATCH = 64
"""Frames that are annotated at once."""

COUNTER = "num_batches_tracked"
"""What batch normalisation counts while it trains, which no frame depends on: it isn't stored."""

BlockWidth = Annotated[int, Meta(ge=32, le=1024, multiple_of=32)]


@dataclass(frozen=True)
class AnnotatorConfig(ImageConfig):
    """The shape of an Annotator; its heads follow from the schema."""

    WHAT = "annotator"

    channels: Channels = 3
    size: Size = 64
    """Edge of square frames in pixels, or height and width: multiples of 2^len(widths)."""

    widths: Annotated[tuple[BlockWidth, ...], Meta(min_length=1, max_length=6)] = (32, 64, 96)
    """Channels at 1/2, 1/4, 1/8 ... of the resolution; multiples of 32."""

    blocks: Annotated[int, Meta(ge=1, le=8)] = 2
    """Residual blocks of each resolution but the finest, where they would cost more than all others together."""

    features: Annotated[int, Meta(ge=8, le=4096)] = 128
    """Width of the feature vector that all labels are read from."""

    landmarks: tuple[str, ...] = ()
    """Names of the points that it finds."""

    @property
    def multiple(self) -> int:
        return int(2 ** len(self.widths))


class Block(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))), arXiv 1512.03385; every engine fuses each line into one kernel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm0(self.conv0(x)))
        return F.relu(x + self.norm1(self.conv1(h)))


class Annotator(nn.Module):
    """Frames in; class logits, numbers, expected errors, landmarks and features out."""

    low: Tensor
    high: Tensor

    def __init__(self, config: AnnotatorConfig, schema: Schema) -> None:
        super().__init__()
        self.config, self.schema = config, schema
        self.slices = tuple(class_fields(schema).values())
        self.count = len(number_fields(schema))
        classes = self.slices[-1].stop if self.slices else 0
        layers: list[nn.Module] = []
        before = config.channels
        for level, width in enumerate(config.widths):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [Block(width) for _ in range(config.blocks if level else 0)]
            before = width
        self.body = nn.Sequential(*layers)
        self.squeeze = nn.Conv2d(before, 32, 1)
        shrunk = 2 ** len(config.widths)
        area = (config.image.height // shrunk) * (config.image.width // shrunk)
        self.dense = nn.Linear(32 * area, config.features)  # where something is, not only whether
        self.classes = nn.Linear(config.features, classes)
        self.numbers = nn.Linear(config.features, 2 * self.count)
        self.points = nn.Linear(config.features, 2 * len(config.landmarks))
        self.temperature = nn.Parameter(torch.ones(len(self.slices)), requires_grad=False)
        self.error_scale = nn.Parameter(torch.ones(self.count), requires_grad=False)
        ranges = [(item.low, item.high) for item in schema.fields if not item.is_class]
        self.register_buffer("low", torch.tensor([low for low, _ in ranges], dtype=torch.float32), persistent=False)
        self.register_buffer("high", torch.tensor([high for _, high in ranges], dtype=torch.float32), persistent=False)

    def read(self, frames: Tensor, body: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """From frames float [B, C, H, W] in [-1, 1], as they are trained on: class logits [B, P]; numbers and the
        logarithm of their expected absolute errors, both [B, M], in units of half their range around its middle;
        landmarks [B, L, 2]; features [B, F]. `body` is what the convolutions make of the frames, where known."""
        body = self.body(frames) if body is None else body
        features = F.relu(self.dense(F.relu(self.squeeze(body)).flatten(1)))
        both = self.numbers(features)
        points = self.points(features) * 0.5 + 0.5
        landmarks = torch.stack([points[:, 0::2], points[:, 1::2]], dim=2)  # a reshape can't export without landmarks
        return self.classes(features), both[:, : self.count], both[:, self.count :], landmarks, features

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Frames uint8 [B, H, W, C] to the five arrays of `contract.annotation.Annotation`, calibrated."""
        images = scale_pixels(frames.to(self.low.dtype).permute(0, 3, 1, 2))  # TensorRT transposes no bytes
        logits, numbers, log_errors, landmarks, features = self.read(images)
        parts = [F.softmax(logits[:, s] / t, dim=1) for s, t in zip(self.slices, self.temperature, strict=True)]
        errors = log_errors
        if self.count:  # ONNX Runtime 1.23 opens no graph that computes with constants of zero elements
            half = (self.high - self.low) / 2.0
            numbers = self.low + half * (numbers.clamp(-1.0, 1.0) + 1.0)
            errors = half * log_errors.exp() * self.error_scale
        return torch.cat(parts, dim=1), numbers, errors, landmarks, features

    @torch.no_grad()
    def annotate(self, frames: npt.NDArray[np.uint8]) -> Annotation:
        """Labels of frames uint8 [N, H, W, C]; the network has to be in eval mode."""
        device = self.low.device
        parts = []
        for first in range(0, len(frames), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(frames[first : first + BATCH])).to(device)
            parts.append(Annotation(*(array.float().cpu().numpy() for array in self(batch))))
        return Annotation.join(parts)


@dataclass(frozen=True)
class TrainedAnnotator:
    """An annotator as a checkpoint carries it, under `annotator`."""

    config: AnnotatorConfig
    weights: Mapping[str, Tensor]

    held_out: Mapping[str, Any] = field(default_factory=dict)
    """How it does on held-out rendered frames: `frames`, `class_accuracy` and `mae` by field (JSON values)."""

    lineage: Mapping[str, Any] = field(default_factory=dict)
    """What it learnt from: `data`, salted hashes of the `drivers`, `before` (JSON values); empty where nobody said."""

    def network(self, schema: Schema) -> Annotator:
        """The network with the stored weights as float32, in eval mode, without gradients."""
        network = Annotator(self.config, schema)
        counters = {name: value for name, value in network.state_dict().items() if name.endswith(COUNTER)}
        network.load_state_dict({name: weight.float() for name, weight in self.weights.items()} | counters)
        return network.eval().requires_grad_(False)

    def to_dict(self) -> dict[str, Any]:
        """What `torch.save` writes: plain values and tensors only."""
        weights = {name: weight.detach().cpu().contiguous().clone() for name, weight in self.weights.items()}
        said = {"held_out": dict(self.held_out), "lineage": stated_once(self.lineage)}
        return {"config": self.config.to_dict(), "weights": weights, **said}

    @staticmethod
    def of(
        network: Annotator, held_out: Mapping[str, Any], lineage: Mapping[str, Any] | None = None
    ) -> TrainedAnnotator:
        """What is stored of a trained network: matrices as float16, statistics and biases as float32."""
        state = {name: weight for name, weight in network.state_dict().items() if not name.endswith(COUNTER)}
        weights = {name: weight.half() if weight.ndim > 1 else weight.float() for name, weight in state.items()}
        return TrainedAnnotator(network.config, weights, held_out, lineage or {})

    @staticmethod
    def from_dict(data: object, schema: Schema) -> TrainedAnnotator:
        """Check what a checkpoint says of its annotator, plain values and tensors; anything odd raises Refused."""
        if not isinstance(data, Mapping) or set(data) - {"lineage"} != {"config", "weights", "held_out"}:
            raise Refused("annotator: expected a dict with config, weights and held_out, or None where there is none")
        config = AnnotatorConfig.from_dict(data["config"])
        with torch.device("meta"):
            expected = Annotator(config, schema).state_dict()
        shapes = {name: tuple(w.shape) for name, w in expected.items() if not name.endswith(COUNTER)}
        check_weights("annotator", shapes, data["weights"])
        held_out = convert(data["held_out"], dict[str, Any], "held_out")
        lineage = convert(data.get("lineage", {}), dict[str, Any], "annotator's lineage")
        return TrainedAnnotator(config, data["weights"], held_out, lineage)
