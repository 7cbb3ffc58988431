"""Neither the operator nor anything else of ours can load a pickle: who imports what, out to the standard library."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

OURS = ("trainyard_operator", "trainyard_runner", "trainyard")
# What loads pickles, and what brings models to life; a submodule of one of these counts as the whole.
LOADERS = frozenset(
    [
        "pickle",
        "_pickle",
        "cPickle",
        "pickletools",
        "shelve",
        "marshal",
        "copyreg",
        "joblib",
        "dill",
        "cloudpickle",
        "skops",
        "torch",
        "sklearn",
        "scipy",
        "numpy",
        "pandas",
        "tensorflow",
        "keras",
        "onnxruntime",
        "xgboost",
        "lightgbm",
    ]
)
# Packages of the image that the operator is installed from; what they need in turn is in the list as well.
NEVER_INSTALLED = frozenset(
    ["joblib", "dill", "cloudpickle", "skops", "scikit-learn", "scipy", "numpy", "pandas", "torch"]
)


def loaders_in(*packages: str) -> dict[str, set[str]]:
    """Return the modules of `packages` that import one of `LOADERS`, by what they import; also in functions."""
    graph = grimp.build_graph(*packages, include_external_packages=True, cache_dir=None)
    return {
        name: found
        for name in graph.modules
        if name.split(".")[0] in LOADERS and (found := graph.find_modules_that_directly_import(name))
    }


def test_nothing_of_ours_imports_what_loads_a_pickle():
    assert loaders_in(*OURS) == {}


def hidden_imports(source: str) -> list[str]:
    """Return the calls in `source` that import what no graph can show."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls]
    return [name for name in names if name in {"__import__", "import_module", "run_module", "run_path", "eval", "exec"}]


def test_nothing_of_ours_imports_behind_the_graphs_back(repository: Path):
    folders = ("operator/trainyard_operator", "trainer-image/trainyard_runner", "sdk/trainyard")
    sources = {path: path.read_text() for folder in folders for path in (repository / folder).rglob("*.py")}
    assert len(sources) > 150
    found = {path.name: calls for path, source in sources.items() if (calls := hidden_imports(source))}
    # That one imports modules of `trainyard` alone, which are all looked at above.
    assert found == {"lazy.py": ["import_module"]}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        pytest.param("__import__('pickle')", ["__import__"], id="the-builtin"),
        pytest.param("import importlib\nimportlib.import_module(name)", ["import_module"], id="importlib"),
        pytest.param("exec('import pickle')", ["exec"], id="text-as-code"),
        pytest.param("import re\nre.compile('x')", [], id="nothing-of-the-kind"),
    ],
)
def test_a_hidden_import_is_found(source, found):
    assert hidden_imports(source) == found


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request):
    """A package that imports something; each has a name of its own, since grimp and Python remember them."""
    name = f"looked_at_{abs(hash(request.node.name))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "module.py").write_text(request.param)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("package", "found"),
    [
        pytest.param("import pickle\n", {"pickle"}, id="plain"),
        pytest.param("import pickle as tidy\n", {"pickle"}, id="renamed"),
        pytest.param("from pickle import loads\n", {"pickle"}, id="a-name-of-it"),
        pytest.param("from joblib.numpy_pickle import load\n", {"joblib"}, id="a-part-of-it"),
        pytest.param("def later():\n    import dill\n", {"dill"}, id="in-a-function"),
        pytest.param("try:\n    import torch\nexcept ImportError:\n    pass\n", {"torch"}, id="if-it-is-there"),
        pytest.param("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy\n", {"numpy"}, id="types"),
        pytest.param("import shelve, marshal\n", {"shelve", "marshal"}, id="several"),
        pytest.param("import json\nimport pickles\n", set(), id="nothing-of-the-kind"),
    ],
    indirect=["package"],
)
def test_a_module_that_imports_one_is_found(package, found):
    assert set(loaders_in(package)) == found


def locked(repository: Path) -> dict[str, dict]:
    document = tomllib.loads((repository / "uv.lock").read_text())
    return {package["name"]: package for package in document["package"]}


def needed(packages: dict[str, dict], extra: str) -> set[str]:
    """Return the packages that an extra of ours brings, with what they need in turn."""
    waiting = [entry["name"] for entry in packages["trainyard"]["optional-dependencies"][extra]]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [entry["name"] for entry in packages[name].get("dependencies", ())]
    return found


@pytest.mark.parametrize("extra", ["operator", "signer"])
def test_the_operators_image_has_nothing_that_could_bring_a_model_to_life(repository: Path, extra: str):
    packages = locked(repository)
    assert needed(packages, extra) & NEVER_INSTALLED == set()
    lines = (repository / "operator" / "requirements.txt").read_text().splitlines()
    installed = {line.split("==")[0] for line in lines if "==" in line}
    assert installed & NEVER_INSTALLED == set()
    assert "boto3" in installed


def test_what_the_trainers_image_has_would_be_found(repository: Path):
    assert needed(locked(repository), "runner") >= {"joblib", "skops", "scikit-learn", "numpy", "scipy"}
