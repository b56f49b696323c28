"""The highest rates of fp32 arithmetic and memory that any library reaches on this machine.

rates = matrix_product_rates()             # {"numpy": 1.7e11, "torch": 1.8e11, ...} FLOP/s
bytes_per_second()
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import numpy as np

from contract.errors import Unavailable
from runtime.backends.ov import import_openvino

SIDE = 2048
REPEATS = 8


def matrix_product_rates(side: int = SIDE, repeats: int = REPEATS) -> dict[str, float]:
    """FLOP/s of a large square fp32 matrix product in each library that is installed, the best of its repeats."""
    import onnxruntime
    import torch
    from onnx import TensorProto, helper

    stream = np.random.default_rng(0)
    a, b = (stream.standard_normal((side, side)).astype(np.float32) for _ in range(2))
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    names = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", names[:2], names[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    products: dict[str, Callable[[], object]] = {
        "numpy": lambda: a @ b,
        "torch": lambda: torch.mm(left, right),
        "onnxruntime": lambda: session.run(None, {"a": a, "b": b}),
    }
    with contextlib.suppress(Unavailable):
        hint = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        core = import_openvino().Core()
        request = core.compile_model(core.read_model(model.SerializeToString()), "CPU", hint).create_infer_request()
        products["openvino"] = lambda: request.infer({"a": a, "b": b}, share_inputs=True)
    seconds = {name: [_timed(product) for _ in range(repeats)] for name, product in products.items()}
    return {name: 2.0 * side**3 / min(taken) for name, taken in seconds.items()}


def bytes_per_second(mebibytes: int = 256, repeats: int = 5) -> float:
    """Of a large copy, read and written bytes together."""
    import torch

    source = torch.ones(mebibytes << 18)
    target = torch.empty_like(source)
    return 2.0 * (mebibytes << 20) / min(_timed(lambda: target.copy_(source)) for _ in range(repeats))


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
