"""What doctor asks for is what the chart's roles for people give: no right less, and none more."""

from __future__ import annotations

from tests.unit.helm.chart import NAMESPACE, render
from trainyard.cli.rights import wanted_rights
from trainyard.remote.account import DEFAULT_ACCOUNT


def given(objects, kind):
    """Return what a role of the chart allows: group, resource, name, verb."""
    (role,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, "trainyard-user")]
    return {
        (group, resource, name, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def test_doctor_asks_for_what_the_roles_give():
    objects = render({})
    asked = {"team": set(), NAMESPACE: set()}
    for right in wanted_rights(namespace="team", system=NAMESPACE, account=DEFAULT_ACCOUNT):
        resource, _, name = right.what.partition(" ")
        asked[right.namespace] |= {(right.group, resource, name, verb) for verb in right.verbs}
    assert asked["team"] == given(objects, "ClusterRole")
    # The embedded store has a Service too, whose name is the chart's to choose.
    assert asked[NAMESPACE] == given(objects, "Role") - {("", "services", "trainyard-store", "get")}
