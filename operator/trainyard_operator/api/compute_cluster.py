"""The spec of a ComputeCluster, parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from trainyard_operator.api.fields import (
    LABEL_KEY,
    LABEL_VALUE,
    OBJECT_NAME,
    JsonObject,
    SpecError,
    read_choice,
    read_flag,
    read_list,
    read_object,
    read_text,
    read_whole,
)
from trainyard_operator.api.input_cache import InputCacheSpec, read_input_cache
from trainyard_operator.api.names import MAX_LABEL_VALUE

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LABEL_KEY: Final = 317
MAX_LABELS: Final = 32
MAX_TOLERATIONS: Final = 32
MAX_TOLERATION_SECONDS: Final = 31_536_000
NODE_GROUP: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_./:~-]*$")
MAX_NODE_GROUP: Final = 512
MAX_NODE_GROUPS: Final = 16
MAX_CONFIG_MAP: Final = 253
STATUS_NAMESPACE: Final = "kube-system"
STATUS_CONFIG_MAP: Final = "cluster-autoscaler-status"
EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")

MAX_VM_SIZE: Final = 63
VM_SIZE: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
MAX_NODES: Final = 1000
MAX_JOBS_PER_NODE: Final = 110
DEFAULT_IDLE_SECONDS: Final = 120
MAX_IDLE_SECONDS: Final = 86_400
DEFAULT_PROVISIONING_SECONDS: Final = 900
LEAST_PROVISIONING_SECONDS: Final = 30
MAX_PROVISIONING_SECONDS: Final = 86_400
API_GROUP: Final = re.compile(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
KIND_NAME: Final = re.compile(r"^[A-Z][A-Za-z0-9]*$")
MAX_KIND_NAME: Final = 63
MAX_NODE_CLASS_NAME: Final = 253
LEAST_FALLBACK_SECONDS: Final = 10
MAX_SHARED: Final = 64
MAX_WEIGHT: Final = 1000
EKS_CLUSTER: Final = re.compile(r"^[0-9A-Za-z][A-Za-z0-9_-]*$")
MAX_EKS_CLUSTER: Final = 100
AWS_REGION: Final = re.compile(r"^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$")
MAX_AWS_REGION: Final = 32
ROLE_ARN: Final = re.compile(r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$")
MAX_ROLE_ARN: Final = 640
SUBNET: Final = re.compile(r"^subnet-[0-9a-f]{8,17}$")
MAX_SUBNET: Final = 24
MAX_SUBNETS: Final = 16

_EXISTING: Final = "spec.provider.existing"
_AUTOSCALER: Final = "spec.provider.existing.clusterAutoscaler"
_NODE_CLASS: Final = "spec.provider.karpenter.nodeClassRef"
_EKS: Final = "spec.provider.eks"


class ProviderType(StrEnum):
    """Where a cluster's nodes come from."""

    EXISTING = "Existing"
    KARPENTER = "Karpenter"
    EKS = "EKS"


class VmPriority(StrEnum):
    """What kind of machines a cluster has."""

    DEDICATED = "Dedicated"
    LOW_PRIORITY = "LowPriority"


class Ordering(StrEnum):
    """Who is next in a cluster's queue."""

    PRIORITY = "Priority"
    FAIR_SHARE = "FairShare"


class DeletionPolicy(StrEnum):
    """What becomes of the nodes of a cluster that is deleted."""

    DELETE = "Delete"
    RETAIN = "Retain"


@dataclass(frozen=True, kw_only=True)
class NodeClassRef:
    """The object that says how Karpenter makes machines in this cloud."""

    group: str
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class EksSettings:
    """Where the cluster's managed node group is, and what its machines need; `region` None is the operator's own."""

    cluster_name: str
    region: str | None
    node_role_arn: str
    subnets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AutoscalerSettings:
    """The node groups of Cluster Autoscaler's that a cluster's nodes come from, and the ConfigMap of its status."""

    node_groups: tuple[str, ...]
    namespace: str
    config_map: str


@dataclass(frozen=True, kw_only=True)
class Toleration:
    """A taint that the cluster's runs put up with."""

    key: str | None
    operator: str
    value: str | None
    effect: str | None
    toleration_seconds: int | None

    def to_json(self) -> JsonObject:
        """Return the toleration as a pod's spec holds it."""
        fields = {
            "key": self.key,
            "operator": self.operator,
            "value": self.value,
            "effect": self.effect,
            "tolerationSeconds": self.toleration_seconds,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ComputeClusterSpec:
    """Which nodes a ComputeCluster has, how many of them, and how its queue is served.

    `max_nodes` is None where nothing limits the cluster; `node_class` is there for the provider Karpenter, `eks` for
    the provider EKS, and `node_selector`, `tolerations` and `autoscaler` say something for the provider Existing.
    """

    provider: ProviderType
    node_selector: Mapping[str, str]
    tolerations: tuple[Toleration, ...]
    autoscaler: AutoscalerSettings | None
    node_class: NodeClassRef | None
    fallback_seconds: int | None
    adopt: bool
    eks: EksSettings | None
    vm_size: str | None
    vm_priority: VmPriority
    min_nodes: int
    max_nodes: int | None
    idle_seconds: int
    jobs_per_node: int
    provisioning_seconds: int
    deletion_policy: DeletionPolicy
    cancel_runs: bool
    paused: bool
    shared_with: tuple[str, ...]
    ordering: Ordering
    weights: Mapping[str, int]
    input_cache: InputCacheSpec | None

    @classmethod
    def parse(cls, spec: object) -> Self:
        """Return what `spec` means.

        Raises
        ------
        SpecError
            If it cannot work.
        """
        fields = read_object(spec, "spec")
        provider = read_object(fields.get("provider"), "spec.provider")
        kind = read_choice(provider.get("type"), "spec.provider.type", ProviderType)
        existing = _read_existing(provider, kind)
        scale = read_object(fields.get("scale"), "spec.scale")
        size = fields.get("vmSize")
        queue = read_object(fields.get("queue"), "spec.queue")
        priority = read_choice(fields.get("vmPriority"), "spec.vmPriority", VmPriority, VmPriority.DEDICATED)
        if kind != ProviderType.EXISTING and (size is None or scale.get("maxNodes") is None):
            missing = "spec.vmSize" if size is None else "spec.scale.maxNodes"
            raise SpecError(missing, "is missing", f"the provider {kind} needs it to make nodes")
        return cls(
            provider=kind,
            node_selector=_read_labels(existing.get("nodeSelector"), f"{_EXISTING}.nodeSelector"),
            tolerations=tuple(
                _read_toleration(item, f"{_EXISTING}.tolerations[{index}]")
                for index, item in enumerate(
                    read_list(existing.get("tolerations"), f"{_EXISTING}.tolerations", at_most=MAX_TOLERATIONS)
                )
            ),
            autoscaler=_read_autoscaler(existing),
            fallback_seconds=_read_fallback(provider, priority),
            adopt=_read_adopt(provider, kind),
            node_class=_read_node_class(provider) if kind == ProviderType.KARPENTER else None,
            eks=_read_eks(provider) if kind == ProviderType.EKS else None,
            vm_size=None if size is None else read_text(size, "spec.vmSize", at_most=MAX_VM_SIZE, pattern=VM_SIZE),
            vm_priority=priority,
            min_nodes=_read_min_nodes(scale, kind),
            max_nodes=_read_max_nodes(scale.get("maxNodes")),
            idle_seconds=read_whole(
                scale.get("idleSecondsBeforeScaleDown"),
                "spec.scale.idleSecondsBeforeScaleDown",
                at_most=MAX_IDLE_SECONDS,
                default=DEFAULT_IDLE_SECONDS,
            ),
            jobs_per_node=read_whole(
                fields.get("jobsPerNode"), "spec.jobsPerNode", at_least=1, at_most=MAX_JOBS_PER_NODE, default=1
            ),
            provisioning_seconds=read_whole(
                fields.get("provisioningTimeoutSeconds"),
                "spec.provisioningTimeoutSeconds",
                at_least=LEAST_PROVISIONING_SECONDS,
                at_most=MAX_PROVISIONING_SECONDS,
                default=DEFAULT_PROVISIONING_SECONDS,
            ),
            deletion_policy=read_choice(
                fields.get("deletionPolicy"), "spec.deletionPolicy", DeletionPolicy, DeletionPolicy.DELETE
            ),
            cancel_runs=read_flag(fields.get("cancelRunsOnDelete"), "spec.cancelRunsOnDelete"),
            paused=read_flag(queue.get("paused"), "spec.queue.paused"),
            shared_with=_read_namespaces(fields.get("sharedWith")),
            ordering=read_choice(queue.get("ordering"), "spec.queue.ordering", Ordering, Ordering.PRIORITY),
            weights=_read_weights(queue.get("weights")),
            input_cache=read_input_cache(fields.get("inputCache")),
        )


def _read_min_nodes(scale: JsonObject, kind: ProviderType) -> int:
    field = "spec.scale.minNodes"
    least = read_whole(scale.get("minNodes"), field, at_most=MAX_NODES, default=0)
    most = _read_max_nodes(scale.get("maxNodes"))
    if most is not None and least > most:
        raise SpecError(field, f"is {least}, more than spec.scale.maxNodes, {most}", "lower it, or raise the other")
    if least and kind == ProviderType.EXISTING:
        raise SpecError(field, f"is {least}", "the provider Existing makes no nodes; remove it")
    return least


def _read_max_nodes(value: object) -> int | None:
    return None if value is None else read_whole(value, "spec.scale.maxNodes", at_most=MAX_NODES, default=0)


def _read_existing(provider: JsonObject, kind: ProviderType) -> JsonObject:
    if kind == ProviderType.EXISTING and provider.get("existing") is None:
        raise SpecError(_EXISTING, "is missing", "add it, with the nodeSelector of the nodes")
    if kind != ProviderType.EXISTING and provider.get("existing") is not None:
        raise SpecError(_EXISTING, f"is given, but spec.provider.type is {kind}", "remove it")
    return read_object(provider.get("existing"), _EXISTING)


def _read_autoscaler(existing: JsonObject) -> AutoscalerSettings | None:
    if existing.get("clusterAutoscaler") is None:
        return None
    settings = read_object(existing["clusterAutoscaler"], _AUTOSCALER)
    groups = read_list(settings.get("nodeGroups"), f"{_AUTOSCALER}.nodeGroups", at_most=MAX_NODE_GROUPS)
    if not groups:
        raise SpecError(f"{_AUTOSCALER}.nodeGroups", "is empty", "name the node group that the nodes come from")
    field = f"{_AUTOSCALER}.statusConfigMap"
    where = read_object(settings.get("statusConfigMap"), field)
    namespace, name = where.get("namespace", STATUS_NAMESPACE), where.get("name", STATUS_CONFIG_MAP)
    return AutoscalerSettings(
        node_groups=tuple(
            read_text(item, f"{_AUTOSCALER}.nodeGroups[{index}]", at_most=MAX_NODE_GROUP, pattern=NODE_GROUP)
            for index, item in enumerate(groups)
        ),
        namespace=read_text(namespace, f"{field}.namespace", at_most=MAX_LABEL_VALUE, pattern=OBJECT_NAME),
        config_map=read_text(name, f"{field}.name", at_most=MAX_CONFIG_MAP, pattern=OBJECT_NAME),
    )


def _read_fallback(provider: JsonObject, priority: VmPriority) -> int | None:
    field = "spec.provider.karpenter.fallbackToDedicatedAfterSeconds"
    value = read_object(provider.get("karpenter"), "spec.provider.karpenter").get("fallbackToDedicatedAfterSeconds")
    if value is None:
        return None
    if priority != VmPriority.LOW_PRIORITY:
        raise SpecError(field, "is given, but spec.vmPriority is Dedicated", "remove it, or set LowPriority")
    return read_whole(
        value, field, at_least=LEAST_FALLBACK_SECONDS, at_most=MAX_PROVISIONING_SECONDS, default=LEAST_FALLBACK_SECONDS
    )


def _read_adopt(provider: JsonObject, kind: ProviderType) -> bool:
    adopts = read_flag(provider.get("adopt"), "spec.provider.adopt")
    if adopts and kind == ProviderType.EXISTING:
        raise SpecError("spec.provider.adopt", "is set", "the provider Existing has no pool of its own; remove it")
    return adopts


def _read_node_class(provider: JsonObject) -> NodeClassRef:
    reference = read_object(
        read_object(provider.get("karpenter"), "spec.provider.karpenter").get("nodeClassRef"), _NODE_CLASS
    )
    return NodeClassRef(
        group=read_text(reference.get("group"), f"{_NODE_CLASS}.group", at_most=MAX_NODE_CLASS_NAME, pattern=API_GROUP),
        kind=read_text(reference.get("kind"), f"{_NODE_CLASS}.kind", at_most=MAX_KIND_NAME, pattern=KIND_NAME),
        name=read_text(reference.get("name"), f"{_NODE_CLASS}.name", at_most=MAX_NODE_CLASS_NAME, pattern=OBJECT_NAME),
    )


def _read_namespaces(value: object) -> tuple[str, ...]:
    field = "spec.sharedWith"
    return tuple(
        read_text(item, f"{field}[{index}]", at_most=MAX_LABEL_VALUE, pattern=OBJECT_NAME)
        for index, item in enumerate(read_list(value, field, at_most=MAX_SHARED))
    )


def _read_weights(value: object) -> Mapping[str, int]:
    field = "spec.queue.weights"
    given = read_object(value, field, at_most=MAX_SHARED)
    return {
        namespace: read_whole(weight, f"{field}.{namespace}", at_least=1, at_most=MAX_WEIGHT, default=1)
        for namespace, weight in given.items()
    }


def _read_eks(provider: JsonObject) -> EksSettings:
    settings = read_object(provider.get("eks"), _EKS)
    region = settings.get("region")
    subnets = read_list(settings.get("subnets"), f"{_EKS}.subnets", at_most=MAX_SUBNETS)
    if not subnets:
        raise SpecError(f"{_EKS}.subnets", "is empty", "name at least one subnet for the nodes")
    return EksSettings(
        cluster_name=read_text(
            settings.get("clusterName"), f"{_EKS}.clusterName", at_most=MAX_EKS_CLUSTER, pattern=EKS_CLUSTER
        ),
        region=None
        if region is None
        else read_text(region, f"{_EKS}.region", at_most=MAX_AWS_REGION, pattern=AWS_REGION),
        node_role_arn=read_text(
            settings.get("nodeRoleArn"), f"{_EKS}.nodeRoleArn", at_most=MAX_ROLE_ARN, pattern=ROLE_ARN
        ),
        subnets=tuple(
            read_text(item, f"{_EKS}.subnets[{index}]", at_most=MAX_SUBNET, pattern=SUBNET)
            for index, item in enumerate(subnets)
        ),
    )


def _read_labels(value: object, field: str) -> Mapping[str, str]:
    labels = {}
    for key, text in read_object(value, field, at_most=MAX_LABELS).items():
        if LABEL_KEY.match(key) is None or key.endswith("\n"):
            raise SpecError(field, f"has the key {key!r}", "give the key of a label, such as pool or example.com/pool")
        labels[key] = read_text(text, f"{field}.{key}", at_most=MAX_LABEL_VALUE, pattern=LABEL_VALUE)
    return labels


def _read_toleration(item: object, field: str) -> Toleration:
    entry = read_object(item, field)
    key, value, effect = entry.get("key"), entry.get("value"), entry.get("effect")
    operator = entry.get("operator") or "Equal"
    if operator not in ("Equal", "Exists"):
        raise SpecError(f"{field}.operator", f"is {operator!r}", "it must be Equal or Exists")
    if effect is not None and effect not in EFFECTS:
        raise SpecError(f"{field}.effect", f"is {effect!r}", f"it must be one of {', '.join(EFFECTS)}")
    if key is None and operator != "Exists":
        raise SpecError(f"{field}.operator", "must be Exists where key is absent", "add a key, or set it to Exists")
    if value and operator == "Exists":
        raise SpecError(f"{field}.value", "must be absent where operator is Exists", "remove it")
    seconds = entry.get("tolerationSeconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int)):
        raise SpecError(f"{field}.tolerationSeconds", "must be a whole number", "give seconds")
    if seconds is not None and not 0 <= seconds <= MAX_TOLERATION_SECONDS:
        raise SpecError(f"{field}.tolerationSeconds", f"is {seconds}", "give seconds from 0 to one year")
    if seconds is not None and effect != "NoExecute":
        raise SpecError(f"{field}.tolerationSeconds", "needs effect NoExecute", "set that effect, or remove it")
    return Toleration(
        key=None if key is None else read_text(key, f"{field}.key", at_most=MAX_LABEL_KEY, pattern=LABEL_KEY),
        operator=operator,
        value=None
        if value is None
        else read_text(value, f"{field}.value", at_most=MAX_LABEL_VALUE, pattern=LABEL_VALUE),
        effect=effect,
        toleration_seconds=seconds,
    )
