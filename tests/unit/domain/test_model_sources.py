"""Imports and promotions: which versions they ask for, and what they say while they cannot."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import NOW, model, version
from trainyard_operator.api.names import object_name
from trainyard_operator.api.reasons import RegisteredModelReason as Reason
from trainyard_operator.domain import model_sources
from trainyard_operator.domain.model_sources import Problem, SourcesView
from trainyard_operator.domain.registered_model import ModelView, Sealed, plan_registered_model

NAME = object_name("sklearn_mnist")
DIGEST, OTHER = "d" * 64, "e" * 64
PROMOTION = {"namespace": "lab", "model": "iris", "version": 2, "sha256": DIGEST}
KEY = f"promoted/lab/iris/2/{DIGEST}"
FOUND = SourcesView(found=frozenset({"one", "two"}))
NOTHING = Problem(reason=Reason.IMPORT_PATH_NOT_FOUND, message="spec.imports[one].datastorePath: nothing is at 'x'")

LOOKED_AT_AGAIN = {"ImportPathNotFound", "StoreUnavailable"}


def parent(*versions, **spec):
    found = model(*versions, object_name=NAME)
    return {**found, "spec": {**found["spec"], **spec}}


def wish(key="one", path="iris", **over):
    return {"key": key, "datastorePath": path, **over}


def imported(number, *, key="one", path="iris", **over):
    made = version(number, key=f"import/{key}", **over)
    del made["run"]
    return {**made, "import": {"key": key, "datastorePath": path}, "path": path}


def promoted(number, **over):
    made = version(number, key=KEY, **over)
    del made["run"]
    source = {"namespace": "lab", "model": "iris", "version": 2, "manifestSha256": DIGEST}
    return {**made, "promotedFrom": source}


def source(*versions, shared=("default",), **over):
    """Return the RegisteredModel `iris` of the namespace `lab`."""
    versions = versions or (version(2, name="iris", manifestSha256=DIGEST, tags={"a": "b"}, sourceSha256=OTHER),)
    return {
        "metadata": {"name": "iris", "namespace": "lab"},
        "spec": {"modelName": "iris", "sharedWith": list(shared)},
        "status": {"versions": list(versions), "latestVersion": versions[-1]["version"]},
        **over,
    }


def offered(found, **over):
    return SourcesView(models={("lab", "iris"): found}, **over)


def plan(obj, sources, **seen):
    return plan_registered_model(obj, ModelView(folder_uri="s3://b/m/", sources=sources, **seen), NOW)


def said(after, kind):
    return next(c for c in after.status["conditions"] if c["type"] == kind)


def test_each_import_whose_files_are_there_asks_for_a_version_in_the_order_of_the_spec():
    spec = [
        wish("two", tags={"a": "b"}),
        wish("one", sha256=DIGEST, metrics={"auc": 0.5}, description="Text."),
        wish("not"),
    ]
    after = plan(parent(version(1), imports=spec), FOUND)
    assert [(r.model, r.key) for r in after.register] == [(NAME, "import/two"), (NAME, "import/one")]
    assert [r.entry for r in after.register] == [
        {"import": {"key": "two", "datastorePath": "iris"}, "path": "iris", "tags": {"a": "b"}},
        {
            "import": {"key": "one", "datastorePath": "iris", "sha256": DIGEST},
            "path": "iris",
            "description": "Text.",
            "metrics": {"auc": 0.5},
        },
    ]
    assert after.status is None


def test_an_import_that_has_its_version_asks_for_nothing_and_says_so():
    after = plan(parent(imported(1), imports=[wish()]), FOUND)
    assert (after.register, after.requeue_after) == ((), None)
    assert (said(after, "Imported")["status"], said(after, "Imported")["reason"]) == ("True", "Imported")


def test_an_import_that_left_the_spec_leaves_its_version_and_takes_its_condition_with_it():
    done = plan(parent(imported(1), imports=[wish()]), FOUND)
    after = plan({**parent(imported(1)), "status": done.status}, SourcesView())
    assert [c["type"] for c in after.status["conditions"]] == ["Ready"]
    assert after.status["versions"] == [imported(1)]


@pytest.mark.parametrize(
    ("versions", "spec", "view", "reason", "words"),
    [
        pytest.param((), [wish()], SourcesView(problems={"one": NOTHING}), "ImportPathNotFound", ["'x'"], id="no file"),
        pytest.param(
            (imported(1),), [wish(path="new/")], FOUND, "ImportChanged",
            ["spec.imports[one].datastorePath is 'new/'", "made from 'iris'", "new key"], id="another path",
        ),
        pytest.param(
            (imported(1),), [wish(sha256=DIGEST)], FOUND, "ImportChanged",
            ["spec.imports[one].sha256", "any digest"], id="another digest",
        ),
        pytest.param(
            (imported(1, state="Failed", message="is not it"),), [wish()], FOUND, "ImportFailed", ["is not it"],
            id="its version failed",
        ),
        pytest.param((imported(1, state="Pending"),), [wish()], FOUND, "ImportPending", [":1"], id="being copied"),
        pytest.param(
            (), [wish()], SourcesView(found=frozenset({"one"}), unknown="away"), "StoreUnavailable", ["away"],
            id="no number known",
        ),
        pytest.param(
            (version(1),), [wish(f"k{n}") for n in range(5)],
            SourcesView(problems={f"k{n}": NOTHING for n in range(5)}), "ImportPathNotFound", ["and 2 more"],
            id="many at once",
        ),
    ],
)  # fmt: skip
def test_an_import_that_has_no_version_to_show_says_why(versions, spec, view, reason, words):
    after = plan(parent(*versions, imports=spec), view)
    found = said(after, "Imported")
    assert (found["status"], found["reason"]) == ("False", reason)
    assert [word for word in words if word not in found["message"]] == []
    assert after.requeue_after == (model_sources.LOOK_AGAIN_SECONDS if reason in LOOKED_AT_AGAIN else None)


def test_a_trailing_slash_is_no_other_path():
    after = plan(parent(imported(1), imports=[wish(path="iris/")]), FOUND)
    assert said(after, "Imported")["reason"] == "Imported"


@pytest.mark.parametrize("full", [imported, promoted], ids=["import", "promotion"])
def test_a_model_that_is_full_says_so_and_takes_no_number(full, monkeypatch):
    monkeypatch.setattr("trainyard_operator.domain.model_sources.MAX_ENTRIES", 1)
    spec = {"imports": [wish()]} if full is imported else {"promoteFrom": PROMOTION}
    view = SourcesView(found=frozenset({"one"}), models={("lab", "iris"): source()})
    after = plan(parent(version(1), **spec), view)
    assert after.register == ()
    assert after.status["conditions"][1]["reason"] == "RegistryFull"


def test_a_refusal_is_told_once_and_again_when_the_spec_was_changed():
    obj = parent(imports=[wish()])
    view = SourcesView(problems={"one": NOTHING})
    first = plan(obj, view)
    assert [e.reason for e in first.events] == ["ImportPathNotFound"]
    other = Problem(reason=Reason.IMPORT_PATH_NOT_FOUND, message="there is more by now")
    second = plan({**obj, "status": first.status}, SourcesView(problems={"one": other}))
    assert (second.status is None, second.events) == (False, ())
    changed = {**obj, "metadata": {**obj["metadata"], "generation": 9}, "status": second.status}
    assert [e.reason for e in plan(changed, view).events] == ["ImportPathNotFound"]


def test_a_shared_version_asks_for_a_copy_that_keeps_what_it_was_made_from():
    after = plan(parent(promoteFrom=PROMOTION), offered(source()))
    (request,) = after.register
    assert (request.model, request.key) == (NAME, KEY)
    assert request.entry == {
        "path": "outputs/m.pkl",
        "runManifestSha256": "f" * 64,
        "metrics": {},
        "tags": {"a": "b"},
        "sourceSha256": OTHER,
        "promotedFrom": {
            "namespace": "lab",
            "model": "iris",
            "version": 2,
            "manifestSha256": DIGEST,
            "run": {**version(2)["run"], "namespace": "lab"},
        },
    }


@pytest.mark.parametrize(
    ("document", "first"),
    [
        pytest.param({"run": {"name": "r"}}, {"run": {"name": "r", "namespace": "lab"}}, id="a run of its namespace"),
        pytest.param({"import": {"key": "k"}}, {"import": {"key": "k", "namespace": "lab"}}, id="an import"),
        pytest.param(
            {"promotedFrom": {"namespace": "dev", "run": {"name": "r", "namespace": "dev"}}},
            {"run": {"name": "r", "namespace": "dev"}},
            id="a version that was promoted itself",
        ),
        pytest.param({}, {}, id="nobody knows"),
    ],
)  # fmt: skip
def test_where_a_version_comes_from_first_stays_known_over_any_number_of_promotions(document, first):
    assert model_sources.first_source(document, "lab") == first


UNSHARED = [
    pytest.param(None, id="there is no such model"),
    pytest.param(source(shared=()), id="shared with nobody"),
    pytest.param(source(shared=("other", "defaultx", "*")), id="shared with others"),
    pytest.param(source(spec={"modelName": "iris", "sharedWith": "default"}), id="sharing is no list"),
    pytest.param(source(spec={"modelName": "Iris", "sharedWith": ["default"]}), id="another model of that object"),
    pytest.param(source(spec=None), id="no spec"),
    pytest.param(source(version(1, name="iris"), shared=()), id="not shared and no such version"),
]


@pytest.mark.parametrize("found", UNSHARED)
def test_what_is_not_shared_and_what_is_not_there_get_the_same_answer(found):
    after = plan(parent(promoteFrom=PROMOTION), offered(found))
    refused = said(after, "Promoted")
    assert after.register == ()
    assert (refused["status"], refused["reason"]) == ("False", "NotShared")
    assert refused["message"] == said(plan(parent(promoteFrom=PROMOTION), offered(None)), "Promoted")["message"]
    assert "add default to spec.sharedWith of their RegisteredModel iris" in refused["message"]
    assert [e.reason for e in after.events] == ["NotShared"]


@pytest.mark.parametrize(
    ("found", "reason", "words"),
    [
        pytest.param(source(version(1, name="iris")), "SourceNotFound", ["version is 2", "latest one is 1"], id="no version"),
        pytest.param(source(version(2, state="Pending")), "SourceNotReady", ["once it is Ready"], id="pending"),
        pytest.param(source(version(2, state="Failed")), "SourceNotReady", ["is Failed"], id="failed"),
        pytest.param(source(version(2, state="Corrupted")), "SourceNotReady", ["is Corrupted"], id="corrupted"),
        pytest.param(source(version(2, manifestSha256=OTHER)), "DigestMismatch", [DIGEST, OTHER], id="another digest"),
        pytest.param(source(version(2)), "DigestMismatch", ["sha256"], id="no digest"),
    ],
)  # fmt: skip
def test_what_is_shared_and_cannot_be_promoted_says_why(found, reason, words):
    after = plan(parent(promoteFrom=PROMOTION), offered(found))
    refused = said(after, "Promoted")
    assert (after.register, refused["reason"]) == ((), reason)
    assert "spec.promoteFrom" in refused["message"]
    assert [word for word in words if word not in refused["message"]] == []


def test_a_promotion_without_a_known_number_waits_for_the_store():
    after = plan(parent(promoteFrom=PROMOTION), offered(source(), unknown="away"))
    assert (after.register, said(after, "Promoted")["reason"]) == ((), "StoreUnavailable")
    assert after.requeue_after == model_sources.LOOK_AGAIN_SECONDS


def test_a_pending_copy_waits_while_its_source_is_not_shared():
    obj = parent(promoted(1, state="Pending"), promoteFrom=PROMOTION)
    assert [copy.version for copy in plan(obj, offered(source())).copy] == [1]
    held = plan(obj, offered(source(shared=())))
    assert (held.copy, said(held, "Promoted")["reason"]) == ((), "NotShared")
    assert held.requeue_after == model_sources.LOOK_AGAIN_SECONDS


def test_a_promoted_version_stays_when_it_is_shared_no_more():
    after = plan(parent(promoted(1), promoteFrom=PROMOTION), offered(None))
    assert (said(after, "Promoted")["status"], after.status["versions"]) == ("True", [promoted(1)])


def test_a_copy_that_failed_says_why():
    after = plan(
        parent(promoted(1, state="Failed", message="it was changed"), promoteFrom=PROMOTION), offered(source())
    )
    assert said(after, "Promoted")["reason"] == "PromotionFailed"
    assert "it was changed" in said(after, "Promoted")["message"]
    assert after.events == ()


def test_another_version_in_the_spec_is_promoted_next():
    newer = source(version(2, manifestSha256=DIGEST), version(3, name="iris", manifestSha256=OTHER))
    wished = {**PROMOTION, "version": 3, "sha256": OTHER}
    after = plan(parent(promoted(1), promoteFrom=wished), offered(newer))
    assert [r.key for r in after.register] == [f"promoted/lab/iris/3/{OTHER}"]


def test_a_model_of_the_own_namespace_is_not_promoted():
    after = plan(parent(promoteFrom={**PROMOTION, "namespace": "default"}), SourcesView())
    assert after.status["conditions"][0]["reason"] == "InvalidSpec"
    assert "spec.promoteFrom.namespace" in after.status["conditions"][0]["message"]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        pytest.param(version(1, state="Pending"), "from run run-a", id="run"),
        pytest.param(imported(1, state="Pending"), "imported from iris of the datastore", id="import"),
        pytest.param(promoted(1, state="Pending"), "promoted from lab/iris:2", id="promotion"),
    ],
)
def test_the_event_of_a_version_says_what_it_was_made_from(made, words):
    sealed = {1: Sealed(manifest_sha256=DIGEST, files=1, bytes=2)}
    (event,) = plan(parent(made), SourcesView(), sealed=sealed).events
    assert event.message.endswith(words)


@pytest.mark.parametrize(
    ("obj", "view"),
    [
        pytest.param(parent(imported(1), imports=[wish()]), SourcesView(), id="imported"),
        pytest.param(parent(promoted(1), promoteFrom=PROMOTION), SourcesView(), id="promoted"),
        pytest.param(parent(promoteFrom=PROMOTION), offered(None), id="not-shared"),
    ],
)
def test_a_model_at_rest_gets_an_empty_plan(obj, view):
    first = plan(obj, view)
    resting = plan({**obj, "status": first.status}, view)
    assert (resting.status, resting.events, resting.copy, resting.register, resting.requeue_after) == (
        None, (), (), (), None,
    )  # fmt: skip
