"""When versions are verified, in which order of steps, and what becomes of those that are not what they were."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.unit.domain.builders import NOW, model, version
from trainyard_operator.api.names import object_name
from trainyard_operator.domain.conditions import timestamp
from trainyard_operator.domain.model_verification import RETRY_SECONDS, Findings
from trainyard_operator.domain.registered_model import ModelView, plan_registered_model

NAME = object_name("sklearn_mnist")
SHA = "d" * 64
WRONG = "m.pkl has other bytes"


def ready(number, **over):
    return version(number, key=str(number), manifestSha256=SHA, files=1, bytes=1, **over)


def corrupted(number, message=WRONG):
    return {**ready(number), "state": "Corrupted", "message": message}


def asking(*versions, status=None, **verification):
    """Return a model that wishes for a verification; `status` is that of the last one."""
    parent = model(*versions, object_name=NAME)
    parent["spec"]["verification"] = verification
    if status is not None:
        parent["status"]["verification"] = status
    return parent


def plan(parent, findings=None, now=NOW):
    return plan_registered_model(parent, ModelView(folder_uri="s3://b/m/", findings=findings), now)


def found(wish, looked, **over):
    fields = {"complete": len(looked) == len(wish.versions), "at": NOW, **over}
    return Findings(sweep=wish.sweep, after=wish.after, looked=looked, **fields)


def written(parent, done):
    return parent if done.status is None else {**parent, "status": done.status}


def numbers(done):
    return [number for number, _ in done.inspect.versions] if done.inspect else None


def states(parent):
    return [entry["state"] for entry in parent["status"]["versions"]]


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        pytest.param(asking(ready(1), ready(2), request="a"), [1, 2], id="a-request"),
        pytest.param(asking(ready(1), request="a", status={"request": "b"}), [1], id="another-request"),
        pytest.param(asking(ready(1), request="a", status={"request": "a"}), None, id="a-request-that-was-done"),
        pytest.param(asking(ready(1), status={"request": "a"}), None, id="a-request-that-was-taken-back"),
        pytest.param(asking(ready(1), corrupted(2), request="a"), [1, 2], id="corrupted-ones-too"),
        pytest.param(
            asking(version(1, state="Failed", message="x"), ready(2), version(3, state="Pending"), request="a"),
            [2],
            id="only-what-has-files",
        ),
        pytest.param(asking(ready(2), ready(1), request="a"), [1, 2], id="in-the-order-of-the-numbers"),
        pytest.param(asking(ready(1), everyHours=24), [1], id="a-schedule-for-the-first-time"),
        pytest.param(asking(ready(1)), None, id="nothing-wished"),
        pytest.param(
            asking(ready(1), ready(2), request="a", status={"running": {"request": "a", "after": 1, "versions": 1}}),
            [2],
            id="a-request-goes-on-where-it-was",
        ),
        pytest.param(
            asking(ready(1), ready(2), request="b", status={"running": {"request": "a", "after": 1, "versions": 1}}),
            [1, 2],
            id="another-request-begins-anew",
        ),
        pytest.param(
            asking(ready(1), ready(2), everyHours=1, request="b", status={"running": {"after": 1, "versions": 1}}),
            [1, 2],
            id="a-request-does-not-go-on-with-the-schedules",
        ),
    ],
)
def test_versions_are_looked_at_when_somebody_wishes_for_it(parent, expected):
    assert numbers(plan(parent)) == expected


@pytest.mark.parametrize(
    ("hours", "expected", "again"),
    [
        pytest.param(0, None, 24 * 3600, id="just-verified"),
        pytest.param(23.5, None, 1800, id="half-an-hour-before"),
        pytest.param(24, [1], None, id="on-time"),
        pytest.param(240, [1], None, id="long-over"),
        pytest.param(-0.5, None, 24.5 * 3600, id="by-a-clock-that-was-fast"),
        pytest.param(-240, [1], None, id="by-a-clock-that-was-wrong"),
    ],
)
def test_a_schedule_wakes_when_it_is_due(hours, expected, again):
    last = {"time": timestamp(NOW - timedelta(hours=hours)), "versions": 1, "corrupted": 0}
    parent = asking(ready(1), everyHours=24, status=last)
    first = plan(parent)
    done = plan(written(parent, first))
    assert done.status is None
    assert numbers(done) == expected
    assert done.requeue_after == again


@pytest.mark.parametrize(("verification", "thorough"), [({"request": "a"}, True), ({"everyHours": 1}, False)])
def test_a_request_reads_all_bytes_and_the_schedule_does_not(verification, thorough):
    assert plan(asking(ready(1), **verification)).inspect.thorough == thorough


def test_whole_versions_stay_as_they_are_and_nothing_more_is_wished():
    parent = asking(ready(1), ready(2), request="a")
    wish = plan(parent).inspect
    done = plan(parent, found(wish, {1: "", 2: ""}))
    assert done.status["verification"] == {"request": "a", "time": timestamp(NOW), "versions": 2, "corrupted": 0}
    assert done.status["versions"] == parent["status"]["versions"]
    rest = plan(written(parent, done), found(wish, {1: "", 2: ""}))
    assert (rest.status, rest.inspect, rest.events, rest.requeue_after) == (None, None, (), None)


def test_a_changed_version_is_corrupted_and_told_of_once():
    parent = asking(ready(1), ready(2), request="a")
    done = plan(parent, found(plan(parent).inspect, {1: WRONG, 2: ""}))
    assert [event.reason for event in done.events] == ["VersionCorrupted"]
    assert done.events[0].type == "Warning"
    assert WRONG in done.events[0].message
    parent = written(parent, done)
    assert states(parent) == ["Corrupted", "Ready"]
    assert parent["status"]["versions"][0]["message"] == WRONG
    assert parent["status"]["verification"]["corrupted"] == 1
    # The latest version is well, so the model is.
    assert parent["status"]["conditions"][0]["reason"] == "VersionReady"
    parent["spec"]["verification"] = {"request": "b"}
    again = plan(parent, found(plan(parent).inspect, {1: "m.pkl is missing", 2: ""}))
    assert again.events == ()
    assert again.status["versions"][0]["message"] == "m.pkl is missing"


def test_a_model_whose_latest_version_is_corrupted_is_not_ready():
    parent = asking(ready(1), ready(2), request="a")
    done = plan(parent, found(plan(parent).inspect, {1: "", 2: WRONG}))
    (condition,) = done.status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "VersionCorrupted")
    assert WRONG in condition["message"]


def test_a_version_whose_bytes_are_right_again_is_ready_again():
    parent = asking(corrupted(1), request="a")
    done = plan(parent, found(plan(parent).inspect, {1: ""}))
    (entry,) = done.status["versions"]
    assert entry == ready(1)
    assert [(event.type, event.reason) for event in done.events] == [("Normal", "VersionMended")]


def test_what_was_found_of_a_version_that_is_no_longer_there_is_of_no_use():
    parent = asking(ready(1), request="a")
    findings = found(plan(parent).inspect, {1: WRONG})
    parent["status"]["versions"][0]["state"] = "Failed"
    done = plan(parent, findings)
    assert states(written(parent, done)) == ["Failed"]


def test_a_long_sweep_says_how_far_it_is_and_goes_on_after_a_restart():
    parent = asking(ready(1), ready(2), ready(3), request="a", everyHours=24)
    first = plan(parent)
    part = plan(parent, found(first.inspect, {1: "", 2: WRONG}))
    assert part.status["verification"] == {
        "running": {"request": "a", "startTime": timestamp(NOW), "after": 2, "versions": 2}
    }
    assert numbers(part) == [3]
    parent = written(parent, part)
    assert states(parent) == ["Ready", "Corrupted", "Ready"]
    # A process that remembers nothing asks for the same, and for no version twice.
    restarted = plan(parent)
    assert restarted.inspect == part.inspect
    done = plan(parent, found(restarted.inspect, {3: ""}))
    assert done.status["verification"] == {"request": "a", "time": timestamp(NOW), "versions": 3, "corrupted": 1}
    assert done.requeue_after == 24 * 3600


def test_an_outage_leaves_states_says_so_once_and_is_tried_again():
    parent = asking(ready(1), ready(2), request="a")
    wish = plan(parent).inspect
    trouble = found(wish, {}, trouble="the object store cannot be reached")
    waiting = plan(parent, trouble)
    assert waiting.inspect is None
    assert waiting.requeue_after == RETRY_SECONDS
    assert "cannot be reached" in waiting.status["verification"]["message"]
    assert [event.reason for event in waiting.events] == ["VerificationInterrupted"]
    parent = written(parent, waiting)
    assert states(parent) == ["Ready", "Ready"]
    still = plan(parent, trouble, NOW + timedelta(seconds=10))
    assert (still.status, still.events, still.inspect) == (None, (), None)
    assert still.requeue_after == RETRY_SECONDS - 10
    again = plan(parent, trouble, NOW + timedelta(seconds=RETRY_SECONDS))
    assert again.inspect == wish
    done = plan(parent, found(wish, {1: "", 2: ""}))
    assert done.status["verification"] == {"request": "a", "time": timestamp(NOW), "versions": 2, "corrupted": 0}
    assert done.events == ()


def test_an_outage_in_the_middle_keeps_what_was_found_before_it():
    parent = asking(ready(1), ready(2), request="a")
    halfway = found(plan(parent).inspect, {1: WRONG}, trouble="away")
    waiting = plan(parent, halfway)
    assert states(written(parent, waiting)) == ["Corrupted", "Ready"]
    assert waiting.requeue_after == RETRY_SECONDS
    later = plan(written(parent, waiting), halfway, NOW + timedelta(seconds=RETRY_SECONDS))
    assert numbers(later) == [2]


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        pytest.param(
            asking(request="a"), {"request": "a", "time": timestamp(NOW), "versions": 0, "corrupted": 0}, id="request"
        ),
        pytest.param(asking(everyHours=1), None, id="schedule"),
    ],
)
def test_a_model_without_versions_has_nothing_to_verify(parent, expected):
    done = plan(parent)
    assert done.inspect is None
    assert done.requeue_after is None
    assert done.status.get("verification") == expected


def test_a_wish_that_is_taken_back_ends_the_sweep():
    status = {"request": "a", "running": {"request": "b", "startTime": "x", "after": 1, "versions": 1}, "message": "m"}
    done = plan(asking(ready(1), ready(2), request="a", status=status))
    assert done.status["verification"] == {"request": "a"}
    assert done.inspect is None


def test_findings_of_another_sweep_are_of_no_use():
    parent = asking(ready(1), request="b")
    other = plan(asking(ready(1), request="a")).inspect
    done = plan(parent, found(other, {1: WRONG}))
    assert states(written(parent, done)) == ["Ready"]
    assert numbers(done) == [1]


@pytest.mark.parametrize("verification", [{"request": "a"}, {"everyHours": 1}], ids=["request", "schedule"])
def test_a_sweep_whose_process_is_killed_after_every_version_sees_each_of_them_once(verification):
    parent, seen = asking(*map(ready, range(1, 8)), **verification), []
    for _ in range(20):
        done = plan(parent)  # by a process that knows nothing but the status
        parent = written(parent, done)
        if done.inspect is None:
            break
        number = done.inspect.versions[0][0]
        seen.append(number)
        parent = written(parent, plan(parent, found(done.inspect, {number: WRONG if number == 3 else ""})))
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert states(parent).count("Corrupted") == 1
    assert (parent["status"]["verification"]["versions"], parent["status"]["verification"]["corrupted"]) == (7, 1)
