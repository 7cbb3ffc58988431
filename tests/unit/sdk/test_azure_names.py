"""Azure ML's names: what they are here, and what is said of those that there are not."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

import trainyard
from trainyard.core import Run
from trainyard.errors import ConfigError
from trainyard.remote.conda import CondaDependencies
from trainyard.remote.environment import Environment
from trainyard.remote.estimator import Estimator, ScriptRunConfig
from trainyard.remote.experiment import Experiment
from trainyard.remote.reference import DataReference
from trainyard.remote.runconfig import DEFAULT_CPU_IMAGE, RunConfiguration
from trainyard.remote.sklearn import SKLearn
from trainyard.remote.submitted import SubmittedRun


def python(script):
    """Run a script in a process of its own, and return all that it printed."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("core", "Workspace Experiment Run Datastore Environment ScriptRunConfig ComputeTarget Model VERSION"),
        ("core", "RunConfiguration"),
        ("core.compute", "ComputeTarget AmlCompute BatchAiCompute ComputeTargetException"),
        ("core.compute_target", "ComputeTarget ComputeTargetException"),
        ("core.conda_dependencies", "CondaDependencies"),
        ("core.datastore", "Datastore"),
        ("core.environment", "Environment CondaDependencies"),
        ("core.experiment", "Experiment"),
        ("core.model", "Model"),
        ("core.run", "Run"),
        ("core.runconfig", "RunConfiguration DEFAULT_CPU_IMAGE"),
        ("core.script_run_config", "ScriptRunConfig"),
        ("core.workspace", "Workspace"),
        ("data.data_reference", "DataReference"),
        ("exceptions", "ComputeTargetException UserErrorException SnapshotException ActivityFailedException"),
        ("train.estimator", "Estimator"),
        ("train.sklearn", "SKLearn"),
        ("train.widgets", "RunDetails"),
        ("widgets", "RunDetails"),
    ],
)
def test_names_are_where_azure_ml_has_them(module, names):
    found = importlib.import_module(f"trainyard.{module}")
    assert [name for name in names.split() if not hasattr(found, name)] == []


def test_a_script_that_imports_its_run_by_azure_ml_s_name_pays_for_nothing_else():
    script = (
        "from trainyard.core import Run; import sys; run = Run.get_submitted_run(); assert run is Run.get_context(); "
        "print(isinstance(run, Run), [m for m in sys.modules if m.startswith(('trainyard.remote', 'kubernetes'))])"
    )
    assert "True []" in python(script)


def test_the_package_can_be_imported_under_azure_ml_s_name():
    assert python("import trainyard as azureml; print(azureml.core.VERSION)").strip() not in {"", "unknown"}


def test_a_name_that_there_is_not_is_answered_with_what_to_do():
    said = python("from trainyard.core import Dataset")
    assert "ImportError: trainyard.core has no Dataset: bring the files to the datastore" in said
    assert "cannot import name 'Nothing'" in python("from trainyard.core import Nothing")


class Jobs:
    def get(self, _plural, name):
        return {"metadata": {"name": name, "uid": "u"}, "spec": {"experiment": "digits"}}


class Workspace:
    name, objects = "team", Jobs()


def test_a_run_is_had_by_its_experiment_and_id_or_by_its_workspace_and_id():
    by_experiment = Run(Experiment(Workspace(), "digits"), "digits-1")
    by_workspace = Run.get(Workspace(), "digits-1")
    for run in (by_experiment, by_workspace):
        assert isinstance(run, SubmittedRun)
        assert isinstance(run, Run)
        assert (run.id, run.experiment.name) == ("digits-1", "digits")
    assert not isinstance("digits-1", Run)
    with pytest.raises(ConfigError, match=r"which run\? Run\.get_context\(\)"):
        Run()


def spec(config):
    return config.definition.spec(experiment="digits", source={})


def environment(**given):
    return spec(SKLearn(".", **given)).get("environment", {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {}, id="that of the image"),
        pytest.param({"framework_version": "1.9.1"}, {"pip": ["scikit-learn==1.9.1"]}, id="the one that is asked for"),
        pytest.param(
            {"conda_packages": ["pandas"]},
            {"conda": {"channels": ["conda-forge"], "packages": ["pandas", "scikit-learn"]}},
            id="conda's, where the image's is not seen",
        ),
        pytest.param(
            {"conda_packages": ["scikit-learn==1.9.1"]},
            {"conda": {"channels": ["conda-forge"], "packages": ["scikit-learn==1.9.1"]}},
            id="the one that is named already",
        ),
    ],
)
def test_the_estimator_of_scikit_learn_has_it(given, expected):
    assert environment(**given) == expected


def test_packages_of_a_conda_file_are_added_to_those_of_an_estimator(tmp_path):
    made = CondaDependencies.create(
        pip_packages=["azureml-defaults", "azureml-dataset-runtime[pandas,fuse]", "numpy==2"],
        conda_packages=["pip", "pandas"],
        python_version="3.12",
    )
    made.add_channel("bioconda")
    made.save(tmp_path / "conda.yml")
    estimator = Estimator(tmp_path, conda_dependencies_file="conda.yml", pip_packages=["joblib"])
    assert spec(estimator)["environment"] == {
        "pip": ["numpy==2", "joblib"],
        "conda": {"channels": ["bioconda"], "packages": ["python=3.12", "pandas"]},
    }


def test_an_environment_is_set_as_in_azure_ml():
    env = Environment("tutorial-env")
    env.python.conda_dependencies = CondaDependencies.create(pip_packages=["pandas", "azureml-defaults"])
    env.docker.enabled = True
    env.docker.base_image = DEFAULT_CPU_IMAGE
    env.environment_variables["A"] = 1
    assert env.to_spec() == {"pip": ["pandas"], "variables": [{"name": "A", "value": "1"}]}
    env.python.user_managed_dependencies = True
    env.docker.base_image = "registry/image:1"
    assert env.to_spec() == {"image": "registry/image:1", "variables": [{"name": "A", "value": "1"}]}


def no_docker(env):
    env.docker.enabled = False
    env.to_spec()


def no_packages(env):
    env.python.conda_dependencies = ["pandas"]
    env.to_spec()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        pytest.param(no_docker, "runs are containers", id="no containers"),
        pytest.param(no_packages, "is a list: give what CondaDependencies", id="no packages"),
        pytest.param(lambda env: setattr(env.docker, "base_dockerfile", "x"), "have no base_dockerfile in", id="file"),
        pytest.param(lambda env: setattr(env.python, "interpreter_path", "x"), "have no interpreter_path", id="python"),
        pytest.param(lambda _: setattr(RunConfiguration(), "node_count", 2), "have no node_count", id="nodes"),
        pytest.param(lambda _: CondaDependencies.create(pip_indexurl="https://x"), "pip_indexurl: whoever", id="index"),
        pytest.param(lambda _: CondaDependencies.create(pip_packages=[None]), "a package is None", id="package"),
    ],
)
def test_what_means_nothing_here_is_refused_where_it_is_set(call, said):
    with pytest.raises(ConfigError, match=said):
        call(Environment("tutorial-env"))


def test_a_run_configuration_may_be_changed_until_the_run_is_submitted():
    reference = DataReference(None, "mnist", "mnist")
    config = ScriptRunConfig(".", "train.py", ["--data-folder", str(reference), "--C", 0.8])
    config.run_config.target = "pool"
    config.run_config.environment = Environment(pip_packages=["pandas"])
    config.run_config.data_references = {reference.data_reference_name: reference.to_config()}
    assert spec(config) == {
        "experiment": "digits",
        "source": {},
        "entryScript": "train.py",
        "computeClusterRef": {"name": "pool"},
        "arguments": ["--data-folder", "$(inputs.mnist)", "--C", "0.8"],
        "inputs": [{"name": "mnist", "datastore": {"path": "mnist"}}],
        "environment": {"pip": ["pandas"]},
    }


def test_the_packages_own_run_is_the_script_s():
    assert trainyard.Run.get_context() is Run.get_context()
