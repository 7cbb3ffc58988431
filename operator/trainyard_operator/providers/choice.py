"""From a ComputeCluster to the provider that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard_operator.api.compute_cluster import ComputeClusterSpec, ProviderType
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.providers.base import Cluster, Provider
from trainyard_operator.providers.eks import Eks
from trainyard_operator.providers.existing import Existing
from trainyard_operator.providers.karpenter import Karpenter

_PROVIDERS: Mapping[ProviderType, Provider] = {
    ProviderType.EXISTING: Existing(),
    ProviderType.KARPENTER: Karpenter(),
    ProviderType.EKS: Eks(),
}


def provider_of(spec: ComputeClusterSpec) -> Provider:
    """Return the provider of a cluster."""
    return _PROVIDERS[spec.provider]


def read_cluster(obj: Mapping[str, Any], catalogue: Catalogue) -> Cluster:
    """Return a ComputeCluster object as providers see it.

    Raises
    ------
    SpecError
        If its spec cannot work, or names a size that the catalogue does not have.
    """
    spec = ComputeClusterSpec.parse(obj["spec"])
    return Cluster(
        namespace=obj["metadata"]["namespace"],
        name=obj["metadata"]["name"],
        spec=spec,
        size=catalogue.find(spec.vm_size) if spec.vm_size else None,
    )
