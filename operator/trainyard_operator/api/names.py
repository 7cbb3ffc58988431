"""Names that the whole operator agrees on: kinds, labels, and the names of children.

The name of a child is a function of its parent alone, so that creating it twice is an `AlreadyExists`, never a twin.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trainyard import naming
from trainyard.contract import GROUP

VERSION: Final = "v1alpha1"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of the Kubernetes API, named without ambiguity."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` that objects of this kind carry."""
        return f"{self.group}/{self.version}" if self.group else self.version


TRAINING_JOB: Final = Kind(group=GROUP, version=VERSION, plural="trainingjobs", kind="TrainingJob")
COMPUTE_CLUSTER: Final = Kind(group=GROUP, version=VERSION, plural="computeclusters", kind="ComputeCluster")
REGISTERED_MODEL: Final = Kind(group=GROUP, version=VERSION, plural="registeredmodels", kind="RegisteredModel")
DEPLOYMENT: Final = Kind(group="apps", version="v1", plural="deployments", kind="Deployment")
JOB: Final = Kind(group="batch", version="v1", plural="jobs", kind="Job")
POD: Final = Kind(group="", version="v1", plural="pods", kind="Pod")
NODE: Final = Kind(group="", version="v1", plural="nodes", kind="Node", namespaced=False)
CONFIG_MAP: Final = Kind(group="", version="v1", plural="configmaps", kind="ConfigMap")
EVENT: Final = Kind(group="", version="v1", plural="events", kind="Event")
SECRET: Final = Kind(group="", version="v1", plural="secrets", kind="Secret")
# Karpenter's own kinds: what a pool may grow to, and each machine that it asks for.
NODE_POOL: Final = Kind(group="karpenter.sh", version="v1", plural="nodepools", kind="NodePool", namespaced=False)
NODE_CLAIM: Final = Kind(group="karpenter.sh", version="v1", plural="nodeclaims", kind="NodeClaim", namespaced=False)
# What Kueue keeps of each Job that it queues.
WORKLOAD: Final = Kind(group="kueue.x-k8s.io", version="v1beta2", plural="workloads", kind="Workload")
LEASE: Final = Kind(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")
TOKEN_REVIEW: Final = Kind(
    group="authentication.k8s.io", version="v1", plural="tokenreviews", kind="TokenReview", namespaced=False
)
SUBJECT_ACCESS_REVIEW: Final = Kind(
    group="authorization.k8s.io",
    version="v1",
    plural="subjectaccessreviews",
    kind="SubjectAccessReview",
    namespaced=False,
)

# On a run's Job and pod. The uid is what the operator selects by: a name may be used again, a uid never. The builds of
# environments, which belong to many runs, have their environment's name there, to be followed as well.
RUN_UID_LABEL: Final = f"{GROUP}/run-uid"
TRAINING_JOB_LABEL: Final = f"{GROUP}/training-job"
EXPERIMENT_LABEL: Final = f"{GROUP}/experiment"
# On a build's Job and pod: the environment's name. What is to be built is in the Job's annotation, as JSON.
ENVIRONMENT_LABEL: Final = f"{GROUP}/environment"
ENVIRONMENT_ANNOTATION: Final = f"{GROUP}/environment"
# On a run's Job: the hash of the environment that its pod gets.
ENVIRONMENT_HASH_ANNOTATION: Final = f"{GROUP}/environment-hash"
# On the Job of a pod that reads a file of the run's source, which is none of its attempts: the file.
READS_ANNOTATION: Final = f"{GROUP}/reads"
COMPUTE_CLUSTER_LABEL: Final = f"{GROUP}/compute-cluster"
ATTEMPT_LABEL: Final = f"{GROUP}/attempt"
# On a Job that the operator has stopped for good: why. It is written with the same patch that suspends the Job.
STOPPED_ANNOTATION: Final = f"{GROUP}/stopped"
# On the Job of a rerun: what it repeats, taken down once, so that it matters no more what becomes of the other run.
REPEATS_ANNOTATION: Final = f"{GROUP}/repeats"
# On everything that a cluster's provider makes, and on the nodes that come of it; its value is `pool_name`.
POOL_LABEL: Final = f"{GROUP}/pool"
# Keeps a cluster until its nodes are gone, which no owner reference can: they belong to no namespace.
FINALIZER: Final = f"{GROUP}/pool"
# Keeps a run whose `deletionPolicy` is Delete until its data is gone from the object store.
DATA_FINALIZER: Final = f"{GROUP}/run-data"
# On a Job that was let in and found no node: how often, and when it may be let in again, as JSON.
BACK_OFF_ANNOTATION: Final = f"{GROUP}/admission-back-off"
# On the operator's own pod that holds the lease: the gateway's Service selects it.
LEADER_LABEL: Final = f"{GROUP}/leader"

# Kueue's own, for people to set on a TrainingJob: the LocalQueue that the run is handed to, and its priority there.
KUEUE_QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
KUEUE_PRIORITY_LABEL: Final = "kueue.x-k8s.io/priority-class"
# On each Workload that Kueue makes for a Job.
KUEUE_JOB_LABEL: Final = "kueue.x-k8s.io/job-uid"

MAX_TRAINING_JOB_NAME: Final = 52
MAX_LABEL_VALUE: Final = 63
# Leaves room for the six characters that the Job controller appends to a pod's name.
_MAX_JOB_NAME: Final = 57

_DIGEST_CHARS: Final = 8
_MAX_POOL_NAME: Final = 50
_NOT_ALLOWED = re.compile(r"[^a-z0-9]+")

# Of a RegisteredModel: the SDK makes some as well.
object_name = naming.object_name


def job_name(training_job_name: str, uid: str, attempt: int) -> str:
    """Return the name of the Job of one attempt of a TrainingJob.

    The uid keeps a TrainingJob that was deleted and created again apart from the Jobs that it had before, and a name
    that had to be cut for want of room apart from others that begin like it.
    """
    ending = f"-{uid[:8]}-{attempt}"
    return training_job_name[: _MAX_JOB_NAME - len(ending)].rstrip("-") + ending


def reading_job_name(training_job_name: str, uid: str) -> str:
    """Return the name of the Job that reads the source of a TrainingJob before its first attempt."""
    return job_name(training_job_name, uid, 0)


def cluster_of(run: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return namespace and name of the ComputeCluster that a TrainingJob object asks for, or None; never raises."""
    spec = run.get("spec")
    reference = spec.get("computeClusterRef") if isinstance(spec, Mapping) else None
    name = reference.get("name") if isinstance(reference, Mapping) else None
    if not isinstance(name, str):
        return None
    namespace = reference.get("namespace") if isinstance(reference, Mapping) else None
    return namespace if isinstance(namespace, str) else run["metadata"].get("namespace") or "", name


def pool_name(namespace: str, cluster: str) -> str:
    """Return the name of what a ComputeCluster has outside of its namespace.

    It fits into a label's value together with what Karpenter appends to it for the name of a machine.

    The digest keeps `a-b` in `c` apart from `a` in `b-c`.
    """
    digest = hashlib.sha256(f"{namespace}/{cluster}".encode()).hexdigest()[:_DIGEST_CHARS]
    stem = _NOT_ALLOWED.sub("-", f"{namespace}-{cluster}")[: _MAX_POOL_NAME - len(digest) - 1].rstrip("-")
    return f"{stem}-{digest}"
