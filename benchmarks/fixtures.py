"""What is measured: the shipped student and its teacher, exported once for a whole run.

setting = prepare(Path("build/benchmarks"))
Setting.from_dict(setting.to_dict())                # the same in another process
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contract.errors import Unavailable
from runtime.backends.registry import BACKENDS

ROOT = Path(__file__).parents[1]
STUDENT, TEACHER = ROOT / "checkpoints/cabin128.pt", ROOT / "checkpoints/cabin128-teacher.pt"

BATCHES = (1, 4, 8, 16, 32)
COMPARED = (1, 8, 32)
"""Batches at which peers are measured, too: compiling takes them minutes."""

STEPS = (2, 4, 10)
"""Of the teacher, unguided, for throughput against steps."""


def cpu_backend() -> str:
    """What the runtime takes on this machine's CPU where nobody says: OpenVINO where it is installed."""
    try:
        BACKENDS["openvino"].check()
    except Unavailable:
        return "cpu"
    return "openvino"


@dataclass(frozen=True)
class Setting:
    """Paths of what is measured."""

    student: str
    teacher: str
    bundle: str
    """The student in fp32 and int8."""
    plain: str
    """The student's network alone as an ONNX file, as an exporter that knows nothing of samplers writes it."""
    steps: dict[int, str]
    """Bundles of the teacher by number of steps."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Setting:
        return Setting(**data | {"steps": {int(steps): path for steps, path in data["steps"].items()}})
