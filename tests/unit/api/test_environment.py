"""Requirements: one form for equal wishes, and a word to each wish that cannot be kept."""

from __future__ import annotations

import dataclasses

import pytest

from trainyard import contract
from trainyard_operator.api.conda import CondaSpec
from trainyard_operator.api.environment import (
    Environment,
    EnvironmentSpec,
    has_all,
    normalise,
    read_packages,
    read_requirements,
)
from trainyard_operator.api.fields import SpecError

CONDA = CondaSpec(channels=("conda-forge", "bioconda"), packages=("python=3.12",))
ONE = Environment(image="trainer:1", platform="amd64", requirements=("tabulate>=0.9",), index="a" * 64)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Scikit_Learn == 1.9.1", "scikit-learn==1.9.1", id="name and spaces"),
        pytest.param("a >=2, <3", "a<3,>=2", id="order of bounds"),
        pytest.param("a[Y,x_z]~=1.4", "a[x-z,y]~=1.4", id="extras"),
        pytest.param("a; python_version<'3.12'", 'a; python_version < "3.12"', id="marker"),
    ],
)
def test_equal_requirements_have_one_form(text, expected):
    assert normalise(text, "f") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("--index-url https://pypi.org/simple", "an option of pip", id="option"),
        pytest.param("-e .", "an option of pip", id="editable"),
        pytest.param("-r other.txt", "an option of pip", id="another file"),
        pytest.param("./lib", "a file or folder", id="folder"),
        pytest.param("lib-1.0-py3-none-any.whl", "a file or folder", id="wheel"),
        pytest.param("a @ https://example.org/a-1.0.whl", "a file or folder", id="address of a wheel"),
        pytest.param("a @ git+https://example.org/a", "at an address", id="repository"),
        pytest.param("a @ file:///a", "at an address", id="file address"),
        pytest.param("a ==", "no requirement", id="no version"),
        pytest.param("a b", "no requirement", id="two words"),
    ],
)
def test_a_requirement_that_may_mean_something_else_tomorrow_is_refused(text, words):
    with pytest.raises(SpecError, match=words) as error:
        normalise(text, "spec.environment.pip[0]")
    assert error.value.field == "spec.environment.pip[0]"
    assert error.value.fix


def test_a_file_of_requirements_is_read_as_pip_reads_it():
    text = "# what we need\n\nTabulate>=0.9  # tables\nscikit-learn \\\n  ==1.9.1\ntabulate>=0.9\n"
    assert read_requirements(text, "requirements.txt") == ("scikit-learn==1.9.1", "tabulate>=0.9")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a\n--index-url https://x\n", "line 2 of r.txt is .*option", id="option"),
        pytest.param("a==1 --hash=sha256:abc\n", "line 1 of r.txt .*option", id="hash"),
        pytest.param("a\n\nb ==\n", "line 3 of r.txt .*no requirement", id="line"),
        pytest.param("a" * 513, "at most 512", id="long line"),
        pytest.param("#" * (contract.MAX_REQUIREMENTS_BYTES + 1), "more than 65536 bytes", id="long file"),
        pytest.param("\n".join(f"a{n}" for n in range(501)), "at most 500", id="many"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(text, words):
    with pytest.raises(SpecError, match=words) as error:
        read_requirements(text, "r.txt")
    assert error.value.field.startswith("spec.environment.requirements")


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        pytest.param({"value": "a", "secretKeyRef": {"name": "a", "key": "b"}}, "value and secretKeyRef", id="two"),
        pytest.param({"secretKeyRef": {"name": "a"}}, "secretKeyRef.key must be text", id="no key"),
        pytest.param({"configMapKeyRef": {"name": "A", "key": "b"}}, "configMapKeyRef.name", id="no name of an object"),
    ],
)
def test_a_variable_that_cannot_be_had_is_refused(variable, words):
    with pytest.raises(SpecError, match=words):
        EnvironmentSpec.parse({"variables": [{"name": "A", **variable}]})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"image": "trainer:2"}, id="image"),
        pytest.param({"platform": "arm64"}, id="platform"),
        pytest.param({"requirements": ("tabulate>=0.10",)}, id="requirements"),
        pytest.param({"index": "b" * 64}, id="index"),
        pytest.param({"conda": CONDA}, id="conda"),
    ],
)
def test_whatever_decides_what_is_installed_is_in_the_hash(change):
    assert dataclasses.replace(ONE, **change).hash != ONE.hash


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            {"conda": dataclasses.replace(CONDA, channels=("bioconda", "conda-forge"))}, id="order of channels"
        ),
        pytest.param({"conda": dataclasses.replace(CONDA, packages=("python=3.13",))}, id="packages"),
        pytest.param({"alias": "d" * 64}, id="address of the channels"),
    ],
)
def test_whatever_decides_which_conda_packages_are_installed_is_in_the_hash(change):
    one = dataclasses.replace(ONE, conda=CONDA, alias="c" * 64)
    assert dataclasses.replace(one, **change).hash != one.hash


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param(ONE, id="pip"),
        pytest.param(dataclasses.replace(ONE, conda=CONDA, alias="c" * 64), id="conda"),
    ],
)
def test_a_document_gives_its_environment_back(environment):
    assert Environment.of_document(environment.document) == environment


def test_an_environment_is_named_after_its_hash():
    assert ONE.name == f"env-{ONE.hash[:12]}"


LOCK = [
    "numpy==2.4.6 ; python_full_version < '3.12'",
    "numpy==2.5.5 ; python_full_version >= '3.12'",
    "# x",
    "a-b==1.2",
]


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        pytest.param(["a-b==1.2"], True, id="the very version"),
        pytest.param(["a-b>=1", "numpy>=2"], True, id="bounds"),
        pytest.param(["a-b"], True, id="any version"),
        pytest.param(["a-b==1.3"], False, id="another version"),
        pytest.param(["c"], False, id="another package"),
        pytest.param(["numpy==2.5.5"], False, id="depends on the Python"),
        pytest.param(["a-b[more]"], False, id="extras"),
        pytest.param(["a-b; python_version < '3'"], False, id="marker"),
    ],
)
def test_an_image_has_what_each_of_its_possible_versions_meets(requirements, expected):
    assert has_all(read_packages(LOCK), requirements) is expected
