"""The status of a run stays below 32 KiB, whatever its script logs and saves."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.domain.builders import NOW, job, pod, saved, termination, training_job, view
from trainyard import contract
from trainyard_operator.domain.status_size import fit, size_of
from trainyard_operator.domain.training_job import plan_training_job

LIMIT = 32 * 1024
WIDE = "😀"  # four bytes


def names(count, *, wide=False):
    """Return many metrics with long names."""
    return {contract.metric_name(f"{n:05} " + (WIDE if wide else "n") * 300): n / 7 for n in range(count)}


def ended(*paths, failed=False, **said):
    """Return the surroundings of a run that has ended."""
    code = 1 if failed else 0
    words = termination(reason="ScriptFailed", message=WIDE * 1024, logTail=WIDE * 512) if failed else termination()
    facts = {"failed": "BackoffLimitExceeded"} if failed else {"complete": True}
    return view(job=job(**facts), pods=[pod(exit_code=code, termination=words)], saved=saved(*paths, **said))


SITUATIONS = [
    pytest.param({}, ended(metrics=names(10_000)), id="10,000 long names"),
    pytest.param({}, ended(metrics=names(10_000, wide=True)), id="10,000 long names in four-byte characters"),
    pytest.param({}, ended(*(f"outputs/{n:04}" for n in range(5000))), id="5,000 files"),
    pytest.param(
        {"models": [{"name": "m" * 200, "path": "outputs/none"}]},
        ended(*(f"outputs/{WIDE * 240}{n:04}" for n in range(5000))),
        id="a missing model among 5,000 long names",
    ),
    pytest.param(
        {
            "models": [
                {"name": f"{n:02}" + "m" * 200, "path": f"outputs/{WIDE * 100}", "when": {"metric": WIDE, "atLeast": 1}}
                for n in range(16)
            ]
        },
        ended(metrics=names(64, wide=True)),
        id="as many models held back as can be",
    ),
    pytest.param(
        {},
        ended(metrics=names(64, wide=True), tags={f"{n:02}" + WIDE * 126: WIDE * 256 for n in range(32)}),
        id="as many tags as can be",
    ),
    pytest.param(
        {"models": [{"name": "m", "path": "outputs/none"}]},
        ended(failed=True, metrics=names(64, wide=True)),
        id="a failure in long words",
    ),
]


@pytest.mark.parametrize(("spec", "seen"), SITUATIONS)
def test_a_status_stays_below_32_kib_and_settles(spec, seen):
    parent = training_job(**spec)
    plan = plan_training_job(parent, seen, NOW)
    assert size_of(plan.status) <= LIMIT
    assert plan.status["phase"] in {"Completed", "Failed"}
    json.dumps(plan.status, allow_nan=False).encode()


def test_a_status_that_was_made_smaller_is_not_written_again():
    live = {"state": "Running", "metrics": names(64, wide=True), "tags": {f"{n}": WIDE * 256 for n in range(32)}}
    seen = view(job=job(), pods=[pod(running=True)], live=live)
    parent = training_job()
    parent["status"] = plan_training_job(parent, seen, NOW).status
    assert 0 < len(parent["status"]["tags"]) < 32
    assert len(parent["status"]["metrics"]) == 64
    assert plan_training_job(parent, seen, NOW).status is None


def test_what_fits_is_left_as_it_is():
    status = {"metrics": names(3), "conditions": [{"message": "x" * 1000}], "failure": {"logTail": "x"}}
    assert fit(status) is status


@given(
    st.fixed_dictionaries(
        {
            "conditions": st.lists(st.fixed_dictionaries({"message": st.text(max_size=2000)}), max_size=8),
            "failure": st.fixed_dictionaries({"message": st.text(max_size=1000), "logTail": st.text(max_size=2000)}),
            "metrics": st.dictionaries(st.text(max_size=60), st.integers(), max_size=64),
            "tags": st.dictionaries(st.text(max_size=128), st.text(max_size=256), max_size=32),
            "models": st.lists(st.fixed_dictionaries({"id": st.text(max_size=255), "uri": st.text(max_size=400)})),
        }
    ),
    st.integers(1, 6),
)
def test_whatever_is_in_it_the_models_of_a_status_are_kept(status, times):
    status["conditions"] = status["conditions"] * times
    smaller = fit(status)
    assert size_of(smaller) <= max(LIMIT, size_of({**status, "metrics": {}, "tags": {}}))
    assert [entry["id"] for entry in smaller.get("models", [])] == [entry["id"] for entry in status["models"]]
