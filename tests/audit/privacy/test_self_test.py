"""The audit finds leaks that are known to be there: its self-test, on fewer miniatures."""

from __future__ import annotations

from audit.privacy.self_test import SMALL, self_test


def test_every_check_of_a_small_self_test_passes() -> None:
    found = self_test(SMALL)
    assert not [check for check in found["checks"] if not check["passed"]]
    assert found["passed"] and len(found["checks"]) == 19
