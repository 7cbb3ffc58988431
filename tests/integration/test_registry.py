"""The registry under races, retries, disasters and a store that fails: a real operator, API server and S3 server."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.perf.process import OperatorProcess
from tests.support.fault_proxy import FaultProxy, answer, cut, reset, stall
from tests.support.registrations import Registrations, entries_of, phase, ready
from trainyard_operator.api.names import TRAINING_JOB, object_name
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.storage.store import S3Store

ROUNDS = int(os.environ.get("TRAINYARD_ROUNDS", "2"))
RUNS = 50

# One operator for all: what is awaited belongs to the loop that it was started in.
pytestmark = pytest.mark.asyncio(loop_scope="module")

numbers = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(control_plane) -> AsyncIterator[KubeClient]:
    connection = from_kubeconfig(control_plane.kubeconfig)
    async with connection.open_session() as session:
        yield KubeClient(connection=connection, session=session)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(versitygw) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(versitygw) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def objects(versitygw) -> AsyncIterator[S3Store]:
    store = await S3Store.open(
        endpoint=versitygw.endpoint, region=versitygw.region, bucket="trainyard",
        access_key=versitygw.keys.access, secret_key=versitygw.keys.secret,
    )  # fmt: skip
    await store.ensure_bucket()
    yield store
    store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operator(control_plane, client, objects, proxy, tmp_path_factory) -> AsyncIterator[OperatorProcess]:
    if not control_plane.kubectl("get", "namespace", "trainyard-system", "--ignore-not-found"):
        control_plane.kubectl("create", "namespace", "trainyard-system")
    log = tmp_path_factory.mktemp("registry") / "operator.log"
    async with OperatorProcess(kubeconfig=control_plane.kubeconfig, log=log, objects=proxy) as running:
        yield running
    control_plane.kubectl("-n", "trainyard-system", "delete", "lease", "trainyard-operator", "--ignore-not-found")
    assert "Traceback" not in log.read_text()


@pytest_asyncio.fixture(loop_scope="module")
async def world(client, objects) -> Registrations:
    made = Registrations(client, objects, namespace=f"registry-{next(numbers)}")
    await made.start()
    return made


@pytest.mark.usefixtures("operator")
class TestRaces:
    @pytest.mark.parametrize("turn", range(ROUNDS))
    async def test_fifty_runs_that_end_at_once_get_fifty_numbers(self, world, turn):
        model = f"raced_{turn}"
        runs = await world.runs([f"run-{turn}-{n}" for n in range(RUNS)], model)
        found = await world.settled(model, versions=RUNS)
        done = await world.until(world.all_runs, lambda all_: {phase(run) for run in all_} == {"Completed"})
        assert {r["metadata"]["uid"] for r in done} == {r["metadata"]["uid"] for r in runs}
        by_run = {v["run"]["uid"]: v["id"] for v in entries_of(found)}
        assert [v["version"] for v in entries_of(found)] == list(range(1, RUNS + 1))
        assert {r["metadata"]["uid"]: [m["id"] for m in r["status"]["models"]] for r in done} == {
            uid: [name] for uid, name in by_run.items()
        }
        assert await world.digests(model) == {v["version"]: v["manifestSha256"] for v in entries_of(found)}

    async def test_a_wish_that_comes_again_twenty_times_gets_the_same_version(self, world):
        run = await world.run("one", "retried")
        first = (await world.completed(run))["status"]["models"]
        for _ in range(20):
            # What the run knows of its model is lost: it asks again.
            await world.client.patch_status(TRAINING_JOB, "one", {"models": None}, namespace=world.namespace)
            again = await world.until(lambda: world.find(run), lambda found: "models" in found["status"])
            assert again["status"]["models"] == first
        assert [v["version"] for v in entries_of(await world.model("retried"))] == [1]


async def restore(control_plane, versitygw, *arguments):
    """Run the command as it runs in the operator's pod; return its exit status and what it printed."""
    environment = {
        **os.environ,
        "KUBECONFIG": str(control_plane.kubeconfig),
        "TRAINYARD_TRAINER_IMAGE": "trainer:1",
        "TRAINYARD_S3_ENDPOINT": versitygw.endpoint,
        "AWS_ACCESS_KEY_ID": versitygw.keys.access,
        "AWS_SECRET_ACCESS_KEY": versitygw.keys.secret,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trainyard_operator.restore", *arguments,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode, output.decode()


def facts(model):
    """All that a status says of versions: what must be the same after a disaster."""
    return {v["version"]: v for v in entries_of(model)}


@pytest.mark.usefixtures("operator")
class TestDisasters:
    @pytest_asyncio.fixture(loop_scope="module")
    async def registered(self, world) -> dict:
        """A model with three versions, registered one after the other."""
        for number in range(1, 4):
            await world.completed(await world.run(f"run-{number}", "drill"))
        return await world.settled("drill", versions=3)

    async def lose(self, control_plane, world):
        control_plane.kubectl("delete", "rmodel", "--all", "-n", world.namespace)
        await world.until(lambda: world.model("drill"), lambda found: found is None)

    async def test_models_that_are_all_lost_come_back_from_their_manifests(
        self, control_plane, versitygw, world, registered
    ):
        before, digests = facts(registered), await world.digests("drill")
        await self.lose(control_plane, world)
        await world.objects.put(f"models/{world.namespace}/drill/5/half", b"x")
        await world.objects.put(f"models/{world.namespace}/drill/archive/x.json", b"{}")
        code, said = await restore(control_plane, versitygw, "--namespace", world.namespace, "--dry-run")
        assert (code, await world.model("drill")) == (0, None)
        assert "would add 3 version(s) to 1 of 1 model(s)" in said
        code, said = await restore(control_plane, versitygw, "--namespace", world.namespace)
        assert code == 0
        assert "number 5 stays used: it has files and no manifest" in said
        after = await world.settled("drill", versions=3)
        assert facts(after) == before
        assert await world.digests("drill") == digests
        code, said = await restore(control_plane, versitygw, "--namespace", world.namespace)
        assert (code, "added 0 version(s)" in said) == (0, True)
        again = await world.model("drill")
        assert again["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
        await world.completed(await world.run("run-later", "drill"))
        assert sorted(facts(await world.settled("drill", versions=4))) == [1, 2, 3, 6]

    async def test_namespaces_that_are_gone_are_told_and_not_made(self, control_plane, versitygw, world, registered):
        body = await world.objects.get(f"models/{world.namespace}/drill/1.manifest.json", limit=1 << 20)
        moved = json.dumps({**json.loads(body), "namespace": "gone"}).encode()
        await world.objects.put("models/gone/drill/1.manifest.json", moved)
        for option in ([], ["--dry-run"]):
            code, said = await restore(control_plane, versitygw, "--namespace", "gone", *option)
            assert code == 1
            assert "the namespace does not exist" in said
        assert not control_plane.kubectl("get", "namespace", "gone", "--ignore-not-found")
        await world.objects.delete(["models/gone/drill/1.manifest.json"])

    async def go_back(self, control_plane, world, registered, *, to):
        """Put the status back to its first `to` versions, as a restored backup of etcd does."""
        # The operator says again how the model is: then it has seen that it went back.
        status = {name: value for name, value in registered["status"].items() if name != "conditions"}
        old = {
            **status, "versions": status["versions"][:to], "latestVersion": to, "latestId": f"drill:{to}",
        }  # fmt: skip
        text = json.dumps({**registered, "status": old} | {"metadata": {"name": object_name("drill")}})
        control_plane.kubectl("replace", "--subresource=status", "-n", world.namespace, "-f", "-", text=text)
        await world.until(lambda: world.model("drill"), lambda found: ready(found)[0] == "True")

    async def test_after_an_old_backup_the_next_number_is_a_new_one_and_nothing_is_lost(
        self, control_plane, world, registered
    ):
        before, digests = facts(registered), await world.digests("drill")
        await self.go_back(control_plane, world, registered, to=1)
        assert list(facts(await world.model("drill"))) == [1]
        await world.completed(await world.run("run-later", "drill"))
        after = facts(await world.settled("drill", versions=4))
        assert sorted(after) == [1, 2, 3, 4]
        assert {number: after[number] for number in before} == before
        now = await world.digests("drill")
        assert {number: now[number] for number in digests} == digests

    async def test_a_run_whose_own_version_the_backup_does_not_know_gets_it_again(
        self, control_plane, world, registered
    ):
        before, digests = facts(registered), await world.digests("drill")
        await self.go_back(control_plane, world, registered, to=1)
        await world.client.patch_status(TRAINING_JOB, "run-2", {"models": None}, namespace=world.namespace)
        run = {"metadata": {"name": "run-2"}}
        again = await world.until(lambda: world.find(run), lambda found: "models" in found["status"])
        assert [m["id"] for m in again["status"]["models"]] == ["drill:2"]
        assert facts(await world.settled("drill", versions=3)) == before
        assert await world.digests("drill") == digests


def on(what, model):
    """Return whether a request is of one kind, and of one model."""

    def concerned(request):
        if f"/{model}/" not in request.path:
            return False
        listing, manifest = "list-type=2" in request.path, request.path.split("?")[0].endswith(".manifest.json")
        return {
            "list": listing,
            "read": request.method == "GET" and manifest and not listing,
            "copy": request.is_copy,
            "seal": request.method == "PUT" and manifest,
        }[what]

    return concerned


# More than the client makes of one call.
TRIES = 5
SKEWED = answer(
    403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.",
    Date="Wed, 01 Jan 2020 00:00:00 GMT",
)  # fmt: skip
SLOW_DOWN = answer(503, "SlowDown", "Please reduce your request rate.")
DENIED = answer(403, "AccessDenied", "Access Denied.")
FAULTS = [
    pytest.param("list", SLOW_DOWN, "", id="slow-down-while-numbers-are-looked-for"),
    pytest.param("copy", SLOW_DOWN, "reduce your request rate", id="slow-down-while-files-are-copied"),
    pytest.param("copy", answer(500, "InternalError", "We encountered an error."), "an error", id="error-500"),
    pytest.param("list", reset(), "", id="reset-while-numbers-are-looked-for"),
    pytest.param("seal", reset(), "cannot be reached", id="reset-while-the-manifest-is-written"),
    pytest.param("read", stall(1.0), "cannot be reached", id="stall"),
    pytest.param("read", cut(), "cannot be reached", id="cut-manifest"),
    pytest.param("list", cut(), "", id="cut-listing"),
    pytest.param("list", DENIED, "Access Denied", id="denied-listing"),
    pytest.param("copy", DENIED, "Access Denied", id="denied-copy"),
    pytest.param("read", DENIED, "Access Denied", id="denied-read"),
    pytest.param("seal", answer(412, "PreconditionFailed"), "gives none back", id="said-to-be-there-and-is-not"),
    pytest.param("seal", answer(409, "ConditionalRequestConflict", "A conflict."), "A conflict", id="conflict"),
    pytest.param("seal", SKEWED, "difference between the request time", id="skewed-clock"),
]


@pytest.mark.usefixtures("operator")
class TestFaults:
    @pytest.mark.parametrize(("what", "fault", "words"), FAULTS)
    async def test_a_registration_waits_for_a_store_that_fails_says_why_and_ends_right(
        self, world, proxy, what, fault, words
    ):
        model = "faulty"
        with proxy.breaking(on(what, f"{world.namespace}/{model}"), fault):
            run = await world.run("one", model)

            async def told():
                return ready(await world.model(model)), ready(await world.find(run))

            # A run is in no hurry to change its words alone: one of the faults of listings is waited for.
            def is_told(found):
                enough = words or proxy.hits >= TRIES
                said_by_both = all(status for status, _, _ in found)
                return enough and said_by_both and any(words in message for _, _, message in found)

            said = await world.until(told, is_told)
            assert {status for status, _, _ in said} == {"False"}
            assert [e["state"] for e in entries_of(await world.model(model))] in ([], ["Pending"])
            await world.until(lambda: world.find(run), lambda found: phase(found) == "Finalizing")
            if what != "list":
                assert said[0][1] == "StoreFailing"
                await world.has_told(await world.model(model), "StoreFailing")
        await world.completed(run)
        found = await world.settled(model, versions=1)
        assert await world.digests(model) == {1: entries_of(found)[0]["manifestSha256"]}


async def test_a_model_says_that_its_store_keeps_manifests_from_being_written_twice(operator, world):
    await world.completed(await world.run("one", "trusted"))
    await world.settled("trusted", versions=1)
    # The store is probed beside all else, and models say what came of it once that is known.
    found = await world.until(lambda: world.model("trusted"), lambda found: ready(found, "StoreTrusted")[0])
    assert ready(found, "StoreTrusted")[:2] == ("True", "ConditionalWrites")
    assert (await operator.metrics())["trainyard_store_conditional_writes"] == 1
