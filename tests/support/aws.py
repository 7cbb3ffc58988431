"""Amazon EKS as moto plays it, with what moto leaves out: groups that take their time, that ail, and calls that fail."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Self
from urllib.parse import unquote

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from moto import mock_aws
from moto.eks.models import eks_backends

ACCOUNT = "123456789012"
REGION = "eu-central-1"
CLUSTER = "prod"


class Aws:
    """An account with one EKS cluster; use it as a context manager.

    `fails` says with what code and HTTP status an operation is to fail, by its name.
    """

    def __init__(self) -> None:
        self._mock = mock_aws()
        self.fails: dict[str, tuple[str, int]] = {}
        self.calls: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._mock.start()
        subnets = {"subnetIds": ["subnet-0a1b2c3d"]}
        self._boto(REGION).create_cluster(
            name=CLUSTER, roleArn="arn:aws:iam::123456789012:role/c", resourcesVpcConfig=subnets
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._mock.stop()

    def connect(self, region: str | None) -> Any:
        """Return a client as the adapter makes one, with the faults of this account."""
        client = self._boto(region)
        client.meta.events.register_first("before-call.eks", self._before)
        client.meta.events.register("after-call.eks.CreateNodegroup", self._created)
        return client

    def group(self, name: str) -> Any:
        """Return moto's own record of a node group; set its `status` and `health` at will."""
        return self._groups()[name]

    def names(self) -> list[str]:
        """Return the names of the node groups that there are."""
        return sorted(self._groups())

    def settle(self, name: str) -> None:
        """Let AWS finish what it is at."""
        if self.group(name).status == "DELETING":
            del self._groups()[name]
        else:
            self.ail(name, "ACTIVE")

    def ail(self, name: str, status: str, *issues: tuple[str, str, list[str]]) -> None:
        """Give a group a status, and issues of code, message and resources."""
        group = self.group(name)
        group.status = status
        group.health = {"issues": [{"code": c, "message": m, "resourceIds": r} for c, m, r in issues]}

    def _boto(self, region: str | None) -> Any:
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        return boto3.Session(**keys).client(
            "eks", region_name=region, config=Config(retries={"mode": "standard", "total_max_attempts": 1})
        )

    def _groups(self) -> dict[str, Any]:
        return eks_backends[ACCOUNT][REGION].clusters[CLUSTER].nodegroups

    def _created(self, parsed: Any, **_: object) -> None:
        if "nodegroup" in parsed:
            self.group(parsed["nodegroup"]["nodegroupName"]).status = "CREATING"

    def _before(self, model: Any, params: Any, **_: object) -> tuple[AWSResponse, dict[str, Any]] | None:
        """Answer in the place of moto, which would do at once what it is asked for."""
        self.calls[model.name] += 1
        if model.name in self.fails:
            code, status = self.fails[model.name]
            return _answer(status, {"Error": {"Code": code, "Message": f"words of {code}"}})
        name = params["url_path"].rpartition("/")[2]
        if model.name == "TagResource":
            arn = unquote(params["url_path"].removeprefix("/tags/"))
            (group,) = [group for group in self._groups().values() if group.arn == arn]
            group.tags = {**(group.tags or {}), **json.loads(params["body"])["tags"]}
            return _answer(200, {})
        if model.name == "DeleteNodegroup" and name in self._groups():
            self.group(name).status = "DELETING"
            return _answer(200, {"nodegroup": {"nodegroupName": name, "status": "DELETING"}})
        return None


def _answer(status: int, parsed: dict[str, Any]) -> tuple[AWSResponse, dict[str, Any]]:
    return AWSResponse("", status, {}, None), {**parsed, "ResponseMetadata": {"HTTPStatusCode": status}}
