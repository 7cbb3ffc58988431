from collections.abc import Iterator

import pytest
import yaml

from tests.unit.helm.chart import CHART, CRDS, render


def written() -> Iterator[dict]:
    for path in sorted(CRDS.glob("*.yaml")):
        yield from filter(None, yaml.safe_load_all(path.read_text()))


def installed(values):
    return {o["metadata"]["name"]: o for o in render(values) if o["kind"] == "CustomResourceDefinition"}


def test_the_charts_definitions_are_those_of_the_repository():
    assert (CHART / "files" / "crds").resolve() == CRDS


def test_all_three_kinds_are_installed():
    assert set(installed({})) == {
        "trainingjobs.trainyard.dev",
        "computeclusters.trainyard.dev",
        "registeredmodels.trainyard.dev",
    }


def test_a_definition_is_installed_as_it_is_written():
    assert {name: crd["spec"] for name, crd in installed({}).items()} == {
        crd["metadata"]["name"]: crd["spec"] for crd in written()
    }


def test_labels_and_annotations_of_a_definition_are_kept():
    found = installed({})

    for crd in written():
        metadata = found[crd["metadata"]["name"]]["metadata"]
        assert crd["metadata"].get("labels", {}).items() <= metadata["labels"].items()
        assert crd["metadata"].get("annotations", {}).items() <= metadata["annotations"].items()


def test_definitions_can_be_left_to_others():
    assert installed({"crds": {"enabled": False}}) == {}


@pytest.mark.parametrize("keep", [True, False])
def test_definitions_outlive_the_release_unless_told_otherwise(keep):
    for crd in installed({"crds": {"keep": keep}}).values():
        assert (crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep") is keep
