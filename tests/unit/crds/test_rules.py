"""The table of CEL rules is whole; tests/integration/test_crds.py puts it to a real API server."""

from __future__ import annotations

from tests.support.rules import CASES, every_rule


def test_every_rule_has_a_case():
    assert {case.key for case in CASES} == every_rule()
