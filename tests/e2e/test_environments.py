"""Packages that runs ask for: installed once, kept, and there before the script starts."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.e2e.yard import conditions, ready, training_job

if TYPE_CHECKING:
    from tests.e2e.yard import Yard

pytestmark = pytest.mark.e2e

# Small, pure, without dependencies, and not in the trainer image.
PACKAGE = "tabulate"
IMPORTS = f"""
import sys, time, {PACKAGE}
print("first line", time.time(), flush=True)
import os
os.makedirs("outputs", exist_ok=True)
import json, sklearn, importlib.metadata
json.dump({{
    "python": sys.executable,
    "version": importlib.metadata.version("{PACKAGE}"),
    "image": sklearn.__version__,
    "secret": os.environ.get("SECRET"),
    "begun": time.time(),
}}, open("outputs/facts.json", "w"))
"""
MANY = 20


def fresh(*, least: str = "0.8") -> list[str]:
    """Return requirements that no earlier session has built: a bound that changes nothing makes another hash."""
    return [f"{PACKAGE}>={least},<{1000 + uuid.uuid4().int % 10**9}"]


def builds(yard: Yard, digest: str) -> list[str]:
    jobs = yard.items("jobs", "-n", "default", "-l", f"trainyard.dev/environment=env-{digest[:12]}")
    return [job["metadata"]["name"] for job in jobs]


def log_of(yard: Yard, run) -> str:
    return yard.kubectl("logs", run["status"]["podName"], "-c", "train")


@pytest.fixture(scope="module")
def requirements() -> list[str]:
    return fresh()


@pytest.fixture(scope="module")
def first(yard: Yard, requirements):
    """A run whose environment had to be built, at its end."""
    yard.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "credentials", "namespace": "default"},
            "stringData": {"token": "of-the-secret"},
        }
    )
    reference = {"name": "SECRET", "secretKeyRef": {"name": "credentials", "key": "token"}}
    name = yard.apply(training_job(IMPORTS, environment={"pip": requirements, "variables": [reference]}))
    preparing = yard.wait_for_phase(name, "Preparing")
    assert conditions(preparing)["EnvironmentReady"] == "False"
    return yard.wait_for_end(name)


def test_a_run_gets_packages_that_its_image_lacks(first, files):
    assert first["status"]["phase"] == "Completed", first["status"]
    environment = first["status"]["environment"]
    assert environment["state"] == "Ready"
    assert conditions(first)["EnvironmentReady"] == "True"
    assert "Preparing" in [phase["name"] for phase in first["status"]["phases"]]
    facts = json.loads(files.read(first, "outputs/facts.json"))
    assert facts["python"] == "/trainyard/env/bin/python3"
    assert facts["image"] == "1.9.1"
    assert facts["secret"] == "of-the-secret"


def test_the_manifest_alone_tells_what_ran(first, files):
    manifest, status = json.loads(files.read(first, "manifest.json")), first["status"]
    assert manifest["sourceSha256"] == status["source"]["sha256"]
    assert manifest["environmentHash"] == status["environment"]["hash"]
    assert manifest["imageDigest"] == status["environment"]["imageDigest"]
    assert manifest.get("image") == status["environment"].get("image")
    assert manifest["warnings"] == []


def test_the_log_of_a_build_is_kept(first, files):
    digest = first["status"]["environment"]["hash"]
    assert first["status"]["environment"]["logUri"].endswith(f"/envs/default/{digest}/logs/")
    logs = files.keys(f"envs/default/{digest}/logs/")
    assert any(f"+ {PACKAGE}==" in files.bytes(key).decode() for key in logs)


def test_a_second_run_builds_nothing_and_its_script_begins_at_once(yard: Yard, first, requirements):
    name = yard.apply(training_job(IMPORTS, environment={"pip": requirements}))
    second = yard.wait_for_end(name)
    assert second["status"]["phase"] == "Completed"
    assert "Preparing" not in [phase["name"] for phase in second["status"]["phases"]]
    line = next(line for line in log_of(yard, second).splitlines() if line.startswith("first line"))
    started = datetime.fromisoformat(second["status"]["startTime"]).timestamp()
    (preparing,) = [phase for phase in first["status"]["phases"] if phase["name"] == "Preparing"]
    built = datetime.fromisoformat(preparing["endTime"]) - datetime.fromisoformat(preparing["startTime"])
    # Sooner than packages can be installed, however slow all of it is.
    assert float(line.split()[-1]) - started < max(built.total_seconds(), 10)


def test_a_rerun_gets_the_packages_of_a_requirements_file(yard: Yard, first, requirements, files):
    source = {"inline": {"train.py": IMPORTS, "requirements.txt": "\n".join(requirements)}}
    original = yard.apply(training_job(source=source, environment={"requirements": "requirements.txt"}))
    again = yard.wait_for_end(yard.apply(training_job(rerunOf=original)))
    assert again["status"]["phase"] == "Completed", again["status"]
    assert "Preparing" not in [phase["name"] for phase in again["status"]["phases"]]
    assert again["status"]["environment"]["hash"] == first["status"]["environment"]["hash"]
    assert json.loads(files.read(again, "outputs/facts.json"))["python"] == "/trainyard/env/bin/python3"


def test_many_runs_at_once_share_one_build(yard: Yard):
    # Another bound that excludes nothing: a new environment, and the same package.
    requirements = fresh(least="0.7")
    names = [yard.apply(training_job(IMPORTS, environment={"pip": requirements})) for _ in range(MANY)]
    runs = [yard.wait_for_end(name) for name in names]
    assert {run["status"]["phase"] for run in runs} == {"Completed"}
    (digest,) = {run["status"]["environment"]["hash"] for run in runs}
    assert builds(yard, digest) == [f"env-{digest[:12]}"]
    pods = yard.items("pods", "-n", "default", "-l", f"trainyard.dev/environment=env-{digest[:12]}")
    assert len(pods) == 1


def test_all_runs_that_waited_for_a_build_share_its_failure_and_a_later_one_tries_anew(yard: Yard):
    requirements = [f"{PACKAGE}=={1000 + uuid.uuid4().int % 10**9}"]
    names = [yard.apply(training_job(IMPORTS, environment={"pip": requirements})) for _ in range(2)]
    runs = [yard.wait_for_end(name) for name in names]
    for run in runs:
        assert ready(run)["reason"] == "EnvironmentBuildFailed"
        assert run["status"]["environment"]["state"] == "Failed"
        assert "No solution found" in run["status"]["failure"]["message"]
        assert requirements[0] in run["status"]["failure"]["logTail"]
    digest = runs[0]["status"]["environment"]["hash"]
    (before,) = yard.items("jobs", "-n", "default", "-l", f"trainyard.dev/environment=env-{digest[:12]}")
    later = yard.wait_for_end(yard.apply(training_job(IMPORTS, environment={"pip": requirements})))
    assert ready(later)["reason"] == "EnvironmentBuildFailed"
    (after,) = yard.items("jobs", "-n", "default", "-l", f"trainyard.dev/environment=env-{digest[:12]}")
    assert before["metadata"]["uid"] != after["metadata"]["uid"]


def test_packages_of_the_image_need_no_build(yard: Yard):
    script = "import sklearn\nprint(sklearn.__version__)\n"
    source = {"inline": {"train.py": script, "requirements.txt": "scikit-learn==1.9.1  # as in the image\n"}}
    run = yard.wait_for_end(
        yard.apply(training_job(source=source, environment={"requirements": "requirements.txt", "pip": ["joblib"]}))
    )
    assert run["status"]["phase"] == "Completed"
    assert run["status"]["environment"]["state"] == "Ready"
    assert builds(yard, run["status"]["environment"]["hash"]) == []


def test_a_missing_secret_is_named_until_it_is_there(yard: Yard):
    name = f"later-{uuid.uuid4().hex[:8]}"
    reference = {"name": "SECRET", "secretKeyRef": {"name": name, "key": "token"}}
    run = yard.apply(training_job("print(1)", environment={"variables": [reference]}))
    waiting = yard.wait_for_reason(run, "ContainerNotStarting")
    assert name in ready(waiting)["message"]
    assert "spec.environment.variables" in ready(waiting)["message"]
    yard.kubectl("create", "secret", "generic", name, "-n", "default", "--from-literal=token=x")
    assert yard.wait_for_end(run)["status"]["phase"] == "Completed"
