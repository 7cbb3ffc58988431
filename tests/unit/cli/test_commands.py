"""What commands print, what they ask for, and how they end."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from trainyard import errors
from trainyard.cli.root import cli, code_of

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TrainyardError)]


def job(name, phase="Completed", *, created="2026-11-26T00:00:00Z", experiment="digits", spec=None, **status):
    return {
        "apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingJob",
        "metadata": {
            "name": name, "namespace": "team", "uid": f"uid-{name}", "creationTimestamp": created, "managedFields": [{}],
        },
        "spec": {"experiment": experiment, "source": {"inline": {"train.py": ""}}, **(spec or {})},
        "status": {"phase": phase, **status},
    }  # fmt: skip


ENDED = {"startTime": "2026-11-26T00:00:10Z", "completionTime": "2026-11-26T00:01:00Z"}
JOBS = [
    job("digits-1", created="2026-11-26T00:00:00Z", metricSummary="accuracy=0.92", models=[{"id": "m:1", "name": "m"}], **ENDED),
    job("digits-2", "Failed", created="2026-11-26T00:01:00Z", failure={"reason": "UserError", "message": "exit code 1"}),
    job("other-1", "Running", created="2026-11-26T00:02:00Z", experiment="other"),
]  # fmt: skip


@pytest.fixture
def runs(line):
    line.objects.kinds["trainingjobs"] = JOBS
    return line


def names(result):
    return [row.split()[0] for row in result.stdout.splitlines()[1:]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param([], ["other-1", "digits-2", "digits-1"], id="newest first"),
        pytest.param(["--experiment", "digits"], ["digits-2", "digits-1"], id="of an experiment"),
        pytest.param(["--status", "failed", "--status", "RUNNING"], ["other-1", "digits-2"], id="in a phase"),
        pytest.param(["--limit", "1"], ["other-1"], id="the newest"),
    ],
)
def test_runs_are_listed(runs, options, expected):
    assert names(runs("list", *options)) == expected


def test_a_row_says_how_the_run_went(runs):
    row = runs("list").stdout.splitlines()[3]
    assert re.fullmatch(r"digits-1  digits +Completed  accuracy=0\.92  m:1 +50s +\S+", row)


def test_scripts_get_the_objects_themselves_without_managed_fields(runs):
    listed = json.loads(runs("list", "-o", "json").stdout)
    assert (listed["kind"], [item["metadata"]["name"] for item in listed["items"]]) == (
        "List",
        ["other-1", "digits-2", "digits-1"],
    )
    assert "managedFields" not in listed["items"][0]["metadata"]
    assert yaml.safe_load(runs("show", "digits-1", "-o", "yaml").stdout)["status"] == JOBS[0]["status"]
    assert runs("list", "-o", "name", "--limit", "1").stdout == "trainingjob.trainyard.dev/other-1\n"


def test_nothing_to_list_is_said_beside_the_output(line):
    result = line("list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no runs in namespace team\n")
    assert json.loads(line("list", "-o", "json").stdout)["items"] == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        pytest.param(["lisp"], 2, "trainyard: No such command 'lisp'. Did you mean 'list'? Try: trainyard --help", id="no command"),
        pytest.param(["show"], 2, "trainyard: Missing argument 'RUN'. Try: trainyard show --help", id="no argument"),
        pytest.param(["list", "-o", "xml"], 2, "trainyard: Invalid value for '-o'", id="no form"),
        pytest.param(["submit"], 2, "trainyard: give either a folder or -f FILE", id="nothing to submit"),
        pytest.param(["submit", "-f", "x", "--param", "a=1"], 2, "trainyard: --param: with -f the file says that", id="both"),
        pytest.param(["submit", "-f", "absent.yaml"], 2, "trainyard: absent.yaml cannot be read", id="no file"),
        pytest.param(["submit", ".", "--source", "."], 2, "trainyard: --source is for -f", id="source of a folder"),
        pytest.param(["submit", ".", "--model", "m=../x"], 2, "trainyard: the path of --model m", id="a path that leads out"),
        pytest.param(["show", "digits-9"], 3, "trainyard: no run digits-9 in namespace team: did you mean digits-", id="no run"),
        pytest.param(["wait", "digits-2"], 1, "run digits-2 is Failed: UserError: exit code 1", id="a run that failed"),
        pytest.param(["models", "show", "m"], 3, "trainyard: ModelNotFound", id="no model"),
        pytest.param(["models", "delete", "m"], 2, "trainyard: m has no version: give m:VERSION", id="all versions"),
        pytest.param(["models", "promote", "m", "--alias", "a", "--to", "b"], 2, "trainyard: give either --alias", id="both ways"),
        pytest.param(["cluster", "show", "pool"], 3, "trainyard: no cluster pool in namespace team", id="no cluster"),
        pytest.param(["cluster", "wait", "pool"], 3, "trainyard: ComputeTargetNotFound", id="no compute target"),
        pytest.param(["cluster", "create", "pool", "--provider", "x"], 2, "trainyard: --provider: give spec.provider", id="no provider"),
        pytest.param(["run", "-f", "x"], 2, "trainyard: run is for this machine: give --local", id="run of a cluster"),
        pytest.param(["data", "upload", "absent"], 2, "trainyard: Invalid value for 'SOURCE'", id="no data"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line_and_a_code(runs, words, code, said):
    result = runs(*words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.splitlines()[-1].startswith(said)
    assert len(result.stderr.splitlines()) == 1 or words[0] == "wait"


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_code_and_its_sentence_in_one_line(line, kind):
    line.objects.error = kind("first\n  second")
    result = line("list")
    assert (result.exit_code, result.stderr) == (code_of(kind("")), "trainyard: first second\n")
    assert result.exit_code in range(1, 8)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        pytest.param(
            KeyError("x"), 70, "trainyard: a mistake of trainyard itself, KeyError: 'x'. --debug", id="a mistake"
        ),
        pytest.param(
            PermissionError(13, "Permission denied", "/x"), 1, "trainyard: /x: Permission denied", id="a file"
        ),
        pytest.param(KeyboardInterrupt(), 130, "", id="an interrupt"),
    ],
)
def test_no_traceback_is_shown_unless_it_is_asked_for(line, error, code, said):
    line.objects.error = error
    result = line("list")
    assert result.exit_code == code
    assert result.stderr.startswith(said)
    assert "Traceback" not in result.output
    if code in {1, 70}:
        assert "Traceback" in line("list", "--debug").stderr
        assert "Traceback" in line("--debug", "list").stderr


def test_an_interrupt_of_watching_says_that_the_run_goes_on(runs):
    runs.objects.watch = lambda *_words, **_options: iter(_interrupted())
    result = runs("wait", "other-1")
    assert result.exit_code == 130
    assert "run other-1 goes on; watch it again: trainyard logs -f other-1" in result.stderr


def _interrupted():
    yield JOBS[2]
    raise KeyboardInterrupt


def test_a_folder_is_submitted_with_what_the_options_say(line, tmp_path):
    (tmp_path / "main.py").write_text("pass")
    result = line(
        "submit", str(tmp_path), "--entry", "main.py", "--experiment", "digits", "--param", "rate=0.5", "--param", "mode=fast",
        "--arg", "--data-folder", "--arg", "$(inputs.data)", "--input", "data=mnist", "--package", "pandas",
        "--requirements", "requirements.txt", "--env", "A=b=c", "--compute", "computecluster.trainyard.dev/pool",
        "--memory", "2Gi", "--max-run-seconds", "60", "--model", "m=model.pkl", "--tag", "who=ann",
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (0, "run digits-1 submitted\n"), result.stderr
    (made,) = line.objects.changes
    source = made["spec"].pop("source")
    assert line.gateway.sent == [("snapshot-put", source["archive"]["path"].removeprefix("snapshots/"))]
    assert made["spec"] == {
        "experiment": "digits", "entryScript": "main.py", "computeClusterRef": {"name": "pool"},
        "parameters": {"rate": 0.5, "mode": "fast"}, "arguments": ["--data-folder", "$(inputs.data)"],
        "inputs": [{"name": "data", "datastore": {"path": "mnist"}}],
        "environment": {
            "pip": ["pandas"], "requirements": "requirements.txt", "variables": [{"name": "A", "value": "b=c"}],
        },
        "resources": {"requests": {"memory": "2Gi"}}, "runTimeoutSeconds": 60,
        "models": [{"name": "m", "path": "outputs/model.pkl"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("kind: Deployment\napiVersion: apps/v1", "the document is a Deployment: give a TrainingJob", id="kind"),
        pytest.param("[1]", "the document is a list", id="a list"),
        pytest.param("", "- has 0 documents", id="nothing"),
        pytest.param("{}\n---\n{}", "- has 2 documents", id="two"),
        pytest.param("a: [", "- is no YAML", id="no YAML"),
        pytest.param("kind: TrainingJob\napiVersion: trainyard.dev/v1alpha1", "the TrainingJob has no spec", id="no spec"),
        pytest.param(
            "{kind: TrainingJob, apiVersion: trainyard.dev/v1alpha1, spec: {}, metadata: {namespace: b}}",
            "the TrainingJob is of namespace b, and team is worked in", id="namespace",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_submitted_is_refused(line, text, said):
    result = line("submit", "-f", "-", input=text)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"trainyard: {said}")
    assert line.objects.changes == []


def test_a_file_is_submitted_with_a_folder_as_its_code(line, tmp_path):
    (tmp_path / "train.py").write_text("pass")
    text = yaml.safe_dump({**job("mine", spec={"source": {"configMapRef": {"name": "code"}}}), "status": {}})
    result = line("submit", "-f", "-", "--source", str(tmp_path), "-o", "name", "--tag", "a=1", input=text)
    assert result.stdout == "trainingjob.trainyard.dev/mine\n", result.output
    (made,) = line.objects.changes
    assert list(made["spec"]["source"]) == ["archive"]
    assert made["metadata"]["annotations"] == {"trainyard.dev/tags": '{"a": "1"}'}


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        pytest.param([], {"rerunOf": "digits-1", "experiment": "digits", "models": [1], "priority": 3}, id="as it was"),
        pytest.param(["--no-models"], {"rerunOf": "digits-1", "experiment": "digits", "priority": 3}, id="no models"),
        pytest.param(
            ["--param", "rate=2", "--no-models"],
            {
                "experiment": "digits",
                "source": {"inline": {"train.py": ""}},
                "parameters": {"rate": 2, "b": 1},
                "priority": 3,
            },
            id="other parameters",
        ),
    ],
)
def test_a_run_is_repeated(line, words, spec):
    first = job("digits-1", spec={"models": [1], "priority": 3, "cancel": True, "parameters": {"rate": 1, "b": 1}})
    line.objects.kinds["trainingjobs"] = [first]
    assert line("rerun", "digits-1", *words).stdout == "run digits-2 submitted\n"
    (made,) = line.objects.changes
    assert made["spec"] == spec


def test_runs_are_canceled_by_the_names_that_other_commands_print(runs):
    result = runs("cancel", "trainingjob.trainyard.dev/other-1", "digits-1")
    assert (result.stdout, result.stderr) == (
        "run other-1 is being canceled\n",
        "run digits-1 is Completed already\n",
    )
    assert runs.objects.changes == [("trainingjobs", "other-1", {"spec": {"cancel": True}})]


def test_show_tells_why_a_run_failed(line):
    failure = {"reason": "UserError", "message": "exit code 1", "logTail": "Traceback\nValueError: \x1b[31mno"}
    phases = [{"name": "Running", "startTime": ENDED["startTime"], "endTime": ENDED["completionTime"]}]
    conditions = [{"type": "Ready", "status": "False", "reason": "UserError", "message": "train.py ended with 1"}]
    line.objects.kinds["trainingjobs"] = [
        job("digits-1", "Failed", failure=failure, phases=phases, conditions=conditions, **ENDED)
    ]
    said = line("show", "digits-1").stdout
    assert "Reason:      train.py ended with 1\n" in said
    assert "  Running  2026-11-26T00:00:10Z  50s\n" in said
    assert "Failure: UserError: exit code 1\nThe end of its log:\n  Traceback\n  ValueError: \ufffd[31mno\n" in said


@pytest.mark.parametrize("words", [[name] for name in cli.commands], ids=lambda words: words[0])
def test_every_command_has_help(line, words):
    result = line(*words, "-h")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: trainyard {words[0]}")
