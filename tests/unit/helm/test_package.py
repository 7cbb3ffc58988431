import tarfile

import yaml

from tests.unit.helm.chart import CHART, CRDS, helm, render, template


def test_a_packaged_chart_holds_the_definitions_and_renders_the_same(tmp_path):
    result = helm("package", CHART, "--destination", tmp_path)
    assert result.code == 0, result.err
    (package,) = tmp_path.glob("*.tgz")

    with tarfile.open(package) as archive:
        names = set(archive.getnames())
        assert all(member.isfile() for member in archive.getmembers())
    # Keys of one's own: generated ones differ with every rendering.
    values = {"store": {"embedded": {"existingSecret": "mine"}}}
    rendered = template(values, chart=package)

    assert {f"trainyard/files/crds/{path.name}" for path in CRDS.glob("*.yaml")} <= names
    assert [found for found in yaml.safe_load_all(rendered.out) if found] == render(values)
