"""JSON from strangers."""

from __future__ import annotations

import pytest

from contract.files import DEEPEST, parse_json


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_json_is_as_deep_as_functions_can_follow_in_every_python(opening: bytes, closing: bytes) -> None:
    deepest = DEEPEST - 1
    parse_json(opening * deepest + b"1" + closing * deepest)
    for depth in (DEEPEST, 2_000, 200_000):
        with pytest.raises(ValueError, match="nested too deep"):
            parse_json(opening * depth + b"1" + closing * depth)


def test_brackets_in_a_text_are_no_depth() -> None:
    assert parse_json(b'["' + b"[" * 1000 + b'"]') == ["[" * 1000]
