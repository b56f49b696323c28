"""Convolutions are held against the precision asked for, in TensorRT's network and in what its inspector says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import read_manifest
from contract.errors import ParityError
from export.engines.inspect import check_network, inspect_engine


def _network(trt: Any, content: bytes) -> tuple[object, ...]:
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(content)
    return network, builder, parser  # what goes out of scope first mustn't be what the others need


def _kept(bundle: Path) -> list[str]:
    """Convolutions that the exporter left in higher precision."""
    return list(read_manifest(bundle).files["step.int8-trt.onnx"].extra["float_convolutions"])


@pytest.mark.parametrize("graph", ["fp32", "fp16", "int8-trt"])
@pytest.mark.parametrize("asked", ["fp32", "fp16", "int8"])
def test_a_network_is_held_against_the_precision_asked_for(trt: Any, calm_bundle: Path, graph: str, asked: str) -> None:
    network, *_owners = _network(trt, (calm_bundle / f"step.{graph}.onnx").read_bytes())
    # A graph in int8 is one in fp16 whose convolutions read dequantized tensors, so that it passes for fp16 as well.
    if graph.removesuffix("-trt") == asked or (graph, asked) == ("int8-trt", "fp16"):
        kept = _kept(calm_bundle) if asked == "int8" else []
        names = check_network(trt, network, asked, kept)
        assert len(names) == 14 - len(set(kept) - {"stem", "out"}) and not {"stem", "out"} & set(names)
        return
    with pytest.raises(ParityError, match=r"convolution .*expected .*nothing was built"):
        check_network(trt, network, asked, [])


def test_what_stays_in_higher_precision_is_not_asked_for(trt: Any, calm_bundle: Path) -> None:
    network, *_owners = _network(trt, (calm_bundle / "step.int8-trt.onnx").read_bytes())
    kept = _kept(calm_bundle)
    assert "middle.conv0" not in check_network(trt, network, "int8", ["middle.conv0", *kept])
    with pytest.raises(ParityError, match="no convolution of the network would run in int8"):
        check_network(trt, network, "int8", [*kept, *check_network(trt, network, "int8", kept)])


def _layer(name: str, kind: str, **types: str) -> dict[str, object]:
    metadata = f"[ONNX Layer: {name}]\x1e[ONNX Layer: {name}_relu]"
    return {"Name": f"{name} + {name}_relu", "LayerType": kind, "Metadata": metadata, "Inputs": [dict(types)]}


INT8 = {"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}
HALF_10, HALF_11 = {"Format/Datatype": "Half"}, {"DataType": "Half", "Format": "Channel major FP16 format (kHWC8)"}
FLOAT = {"Format/Datatype": "Row major linear FP32"}


@pytest.mark.parametrize("half", [HALF_10, HALF_11], ids=["10", "11"])
def test_an_engine_s_convolutions_are_read_from_the_inspector(half: dict[str, str]) -> None:
    layers = [_layer(name, "CaskConvolution", **half) for name in "ab"] + [_layer("c", "kgen", **FLOAT)]
    information = json.dumps({"Layers": [*layers, "a string, as without detailed verbosity"]})
    assert inspect_engine(information, {"a", "b", "c"}, "fp16") == {"inspected": True, "convolutions": 2}
    for wrong in ("int8", "fp32"):
        with pytest.raises(ParityError, match=f"convolution a reads .*half.*, expected {wrong}"):
            inspect_engine(information, {"a", "b", "c"}, wrong)


def test_a_single_convolution_in_fp32_is_a_failure() -> None:
    layers = [_layer("a", "CaskConvolution", **INT8), _layer("b", "CaskConvolution", **FLOAT)]
    information = json.dumps({"Layers": layers})
    with pytest.raises(ParityError, match="convolution b reads row major linear fp32, expected int8"):
        inspect_engine(information, {"a", "b"}, "int8")
    assert inspect_engine(information, {"a"}, "int8") == {"inspected": True, "convolutions": 1}


@pytest.mark.parametrize("information", ["", "[]", '{"Layers": ["a", "b"]}', "plain text"])
def test_an_inspector_that_shows_nothing_proves_nothing(information: str) -> None:
    assert inspect_engine(information, {"a"}, "fp16")["inspected"] is False
