from __future__ import annotations

import pytest

from devcluster import sizes
from devcluster.errors import DevclusterError
from devcluster.sizes import Size

D2 = Size(name="STANDARD_D2_V2", millicores=2000, memory_bytes=7 * 2**30)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        pytest.param("2", 2, id="plain"),
        pytest.param(2, 2, id="number"),
        pytest.param("500m", 0.5, id="milli"),
        pytest.param("7Gi", 7 * 2**30, id="binary"),
        pytest.param("3.5G", 3.5e9, id="decimal"),
    ],
)
def test_quantities_are_read_as_kubernetes_does(text: str, number: float):
    assert sizes.quantity(text) == number


def test_what_is_no_quantity_is_named():
    with pytest.raises(DevclusterError, match="'many' is no quantity"):
        sizes.quantity("many")


def test_the_catalogue_is_read_in_its_order_whatever_else_it_says():
    catalogue = {
        "STANDARD_D2_V2": {"cpu": "2", "memory": "7Gi", "instanceTypes": {"karpenter.k8s.aws": ["m5.large"]}},
        "SMALL": {"cpu": "500m", "memory": "1Gi"},
    }
    assert sizes.parse(catalogue) == [D2, Size(name="SMALL", millicores=500, memory_bytes=2**30)]


def test_the_charts_own_catalogue_has_what_the_documentation_uses():
    assert D2 in sizes.read()


def test_a_size_is_offered_on_demand_and_cheaper_as_spot():
    (offered,) = sizes.instance_types([D2], machine="x86_64")
    assert offered["name"] == "STANDARD_D2_V2"
    assert (offered["architecture"], offered["operatingSystems"]) == ("amd64", ["linux"])
    assert (offered["resources"]["cpu"], offered["resources"]["memory"]) == ("2000m", str(7 * 2**30))
    prices = {
        requirement["values"][0]: offering["Price"]
        for offering in offered["offerings"]
        for requirement in offering["Requirements"]
        if requirement["key"] == "karpenter.sh/capacity-type"
    }
    assert 0 < prices["spot"] < prices["on-demand"]


def test_a_smaller_size_is_cheaper_so_that_karpenter_prefers_it():
    small = Size(name="SMALL", millicores=1000, memory_bytes=2 * 2**30)
    offers = sizes.instance_types([D2, small], machine="x86_64")
    assert offers[1]["offerings"][0]["Price"] < offers[0]["offerings"][0]["Price"]
