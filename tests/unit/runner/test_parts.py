"""The smaller parts of the runner, each by itself."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
import tomllib
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard import contract
from trainyard_runner import cgroup
from trainyard_runner.outcome import outcome_of
from trainyard_runner.software import software
from trainyard_runner.termination import fit, termination
from trainyard_runner.warnings import MAX_CHARS, Warnings

CPU = [
    pytest.param({}, None, id="nothing there"),
    pytest.param({"cpu.max": "max 100000\n"}, None, id="v2 without a limit"),
    pytest.param({"cpu.max": "150000 100000\n"}, 1.5, id="v2"),
    pytest.param({"cpu.max": "broken\n"}, None, id="v2 unreadable"),
    pytest.param({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None, id="v1 without a limit"),
    pytest.param({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0, id="v1"),
    pytest.param(
        {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 0.5, id="v1 pair"
    ),
    pytest.param({"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "0"}, None, id="v1 without a period"),
]
MEMORY = [
    pytest.param({}, (None, 0), id="nothing there"),
    pytest.param({"memory.max": "max\n", "memory.events": "low 0\noom 1\noom_kill 0\n"}, (None, 0), id="v2 no limit"),
    pytest.param({"memory.max": "1048576\n", "memory.events": "oom 3\noom_kill 2\n"}, (1048576, 2), id="v2"),
    pytest.param(
        {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.oom_control": "oom_kill_disable 0"},
        (None, 0),
        id="v1 no limit",
    ),
    pytest.param(
        {"memory/memory.limit_in_bytes": "4096", "memory/memory.oom_control": "under_oom 0\noom_kill 7"},
        (4096, 7),
        id="v1",
    ),
]


def write(root, files):
    """Lay out a control group."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(("files", "expected"), CPU)
def test_the_cpu_limit_is_read(tmp_path, files, expected):
    write(tmp_path, files)
    assert cgroup.cpu_limit(tmp_path) == expected


@pytest.mark.parametrize(("files", "expected"), MEMORY)
def test_the_memory_limit_and_its_victims_are_read(tmp_path, files, expected):
    write(tmp_path, files)
    assert (cgroup.memory_limit(tmp_path), cgroup.memory_kills(tmp_path)) == expected


def test_half_a_cpu_still_gets_a_thread_and_no_limit_leaves_all_as_it_is(tmp_path):
    assert cgroup.thread_variables({}, root=tmp_path) == {}
    (tmp_path / "cpu.max").write_text("50000 100000")
    assert cgroup.thread_variables({}, root=tmp_path) == dict.fromkeys(cgroup.THREAD_VARIABLES, "1")


NO_LIMITS = {"memory_limit": None, "memory_peak": None, "disk_full": False}


def test_a_failure_for_memory_tells_the_limit_and_the_most_that_was_used(tmp_path):
    (tmp_path / "memory.max").write_text(f"{64 << 20}\n")
    (tmp_path / "memory.peak").write_text(f"{63 << 20}\n")
    outcome = outcome_of(
        9, script="train.py", stopped_by=None, memory_kills=1, disk_full=False,
        memory_limit=cgroup.memory_limit(tmp_path), memory_peak=cgroup.memory_peak(tmp_path),
    )  # fmt: skip
    assert "its memory limit of 64 MiB (it used 63 MiB at its peak)" in outcome.message


def test_the_older_hierarchy_tells_the_peak_too_and_none_tells_nothing(tmp_path):
    assert cgroup.memory_peak(tmp_path) is None
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.max_usage_in_bytes").write_text("4096\n")
    assert cgroup.memory_peak(tmp_path) == 4096


@pytest.mark.parametrize(
    ("status", "facts", "code", "reason", "words"),
    [
        pytest.param(3 << 8, {}, 3, "ScriptFailed", "exit code 3", id="exit code"),
        pytest.param(127 << 8, {}, 127, "ScriptFailed", "a command was not found", id="not found"),
        pytest.param(11, {}, 139, "ScriptFailed", "killed by SIGSEGV", id="segfault"),
        pytest.param(137 << 8, {}, 137, "ScriptFailed", "killed by SIGKILL", id="a child was killed"),
        pytest.param(1 << 8, {"disk_full": True}, 1, "DiskFull", "no space was left", id="disk"),
        pytest.param(15, {"stopped_by": 15}, 143, "RunFailed", "told to stop (SIGTERM)", id="stopped"),
        pytest.param(0, {"stopped_by": 15}, 143, "RunFailed", "exit code 0 after the pod", id="stopped in good order"),
    ],
)
def test_an_end_has_a_code_a_reason_and_words(status, facts, code, reason, words):
    about = {"stopped_by": None, "memory_kills": 0, **NO_LIMITS, **facts}
    outcome = outcome_of(status, script="train.py", **about)
    assert (outcome.exit_code, outcome.reason) == (code, reason)
    assert words in outcome.message


def test_a_failure_after_a_worker_was_killed_for_memory_is_for_memory():
    outcome = outcome_of(1 << 8, script="train.py", stopped_by=None, memory_kills=1, **NO_LIMITS)
    assert (outcome.reason, outcome.exit_code) == ("OutOfMemory", 1)
    assert "a process of train.py was killed" in outcome.message


def test_a_script_that_survives_the_death_of_a_worker_has_not_failed():
    outcome = outcome_of(0, script="train.py", stopped_by=None, memory_kills=1, **NO_LIMITS)
    assert outcome.reason is None


TEXT = st.text(max_size=3000)
METRICS = st.dictionaries(st.text(max_size=100), st.floats(allow_nan=False, allow_infinity=False), max_size=64)


@given(message=TEXT, metrics=METRICS, warnings=st.lists(st.text(max_size=300), max_size=20), tail=TEXT)
def test_a_termination_message_always_fits_and_keeps_what_matters(message, metrics, warnings, tail):
    document = termination(
        container="train", reason="ScriptFailed", message=message, exit_code=3, metrics=metrics, warnings=warnings,
        manifest_sha256="f" * 64, log_tail=tail,
    )  # fmt: skip
    raw = fit(document)
    assert len(raw) <= contract.MAX_TERMINATION_BYTES
    kept = json.loads(raw)
    assert {k: kept[k] for k in ("reason", "exitCode", "manifestSha256")} == {
        "reason": "ScriptFailed", "exitCode": 3, "manifestSha256": "f" * 64,
    }  # fmt: skip
    assert document["logTail"].encode(errors="replace").decode().endswith(kept["logTail"])
    assert kept["metrics"].items() <= json.loads(json.dumps(metrics)).items()
    assert kept["metrics"] == json.loads(json.dumps(metrics)) or kept["logTail"] == ""


def test_a_long_message_gives_way_to_the_limit():
    raw = fit(termination(container="train", message="😀" * 2000))
    assert len(raw) <= contract.MAX_TERMINATION_BYTES
    assert json.loads(raw)["message"].startswith("😀" * 500)


def test_warnings_are_short_and_few(capsys):
    warnings = Warnings()
    for number in range(50):
        warnings.add(f"{number} " + "x" * 1000)
    listed = warnings.listed()
    assert len(listed) == contract.MAX_WARNINGS
    assert max(map(len, listed)) <= MAX_CHARS
    assert listed[-1] == "and 31 more warnings like these"
    assert len(capsys.readouterr().err.splitlines()) == contract.MAX_WARNINGS - 1


def test_software_is_read_from_the_folders_beside_the_interpreter(tmp_path):
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = tmp_path / "lib" / version / "site-packages"
    for name in ("scikit_learn-1.9.1.dist-info", "numpy-2.4.6.dist-info", "other-1.dist-info", "numpy"):
        (packages / name).mkdir(parents=True)
    found = software(executable=tmp_path / "bin" / "python3")
    assert found["scikit-learn"] == "1.9.1"
    assert found["numpy"] == "2.4.6"
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "other" not in found


def test_the_software_of_conda_packages_is_not_mixed_with_the_images(tmp_path):
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (tmp_path / "lib" / version / "site-packages" / "joblib-1.6.0.dist-info").mkdir(parents=True)
    environment = tmp_path / "env"
    (environment / "lib" / "python3.12" / "site-packages" / "numpy-2.4.6.dist-info").mkdir(parents=True)
    (environment / "conda-meta").mkdir()
    for record in ("python-3.12.9-h9e4cc4f_0_cpython.json", "python-dateutil-2.9.0-py_0.json"):
        (environment / "conda-meta" / record).touch()
    found = software(executable=tmp_path / "bin" / "python3", environment=environment)
    assert (found["python"], found["numpy"], "joblib" in found) == ("3.12.9", "2.4.6", False)


OUTSIDE = {"cli", "data", "local", "remote", "train", "widgets"}


def sources(repository):
    """Return the files that runner.pyz is made of."""
    return [
        path
        for folder in ("trainer-image/trainyard_runner", "sdk/trainyard")
        for path in sorted((repository / folder).rglob("*.py"))
        if not OUTSIDE.intersection(path.relative_to(repository).parts)
    ]


def test_what_people_work_with_from_outside_is_in_no_pod(repository, runner_pyz):
    with zipfile.ZipFile(runner_pyz) as archive:
        names = {name for name in archive.namelist() if name != "__main__.py"}
    folders = [repository / "trainer-image", repository / "sdk"]
    assert names >= {
        path.relative_to(folder).as_posix()
        for path in sources(repository)
        for folder in folders
        if path.is_relative_to(folder)
    }
    assert not [name for name in names if OUTSIDE.intersection(name.split("/"))]


def test_the_same_sources_make_the_same_archive(repository, runner_pyz, tmp_path):
    again = tmp_path / "again.pyz"
    subprocess.run([sys.executable, repository / "trainer-image" / "build_runner.py", again], check=True)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(runner_pyz.read_bytes()).digest()


def test_what_runs_in_pods_keeps_to_the_syntax_of_python_3_9(repository):
    found = sources(repository)
    assert len(found) > 20
    for path in found:
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, 9))


def test_what_runs_in_pods_imports_the_standard_library_only(repository):
    allowed = set(sys.stdlib_module_names) | {"trainyard", "trainyard_runner"}
    for path in sources(repository):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            # Builds of conda packages bring it, and no other part of the runner knows of it.
            known = allowed | {"rattler"} if path.name == "conda.py" else allowed
            assert {name.split(".")[0] for name in names} <= known, path


def test_the_image_has_the_versions_of_the_lock_file(repository):
    locked = {}
    for package in tomllib.loads((repository / "uv.lock").read_text())["package"]:
        locked.setdefault(package["name"], set()).add(package["version"])
    files = [repository / "trainer-image" / name for name in ("requirements.txt", "solver.txt")]
    lines = [line for file in files for line in file.read_text().splitlines()]
    pins = [line.split(";")[0].strip().split("==") for line in lines if line and not line.lstrip().startswith("#")]
    assert {"scikit-learn", "numpy", "joblib", "scipy", "py-rattler"} <= {name for name, _ in pins}
    assert [name for name, version in pins if version not in locked[name]] == []
