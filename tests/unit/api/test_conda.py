"""Conda packages: one form for equal wishes, and a word to each wish that cannot be kept."""

from __future__ import annotations

import pytest

from trainyard_operator.api.conda import CondaSpec, normalise
from trainyard_operator.api.fields import SpecError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(" Python ", "python", id="name alone"),
        pytest.param("NumPy >= 2, < 3", "numpy>=2,<3", id="bounds"),
        pytest.param("numpy = 2.*", "numpy=2.*", id="any of a version"),
        pytest.param("numpy=1.26 | >=2,!=2.1", "numpy=1.26|>=2,!=2.1", id="one or the other"),
        pytest.param("pytorch==2.9.1=CPU_*", "pytorch==2.9.1=CPU_*", id="build"),
        pytest.param("_libgcc_mutex~=0.1", "_libgcc_mutex~=0.1", id="underscore"),
    ],
)
def test_equal_packages_have_one_form(text, expected):
    assert normalise(text, "f") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("conda-forge::numpy", "says where the package is", id="channel"),
        pytest.param("numpy[channel=conda-forge]", "says where the package is", id="brackets"),
        pytest.param("https://example.com/numpy-2.0-0.conda", "says where the package is", id="address"),
        pytest.param("./numpy-2.0-0.conda", "says where the package is", id="file"),
        pytest.param("numpy 2.0", "no name with versions", id="version after a space"),
        pytest.param("numpy>=", "no name with versions", id="no version"),
        pytest.param("--file", "no name with versions", id="option"),
        pytest.param("num*", "no name with versions", id="pattern"),
    ],
)
def test_a_package_that_is_no_name_with_versions_is_refused(text, words):
    with pytest.raises(SpecError, match=words) as error:
        normalise(text, "spec.environment.conda.packages[0]")
    assert error.value.field == "spec.environment.conda.packages[0]"
    assert error.value.fix


def test_channels_keep_their_order_and_packages_do_not():
    spec = CondaSpec.parse({"channels": ["b", "a", "b"], "packages": ["z", "Y", "y"]})
    assert spec == CondaSpec(channels=("b", "a"), packages=("y", "z"))


@pytest.mark.parametrize(
    ("over", "words"),
    [
        pytest.param({"channels": ["https://conda.anaconda.org/a"]}, r"channels\[0\] is .* an address", id="address"),
        pytest.param({"channels": ["file:///a"]}, "an address", id="folder"),
        pytest.param({"channels": ["a/../b"]}, "no channel", id="way out"),
        pytest.param({"channels": ["defaults"]}, "no channel but a setting", id="defaults"),
        pytest.param({"channels": []}, "channels is empty", id="no channel"),
        pytest.param({"packages": None}, "packages is empty", id="no package"),
        pytest.param({"packages": [1]}, r"packages\[0\]", id="no text"),
    ],
)
def test_what_cannot_work_is_refused_with_its_field(over, words):
    with pytest.raises(SpecError, match=words):
        CondaSpec.parse({"channels": ["conda-forge"], "packages": ["python"], **over})
