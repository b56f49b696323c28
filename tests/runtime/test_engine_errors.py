"""An engine's own error keeps its cause, and the advice fits it."""

from __future__ import annotations

import pytest

from contract.errors import Refused, run_command
from runtime.backends.onnx_interface import LONGEST, EngineErrors, summary


def fail(error: Exception) -> None:
    raise error


def test_beginning_and_end_of_a_long_error_are_kept() -> None:
    text = summary(RuntimeError("Load model failed:\n" + "somewhere in the source\n" * 100 + "the opset is too new"))
    assert text.startswith("Load model failed:") and text.endswith("the opset is too new")
    assert len(text) <= LONGEST + len(" ... ")


@pytest.mark.parametrize("text", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 9"])
def test_out_of_memory_isn_t_the_file_s_fault(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    errors = EngineErrors("b/step.onnx", "export it anew")
    assert run_command("p", lambda: errors(lambda: fail(RuntimeError(text))) or 0) == 1
    assert "smaller --batch" in (said := capsys.readouterr().err) and text in said and "export" not in said


def test_any_other_error_advises_another_export() -> None:
    with pytest.raises(Refused, match="no such operator; export it anew"):
        EngineErrors("b/step.onnx", "export it anew")(lambda: fail(RuntimeError("no such operator")))
