"""Aliases and metric conditions, with the operator as a process and a real API server and object store.

Only the nodes are played: the test itself ends the runs' Jobs and leaves their outputs.
"""

from __future__ import annotations

import signal

from trainyard_operator.api.names import REGISTERED_MODEL, TRAINING_JOB
from trainyard_operator.domain.conditions import find

WHEN = {"metric": "accuracy", "atLeast": 0.9}
DIGITS = {"name": "digits", "path": "outputs/m.pkl"}


async def test_an_alias_moves_to_what_is_ready_is_refused_all_else_and_outlives_its_operator(lab, operator):
    async with operator() as first:
        await lab.train("one", DIGITS)
        await lab.promote("digits", {"champion": 1})
        status = await lab.aliases("digits", {"champion": 1}, "AliasesSet")
        entry = status["versions"][0]
        assert {name: status["aliases"]["champion"][name] for name in ("uri", "manifestSha256")} == {
            name: entry[name] for name in ("uri", "manifestSha256")
        }

        # A version that nobody has made yet: the old one stays, and the alias follows when it is Ready.
        await lab.promote("digits", {"champion": 2})
        status = await lab.aliases("digits", {"champion": 1}, "AliasRefused")
        words = "spec.aliases.champion: there is no version 2, so champion stays at version 1; Ready are 1"
        assert find(status, "AliasesSet")["message"] == words
        assert status["refusedAliases"] == {"champion": 2}
        await lab.train("two", DIGITS)
        await lab.aliases("digits", {"champion": 2}, "AliasesSet")

        # One that has failed for good.
        await lab.train("three", DIGITS, lost=True)
        await lab.promote("digits", {"champion": 3}, manager="kubectl-edit")
        before = await lab.until(
            REGISTERED_MODEL, "digits", lambda model: model["status"].get("refusedAliases") == {"champion": 3}
        )
        assert "version 3 is Failed, not Ready" in find(before["status"], "AliasesSet")["message"]
        await lab.has_told("digits", {"AliasMoved": 2, "AliasRefused": 2})
        await first.settled(quiet_seconds=1.0)
        before = await lab.until(REGISTERED_MODEL, "digits", lambda _: True)
        assert await first.end(signal.SIGKILL) == -signal.SIGKILL

    async with operator() as second:
        await second.settled(quiet_seconds=1.0)
        after = await lab.until(REGISTERED_MODEL, "digits", lambda _: True)
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        await lab.promote("digits", {"challenger": 1}, manager="argocd-controller")
        await lab.promote("digits", {}, manager="kubectl-edit")
        status = await lab.aliases("digits", {"challenger": 1}, "AliasesSet")
        await lab.has_told("digits", {"AliasMoved": 3, "AliasRefused": 2, "AliasRemoved": 1})
    changes = [tuple(entry.get(name) for name in ("alias", "from", "to", "by")) for entry in status["aliasHistory"]]
    assert changes[:2] == [
        ("champion", None, 1, "argocd-controller"),
        ("champion", 1, 2, "argocd-controller"),
    ]
    assert sorted(changes[2:]) == [("challenger", None, 1, "argocd-controller"), ("champion", 2, None, None)]


async def test_a_model_that_is_not_good_enough_is_held_back_until_its_condition_is_eased(lab, operator):
    async with operator() as running:
        run = await lab.train("weak", {**DIGITS, "when": WHEN}, metrics={"accuracy": 0.85, "loss": "NaN"})
        assert run["status"]["phase"] == "Completed"
        condition = find(run["status"], "ModelRegistered")
        assert (condition["status"], condition["reason"]) == ("False", "ConditionNotMet")
        assert "asks for accuracy at least 0.9, and the run's is 0.85" in condition["message"]

        # Added after the end: NaN satisfies nothing.
        held = {"name": "later", "path": "outputs/m.pkl", "when": {"metric": "loss", "atMost": 1}}
        await lab.change("weak", [{**DIGITS, "when": WHEN}, held])
        run = await lab.until(TRAINING_JOB, "weak", lambda run: len(run["status"].get("heldModels", ())) == 2)
        assert "the run's is NaN" in find(run["status"], "ModelRegistered")["message"]
        assert await lab.find(REGISTERED_MODEL, "digits") is None
        await running.settled(quiet_seconds=1.0)
        await lab.has_told("weak", {"ConditionNotMet": 2})

        # Eased after the end: what the run saved becomes a version.
        await lab.change("weak", [DIGITS, held])
        run = await lab.until(TRAINING_JOB, "weak", lambda run: "models" in run["status"])
        assert [entry["id"] for entry in run["status"]["models"]] == ["digits:1"]
        assert [entry["name"] for entry in run["status"]["heldModels"]] == ["later"]

        # Good enough from the beginning.
        run = await lab.train("strong", {**DIGITS, "when": WHEN}, metrics={"accuracy": 0.95})
        assert [entry["id"] for entry in run["status"]["models"]] == ["digits:2"]
        assert find(run["status"], "ModelRegistered")["status"] == "True"
