"""Aliases: the spec wishes, only versions that are Ready are given, and whatever was given once stays until then."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.domain.builders import NOW, model, version
from trainyard_operator.api.names import object_name
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.domain.conditions import find
from trainyard_operator.domain.model_aliases import MAX_HISTORY
from trainyard_operator.domain.registered_model import ModelView, Sealed, plan_registered_model

NAME = object_name("sklearn_mnist")
SEEN = ModelView(folder_uri="s3://b/models/default/sklearn_mnist/")
DIGEST = "d" * 64
TIME = "2026-11-23T12:00:00Z"
LATER = NOW + timedelta(minutes=5)


def registered(*states, aliases=None, owners=()):
    """Return a model with a version in each of `states`, from number 1 on."""
    versions = [
        version(number, key=str(number), state=state, **({"manifestSha256": DIGEST} if state == "Ready" else {}))
        for number, state in enumerate(states, 1)
    ]
    made = model(*versions, object_name=NAME, **({"managedFields": list(owners)} if owners else {}))
    made["spec"]["aliases"] = dict(aliases or {})
    return made


def fact(number, since="2026-11-20T00:00:00Z"):
    return {
        "version": number,
        "uri": f"s3://b/models/default/sklearn_mnist/{number}/",
        "manifestSha256": DIGEST,
        "since": since,
    }


def owner(manager, *aliases, time="2026-11-20T00:00:00Z", **over):
    fields = {"f:spec": {"f:aliases": {f"f:{name}": {} for name in aliases}}}
    return {"manager": manager, "time": time, "fieldsV1": fields, **over}


def step(parent, *, seen=SEEN, now=NOW):
    """Plan once and return the plan with the parent as it then is."""
    plan = plan_registered_model(parent, seen, now)
    return plan, parent if plan.status is None else {**parent, "status": plan.status}


def told(plan):
    return [(event.type, event.reason, event.message) for event in plan.events]


def test_a_new_alias_is_given_with_place_digest_and_time_and_told_once():
    plan, after = step(registered("Ready", aliases={"champion": 1}))
    assert after["status"]["aliases"] == {"champion": fact(1, since=TIME)}
    assert after["status"]["aliasHistory"] == [{"alias": "champion", "to": 1, "time": TIME}]
    assert told(plan) == [("Normal", "AliasMoved", "champion is version 1 now")]
    condition = find(after["status"], "AliasesSet")
    assert (condition["status"], condition["message"]) == ("True", "champion is version 1")
    assert step(after, now=LATER)[0].status is None


def test_an_alias_that_moves_says_from_where_and_by_whom():
    before = registered(
        "Ready",
        "Ready",
        aliases={"champion": 2},
        owners=[
            owner("helm", "champion", time="2026-11-19T00:00:00Z"),
            owner("argocd-controller", "champion"),
            owner("other", "challenger", time="2026-11-22T00:00:00Z"),
            owner("operator", "champion", time="2026-11-22T00:00:00Z", subresource="status"),
        ],
    )
    before["status"] = {**before["status"], "aliases": {"champion": fact(1)}}
    plan, after = step(before)
    assert after["status"]["aliases"] == {"champion": fact(2, since=TIME)}
    change = {"alias": "champion", "from": 1, "to": 2, "time": TIME, "by": "argocd-controller"}
    assert after["status"]["aliasHistory"] == [change]
    assert [event.message for event in plan.events] == [
        "champion is version 2 now; it was version 1, by argocd-controller"
    ]


def test_an_alias_that_leaves_the_spec_is_removed_with_a_trace():
    plan, after = step(registered("Ready", aliases={}))
    assert (plan.events, "aliases" in after["status"]) == ((), False)
    plan, after = step(registered("Ready", aliases={}) | {"status": {**after["status"], "aliases": {"old": fact(1)}}})
    assert "aliases" not in after["status"]
    assert after["status"]["aliasHistory"] == [{"alias": "old", "from": 1, "time": TIME}]
    assert told(plan) == [("Normal", "AliasRemoved", "old is no alias any more; it was version 1")]
    assert find(after["status"], "AliasesSet") is None


@pytest.mark.parametrize(
    ("states", "wish", "words"),
    [
        pytest.param(("Ready",), 2, "there is no version 2", id="missing"),
        pytest.param(("Ready", "Pending"), 2, "version 2 is Pending, not Ready", id="pending"),
        pytest.param(("Ready", "Failed"), 2, "version 2 is Failed, not Ready", id="failed"),
        pytest.param(("Ready", "Deleted"), 2, "version 2 is Deleted, not Ready", id="a state of another part"),
    ],
)
def test_an_alias_to_what_is_not_ready_is_refused_and_the_old_one_stays(states, wish, words):
    before = registered(*states, aliases={"champion": wish})
    before["status"]["aliases"] = {"champion": fact(1)}
    plan, after = step(before)
    message = f"spec.aliases.champion: {words}, so champion stays at version 1; Ready are 1"
    assert after["status"]["aliases"] == {"champion": fact(1)}
    assert after["status"]["refusedAliases"] == {"champion": wish}
    assert "aliasHistory" not in after["status"]
    condition = find(after["status"], "AliasesSet")
    assert (condition["status"], condition["reason"], condition["message"]) == ("False", "AliasRefused", message)
    assert told(plan) == [("Warning", "AliasRefused", message)]
    assert step(after, now=LATER)[0].status is None


def test_a_refused_alias_that_meant_nothing_is_not_set():
    plan, after = step(registered("Failed", aliases={"champion": 1}))
    assert "aliases" not in after["status"]
    words = "spec.aliases.champion: version 1 is Failed, not Ready, so champion is not set; no version is Ready"
    assert [event.message for event in plan.events] == [words]


def test_a_refusal_is_told_once_whatever_else_becomes_ready_meanwhile():
    _, before = step(registered("Ready", "Pending", aliases={"champion": 3}))
    seen = ModelView(folder_uri=SEEN.folder_uri, sealed={2: Sealed(manifest_sha256=DIGEST, files=1, bytes=1)})
    plan, after = step(before, seen=seen)
    assert [event.reason for event in plan.events] == ["VersionReady"]
    assert find(after["status"], "AliasesSet")["message"].endswith("Ready are 2, 1")


def test_an_alias_moves_by_itself_in_the_step_in_which_its_version_becomes_ready():
    _, before = step(registered("Ready", "Pending", aliases={"champion": 2}))
    seen = ModelView(folder_uri=SEEN.folder_uri, sealed={2: Sealed(manifest_sha256=DIGEST, files=1, bytes=1)})
    plan, after = step(before, seen=seen)
    assert [event.reason for event in plan.events] == ["VersionReady", "AliasMoved"]
    assert after["status"]["aliases"]["champion"] == fact(2, since=TIME)
    assert "refusedAliases" not in after["status"]
    assert find(after["status"], "AliasesSet")["status"] == "True"


def test_an_alias_whose_version_is_lost_stays_and_the_condition_says_so():
    _, before = step(registered("Ready", "Ready", aliases={"champion": 2}))
    before["status"]["versions"][1]["state"] = "Failed"
    plan, after = step(before)
    assert plan.status["aliases"] == before["status"]["aliases"]
    assert "refusedAliases" not in plan.status
    words = "spec.aliases.champion: version 2 is Failed, not Ready any more; name another one; Ready are 1"
    assert find(after["status"], "AliasesSet")["message"] == words
    assert find(after["status"], "AliasesSet")["reason"] == "AliasedVersionNotReady"


def test_the_loss_of_an_aliased_version_is_told_by_the_step_that_loses_it(monkeypatch):
    _, before = step(registered("Ready", aliases={"champion": 1}))
    settle = "trainyard_operator.domain.registered_model._settle"
    monkeypatch.setattr(settle, lambda entry, _: {**entry, "state": "Failed", "message": "outputs/m.pkl is gone"})
    plan, after = step(before)
    assert ("Warning", "AliasedVersionNotReady") in [(event.type, event.reason) for event in plan.events]
    assert step(after, now=LATER)[0].status is None


def test_a_change_of_mind_after_a_loss_says_that_the_old_one_is_lost_too():
    before = registered("Ready", "Failed", aliases={"champion": 3})
    before["status"]["aliases"] = {"champion": fact(2)}
    _, after = step(before)
    assert "so champion stays at version 2, which is Failed itself" in find(after["status"], "AliasesSet")["message"]


def test_the_history_keeps_the_newest_changes_only():
    parent = registered("Ready", "Ready")
    for number in range(MAX_HISTORY + 5):
        parent["spec"]["aliases"] = {"champion": number % 2 + 1}
        parent = step(parent, now=NOW + timedelta(minutes=number))[1]
    history = parent["status"]["aliasHistory"]
    assert len(history) == MAX_HISTORY
    assert history[-1]["time"] == "2026-11-23T13:08:00Z"
    assert all(old["to"] == new["from"] for old, new in pairwise(history))


def test_aliases_stay_as_they_are_while_the_spec_cannot_be_understood():
    _, before = step(registered("Ready", aliases={"champion": 1}))
    before["spec"]["aliases"] = {"latest": 1}
    _, after = step(before)
    assert find(after["status"], "Ready")["reason"] == "InvalidSpec"
    assert after["status"]["aliases"] == before["status"]["aliases"]


ALIASES = st.dictionaries(st.sampled_from(["champion", "challenger", "v1.0"]), st.integers(1, 5), max_size=3)
# What is Archived is Ready again where `spec.archive` does not name it.
STATES = st.lists(st.sampled_from([state for state in VersionState if state != VersionState.ARCHIVED]), max_size=4)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.tuples(ALIASES, STATES), min_size=1, max_size=6))
def test_aliases_only_ever_mean_versions_that_were_ready_when_they_were_set(steps):
    parent, stories = registered(), []
    for number, (wished, states) in enumerate(steps):
        now, before = NOW + timedelta(minutes=number), parent["status"].get("aliases", {})
        parent["spec"]["aliases"] = wished
        parent["status"] = {**parent["status"], "versions": registered(*states)["status"].get("versions", [])}
        plan, parent = step(parent, now=now)
        after = parent["status"].get("aliases", {})
        ready = {n for n, state in enumerate(states, 1) if state == VersionState.READY}
        for name in {*before, *after}:
            old, new = before.get(name), after.get(name)
            assert new is None or name in wished
            assert new is not None or name not in wished or old is None
            assert new == old or new is None or new["version"] in ready
            assert wished.get(name) not in ready or new["version"] == wished[name]
        assert step(parent, now=now + timedelta(seconds=30))[0].status is None
        changes = [event for event in plan.events if event.reason in {"AliasMoved", "AliasRemoved"}]
        assert len(changes) == sum(before.get(n, {}).get("version") != after.get(n, {}).get("version")
                                   for n in {*before, *after})  # fmt: skip
        stories += [(event.message, event.occasion) for event in changes]
    assert len(stories) == len(set(stories)), "a change that is not told, since it was there before"
