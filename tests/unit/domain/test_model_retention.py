"""The rule that deletes versions, over any set of them."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.domain.builders import NOW
from trainyard_operator.api.model_keeping import Retention
from trainyard_operator.domain.model_retention import ReadyVersion, judge

VERSIONS = st.lists(
    st.builds(
        ReadyVersion, version=st.integers(1, 99), created=st.integers(0, 90).map(lambda d: NOW - timedelta(days=d))
    ),
    unique_by=lambda one: one.version,
)
RULES = st.builds(Retention, keep_last=st.integers(1, 20), keep_days=st.integers(0, 60), dry_run=st.booleans())


@given(RULES, VERSIONS, st.sets(st.integers(1, 99)))
def test_it_deletes_exactly_what_is_old_not_among_the_newest_and_has_no_alias(rule, versions, aliased):
    due = judge(rule, versions, aliased=aliased, now=NOW).due
    newest = {one.version for one in sorted(versions, key=lambda one: -one.version)[: rule.keep_last]}
    old = {one.version for one in versions if NOW - one.created >= timedelta(days=rule.keep_days)}
    assert list(due) == sorted(old - newest - aliased)


@given(RULES, VERSIONS, st.sets(st.integers(1, 99)))
def test_a_second_run_deletes_nothing_more(rule, versions, aliased):
    due = judge(rule, versions, aliased=aliased, now=NOW).due
    left = [one for one in versions if one.version not in due]
    assert judge(rule, left, aliased=aliased, now=NOW).due == ()


@given(RULES, VERSIONS)
def test_nothing_more_is_due_until_it_is_looked_at_again(rule, versions):
    verdict = judge(rule, versions, aliased=(), now=NOW)
    if verdict.again is not None:
        before = NOW + timedelta(seconds=verdict.again - 2)
        assert judge(rule, versions, aliased=(), now=before).due == verdict.due
