"""The kinds that the operator follows, and the part of them that it asks the API server for."""

from __future__ import annotations

from dataclasses import dataclass

from trainyard_operator.api.names import (
    COMPUTE_CLUSTER,
    DEPLOYMENT,
    JOB,
    KUEUE_JOB_LABEL,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    POD,
    POOL_LABEL,
    REGISTERED_MODEL,
    RUN_UID_LABEL,
    TRAINING_JOB,
    WORKLOAD,
    Kind,
)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One followed kind; the selector keeps the rest of the cluster's objects out of the process.

    A kind that another program has installed may be removed with it.
    """

    kind: Kind
    label_selector: str = ""
    removable: bool = False


# Children before parents, so that a start finds each run's Job and pod in the store before its TrainingJob.
WATCHED: tuple[Watched, ...] = (
    Watched(kind=NODE),
    Watched(kind=POD, label_selector=RUN_UID_LABEL),
    Watched(kind=JOB, label_selector=RUN_UID_LABEL),
    Watched(kind=DEPLOYMENT, label_selector=POOL_LABEL),
    Watched(kind=COMPUTE_CLUSTER),
    Watched(kind=REGISTERED_MODEL),
    Watched(kind=TRAINING_JOB),
)

# Karpenter's kinds, where it is installed.
POOLS: tuple[Watched, ...] = (
    Watched(kind=NODE_POOL, label_selector=POOL_LABEL, removable=True),
    Watched(kind=NODE_CLAIM, label_selector=POOL_LABEL, removable=True),
)

# Kueue's kind, where it is installed and runs may be handed to it.
WORKLOADS: tuple[Watched, ...] = (Watched(kind=WORKLOAD, label_selector=KUEUE_JOB_LABEL, removable=True),)

# The kinds that have a controller.
PLANNED: tuple[Kind, ...] = (TRAINING_JOB, COMPUTE_CLUSTER, REGISTERED_MODEL)
