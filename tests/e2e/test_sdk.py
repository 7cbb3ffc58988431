"""The SDK as a person with the chart's role `trainyard-user` has it, against real pods: all of it works, nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from devcluster.components import USERS
from tests.e2e.test_rbac import used
from tests.e2e.yard import SYSTEM, Yard, unique
from trainyard import AmlCompute, ComputeTarget, Estimator, Experiment, Model, SubmittedRun, Workspace
from trainyard.errors import ComputeTargetException, Forbidden, RunFailed

pytestmark = pytest.mark.e2e

PEOPLE = USERS.removeprefix("system:serviceaccounts:")
# As the chart has them: trainyard-user in the namespace, and its namesake where the operator is.
RIGHTS = {
    *(
        ("trainyard.dev", kind, verb)
        for kind in ("trainingjobs", "computeclusters", "registeredmodels")
        for verb in ("create", "get", "list", "patch", "watch")
    ),
    ("trainyard.dev", "trainingjobs", "delete"),
    ("trainyard.dev", "computeclusters", "delete"),
    ("", "serviceaccounts/token", "create"),
    ("", "pods/log", "get"),
    ("", "configmaps", "get"),
    ("", "services", "get"),
    ("", "pods", "list"),
    # A client of this protocol asks for this one of the two verbs.
    ("", "pods/portforward", "get"),
}
# Looks that are tried, and may be refused.
TRIED = {("", "namespaces", "get"), ("coordination.k8s.io", "leases", "get")}
# Runs are records, which the SDK never deletes; with kubectl one may.
BY_HAND = {("trainyard.dev", "trainingjobs", "delete")}

SCRIPT = """
import argparse, pathlib, sys
from trainyard import Run

parser = argparse.ArgumentParser()
parser.add_argument("--data")
parser.add_argument("--rate", type=float)
parser.add_argument("--fail", action="store_true")
options = parser.parse_args()
run = Run.get_context()
print("found", *sorted(path.name for path in pathlib.Path(options.data).iterdir()), flush=True)
if options.fail:
    sys.exit("nothing to learn from")
run.log("rate", options.rate)
run.log("accuracy", 0.9)
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/model.txt").write_text(str(options.rate))
"""


@pytest.fixture(scope="module")
def person(yard: Yard) -> str:
    """A service account that the chart's workspace in `default` is bound to, and nothing else."""
    name = unique("ada").replace("_", "-")
    for document in (
        {"kind": "Namespace", "metadata": {"name": PEOPLE}},
        {"kind": "ServiceAccount", "metadata": {"name": name, "namespace": PEOPLE}},
    ):
        yard.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", **document}))
    return name


@pytest.fixture(scope="module")
def kubeconfig(yard: Yard, person: str, tmp_path_factory) -> Path:
    """A kubeconfig with a token of that person and nothing else."""
    config = yaml.safe_load(Path(yard.kubeconfig).read_text())
    token = yard.kubectl("create", "token", person, "-n", PEOPLE).strip()
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path = tmp_path_factory.mktemp("person") / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def workspace(kubeconfig: Path):
    """The workspace as that person sees it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubeconfig))
        with closing(Workspace.get("default")) as found:
            yield found


@pytest.fixture(scope="module")
def target(workspace: Workspace):
    """A pool of the person's own, whose machines are made as the chart says."""
    name = unique("sdk").replace("_", "-")
    made = ComputeTarget.create(
        workspace, name, AmlCompute.provisioning_configuration(max_nodes=1, idle_seconds_before_scaledown=5)
    )
    made.wait_for_completion(timeout_in_minutes=7)
    yield made
    made.delete()
    made.wait_for_completion(is_delete_operation=True, timeout_in_minutes=7)
    with pytest.raises(ComputeTargetException, match="ComputeTargetNotFound"):
        ComputeTarget(workspace, name)


@pytest.fixture(scope="module")
def experiment(workspace: Workspace) -> Experiment:
    return Experiment(workspace, unique("loop").replace("_", "-"))


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    """A folder with the script."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "train.py").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def uploaded(workspace: Workspace, tmp_path_factory) -> str:
    """Where data is in the datastore."""
    data, where = tmp_path_factory.mktemp("data"), unique("digits")
    (data / "digits.csv").write_text("1,2,3\n")
    workspace.get_default_datastore().upload(data, where, show_progress=False)
    return where


@pytest.fixture(scope="module")
def submit(workspace: Workspace, target: ComputeTarget, experiment: Experiment, code: Path, uploaded: str):
    """Return what submits the script."""
    data = workspace.get_default_datastore().path(uploaded).as_mount()

    def call(**parameters) -> SubmittedRun:
        given = {"--data": data, "--rate": 0.8, **parameters}
        return experiment.submit(Estimator(code, entry_script="train.py", compute_target=target, script_params=given))

    return call


@dataclass(frozen=True, kw_only=True)
class Way:
    """What came of the whole way."""

    said: str
    run: SubmittedRun
    model: Model
    folder: Path
    target: str
    data: str


@pytest.fixture(scope="module")
def way(submit, target, experiment, uploaded, tmp_path_factory) -> Way:
    """From data to a model that is downloaded, with every kind of call on the way."""
    workspace, folder, said = target.workspace, tmp_path_factory.mktemp("models"), io.StringIO()
    target.update(max_nodes=2)
    run = submit()
    with contextlib.redirect_stdout(said):
        run.wait_for_completion(show_output=True, timeout_seconds=420)
    run.tag("seen", "yes")
    other = submit()
    other.cancel()
    other.wait_for_completion(raise_on_error=False, timeout_seconds=420)
    assert [found.id for found in experiment.get_runs()] == [other.id, run.id]
    assert target.name in workspace.compute_targets
    assert workspace.models is not None
    name = unique("digits")
    model = run.register_model(name, "outputs/model.txt")
    path = Path(model.download(folder))
    Model.register(workspace, str(path), unique("local"))
    return Way(said=said.getvalue(), run=run, model=model, folder=folder, target=target.name, data=uploaded)


def test_a_person_goes_the_whole_way_from_data_to_a_model_that_is_downloaded(way: Way):
    assert "found digits.csv" in way.said.splitlines()
    assert way.run.status == "Completed"
    assert way.run.get_metrics() == {"rate": 0.8, "accuracy": 0.9}
    assert "outputs/model.txt" in way.run.get_file_names()
    assert way.model.version == 1
    assert [path.read_text() for path in way.folder.rglob("*") if path.is_file()] == ["0.8"]


@pytest.fixture(scope="module")
def trainyard(workspace, kubeconfig):
    """Return what types a command of that person and returns what it printed; it has to end with `code`."""

    def call(*arguments: str, code: int = 0) -> str:
        command = [Path(sys.executable).with_name("trainyard"), "--namespace", workspace.name, *arguments]
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return call


@pytest.fixture(scope="module")
def typed(way: Way, trainyard, code: Path) -> dict[str, str]:
    """What commands printed that go the same way: from code to a model's bytes, and a look at everything."""
    model, experiment = way.model.name, unique("typed").replace("_", "-")
    submitted = trainyard(
        *("submit", str(code), "--experiment", experiment, "--compute", way.target, "--follow"),
        *("--input", f"digits={way.data}", "--arg=--data=$(inputs.digits)", "--param", "rate=0.5"),
        *("--model", f"{model}=outputs/model.txt", "-o", "text"),
    )
    (name,) = trainyard("list", "--experiment", experiment, "-o", "name").split()
    run = name.rpartition("/")[2]
    found = {"submitted": submitted, "run": run}
    for words in ("show", "logs", "metrics", "files"):
        found[words] = trainyard(words, run)
    found["verified"] = trainyard("models", "verify", model)
    found["models"] = trainyard("models", "list")
    found["doctor"] = trainyard("doctor")
    return found


@pytest.fixture(scope="module")
def rest(typed, way: Way, trainyard, code: Path, tmp_path_factory) -> dict[str, str]:
    """What all other commands printed."""
    run, model, folder = typed["run"], way.model.name, tmp_path_factory.mktemp("typed")
    pool = unique("typed").replace("_", "-")
    again = trainyard("rerun", run, "--param", "rate=0.6", "--no-models", "-o", "name").strip().rpartition("/")[2]
    trainyard("cancel", again)
    return {
        "canceled": trainyard("wait", again, "--timeout", "420", code=1),
        "waited": trainyard("wait", run),
        "history": trainyard("metrics", run, "--history", "-o", "csv"),
        "downloaded": trainyard("download", run, "outputs", "--to", str(folder / "run")),
        "upload": trainyard("data", "upload", str(code), way.data + "/code"),
        "data": trainyard("data", "list", way.data),
        "data back": trainyard("data", "download", way.data, str(folder / "data")),
        "created": trainyard("cluster", "create", pool, "--max-nodes", "1", "--wait"),
        "cluster": trainyard("cluster", "show", pool),
        "clusters": trainyard("cluster", "list"),
        "gone": trainyard("cluster", "delete", pool),
        "registered": trainyard("models", "register", model, str(code / "train.py")),
        "promoted": trainyard("models", "promote", f"{model}:2"),
        "model": trainyard("models", "show", f"{model}@champion"),
        "fetched": trainyard("models", "download", f"{model}@champion", "--to", str(folder / "model")),
        "deleted": trainyard("models", "delete", f"{model}:3", "--yes"),
        "init": trainyard("init", str(folder)),
        "version": trainyard("version"),
    }


def test_the_command_line_goes_the_same_way(typed, way: Way):
    assert "found digits.csv" in typed["logs"].splitlines()
    assert "found digits.csv" in typed["submitted"]
    assert "Completed" in typed["show"]
    assert "accuracy" in typed["metrics"]
    assert "outputs/model.txt" in typed["files"]
    assert f"{way.model.name}:2" in typed["models"]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        pytest.param("history", "accuracy", id="metrics"),
        pytest.param("downloaded", "outputs/model.txt", id="download"),
        pytest.param("data", "code/train.py", id="data"),
        pytest.param("cluster", "Succeeded", id="cluster"),
        pytest.param("model", "champion", id="alias"),
        pytest.param("version", "v1.", id="version"),
    ],
)
def test_every_other_command_is_a_person_s_too(rest, what, said):
    assert said in rest[what]


def test_the_doctor_finds_nothing_wrong_for_a_person_of_the_chart(typed):
    assert {line.split()[0] for line in typed["doctor"].splitlines()} == {"ok"}


def test_a_failed_run_says_why_with_the_end_of_its_log(submit):
    run = submit(**{"--fail": ""})
    with pytest.raises(RunFailed, match="nothing to learn from"):
        run.wait_for_completion(timeout_seconds=420)


def test_the_gateway_and_the_store_are_found_again_after_their_pods_were_replaced(workspace, yard, tmp_path):
    store = workspace.get_default_datastore()
    (tmp_path / "before").write_text("1")
    where = unique("again")
    store.upload_files([tmp_path / "before"], target_path=where, show_progress=False)
    for deployment in ("trainyard-operator", "trainyard-store"):
        yard.kubectl("rollout", "restart", f"deployment/{deployment}", "-n", SYSTEM)
        yard.kubectl("rollout", "status", f"deployment/{deployment}", "-n", SYSTEM, "--timeout=420s")
    (tmp_path / "after").write_text("2")
    store.upload_files([tmp_path / "after"], target_path=where, show_progress=False)
    assert store.download(tmp_path / "found", prefix=where, show_progress=False) == 2


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(("get", "", "secrets", "default"), id="secrets of the namespace"),
        pytest.param(("get", "", "secrets", SYSTEM), id="secrets of the operator"),
        pytest.param(("create", "", "pods", "default"), id="pods"),
        pytest.param(("create", "batch", "jobs", "default"), id="jobs"),
        pytest.param(("create", "", "pods/exec", SYSTEM), id="a shell in the operator"),
        pytest.param(("list", "trainyard.dev", "trainingjobs", "kube-system"), id="runs of other namespaces"),
        pytest.param(("patch", "trainyard.dev", "trainingjobs/status", "default"), id="the status of runs"),
        pytest.param(("create", "", "serviceaccounts/token", "kube-system"), id="tokens of other namespaces"),
        pytest.param(("create", "", "serviceaccounts/token", "default", "default"), id="tokens of the runs' account"),
        pytest.param(("list", "", "nodes", ""), id="nodes"),
    ],
)
def test_a_person_may_do_nothing_else(yard: Yard, person, what):
    verb, group, resource, namespace, *name = what
    kind, _, below = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": kind, "subresource": below, "namespace": namespace}
    asked |= {"name": name[0]} if name else {}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{PEOPLE}:{person}",
            "groups": [USERS, "system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": asked,
        },
    }
    answer = json.loads(yard.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
    assert answer["status"]["allowed"] is False


def test_another_namespace_is_refused_in_words(workspace):
    with pytest.raises(Forbidden, match="kube-system"):
        Workspace.get("kube-system")


def test_every_right_of_the_role_is_used_and_no_other_asked_for(rest, target, person, audit_log):
    made = ComputeTarget.create(
        target.workspace, unique("gone").replace("_", "-"), AmlCompute.provisioning_configuration(max_nodes=1)
    )
    made.delete()
    asked = used(audit_log, user=f"system:serviceaccount:{PEOPLE}:{person}")

    assert asked - TRIED - RIGHTS == set(), "asked for without a right"
    assert RIGHTS - BY_HAND - asked == set(), "granted and never used"
