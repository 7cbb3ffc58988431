"""The controllers: one per kind, each the same two steps, observe and plan."""

from __future__ import annotations

from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.cloud.groups import NodeGroups
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.kube.client import Client
from trainyard_operator.runtime.autoscalers import Autoscalers
from trainyard_operator.runtime.controller import Controller
from trainyard_operator.runtime.controllers.compute_cluster import ComputeClusterController
from trainyard_operator.runtime.controllers.registered_model import RegisteredModelController
from trainyard_operator.runtime.controllers.training_job import TrainingJobController
from trainyard_operator.runtime.environments import EnvironmentBook
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.model_keeper import ModelKeeper
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.store import Store
from trainyard_operator.storage.store import ObjectStore


def build_controllers(  # noqa: PLR0913 - the composition root of the reconcilers
    *,
    store: Store,
    book: QueueBook,
    client: Client,
    objects: ObjectStore,
    memory: Memory,
    environments: EnvironmentBook,
    keeper: ModelKeeper,
    pods: PodSettings,
    catalogue: Catalogue,
    karpenter: bool,
    no_kueue: str,
    groups: NodeGroups,
    bucket: str,
) -> tuple[Controller, ...]:
    """Return the controllers of all kinds."""
    return (
        TrainingJobController(
            store=store,
            book=book,
            client=client,
            objects=objects,
            memory=memory,
            environments=environments,
            settings=pods,
            bucket=bucket,
            no_kueue=no_kueue,
        ),
        ComputeClusterController(
            store=store,
            book=book,
            client=client,
            catalogue=catalogue,
            karpenter=karpenter,
            groups=groups,
            autoscalers=Autoscalers(client),
            pods=pods,
        ),
        RegisteredModelController(store=store, objects=objects, memory=memory, keeper=keeper, bucket=bucket),
    )
