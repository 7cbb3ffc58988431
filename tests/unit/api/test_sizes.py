"""The size catalogue and the amounts in it."""

from __future__ import annotations

import pytest
import yaml

from tests.unit.helm.chart import CHART
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.quantities import cpu_millis, memory_bytes
from trainyard_operator.api.sizes import Catalogue, CatalogueError

DOCUMENT = {"SMALL": {"cpu": "2", "memory": "8Gi", "instanceTypes": {"karpenter.k8s.aws": ["m5.large", "m6i.large"]}}}


@pytest.mark.parametrize(
    ("text", "millis"), [("1", 1000), ("500m", 500), ("1.5", 1500), ("0.001", 1), ("0", 0), ("16", 16000)]
)
def test_cpu_is_read_in_thousandths(text, millis):
    assert cpu_millis(text) == millis


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1", 1), ("1k", 1000), ("1Ki", 1024), ("1.5Gi", 3 * 2**29), ("7Gi", 7 * 2**30), ("2T", 2 * 10**12), ("0.5", 1)],
)
def test_memory_is_read_in_bytes(text, amount):
    assert memory_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "x", "1 ", "-1", "1e3", "1Gi", "None"])
def test_what_is_no_cpu_is_refused(text):
    with pytest.raises(ValueError, match="is no amount of CPU: write"):
        cpu_millis(text)


def test_a_size_is_found_in_any_case_and_knows_its_names_in_each_cloud():
    size = Catalogue.parse(DOCUMENT).find("small")
    assert (size.cpu, size.memory) == (2000, 8 * 2**30)
    assert size.types_of("karpenter.k8s.aws") == ("m5.large", "m6i.large")
    assert size.types_of("karpenter.kwok.sh") == ("SMALL",)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        pytest.param({"eks": ["m7i.large"], "karpenter.k8s.aws": ["m5.large"]}, ("m7i.large",), id="its own"),
        pytest.param({"karpenter.k8s.aws": ["m5.large", "m6i.large"]}, ("m5.large", "m6i.large"), id="Karpenter's"),
        pytest.param({"karpenter.azure.com": ["Standard_D2s_v5"]}, ("SMALL",), id="the size's own name"),
    ],
)
def test_of_several_groups_the_first_that_the_size_speaks_of_counts(types, expected):
    document = {"SMALL": {"cpu": "2", "memory": "8Gi", "instanceTypes": types}}
    assert Catalogue.parse(document).find("SMALL").types_of("eks", "karpenter.k8s.aws") == expected


def test_an_unknown_size_is_refused_with_those_that_there_are():
    with pytest.raises(SpecError, match=r"spec.vmSize is 'HUGE'.*use one of SMALL, or have it added"):
        Catalogue.parse(DOCUMENT).find("HUGE")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param([], "must be an object of sizes", id="a list"),
        pytest.param({"A": 1}, "size A: must be an object", id="a number as size"),
        pytest.param({"A": {"memory": "1Gi"}}, "size A: 'None' is no amount of CPU", id="no cpu"),
        pytest.param({"A": {"cpu": "1", "memory": "1GB"}}, "size A: '1GB' is no amount of memory", id="memory"),
        pytest.param({"a": DOCUMENT["SMALL"], "A": DOCUMENT["SMALL"]}, "but for upper and lower case", id="twice"),
        pytest.param(
            {"A": {"cpu": "1", "memory": "1Gi", "instanceTypes": {"g": "t"}}}, "instanceTypes must be", id="types"
        ),
    ],
)
def test_a_catalogue_that_cannot_work_is_refused(document, message):
    with pytest.raises(CatalogueError, match=message):
        Catalogue.parse(document)


def test_the_charts_catalogue_can_be_read_and_has_the_tutorials_size():
    catalogue = Catalogue.parse(yaml.safe_load((CHART / "values.yaml").read_text())["sizes"])
    size = catalogue.find("STANDARD_D2_V2")
    assert (size.cpu, size.memory) == (2000, 7 * 2**30)
