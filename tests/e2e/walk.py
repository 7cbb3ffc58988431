"""A random walk over the lives of runs: what was done to them, and so what must have become of each in the end."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from tests.e2e.yard import SYSTEM, Json, Yard, kill_operator, training_job

LABEL = "trainyard.dev/training-job"
LINES = 8

SCRIPT = f"""
import os, time
from trainyard import Run
run = Run.get_context()
for number in range({LINES}):
    print("line", number, flush=True)
    run.log("step", number)
    time.sleep(SECONDS)
os.makedirs("outputs", exist_ok=True)
open("outputs/model.bin", "wb").write(b"model")
"""


class Wish(StrEnum):
    """What was asked for last of a run."""

    RUN = "run"
    SUSPENDED = "suspended"
    CANCELED = "canceled"
    GONE = "gone"


@dataclass
class Walk:
    """Operations on a few runs in a namespace, chosen by a seed; `wishes` says what each run should come to."""

    yard: Yard
    namespace: str
    seed: int
    runs: int = 20
    cluster: str | None = None
    wishes: dict[str, Wish] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._number = 0
        self._away = False

    def step(self) -> None:
        """Do one thing that is possible now."""
        wish = {wish: [name for name, wished in self.wishes.items() if wished == wish] for wish in Wish}
        room = sum(wished != Wish.GONE for wished in self.wishes.values()) < self.runs
        things: list[tuple[int, Callable[[], None]]] = [(6, self._create)] if room else []
        if wish[Wish.RUN]:
            things += [
                (3, lambda: self._suspend(self._random.choice(wish[Wish.RUN]))),
                (2, lambda: self._cancel(self._random.choice(wish[Wish.RUN]))),
                (2, lambda: self._kill_pod(self._random.choice(wish[Wish.RUN]))),
            ]
        if wish[Wish.SUSPENDED]:
            things += [
                (5, lambda: self._resume(self._random.choice(wish[Wish.SUSPENDED]))),
                (1, lambda: self._cancel(self._random.choice(wish[Wish.SUSPENDED]))),
            ]
        there = wish[Wish.RUN] + wish[Wish.SUSPENDED] + wish[Wish.CANCELED]
        if there:
            things.append((2, lambda: self._delete(self._random.choice(there))))
        things += [(1, self._kill_operator), (1, self._drain), (1, self._store)]
        weights, choices = zip(*things, strict=True)
        self._random.choices(choices, weights)[0]()

    def finish(self) -> None:
        """Bring back what was taken away."""
        if self._away:
            self._store()

    def _say(self, *words: str) -> None:
        self.story.append(" ".join(words))

    def _patch(self, name: str, spec: Json) -> None:
        body = str({"spec": spec}).replace("'", '"').replace("True", "true").replace("False", "false")
        self.yard.kubectl("patch", "tj", name, "-n", self.namespace, "--type=merge", "-p", body)

    def _create(self) -> None:
        self._number += 1
        name, seconds = f"walk-{self._number:03d}", self._random.choice((0.05, 0.2, 0.6))
        place: Json = (
            {"computeClusterRef": {"name": self.cluster}} if self.cluster and self._random.random() < 0.5 else {}
        )
        script = SCRIPT.replace("SECONDS", str(seconds))
        self.yard.apply(training_job(script, name=name, namespace=self.namespace, deletionPolicy="Delete", **place))
        self.wishes[name] = Wish.RUN
        self._say("create", name, *place)

    def _suspend(self, name: str) -> None:
        self._patch(name, {"suspend": True})
        self.wishes[name] = Wish.SUSPENDED
        self._say("suspend", name)

    def _resume(self, name: str) -> None:
        self._patch(name, {"suspend": False})
        self.wishes[name] = Wish.RUN
        self._say("resume", name)

    def _cancel(self, name: str) -> None:
        self._patch(name, {"cancel": True})
        self.wishes[name] = Wish.CANCELED
        self._say("cancel", name)

    def _delete(self, name: str) -> None:
        self.yard.kubectl("delete", "tj", name, "-n", self.namespace, "--wait=false")
        self.wishes[name] = Wish.GONE
        self._say("delete", name)

    def _kill_pod(self, name: str) -> None:
        self.yard.kubectl("delete", "pods", "-n", self.namespace, "-l", f"{LABEL}={name}", "--wait=false")
        self._say("kill the pod of", name)

    def _kill_operator(self) -> None:
        leaders = self.yard.items("pods", "-n", SYSTEM, "-l", "trainyard.dev/leader=true")
        if leaders:
            kill_operator(self.yard)
            self._say("kill the operator")

    def _drain(self) -> None:
        """Evict the runs of one node, which may take new ones at once."""
        pods = self.yard.items("pods", "-n", self.namespace, "--field-selector=status.phase=Running")
        nodes = sorted({pod["spec"]["nodeName"] for pod in pods})
        if not nodes:
            return
        node = self._random.choice(nodes)
        for pod in pods:
            if pod["spec"]["nodeName"] == node:
                name = pod["metadata"]["name"]
                eviction = {
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": name, "namespace": self.namespace},
                }
                path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/eviction"
                self.yard.kubectl(
                    "create", "--raw", path, "-f", "-", stdin=str(eviction).replace("'", '"'), check=False
                )
        self._say("drain", node)

    def _store(self) -> None:
        self._away = not self._away
        count = 0 if self._away else 1
        self.yard.kubectl("scale", "deployment", "trainyard-store", "-n", SYSTEM, f"--replicas={count}")
        self._say("store", "away" if self._away else "back")
