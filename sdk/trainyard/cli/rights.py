"""The rights that a person needs, as `docs/sdk.md` lists them, and which of them are missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from trainyard.contract import GROUP
from trainyard.remote.gateway import CONFIG_MAP
from trainyard.remote.objects import COMPUTE_CLUSTERS, REGISTERED_MODELS, TRAINING_JOBS

if TYPE_CHECKING:
    from trainyard.remote.api import Api

REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
VERBS: Final = ("get", "list", "watch", "create", "patch")


@dataclass(frozen=True, kw_only=True)
class Right:
    """What has to be allowed, and what for."""

    verbs: tuple[str, ...]
    resource: str
    namespace: str
    purpose: str
    group: str = ""
    subresource: str = ""
    name: str = ""
    # Whether nothing goes without it.
    needed: bool = True

    @property
    def what(self) -> str:
        """The resource, as a Role names it."""
        whole = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{whole} {self.name}".rstrip()


def wanted_rights(*, namespace: str, system: str, account: str) -> list[Right]:
    """Return the rights that a person needs."""
    kinds = [
        Right(verbs=(*VERBS, "delete"), group=GROUP, resource=kind, namespace=namespace, purpose="everything")
        for kind in (TRAINING_JOBS, COMPUTE_CLUSTERS)
    ]
    return [
        *kinds,
        Right(verbs=VERBS, group=GROUP, resource=REGISTERED_MODELS, namespace=namespace, purpose="models"),
        Right(
            verbs=("create",),
            resource="serviceaccounts",
            subresource="token",
            name=account,
            namespace=namespace,
            purpose="data, code, files and models",
        ),
        Right(
            verbs=("get",),
            resource="pods",
            subresource="log",
            namespace=namespace,
            purpose="the log as it is printed",
            needed=False,
        ),
        Right(
            verbs=("get",),
            resource="configmaps",
            name=CONFIG_MAP,
            namespace=system,
            purpose="the address of the gateway",
        ),
        *_through_the_api_server(system),
    ]


def _through_the_api_server(system: str) -> list[Right]:
    # Not needed where the gateway and the store are reached without it, as in a pod of the cluster.
    about: dict[str, Any] = {"namespace": system, "purpose": "the way through the API server", "needed": False}
    return [
        Right(verbs=("get",), resource="services", name=CONFIG_MAP, **about),
        Right(verbs=("list",), resource="pods", **about),
        Right(verbs=("create", "get"), resource="pods", subresource="portforward", **about),
    ]


def missing_rights(api: Api, *, namespace: str, system: str, account: str) -> list[Right]:
    """Return the rights that the API server says one does not have, each with the verbs that are missing."""
    missing = []
    for right in wanted_rights(namespace=namespace, system=system, account=account):
        verbs = tuple(verb for verb in right.verbs if not _allowed(api, right, verb))
        if verbs:
            missing.append(replace(right, verbs=verbs))
    return missing


def _allowed(api: Api, right: Right, verb: str) -> bool:
    attributes = {
        "verb": verb, "group": right.group, "resource": right.resource, "subresource": right.subresource,
        "namespace": right.namespace, "name": right.name,
    }  # fmt: skip
    document: dict[str, Any] = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
    }
    return bool(api.request("POST", REVIEWS, body=document)["status"]["allowed"])
