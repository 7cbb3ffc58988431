"""The operator's rights, in the one place that says what they are meant to be."""

import pytest

from tests.unit.helm.chart import NAMESPACE, VALUE_SETS, named, render, template

OPERATOR = "trainyard-operator"
EVERYWHERE = {
    "trainyard.dev/trainingjobs": "delete get list patch watch",
    "trainyard.dev/trainingjobs/status": "patch",
    "trainyard.dev/computeclusters": "list patch watch",
    "trainyard.dev/computeclusters/status": "patch",
    "trainyard.dev/registeredmodels": "create list watch",
    "trainyard.dev/registeredmodels/status": "patch",
    "apps/deployments": "create list patch watch",
    "batch/jobs": "create delete list patch watch",
    "/pods": "list watch",
    "/nodes": "list watch",
    "/configmaps": "get",
    "/events": "create list",
    "karpenter.sh/nodepools": "create delete list patch watch",
    "karpenter.sh/nodeclaims": "delete list watch",
    "authentication.k8s.io/tokenreviews": "create",
    "authorization.k8s.io/subjectaccessreviews": "create",
}
# Only where runs may be handed to Kueue.
KUEUES = {"kueue.x-k8s.io/workloads": "list patch watch"}
AT_HOME = {
    "coordination.k8s.io/leases": "create",
    "coordination.k8s.io/leases trainyard-operator": "get update",
    "/secrets": "create",
    "/secrets trainyard-gateway-tls": "get",
    "/configmaps trainyard-gateway": "patch",
    "/pods": "patch",
}

every_value_set = pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)


def rights(role):
    """A role as {"group/resource name": "verbs"}; a resource that occurs twice is an error."""
    found = {}
    for rule in role["rules"]:
        assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                key = " ".join([f"{group}/{resource}", *rule.get("resourceNames", [])])
                assert key not in found
                found[key] = " ".join(sorted(rule["verbs"]))
    return found


@every_value_set
def test_the_operator_may_do_exactly_what_it_does(values):
    objects = render(values)

    expected = EVERYWHERE | (KUEUES if values.get("kueue", {}).get("enabled") else {})
    assert rights(named(objects, "ClusterRole", OPERATOR)) == expected
    assert rights(named(objects, "Role", OPERATOR)) == AT_HOME


@every_value_set
def test_no_role_has_a_wildcard(values):
    roles = [o for o in render(values) if o["kind"] in {"Role", "ClusterRole"}]

    assert roles
    assert not [r["metadata"]["name"] for r in roles for rule in r["rules"] for part in rule.values() if "*" in part]


@every_value_set
def test_no_right_on_secrets_reaches_beyond_the_operators_namespace(values):
    cluster_roles = [o for o in render(values) if o["kind"] == "ClusterRole"]

    assert not [r for r in cluster_roles for rule in r["rules"] if "secrets" in rule["resources"]]


@every_value_set
def test_every_binding_joins_a_role_of_the_chart_to_the_operators_account(values):
    objects = render(values)
    bindings = [o for o in objects if o["kind"] in {"RoleBinding", "ClusterRoleBinding"}]

    assert len(bindings) == 2
    for binding in bindings:
        assert named(objects, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        (subject,) = binding["subjects"]
        assert (subject["kind"], subject["namespace"]) == ("ServiceAccount", NAMESPACE)
        assert named(objects, "ServiceAccount", subject["name"])


@pytest.mark.parametrize(
    ("role", "into", "verbs"),
    [
        ("trainyard-view", {"view", "edit", "admin"}, "get list watch"),
        ("trainyard-edit", {"edit", "admin"}, "create delete deletecollection patch update"),
    ],
)
def test_people_get_trainyards_kinds_through_the_clusters_own_roles(role, into, verbs):
    found = named(render({}), "ClusterRole", role)
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    labels = found["metadata"]["labels"]

    assert {label.removeprefix(prefix) for label, on in labels.items() if label.startswith(prefix) and on} == into
    assert rights(found) == {
        f"trainyard.dev/{kind}": verbs for kind in ("trainingjobs", "computeclusters", "registeredmodels")
    }


def test_roles_for_people_can_be_left_out():
    names = [o["metadata"]["name"] for o in render({"userRoles": {"enabled": False}}) if o["kind"] == "ClusterRole"]

    assert names == [OPERATOR]


WORKSPACES = [{"namespace": "team-a", "subjects": [{"kind": "Group", "name": "team-a"}]}]
GROUP = [{"kind": "Group", "name": "team-a"}]


@pytest.mark.parametrize(
    ("kind", "name", "namespace", "role", "subjects"),
    [
        pytest.param("RoleBinding", "trainyard-user", "team-a", "trainyard-user", GROUP, id="their namespace"),
        pytest.param(
            "RoleBinding",
            "trainyard-model-reader",
            "team-a",
            "trainyard-model-reader",
            [{"kind": "ServiceAccount", "name": "trainyard-user", "namespace": "team-a"}],
            id="models, for the account whose token is shown",
        ),
        pytest.param("RoleBinding", "trainyard-user-team-a", NAMESPACE, "trainyard-user", GROUP, id="the way there"),
    ],
)
def test_a_workspace_binds_its_people_and_nobody_else(kind, name, namespace, role, subjects):
    objects = render({"workspaces": WORKSPACES})
    found = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]

    assert [(o["metadata"]["namespace"], o["roleRef"]["name"], o["subjects"]) for o in found] == [
        (namespace, role, subjects)
    ]


def test_a_workspace_without_roles_for_people_is_refused():
    result = template({"workspaces": WORKSPACES, "userRoles": {"enabled": False}})

    assert "workspaces: their roles come with userRoles.enabled" in result.err
