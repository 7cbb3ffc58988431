"""A TrainingJob carried out by this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainyard.errors import ConfigError, Invalid
from trainyard.local import run
from trainyard_operator.domain import retries

WRITES = """
import sys
from pathlib import Path
from trainyard import Run
run = Run.get_context()
print("arguments", sys.argv[1:])
for loss in (0.5, 0.25):
    run.log("loss", loss)
Path("outputs").mkdir()
Path("outputs/m.pkl").write_text("weights")
"""


def test_a_run_leaves_what_it_would_leave_in_the_bucket(train, home, said, tmp_path):
    folder = home / "data" / "local" / "mnist"
    folder.mkdir(parents=True)
    (folder / "x.gz").write_text("digits")
    elsewhere = tmp_path / "large"
    elsewhere.mkdir()
    (elsewhere / "y.gz").write_text("more digits")
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "above").symlink_to(folder)
    inputs = [{"name": "data", "datastore": {"path": "mnist/"}}]
    models = [
        {"name": "good", "path": "outputs/m.pkl", "tags": {"by": "ann"}, "when": {"metric": "loss", "atMost": 0.3}},
        {"name": "best", "path": "outputs", "when": {"metric": "loss", "atMost": 0.1}},
    ]
    done = train(
        WRITES,
        parameters={"rate": 0.8},
        arguments=["--data", "$(inputs.data)"],
        inputs=inputs,
        models=models,
        priority=5,
    )
    assert (done.name, done.status, done.models) == ("mnist", "Completed", ("good:1",))
    assert done.reason == "loss=0.25, saved 1 output file, registered good:1, did not register best"
    assert done.metrics == {"loss": 0.25}
    assert done.files == ("logs/prepare.log", "logs/train.log", "outputs/m.pkl")
    assert done.folder.relative_to(home).parts[:2] == ("runs", "local")
    assert said[0] == "Without a cluster spec.priority has no effect."
    (line,) = [line for line in said if line.startswith("arguments")]
    assert line.startswith("arguments ['--rate', '0.8', '--data', '")
    assert line.endswith("/inputs/data']")
    assert (done.folder / "logs/train.log").read_text() == line + "\n"
    history = [json.loads(text)["value"] for text in (done.folder / "metrics.jsonl").read_text().splitlines()]
    assert history == [0.5, 0.25]
    manifest = json.loads((done.folder / "manifest.json").read_bytes())
    assert (manifest["exitCode"], manifest["warnings"], manifest["inputs"][0]["files"]) == (0, [], 2)
    sealed = json.loads((home / "models/local/good/1.manifest.json").read_bytes())
    assert (sealed["id"], sealed["tags"], [f["path"] for f in sealed["files"]]) == ("good:1", {"by": "ann"}, ["m.pkl"])
    assert (home / "models/local/good/1/m.pkl").read_text() == "weights"
    assert not (home / "models/local/best").exists()

    again = train(WRITES, models=models)
    assert (again.name, again.models) == ("mnist-2", ("good:2",))


def test_a_number_is_not_given_again_when_its_object_is_gone(train, home):
    models = [{"name": "good", "path": "outputs/m.pkl"}]
    train(WRITES, models=models)
    (home / "objects/local/registeredmodels/good.json").unlink()
    assert train(WRITES, models=models).models == ("good:2",)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param({"parameters": {"a b": 1}}, "spec.parameters has the name 'a b'", id="the operator's own words"),
        pytest.param(
            {"entryScript": "nothing.py"}, "spec.entryScript is 'nothing.py', which is not in spec.source.inline", id="no script"
        ),
        pytest.param(
            {"inputs": [{"name": "d", "pvc": {"claimName": "c"}}]},
            r"spec.inputs\[0\].pvc cannot be had without a cluster: put the files into the local datastore",
            id="a volume",
        ),
        pytest.param(
            {"inputs": [{"name": "d", "s3": {"uri": "s3://bucket/a", "secretRef": {"name": "keys"}}}]},
            r"spec.inputs\[0\].s3.secretRef cannot be had without a cluster",
            id="keys in a Secret",
        ),
        pytest.param(
            {"environment": {"variables": [{"name": "A", "secretKeyRef": {"name": "s", "key": "k"}}]}},
            "spec.environment.variables: secretKeyRef of A cannot be had",
            id="a variable in a Secret",
        ),
        pytest.param(
            {"environment": {"conda": {"channels": ["conda-forge"], "packages": ["numpy"]}}},
            "spec.environment.conda cannot be had",
            id="conda packages",
        ),
        pytest.param({"suspend": True}, "spec.suspend cannot be had without a cluster: remove it", id="suspended"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_by_its_field_before_anything_is_kept(train, home, spec, words):
    with pytest.raises(Invalid, match=words):
        train(**spec)
    assert not (home / "objects").exists()


def test_a_document_of_another_kind_is_refused(home):
    with pytest.raises(Invalid, match="kind is 'ComputeCluster': give a TrainingJob"):
        run({"kind": "ComputeCluster", "spec": {}}, home=home)


def test_the_folder_is_the_code_where_a_config_map_is_named(home, tmp_path, said):
    code = tmp_path / "code"
    code.mkdir()
    (code / "train.py").write_text("import helper")
    (code / "helper.py").write_text("print('helped')")
    document = {"kind": "TrainingJob", "spec": {"source": {"configMapRef": {"name": "mnist-code"}}}}
    assert run(document, folder=code, home=home, write=said.append).name == "default-1"
    assert "helped" in said
    with pytest.raises(ConfigError, match=r"spec.entryScript: there is no train.py in .*give the folder of the code"):
        run(document, folder=tmp_path, home=home)


@pytest.mark.parametrize(
    ("script", "spec", "reason"),
    [
        pytest.param("raise SystemExit(3)", {}, "ScriptFailed: train.py ended with exit code 3", id="exit code"),
        pytest.param(
            "import time; time.sleep(600)",
            {"runTimeoutSeconds": 1},
            "RunTimeout: train.py ran longer than the 1 s of spec.runTimeoutSeconds",
            id="too long",
        ),
        pytest.param(
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
            {"runTimeoutSeconds": 1, "terminationGracePeriodSeconds": 1},
            "RunTimeout: train.py ran longer than the 1 s of spec.runTimeoutSeconds",
            id="deaf to being stopped",
        ),
        pytest.param(
            "pass",
            {"inputs": [{"name": "d", "datastore": {"path": "nothing"}}]},
            "InputNotFound: spec.inputs[0].datastore.path: nothing is at 'nothing' in the local datastore",
            id="no input",
        ),
        pytest.param(
            "pass",
            {"models": [{"name": "m", "path": "outputs/m.pkl"}]},
            "ModelPathNotFound: spec.models: there is no file at outputs/m.pkl for the model m; the run saved nothing",
            id="no model",
        ),
        pytest.param("pass", {"rerunOf": "no"}, "SourceNotFound: spec.rerunOf: there is no TrainingJob no", id="no run"),
    ],
)  # fmt: skip
def test_a_run_that_fails_is_returned_with_its_reason(train, script, spec, reason):
    failed = train(script, **({"source": None} if "rerunOf" in spec else {}), **spec)
    assert failed.status == "Failed"
    assert failed.reason.startswith(reason)


def test_a_script_that_fails_is_tried_again_with_its_checkpoint(train, monkeypatch):
    monkeypatch.setattr(retries, "FIRST_DELAY", 0)
    script = """
import os, sys
from pathlib import Path
kept = Path(os.environ["TRAINYARD_CHECKPOINT_DIR"], "step")
if not kept.exists():
    kept.write_text("7")
    sys.exit(1)
Path("outputs").mkdir()
Path("outputs/step").write_text(kept.read_text() + " in attempt " + os.environ["TRAINYARD_ATTEMPT"])
"""
    done = train(script, retries=1)
    assert (done.status, (done.folder / "outputs/step").read_text()) == ("Completed", "7 in attempt 2")


def test_a_run_is_repeated_from_what_was_kept_of_it(train, said):
    train("import sys; print('code', sys.argv[1:])", parameters={"rate": 1})
    again = train(name="again", source=None, rerunOf="mnist")
    assert (again.status, said.count("code ['--rate', '1']")) == ("Completed", 2)


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it():
    block = "import sys; sys.modules['packaging'] = None; from trainyard.local import run"
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: runs without a cluster need a package that is not installed here: packaging. "
        "pip install 'trainyard[sdk]'"
    )


INTERRUPTED = """
import sys, time
from pathlib import Path
from trainyard.local import run
script = "import time; from pathlib import Path; Path('outputs').mkdir(); Path('outputs/part').write_text('1'); "
script += "print('going', flush=True); time.sleep(600)"
document = {"kind": "TrainingJob", "spec": {"source": {"inline": {"train.py": script}}}}
done = run(document, home=Path(sys.argv[1]), write=lambda line: print(line, flush=True))
print(done.status, done.reason, done.files)
"""


def test_an_interrupt_cancels_the_run_and_keeps_what_it_has_saved(home):
    command = [sys.executable, "-c", INTERRUPTED, str(home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "going\n":
                os.killpg(process.pid, signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 0
    assert rest.splitlines()[-1] == (
        "Canceled spec.cancel was set; 1 output file(s) are kept ('logs/prepare.log', 'logs/train.log', 'outputs/part')"
    )


def test_the_script_does_not_outlive_whoever_carries_it_out(home, tmp_path):
    mark = tmp_path / "alive"
    script = (
        f"import os, time; from pathlib import Path; Path({str(mark)!r}).write_text(str(os.getpid())); time.sleep(600)"
    )
    text = INTERRUPTED.replace('{"train.py": script}', '{"train.py": sys.argv[2]}')
    command = [sys.executable, "-c", text, str(home), script]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        until = time.monotonic() + 120
        while not mark.exists() or not mark.read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        process.kill()
    pid = int(mark.read_text())
    until = time.monotonic() + 120
    while is_alive(pid):
        assert time.monotonic() < until
        time.sleep(0.05)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
