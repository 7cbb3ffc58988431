"""The calls to Amazon EKS, and what its answers mean."""

from __future__ import annotations

import sys

import pytest

from tests.support.aws import CLUSTER, REGION, Aws
from tests.unit.domain.builders import eks
from trainyard_operator.api.names import POOL_LABEL
from trainyard_operator.api.reasons import ComputeClusterReason as Reason
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.cloud.eks import EksApi
from trainyard_operator.cloud.errors import CloudError
from trainyard_operator.providers.choice import read_cluster
from trainyard_operator.providers.eks import node_group
from trainyard_operator.providers.node_group import GroupAddress, GroupCall, Issue, NodeGroup

CATALOGUE = Catalogue.parse({"SMALL": {"cpu": "2", "memory": "8Gi", "instanceTypes": {"eks": ["m7i.large"]}}})
WANTED = node_group(read_cluster(eks(), CATALOGUE))
HERE = GroupAddress(cluster=CLUSTER, name="pool", region=REGION)


@pytest.fixture
def aws():
    with Aws() as account:
        yield account


@pytest.fixture
def api(aws):
    return EksApi(aws.connect)


def call(verb, address=HERE, **arguments):
    return GroupCall(address=address, verb=verb, arguments=arguments)


def test_a_group_that_is_not_there_is_none(api):
    assert api.describe(HERE) is None


def test_what_is_created_is_described_as_it_was_asked_for(api):
    api.carry_out(call("create", **WANTED))
    found = api.describe(HERE)
    assert found.arn.startswith(f"arn:aws:eks:{REGION}:")
    assert found == NodeGroup(
        status="CREATING",
        arn=found.arn,
        tags=WANTED["tags"],
        labels=WANTED["labels"],
        taints=tuple(WANTED["taints"]),
        least=0,
        most=4,
        desired=0,
    )


def test_the_request_has_types_and_priority_of_the_machines(api, aws):
    api.carry_out(call("create", **WANTED))
    group = aws.group("pool")
    assert (group.instance_types, group.capacity_type) == (["m7i.large"], "ON_DEMAND")
    assert (group.node_role, group.subnets) == ("arn:aws:iam::111122223333:role/nodes", ["subnet-0a1b2c3d"])


def test_creating_a_group_again_changes_nothing(api, aws):
    api.carry_out(call("create", **WANTED))
    api.carry_out(call("create", **{**WANTED, "capacityType": "SPOT"}))
    assert aws.group("pool").capacity_type == "ON_DEMAND"


def test_limit_label_and_taint_are_changed(api, aws):
    api.carry_out(call("create", **{**WANTED, "labels": {}, "taints": []}))
    aws.settle("pool")
    api.carry_out(
        call(
            "update",
            scalingConfig={"minSize": 0, "maxSize": 9},
            labels={"addOrUpdateLabels": WANTED["labels"]},
            taints={"addOrUpdateTaints": WANTED["taints"]},
        )
    )
    found = api.describe(HERE)
    assert (found.most, found.labels[POOL_LABEL]) == (9, WANTED["labels"][POOL_LABEL])
    assert found.taints == tuple(WANTED["taints"])


def test_an_owner_is_written_on_a_group_beside_the_tags_that_it_has(api):
    api.carry_out(call("create", **{**WANTED, "tags": {"team": "vision"}}))
    arn = api.describe(HERE).arn
    api.carry_out(call("adopt", resourceArn=arn, tags={"trainyard.dev/compute-cluster": "default/lab"}))
    assert api.describe(HERE).tags == {"team": "vision", "trainyard.dev/compute-cluster": "default/lab"}


def test_a_group_is_deleted_and_is_there_until_aws_has_done_it(api, aws):
    api.carry_out(call("create", **WANTED))
    api.carry_out(call("delete"))
    assert api.describe(HERE).status == "DELETING"
    aws.settle("pool")
    assert api.describe(HERE) is None
    api.carry_out(call("delete"))


def test_the_issues_of_a_group_are_read_with_their_resources(api, aws):
    api.carry_out(call("create", **WANTED))
    aws.ail("pool", "DEGRADED", ("Ec2SubnetNotFound", "no such subnet", ["subnet-0a1b2c3d"]))
    found = api.describe(HERE)
    assert found.status == "DEGRADED"
    assert found.issues == (Issue(code="Ec2SubnetNotFound", message="no such subnet", resources=("subnet-0a1b2c3d",)),)


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        pytest.param(("AccessDeniedException", 403), Reason.CLOUD_ACCESS_DENIED, "allow it in the policy", id="denied"),
        pytest.param(("ExpiredTokenException", 403), Reason.CLOUD_CREDENTIALS_MISSING, "a role", id="expired"),
        pytest.param(("UnrecognizedClientException", 403), Reason.CLOUD_CREDENTIALS_MISSING, "a role", id="unknown caller"),
        pytest.param(("ThrottlingException", 400), Reason.CLOUD_THROTTLED, "asked again", id="throttled"),
        pytest.param(("TooManyRequestsException", 429), Reason.CLOUD_THROTTLED, "asked again", id="too many"),
        pytest.param(("ServerException", 500), Reason.CLOUD_UNAVAILABLE, "asked again", id="broken inside"),
        pytest.param(("Whatever", 503), Reason.CLOUD_UNAVAILABLE, "asked again", id="down"),
        pytest.param(("InvalidParameterException", 400), Reason.CLOUD_REFUSED, "AWS refuses it", id="wrong parameter"),
        pytest.param(("ResourceLimitExceededException", 400), Reason.CLOUD_REFUSED, "AWS refuses it", id="quota"),
    ],
)  # fmt: skip
def test_an_answer_that_is_an_error_says_what_can_be_done(api, aws, answer, reason, words):
    aws.fails = {"DescribeNodegroup": answer, "CreateNodegroup": answer}
    for attempt in (lambda: api.describe(HERE), lambda: api.carry_out(call("create", **WANTED))):
        with pytest.raises(CloudError) as caught:
            attempt()
        failure = caught.value.failure
        assert failure.reason == reason
        assert f"{answer[0]}: words of {answer[0]}" in failure.message
        assert words in failure.message
    assert aws.names() == []


def test_a_group_that_is_in_use_is_not_changed_and_that_is_said(api, aws):
    aws.fails["DeleteNodegroup"] = ("ResourceInUseException", 409)
    with pytest.raises(CloudError, match=r"CloudRefused: AWS refuses it \(ResourceInUseException"):
        api.carry_out(call("delete"))


@pytest.mark.parametrize("verb", ["describe", "create"])
def test_an_eks_cluster_that_is_not_there_is_named(api, verb):
    elsewhere = GroupAddress(cluster="typo", name="pool", region=REGION)
    with pytest.raises(CloudError, match=r"EksClusterNotFound: there is no EKS cluster typo in eu-central-1"):
        api.describe(elsewhere) if verb == "describe" else api.carry_out(call("create", elsewhere, **WANTED))


def test_what_boto_itself_refuses_is_said(api):
    with pytest.raises(CloudError, match=r"CloudRefused: .*nodeRole"):
        api.carry_out(call("create", subnets=["subnet-0a1b2c3d"]))


def test_an_address_that_nobody_answers_is_said(monkeypatch, aws):
    from botocore.exceptions import ConnectTimeoutError

    client = aws.connect(REGION)

    def fail(**_):
        raise ConnectTimeoutError(endpoint_url="https://eks.eu-central-1.amazonaws.com")

    monkeypatch.setattr(client, "describe_nodegroup", fail)
    with pytest.raises(CloudError, match="CloudUnavailable: AWS cannot be reached"):
        EksApi(lambda _: client).describe(HERE)


@pytest.fixture
def bare(monkeypatch, tmp_path, aws):
    """An environment that holds the keys of an object store and nothing else of AWS."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "store")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "store")
    return monkeypatch


def test_the_keys_of_the_object_store_are_no_credentials_here(bare):
    with pytest.raises(CloudError, match=r"CloudCredentialsMissing: .*operator.serviceAccount.annotations"):
        EksApi().describe(HERE)


def identify(bare, tmp_path):
    (tmp_path / "token").write_text("token")
    bare.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/operator")
    bare.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))


def test_the_role_of_the_service_account_is_used_as_soon_as_it_is_there(bare, tmp_path):
    api = EksApi()
    with pytest.raises(CloudError):
        api.describe(HERE)
    identify(bare, tmp_path)
    assert api.describe(HERE) is None


@pytest.mark.parametrize("named", [True, False])
def test_the_region_is_that_of_the_environment_where_the_spec_names_none(bare, tmp_path, named):
    identify(bare, tmp_path)
    anywhere = GroupAddress(cluster=CLUSTER, name="pool")
    if named:
        bare.setenv("AWS_REGION", REGION)
        assert EksApi().describe(anywhere) is None
    else:
        with pytest.raises(CloudError, match=r"CloudRefused: spec.provider.eks.region is missing"):
            EksApi().describe(anywhere)


def test_importing_the_adapter_imports_no_boto():
    import subprocess

    script = "import sys, trainyard_operator.cloud.eks as e; e.EksApi(); print('boto3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
