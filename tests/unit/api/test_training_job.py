"""Parsing the spec of a TrainingJob."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.schemas import specs
from trainyard_operator.api.environment import EnvironmentSpec, KeyReference
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.inputs import InputSpec
from trainyard_operator.api.names import TRAINING_JOB
from trainyard_operator.api.source import SourceSpec
from trainyard_operator.api.training_job import ModelSpec, TrainingJobSpec

JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=4)
    ),
    max_leaves=8,
)


def spec(**over):
    return {"source": {"inline": {"train.py": "print(1)"}}, **over}


def test_only_a_source_is_needed_and_the_rest_has_defaults():
    assert TrainingJobSpec.parse(spec()) == TrainingJobSpec(
        experiment="default",
        cluster_name=None,
        cluster_namespace=None,
        source=SourceSpec(inline_files={"train.py": 8}),
        rerun_of=None,
        entry_script="train.py",
        parameters={},
        arguments=(),
        inputs=(),
        environment=EnvironmentSpec(image=None, pip=(), requirements=None, variables={}),
        requests={},
        limits={},
        models=(),
        priority=0,
        retries=0,
        start_timeout=None,
        run_timeout=None,
        grace_seconds=60,
        ttl=None,
        deletion_policy="Retain",
        suspend=False,
        cancel=False,
    )


def test_every_field_is_read():
    parsed = TrainingJobSpec.parse(
        {
            "experiment": "sklearn-mnist",
            "computeClusterRef": {"name": "traincluster", "namespace": "shared"},
            "source": {"configMapRef": {"name": "mnist-code"}},
            "entryScript": "main.py",
            "parameters": {"regularization": 0.8, "quick": True, "seed": None},
            "arguments": ["--data-folder", "$(inputs.data)"],
            "inputs": [{"name": "data", "datastore": {"path": "mnist/"}}, {"name": "all", "datastore": {}}],
            "environment": {
                "image": "python:3.13-slim",
                "pip": ["Scikit_Learn[b,A] >=1.9, <2", "scikit-learn[a,b]<2,>=1.9"],
                "requirements": "train.py",
                "variables": [
                    {"name": "A", "value": "b"},
                    {"name": "C"},
                    {"name": "D", "secretKeyRef": {"name": "keys", "key": "d"}},
                    {"name": "E", "configMapKeyRef": {"name": "maps", "key": "e"}},
                ],
            },
            "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": "1500m"}},
            "priority": 5,
            "retries": 2,
            "startTimeoutSeconds": 600,
            "runTimeoutSeconds": 7200,
            "terminationGracePeriodSeconds": 90,
            "ttlSecondsAfterFinished": 3600,
            "deletionPolicy": "Delete",
            "suspend": True,
            "cancel": True,
            "models": [
                {"name": "sklearn_mnist", "path": "outputs/m.pkl", "description": "Digits.", "tags": {"data": "mnist"}},
                {"name": "all", "path": "outputs"},
            ],
        }
    )
    assert parsed == TrainingJobSpec(
        experiment="sklearn-mnist",
        cluster_name="traincluster",
        cluster_namespace="shared",
        source=SourceSpec(config_map="mnist-code"),
        rerun_of=None,
        entry_script="main.py",
        parameters={"regularization": 0.8, "quick": True, "seed": None},
        arguments=("--data-folder", "$(inputs.data)"),
        inputs=(InputSpec(name="data", path="mnist/"), InputSpec(name="all", path="")),
        environment=EnvironmentSpec(
            image="python:3.13-slim",
            pip=("scikit-learn[a,b]<2,>=1.9",),
            requirements="train.py",
            variables={
                "A": "b",
                "C": "",
                "D": KeyReference(source="secretKeyRef", name="keys", key="d"),
                "E": KeyReference(source="configMapKeyRef", name="maps", key="e"),
            },
        ),
        requests={"cpu": "1", "memory": "1Gi"},
        limits={"cpu": "1500m"},
        models=(
            ModelSpec(name="sklearn_mnist", path="outputs/m.pkl", description="Digits.", tags={"data": "mnist"}),
            ModelSpec(name="all", path="outputs", description=None, tags={}),
        ),
        priority=5,
        retries=2,
        start_timeout=600,
        run_timeout=7200,
        grace_seconds=90,
        ttl=3600,
        deletion_policy="Delete",
        suspend=True,
        cancel=True,
    )
    assert parsed.argv == [
        "--quick", "true", "--regularization", "0.8", "--seed", "null", "--data-folder", "/inputs/data",
    ]  # fmt: skip


def test_files_may_have_been_replaced_by_their_sizes():
    sizes = {"train.py": 8, "lib/ü.py": 3}
    contents = {"train.py": "print(1)", "lib/ü.py": "ü\n"}
    assert TrainingJobSpec.parse(spec(source={"inline": contents})) == TrainingJobSpec.parse(
        spec(source={"inline": sizes})
    )


def test_awkward_values_are_passed_unchanged():
    awkward = "quote\" ' newline\n $(X) $(inputs.data) ; rm -rf / `x` \\"
    parsed = TrainingJobSpec.parse(
        spec(parameters={"p": awkward}, inputs=[{"name": "data", "datastore": {"path": ""}}])
    )
    assert parsed.argv == ["--p", awkward]


def inline(**files):
    return spec(source={"inline": {"train.py": "", **files}})


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        pytest.param([], "spec must be an object: it is a list now", id="no object"),
        pytest.param({}, "spec must have exactly one of source and rerunOf: remove one, or add one", id="no source"),
        pytest.param(spec(rerunOf="a"), "spec must have exactly one of source and rerunOf", id="source and rerun"),
        pytest.param(spec(source={}), "spec.source must have exactly one of", id="empty source"),
        pytest.param(
            spec(source={"inline": {"train.py": ""}, "configMapRef": {"name": "c"}}),
            "spec.source must have exactly one of",
            id="two sources",
        ),
        pytest.param(spec(source={"inline": {}}), "spec.source.inline is empty: add the entry script", id="no file"),
        pytest.param(
            inline(**{"../x.py": ""}), "spec.source.inline: a file's name is '../x.py': '..'", id="a file that climbs"
        ),
        pytest.param(inline(**{"/x.py": ""}), "is '/x.py', an absolute path", id="an absolute file"),
        pytest.param(inline(**{"a/./b.py": ""}), "is 'a/./b.py': '..', '.' and empty parts", id="a dotted file"),
        pytest.param(inline(**{"a\\b.py": ""}), "backslashes and control characters", id="a file with a backslash"),
        pytest.param(inline(**{"lib/": ""}), "spec.source.inline names a folder, 'lib/'", id="a folder with content"),
        pytest.param(inline(**{"outputs/x": ""}), "outputs is for what the script saves", id="a file among outputs"),
        pytest.param(
            inline(**{"a": "", "a/b/c": ""}),
            "has both 'a' and 'a/b/c': a file cannot be a folder",
            id="file and folder",
        ),
        pytest.param(inline(big=512 * 1024 + 1), "has more than 512 KiB of files", id="too large"),
        pytest.param(inline(x=True), "must be the text of a file", id="content that is no text"),
        pytest.param(
            spec(source={"inline": {f"f{n}": "" for n in range(33)}}), "has 33 entries: at most 32", id="too many files"
        ),
        pytest.param(
            spec(entryScript="main.py"),
            "spec.entryScript is 'main.py', which is not in spec.source.inline: the files there are train.py",
            id="script not in the source",
        ),
        pytest.param(spec(entryScript="../x.py"), "spec.entryScript is '../x.py': '..'", id="script that climbs"),
        pytest.param(spec(entryScript="/x.py"), "spec.entryScript is '/x.py', an absolute path", id="absolute script"),
        pytest.param(spec(entryScript="-c"), "spec.entryScript is '-c': it must name a file", id="script as an option"),
        pytest.param(
            spec(source={"configMapRef": {"name": "c"}}, entryScript="a/b.py"),
            "spec.entryScript is 'a/b.py': keys of a ConfigMap have no '/'",
            id="script in a folder of a ConfigMap",
        ),
        pytest.param(spec(experiment="a"), "spec.experiment is 'a'", id="short experiment"),
        pytest.param(spec(experiment="abc_"), "spec.experiment is 'abc_'", id="experiment that is no label"),
        pytest.param(spec(experiment="abc\n"), "spec.experiment is 'abc\\n'", id="experiment with a newline"),
        pytest.param(
            spec(computeClusterRef={}), "spec.computeClusterRef.name must be text: it is missing", id="no name"
        ),
        pytest.param(spec(parameters={"a b": 1}), "spec.parameters has the name 'a b'", id="parameter with a space"),
        pytest.param(spec(parameters={"-x": 1}), "spec.parameters has the name '-x'", id="parameter with a hyphen"),
        pytest.param(spec(parameters={"": 1}), "spec.parameters has the name ''", id="parameter without a name"),
        pytest.param(spec(parameters={"a": [1]}), "spec.parameters.a is no single value", id="parameter list"),
        pytest.param(spec(parameters={"a": "\0"}), "spec.parameters.a contains a NUL", id="parameter with NUL"),
        pytest.param(
            spec(arguments=["$(inputs.dat)"], inputs=[{"name": "data", "datastore": {}}]),
            "spec.arguments[0] refers to the input 'dat', which spec.inputs does not have: the inputs are data",
            id="mistyped input",
        ),
        pytest.param(spec(arguments=["x\0"]), "spec.arguments[0] contains a NUL", id="argument with NUL"),
        pytest.param(spec(arguments="x"), "spec.arguments must be a list: it is a text now", id="arguments as text"),
        pytest.param(
            spec(inputs=[{"name": "a", "datastore": {"path": "../other-namespace/"}}]),
            "spec.inputs[0].datastore.path is '../other-namespace/': '..'",
            id="input that leaves the datastore",
        ),
        pytest.param(
            spec(inputs=[{"name": "a", "datastore": {}}, {"name": "a", "datastore": {}}]),
            "spec.inputs[1].name is 'a' a second time",
            id="two inputs of a name",
        ),
        pytest.param(
            spec(inputs=[{"name": "a"}]),
            "spec.inputs[0] must have exactly one of datastore, s3 and pvc: add one",
            id="input from nowhere",
        ),
        pytest.param(spec(inputs=[{"name": "..", "datastore": {}}]), "spec.inputs[0].name is '..'", id="input folder"),
        pytest.param(spec(environment={"image": "a b"}), "spec.environment.image is 'a b'", id="image with a space"),
        pytest.param(
            spec(environment={"requirements": "requirements.txt"}),
            "spec.environment.requirements is 'requirements.txt', which is not in spec.source.inline",
            id="no such file of requirements",
        ),
        pytest.param(
            spec(source={"configMapRef": {"name": "code"}}, environment={"requirements": "a/b.txt"}),
            "spec.environment.requirements is 'a/b.txt': keys of a ConfigMap have no '/'",
            id="file of requirements in no ConfigMap",
        ),
        pytest.param(
            spec(environment={"variables": [{"name": "TRAINYARD_CA"}]}), "TRAINYARD_… is taken", id="reserved variable"
        ),
        pytest.param(
            spec(environment={"variables": [{"name": "A"}, {"name": "A"}]}), "is 'A' a second time", id="variable twice"
        ),
        pytest.param(spec(resources={"limits": {"cpu": "1,5"}}), "spec.resources.limits.cpu is '1,5'", id="quantity"),
        pytest.param(spec(resources={"limits": {"cpu": 0.5}}), "limits.cpu must be text", id="quantity as a float"),
        pytest.param(
            spec(models=[{"name": "m", "path": "model.pkl"}]),
            "spec.models[0].path is 'model.pkl'",
            id="model elsewhere",
        ),
        pytest.param(
            spec(models=[{"name": "m", "path": "outputs/../x"}]), "is 'outputs/../x': '..'", id="model that climbs"
        ),
        pytest.param(
            spec(models=[{"name": "m", "path": "outputs/a/"}]), "without a '/' at its end", id="model with a slash"
        ),
        pytest.param(
            spec(models=[{"name": "a/b", "path": "outputs"}]), "spec.models[0].name is 'a/b'", id="model name"
        ),
        pytest.param(
            spec(models=[{"name": "m", "path": "outputs"}, {"name": "m", "path": "outputs"}]),
            "spec.models[1] names 'm' and 'outputs' a second time",
            id="model twice",
        ),
        pytest.param(
            spec(models=[{"name": "m", "path": "outputs", "tags": {"": "x"}}]),
            "spec.models[0].tags has a key that is empty",
            id="tag without a key",
        ),
    ],
)
def test_a_spec_that_cannot_work_is_refused_in_words_that_help(broken, message):
    with pytest.raises(SpecError) as caught:
        TrainingJobSpec.parse(broken)
    assert message in str(caught.value)
    assert caught.value.field.startswith("spec")


@settings(deadline=None)
@given(JUNK)
def test_junk_is_refused_and_never_crashes(junk):
    with pytest.raises(SpecError):
        TrainingJobSpec.parse(junk)


@settings(deadline=None)
@given(st.data())
def test_a_good_spec_with_a_junk_field_is_refused_or_understood_and_never_crashes(data):
    good = data.draw(specs(TRAINING_JOB))
    field = data.draw(st.sampled_from(sorted([*good, "models", "inputs", "resources", "environment", "parameters"])))
    try:
        parsed = TrainingJobSpec.parse({**good, field: data.draw(JUNK)})
    except SpecError as error:
        assert str(error).startswith("spec")  # noqa: PT017 - both ends are fine
    else:
        assert all(isinstance(item, str) for item in parsed.argv)


@settings(deadline=None)
@given(specs(TRAINING_JOB))
def test_what_the_schema_admits_is_understood_or_refused_in_words(admitted):
    try:
        parsed = TrainingJobSpec.parse(admitted)
    except SpecError as error:
        assert str(error).startswith("spec.")  # noqa: PT017 - both ends are fine
    else:
        assert parsed.experiment == admitted["experiment"]
        assert parsed.entry_script == admitted["entryScript"]
        assert [item.name for item in parsed.models] == [item["name"] for item in admitted.get("models", [])]
