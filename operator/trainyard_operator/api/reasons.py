"""The closed lists of words in a status: phases, condition types and reasons, each with the sentence that documents it.

They are part of the API: scripts and alerts match on them. docs/kinds/ is generated from them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """A string of the API that carries its own documentation."""

    explanation: str

    def __new__(cls, value: str, explanation: str) -> Self:
        """Make the member `value`, documented by `explanation`."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.explanation = explanation
        return member


class Phase(Word):
    """`status.phase` of a TrainingJob: for people; programs should read the conditions."""

    PENDING = "Pending", "No pod yet: something that the run needs is missing, or its Job was just created."
    PREPARING = "Preparing", "The run's environment is being built; that happens once for all runs that need the same."
    QUEUED = "Queued", "The run waits in its cluster's queue, where `status.queue` says its place, or for Kueue."
    PROVISIONING = "Provisioning", "A pod exists; it waits for a node, or fetches its image, source and inputs."
    RUNNING = "Running", "The entry script is running."
    FINALIZING = "Finalizing", "The script has ended; outputs are being saved or models registered."
    COMPLETED = "Completed", "The script succeeded, its outputs are saved and its models registered."
    FAILED = "Failed", "The run ended without success; `status.failure` says why."
    CANCELED = "Canceled", "Somebody set `spec.cancel`; what the run had saved until then is kept."


class TrainingJobCondition(Word):
    """Condition types of a TrainingJob."""

    READY = "Ready", "True once the run has completed; False while it is under way and after it has failed."
    RECONCILING = "Reconciling", "Present, and True, only while the run is under way."
    STALLED = "Stalled", "Present, and True, once the run has failed or was canceled: it does not go on."
    COMPLETE = "Complete", "True once everything is done: wait for it with `kubectl wait --for=condition=Complete`."
    FAILED = "Failed", "True once the run has ended without success; the reason says what went wrong."
    CANCELED = "Canceled", "True once the run was stopped because of `spec.cancel`."
    SUSPENDED = "Suspended", "Present, and True, only while `spec.suspend` keeps the run from going on."
    ENVIRONMENT_READY = (
        "EnvironmentReady",
        "True once the packages of `spec.environment` are there; only on runs that ask for packages.",
    )
    ADMITTED = "Admitted", "True once the run's cluster, or Kueue, has let it in; False while it waits in the queue."
    DATA_DELETED = (
        "DataDeleted",
        "Present, and False, only while the TrainingJob is being deleted and its data cannot be; the message says why.",
    )
    OUTPUTS_SAVED = "OutputsSaved", "True once the outputs are in the object store together with their manifest."
    MODEL_REGISTERED = (
        "ModelRegistered",
        "True once every model of the run has a version that is Ready; it stays False where a `when` keeps one back.",
    )


class TrainingJobReason(Word):
    """Reasons of a TrainingJob's conditions, of `status.failure` and of its Events."""

    SOURCE_NOT_FOUND = (
        "SourceNotFound",
        "What `spec.source` or `spec.rerunOf` names is not there; it is waited for, but for git's.",
    )
    CLUSTER_NOT_FOUND = (
        "ClusterNotFound",
        "The ComputeCluster of `spec.computeClusterRef` does not exist; the run starts when it does.",
    )
    CLUSTER_NOT_READY = (
        "ClusterNotReady",
        "The ComputeCluster cannot get nodes; its own Ready condition says why, and the run keeps its place.",
    )
    EXCEEDS_CLUSTER_SIZE = (
        "ExceedsClusterSize",
        "The run asks for more than a node of its cluster has, or the cluster may have no nodes at all.",
    )
    ENVIRONMENT_BUILDING = (
        "EnvironmentBuilding",
        "The packages of `spec.environment` are being installed and kept; the message says how far that is.",
    )
    ENVIRONMENT_READY = "EnvironmentReady", "The packages of `spec.environment` are there."
    QUEUE_PAUSED = "QueuePaused", "The cluster lets no run in, because its `spec.queue.paused` is set."
    CLUSTER_DELETING = "ClusterDeleting", "The ComputeCluster is being deleted and lets no run in."
    WAITING_FOR_TURN = "WaitingForTurn", "Other runs are before it in the cluster's queue; the message says how many."
    WAITING_FOR_SLOT = "WaitingForSlot", "The run is the next one; the cluster's nodes are all taken."
    PROVISIONING_TIMEOUT = (
        "ProvisioningTimeout",
        "No node came in `spec.provisioningTimeoutSeconds` of the cluster; the run keeps its place and is tried again.",
    )
    WAITING_FOR_KUEUE = "WaitingForKueue", "Kueue has not let the run in; the message repeats its words."
    KUEUE_NOT_FOUND = (
        "KueueNotFound",
        "The run is handed to Kueue, which is not installed or not followed; the run waits until it is.",
    )
    ADMITTED = "Admitted", "The run's cluster, or Kueue, has let it in."
    NODES_PREPARING = "NodesPreparing", "The cluster brings a node for the run; the message says how many are ready."
    INSUFFICIENT_CAPACITY = (
        "InsufficientCapacity",
        "The cloud has no machine of the cluster's size now; the message repeats its words, and it is asked again.",
    )
    QUOTA_EXCEEDED = "QuotaExceeded", "A ResourceQuota of the run's namespace has no room for its pod."
    POD_FORBIDDEN = (
        "PodForbidden",
        "The Pod Security level of the run's namespace refuses its pod; the message says why, and names the field.",
    )
    POD_PENDING = "PodPending", "The Job exists and its pod is about to be created."
    UNSCHEDULABLE = (
        "Unschedulable",
        "No node fits the pod, in the scheduler's words; the run waits, at most for `spec.startTimeoutSeconds`.",
    )
    IMAGE_PULL_FAILED = (
        "ImagePullFailed",
        "The node cannot pull the image; the kubelet goes on trying, at most for `spec.startTimeoutSeconds`.",
    )
    CONTAINER_NOT_STARTING = "ContainerNotStarting", "The node cannot start a container; the message says why."
    PREPARING = "Preparing", "Source and inputs are being fetched into the pod."
    RUNNING = "Running", "The entry script is running."
    SAVING_OUTPUTS = "SavingOutputs", "The script has ended and its outputs are being saved."
    REGISTERING_MODEL = "RegisteringModel", "Outputs are saved; the model versions are being copied and sealed."
    OUTPUTS_SAVED = "OutputsSaved", "The outputs are saved and their manifest is written."
    MODEL_REGISTERED = "ModelRegistered", "Every model of the run has a version that is Ready."

    COMPLETED = "Completed", "The run ended with success."
    INVALID_SPEC = "InvalidSpec", "The spec says something that cannot work; the message names the field and the fix."
    ENVIRONMENT_BUILD_FAILED = (
        "EnvironmentBuildFailed",
        "The packages of `spec.environment` could not be installed; the message repeats what the resolver says.",
    )
    ENVIRONMENT_NOT_RESTORED = (
        "EnvironmentNotRestored",
        "The packages that had been kept could not be brought into the run's pod.",
    )
    SOURCE_INVALID = "SourceInvalid", "The source cannot be used, or it does not contain the entry script."
    INPUT_NOT_FOUND = "InputNotFound", "Nothing is where an input's field says."
    INPUT_FAILED = (
        "InputFailed",
        "An input could not be brought into the pod: it is too large, or the store refuses it.",
    )
    SCRIPT_FAILED = "ScriptFailed", "The entry script ended with an exit code other than 0, or by a signal."
    OUT_OF_MEMORY = "OutOfMemory", "The container was killed because it reached its memory limit."
    DISK_FULL = "DiskFull", "The run wrote more to its disk than it may, or its node's disk is full."
    START_TIMEOUT = (
        "StartTimeout",
        "The script had not started in `spec.startTimeoutSeconds` after the run was let in; the message says why.",
    )
    RUN_TIMEOUT = "RunTimeout", "The script ran longer than `spec.runTimeoutSeconds`; what it had saved is kept."
    OUTPUTS_NOT_SAVED = "OutputsNotSaved", "The script succeeded but its outputs could not be saved."
    MODEL_PATH_NOT_FOUND = (
        "ModelPathNotFound",
        "The run saved no file at a model's `path`; the message lists what it saved.",
    )
    CONDITION_NOT_MET = (
        "ConditionNotMet",
        "The run has completed, but its metrics are not what the `when` of a model asks for: that is not registered.",
    )
    MODEL_NOT_REGISTERED = "ModelNotRegistered", "A model version could not be made from the run's outputs."
    NODE_LOST = "NodeLost", "The node, or the pod on it, went away under the run; this is no failure of the script."
    PREEMPTED = (
        "Preempted",
        "The run's machine was taken back by its owner, or its place by another pod; this is no failure of the script.",
    )
    RETRYING = "Retrying", "An attempt has failed and another one is about to begin; the message says why and when."
    SUSPENDED = "Suspended", "The run rests while `spec.suspend` is set; taken back, it goes on with another attempt."
    SUSPENDING = "Suspending", "The run is being stopped because of `spec.suspend`; it may save what it has."
    CANCELED = "Canceled", "Somebody set `spec.cancel`."
    CANCELING = "Canceling", "The run is being stopped because of `spec.cancel`; it may save what it has."
    DATA_NOT_DELETED = (
        "DataNotDeleted",
        "The object store does not delete the run's data, as `spec.deletionPolicy` asks for; it is tried again.",
    )
    JOB_DELETED = "JobDeleted", "Somebody deleted the run's Job before it had ended."
    RUN_FAILED = "RunFailed", "The run ended without saying why; its pod and log may tell more."


class EnvironmentState(Word):
    """`status.environment.state` of a TrainingJob that asks for packages."""

    BUILDING = "Building", "The packages are being installed."
    READY = "Ready", "The packages are there, from a build or in the image."
    FAILED = "Failed", "The packages could not be installed."


class ComputeClusterCondition(Word):
    """Condition types of a ComputeCluster."""

    READY = "Ready", "True when the cluster can take runs: its nodes are there, or come when they are needed."
    MANAGED = "Managed", "Whether the cluster's own settings decide how many nodes it has."
    STALLED = "Stalled", "Present, and True, only when the cluster cannot work without somebody's help."
    DELETING = "Deleting", "Present, and True, while the cluster is being deleted; the message says what it waits for."


class ComputeClusterReason(Word):
    """Reasons of a ComputeCluster's conditions and Events."""

    NODES_READY = "NodesReady", "At least one node can take runs."
    SCALES_FROM_ZERO = "ScalesFromZero", "There is no node now, and the first run brings one."
    NO_NODES = "NoNodes", "No node has the labels of `spec.provider.existing.nodeSelector`."
    NODES_NOT_READY = "NodesNotReady", "Nodes have the labels, but none of them can take runs now."
    INVALID_SPEC = "InvalidSpec", "The spec says something that cannot work; the message names the field and the fix."
    PROVIDER_NOT_INSTALLED = (
        "ProviderNotInstalled",
        "The Kubernetes cluster does not know Karpenter's kinds; the operator looks again by itself.",
    )
    POOL_NOT_READY = (
        "PoolNotReady",
        "Karpenter cannot use the cluster's NodePool, or AWS its node group; the message repeats their words.",
    )
    POOL_NOT_OURS = (
        "PoolNotOurs",
        "A NodePool or node group of the name that the cluster needs exists and is somebody else's.",
    )
    CREATING_POOL = (
        "CreatingPool",
        "The cluster's NodePool was created, and Karpenter has not looked at it yet; or AWS creates its node group.",
    )
    CLOUD_ACCESS_DENIED = (
        "CloudAccessDenied",
        "AWS does not let the operator do what the cluster needs; the message repeats its words.",
    )
    CLOUD_CREDENTIALS_MISSING = "CloudCredentialsMissing", "The operator has nothing to prove to AWS who it is."
    CLOUD_REFUSED = "CloudRefused", "AWS will not do what the cluster needs; the message repeats its words."
    CLOUD_THROTTLED = "CloudThrottled", "AWS answers no more requests for the moment; it is asked again by itself."
    CLOUD_UNAVAILABLE = "CloudUnavailable", "AWS cannot be reached, or fails inside; it is asked again by itself."
    EKS_CLUSTER_NOT_FOUND = (
        "EksClusterNotFound",
        "There is no EKS cluster of the name in `spec.provider.eks.clusterName` in that region and account.",
    )
    PROVISIONING_TIMEOUT = (
        "ProvisioningTimeout",
        "A machine did not come up in `spec.provisioningTimeoutSeconds`: its NodeClaim is deleted, its place is free.",
    )
    MANAGED = "Managed", "The cluster adds and removes its nodes by itself."
    MANAGED_ELSEWHERE = "ManagedElsewhere", "Somebody else adds and removes the nodes; the cluster only counts them."
    AUTOSCALER_UNKNOWN = (
        "AutoscalerUnknown",
        "Somebody else adds and removes the nodes, and nothing is known of the node groups that the cluster names.",
    )
    WAITING_FOR_RUNS = "WaitingForRuns", "Runs are still on the cluster; it goes when they have ended."
    WAITING_FOR_NODES = "WaitingForNodes", "The cluster's nodes are being removed."


class RegisteredModelCondition(Word):
    """Condition types of a RegisteredModel."""

    READY = "Ready", "True when the latest version can be used."
    ALIASES_SET = (
        "AliasesSet",
        "True when every alias of `spec.aliases` means the version that it is to mean, and that one is Ready.",
    )
    IMPORTED = "Imported", "True once each of `spec.imports` has its version; only on models that have imports."
    PROMOTED = "Promoted", "True once the version that `spec.promoteFrom` names is here; only on models that name one."
    STORE_TRUSTED = (
        "StoreTrusted",
        "Whether the object store keeps manifests from being written twice, as a probe at the operator's start found.",
    )
    CLEARED = (
        "Cleared",
        "Present, and False, only while a version cannot be archived or deleted as the spec asks; it says why.",
    )


class RegisteredModelReason(Word):
    """Reasons of a RegisteredModel's conditions and Events."""

    VERSION_READY = "VersionReady", "The latest version's files and its manifest are in the object store."
    VERSION_PENDING = "VersionPending", "The latest version's files are being copied."
    VERSION_FAILED = "VersionFailed", "The latest version could not be made; its entry in `status.versions` says why."
    VERSION_CORRUPTED = (
        "VersionCorrupted",
        "A verification found that the version's files are not what its manifest says; its entry names them.",
    )
    VERSION_MENDED = "VersionMended", "A version that was Corrupted has the bytes of its manifest again."
    VERIFICATION_INTERRUPTED = (
        "VerificationInterrupted",
        "The object store does not let the operator verify versions; their states stay, and it is tried again.",
    )
    STORE_FAILING = (
        "StoreFailing",
        "The object store does not do what the latest version needs; the message has its words. It is asked again.",
    )
    CONDITIONAL_WRITES = "ConditionalWrites", "The object store refuses to write an object that must not be there yet."
    CONDITIONAL_WRITES_IGNORED = (
        "ConditionalWritesIgnored",
        "The object store, or a proxy before it, ignores `If-None-Match`: it would let a manifest be written over.",
    )
    CONDITIONAL_WRITES_REFUSED = (
        "ConditionalWritesRefused",
        "The object store does not know `If-None-Match` and refuses it: no version can be sealed in it.",
    )
    NO_VERSIONS = "NoVersions", "Nothing has been registered under this name yet."
    ALIASES_SET = "AliasesSet", "Every alias means the version that `spec.aliases` says."
    ALIAS_MOVED = "AliasMoved", "An alias means another version now; the message says which, and which it meant before."
    ALIAS_REMOVED = "AliasRemoved", "An alias was taken out of `spec.aliases` and means nothing any more."
    ALIAS_REFUSED = (
        "AliasRefused",
        "An alias cannot move: the version it is to mean is not there or not Ready. It keeps the one that it has.",
    )
    ALIASED_VERSION_NOT_READY = (
        "AliasedVersionNotReady",
        "The version that an alias means was Ready and is so no longer; the alias stays until the spec names another.",
    )
    INVALID_SPEC = "InvalidSpec", "The spec says something that cannot work; the message names the field and the fix."
    IMPORTED = "Imported", "Each of `spec.imports` has its version."
    IMPORT_PENDING = "ImportPending", "The files of an import are being copied."
    IMPORT_PATH_NOT_FOUND = (
        "ImportPathNotFound",
        "Nothing is at the path of an import yet; the message lists what there is. It is looked at again every 30 s.",
    )
    IMPORT_PATH_UNUSABLE = (
        "ImportPathUnusable",
        "What is at the path of an import cannot be a version: too many files, one that is too large, or a bad name.",
    )
    IMPORT_CHANGED = (
        "ImportChanged",
        "An import that has its version was changed; the version stays as it is, another one needs another key.",
    )
    IMPORT_FAILED = "ImportFailed", "The version of an import could not be made; the message says why."
    PROMOTED = "Promoted", "The version that `spec.promoteFrom` names has its copy here."
    PROMOTION_PENDING = "PromotionPending", "The files of the promoted version are being copied."
    NOT_SHARED = (
        "NotShared",
        "The other namespace shares no such model with this one, whether it has one or not.",
    )
    SOURCE_NOT_FOUND = "SourceNotFound", "The model that is promoted from has no version of that number."
    SOURCE_NOT_READY = "SourceNotReady", "The version that is to be promoted cannot be used, or not yet."
    DIGEST_MISMATCH = "DigestMismatch", "The version that is to be promoted has another digest than the spec says."
    PROMOTION_FAILED = "PromotionFailed", "The copy of the promoted version could not be made; the message says why."
    REGISTRY_FULL = "RegistryFull", "The RegisteredModel has no room for one more version."
    STORE_UNAVAILABLE = "StoreUnavailable", "The object store does not answer, or refuses; it is asked again."
    VERSION_ARCHIVED = "VersionArchived", "The version was laid aside, because `spec.archive` names it."
    VERSION_DELETED = "VersionDeleted", "The version's files were deleted; what it was, and its manifest, are kept."
    VERSION_ALIASED = "VersionAliased", "A version that has an alias is to be archived or deleted: neither is done."
    VERSION_RETAINED = (
        "VersionRetained",
        "The object store holds the files of a version that is to be deleted; the message says until when.",
    )
    VERSION_NOT_FOUND = "VersionNotFound", "The spec names a version that there is not."
    VERSION_NOT_DELETED = (
        "VersionNotDeleted",
        "The object store does not delete the files of a version; it is tried again by itself.",
    )


class VersionState(Word):
    """`state` of one version of a RegisteredModel."""

    PENDING = "Pending", "The number is taken and the files are being copied."
    READY = "Ready", "Files and manifest are complete and never change again."
    FAILED = "Failed", "This version has no usable files and never will; its number is not used again."
    CORRUPTED = "Corrupted", "Files or manifest are not what they were; the message names them, none should be used."
    ARCHIVED = "Archived", "Files and manifest are kept, but the version is laid aside: no alias can name it."
    DELETING = "Deleting", "The version's files are being deleted."
    DELETED = "Deleted", "The version's files were deleted; its number is not used again."
