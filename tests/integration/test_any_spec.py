"""Whatever is in a spec gets an answer, soon, and leaves no trace of trouble in the operator."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from statistics import median

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings

from devcluster.controlplane import ControlPlane
from tests.perf.api import open_api
from tests.perf.ground import DEFINITION, NAMESPACE
from tests.perf.process import OperatorProcess
from tests.support.garbage import garbage
from tests.support.schemas import objects
from trainyard_operator.api.names import COMPUTE_CLUSTER, REGISTERED_MODEL, TRAINING_JOB
from trainyard_operator.kube.client import path_of

KINDS = [TRAINING_JOB, COMPUTE_CLUSTER, REGISTERED_MODEL]
COUNT = int(os.environ.get("TRAINYARD_FUZZ", "80"))
SECONDS = 60.0
# People, who wait for their answers, and no flood: how fast a flood is answered is measured by the benchmark.
PEOPLE = 4


def some(strategy):
    """Return that many objects, always the same ones, each with a name of its own."""
    found = []

    @settings(
        max_examples=COUNT,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(obj):
        found.append(obj)

    collect()
    return [{**obj, "metadata": {"name": f"any-{number}"}} for number, obj in enumerate(found)]


@pytest.fixture(scope="module")
def control_planes(tmp_path_factory):
    """A control plane for each of two worlds: `strict`, with the real schemas, and `open`, where they admit everything."""
    running = {}
    with (
        ControlPlane(home=tmp_path_factory.mktemp("strict")) as strict,
        ControlPlane(home=tmp_path_factory.mktemp("open")) as lenient,
    ):
        running = {"strict": strict, "open": lenient}
        yield running


def definitions(repository, world):
    for path in sorted((repository / "crds").glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())
        if world == "open":
            anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            for version in definition["spec"]["versions"]:
                version["schema"]["openAPIV3Schema"] = {
                    "type": "object",
                    "properties": {"spec": anything, "status": anything},
                }
                version.pop("selectableFields", None)
                version.pop("additionalPrinterColumns", None)
        yield definition


class Answers:
    """When each object got its first condition."""

    def __init__(self):
        self.asked = {}
        self.answered = {}
        self.found = {}
        self.grown = asyncio.Condition()

    async def follow(self, api, kind, namespace):
        url = api.server + path_of(kind, namespace=namespace) + "?watch=true&resourceVersion=0"
        while True:
            async with api.session.get(url, timeout=None) as response:
                response.raise_for_status()
                async for line in response.content:
                    event = json.loads(line)
                    name = event["object"].get("metadata", {}).get("name")
                    conditions = (event["object"].get("status") or {}).get("conditions")
                    if name in self.asked and conditions and name not in self.answered:
                        async with self.grown:
                            self.answered[name] = time.monotonic()
                            self.found[name] = event["object"]
                            self.grown.notify_all()

    async def of(self, name):
        """Wait for the answer to one object."""
        try:
            async with asyncio.timeout(SECONDS), self.grown:
                await self.grown.wait_for(lambda: name in self.answered)
        except TimeoutError:
            pytest.fail(f"{name} got no answer in {SECONDS:.0f} s")


async def ask(api, kind, namespace, wishes):
    """Create `wishes`; return what the API server refused, and the answers of the operator to the others."""
    await api.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    answers, refused, free = Answers(), {}, asyncio.Semaphore(PEOPLE)
    following = asyncio.create_task(answers.follow(api, kind, namespace))

    async def create(obj):
        name = obj["metadata"]["name"]
        async with free:
            answers.asked[name] = time.monotonic()
            try:
                await api.create(kind, {**obj, "metadata": {"name": name, "namespace": namespace}})
            except RuntimeError as error:
                del answers.asked[name]
                refused[name] = str(error)
            else:
                await answers.of(name)

    try:
        await asyncio.gather(*map(create, wishes))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return refused, answers


def complaints(log):
    """Return what an operator's log says of anything that went wrong inside it."""
    lines = [json.loads(line) if line.startswith("{") else {"message": line} for line in log.read_text().splitlines()]
    return [line for line in lines if line.get("level") in {"error", "critical", None} or "exception" in line]


@pytest.fixture
def yard(control_planes, repository, versitygw, tmp_path):
    """Returns a function that asks an operator in one of the worlds."""

    async def answers_in(world, kind, wishes, *, title):
        control_plane, log = control_planes[world], tmp_path / "operator.log"
        async with open_api(control_plane.kubeconfig) as api:
            known = {item["metadata"]["name"] for item in (await api.call("GET", path_of(DEFINITION)))["items"]}
            for definition in definitions(repository, world):
                if definition["metadata"]["name"] not in known:
                    await api.create(DEFINITION, definition)
            control_plane.kubectl("wait", "--for=condition=Established", "--timeout=120s", "crd", "--all")
            if not control_plane.kubectl("get", "namespace", "trainyard-system", "--ignore-not-found"):
                control_plane.kubectl("create", "namespace", "trainyard-system")
            async with OperatorProcess(kubeconfig=control_plane.kubeconfig, log=log, objects=versitygw) as operator:
                await operator.settled()  # with what earlier tests have left
                refused, answers = await ask(api, kind, f"{title}-{kind.plural}", wishes)
        taken = sorted(answers.answered[name] - asked for name, asked in answers.asked.items())
        told = f"{world} {kind.plural}: {len(refused)} refused, {len(taken)} answered"
        if taken:
            told += f", median {median(taken):.3f} s, longest {taken[-1]:.3f} s"
        print(told)
        assert complaints(log) == []
        return refused, list(answers.found.values())

    return answers_in


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
async def test_every_good_spec_is_taken_and_answered(kind, yard):
    wishes = some(objects(kind))
    refused, answered = await yard("strict", kind, wishes, title="good")

    assert refused == {}
    assert len(answered) == len(wishes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
async def test_every_bad_spec_is_refused_with_the_field_or_answered(kind, yard):
    refused, _ = await yard("strict", kind, some(garbage(kind)), title="bad")

    assert refused
    for words in refused.values():
        assert re.search(r": (400|422) ", words), words
        assert "spec" in words


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
async def test_what_no_schema_keeps_out_is_answered_with_the_field(kind, yard):
    refused, answered = await yard("open", kind, some(garbage(kind)), title="any")
    ready = [c for obj in answered for c in obj["status"]["conditions"] if c["type"] == "Ready"]
    wrong = [c["message"] for c in ready if c["reason"] == "InvalidSpec"]

    assert refused == {}
    assert len(ready) == len(answered)
    assert wrong
    assert [words for words in wrong if "spec" not in words and "metadata.name" not in words] == []
