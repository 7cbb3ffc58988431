"""The parsed types and the schemas say the same, field by field."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.schemas import schema, walk
from trainyard import contract
from trainyard.contract import INPUTS_DIR, MAX_METRICS, MAX_PATH_BYTES
from trainyard_operator.api import (
    compute_cluster,
    conda,
    environment,
    fields,
    input_cache,
    inputs,
    metric_condition,
    model_sources,
    names,
    registered_model,
    source,
    training_job,
)
from trainyard_operator.api.compute_cluster import (
    AutoscalerSettings,
    ComputeClusterSpec,
    EksSettings,
    NodeClassRef,
    Toleration,
)
from trainyard_operator.api.conda import CondaSpec
from trainyard_operator.api.environment import EnvironmentSpec, KeyReference
from trainyard_operator.api.input_cache import InputCacheSpec
from trainyard_operator.api.inputs import ClaimSpec, InputSpec, S3Spec
from trainyard_operator.api.metric_condition import MetricCondition
from trainyard_operator.api.model_keeping import KeepingSpec, Retention
from trainyard_operator.api.model_sources import ImportSpec, PromotionSpec
from trainyard_operator.api.registered_model import RegisteredModelSpec, VerificationSpec
from trainyard_operator.api.source import ArchiveSpec, GitSpec, SourceSpec
from trainyard_operator.api.training_job import ModelSpec, TrainingJobSpec
from trainyard_operator.domain import cluster_nodes, cluster_status, model_aliases
from trainyard_operator.domain.registry import MAX_ENTRIES, version_key

# A schema's leaf, a value for it, the attribute that gives it back, and what that is where it differs from the value.
TRAINING_JOB = [
    ("experiment", "mnist", "experiment", "mnist"),
    ("computeClusterRef.name", "cc", "cluster_name", "cc"),
    ("computeClusterRef.namespace", "lab", "cluster_namespace", "lab"),
    ("source.inline{}", {"train.py": "abc"}, "source.inline_files", {"train.py": 3}),
    ("source.configMapRef.name", "code", "source.config_map", "code"),
    ("source.archive.path", "code.zip", "source.archive.path", "code.zip"),
    ("source.archive.sha256", "ab" * 32, "source.archive.sha256", "ab" * 32),
    ("source.git.url", "https://example.com/a.git", "source.git.url", "https://example.com/a.git"),
    ("source.git.revision", "v1.0", "source.git.revision", "v1.0"),
    ("source.git.path", "src/", "source.git.path", "src/"),
    ("source.git.secretRef.name", "deploy-key", "source.git.secret", "deploy-key"),
    ("rerunOf", "first", "rerun_of", "first"),
    ("entryScript", "train.py", "entry_script", "train.py"),
    ("parameters{}", {"a": 0.5}, "parameters", {"a": 0.5}),
    ("arguments[]", ["x"], "arguments", ("x",)),
    ("inputs[].name", "data", "inputs.0.name", "data"),
    ("inputs[].datastore.path", "mnist/", "inputs.0.path", "mnist/"),
    ("inputs[].sizeLimit", "1Gi", "inputs.0.size_limit", 2**30),
    ("inputs[].s3.uri", "s3://bucket/a/", "inputs.0.s3.uri", "s3://bucket/a/"),
    ("inputs[].s3.endpoint", "http://minio:9000", "inputs.0.s3.endpoint", "http://minio:9000"),
    ("inputs[].s3.region", "eu-west-1", "inputs.0.s3.region", "eu-west-1"),
    ("inputs[].s3.secretRef.name", "keys", "inputs.0.s3.secret", "keys"),
    ("inputs[].pvc.claimName", "data", "inputs.0.claim.name", "data"),
    ("inputs[].pvc.path", "mnist", "inputs.0.claim.path", "mnist"),
    ("environment.image", "python:3.13", "environment.image", "python:3.13"),
    ("environment.pip[]", ["Tomli == 2"], "environment.pip", ("tomli==2",)),
    ("environment.requirements", "train.py", "environment.requirements", "train.py"),
    ("environment.conda.channels[]", ["conda-forge"], "environment.conda.channels", ("conda-forge",)),
    ("environment.conda.packages[]", ["Python =3.12"], "environment.conda.packages", ("python=3.12",)),
    ("environment.variables[].name", "A", "environment.variables", {"A": "b"}),
    ("environment.variables[].value", "b", "environment.variables", {"A": "b"}),
    *(
        (f"environment.variables[].{source}.{part}", text, f"environment.variables.A.{part}", text)
        for source in ("secretKeyRef", "configMapKeyRef")
        for part, text in (("name", "keys"), ("key", "a"))
    ),
    ("resources.requests.cpu", 1, "requests", {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "5Gi"}),
    ("resources.requests.memory", "1Gi", "requests", {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "5Gi"}),
    (
        "resources.requests.ephemeral-storage",
        "5Gi",
        "requests",
        {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "5Gi"},
    ),
    ("resources.limits.cpu", "1500m", "limits", {"cpu": "1500m", "memory": "2Gi", "ephemeral-storage": "6Gi"}),
    ("resources.limits.memory", "2Gi", "limits", {"cpu": "1500m", "memory": "2Gi", "ephemeral-storage": "6Gi"}),
    (
        "resources.limits.ephemeral-storage",
        "6Gi",
        "limits",
        {"cpu": "1500m", "memory": "2Gi", "ephemeral-storage": "6Gi"},
    ),
    ("models[].name", "m", "models.0.name", "m"),
    ("models[].path", "outputs/m", "models.0.path", "outputs/m"),
    ("models[].description", "Text.", "models.0.description", "Text."),
    ("models[].tags{}", {"k": "v"}, "models.0.tags", {"k": "v"}),
    ("models[].when.metric", "accuracy", "models.0.when.metric", "accuracy"),
    ("models[].when.atLeast", 0.9, "models.0.when.at_least", 0.9),
    ("models[].when.atMost", 1, "models.0.when.at_most", 1),
    ("priority", 7, "priority", 7),
    ("retries", 3, "retries", 3),
    ("startTimeoutSeconds", 600, "start_timeout", 600),
    ("runTimeoutSeconds", 7200, "run_timeout", 7200),
    ("terminationGracePeriodSeconds", 90, "grace_seconds", 90),
    ("ttlSecondsAfterFinished", 0, "ttl", 0),
    ("deletionPolicy", "Delete", "deletion_policy", "Delete"),
    ("suspend", True, "suspend", True),
    ("cancel", True, "cancel", True),
]
ROLE = "arn:aws:iam::111122223333:role/nodes"
COMPUTE_CLUSTER = [
    ("vmSize", "SMALL", "vm_size", "SMALL"),
    ("vmPriority", "Dedicated", "vm_priority", "Dedicated"),
    ("scale.minNodes", 1, "min_nodes", 1),
    ("scale.maxNodes", 4, "max_nodes", 4),
    ("scale.idleSecondsBeforeScaleDown", 60, "idle_seconds", 60),
    ("jobsPerNode", 2, "jobs_per_node", 2),
    ("provisioningTimeoutSeconds", 100, "provisioning_seconds", 100),
    ("deletionPolicy", "Retain", "deletion_policy", "Retain"),
    ("cancelRunsOnDelete", True, "cancel_runs", True),
    ("queue.paused", True, "paused", True),
    ("queue.ordering", "FairShare", "ordering", "FairShare"),
    ("queue.weights{}", {"team": 3}, "weights", {"team": 3}),
    ("sharedWith[]", ["team"], "shared_with", ("team",)),
    ("inputCache.hostPath.path", "/var/cache/a", "input_cache.host_path", "/var/cache/a"),
    ("inputCache.persistentVolumeClaim.claimName", "cache", "input_cache.claim", "cache"),
    ("inputCache.sizeLimit", "2Gi", "input_cache.size_limit", 2**31),
    ("provider.karpenter.fallbackToDedicatedAfterSeconds", 60, "fallback_seconds", 60),
    ("provider.adopt", True, "adopt", True),
    ("provider.karpenter.nodeClassRef.group", "karpenter.k8s.aws", "node_class.group", "karpenter.k8s.aws"),
    ("provider.karpenter.nodeClassRef.kind", "EC2NodeClass", "node_class.kind", "EC2NodeClass"),
    ("provider.karpenter.nodeClassRef.name", "default", "node_class.name", "default"),
    ("provider.eks.clusterName", "lab", "eks.cluster_name", "lab"),
    ("provider.eks.region", "eu-central-1", "eks.region", "eu-central-1"),
    ("provider.eks.nodeRoleArn", ROLE, "eks.node_role_arn", ROLE),
    ("provider.eks.subnets[]", ["subnet-0a1b2c3d"], "eks.subnets", ("subnet-0a1b2c3d",)),
    ("provider.type", "Existing", "provider", "Existing"),
    ("provider.existing.nodeSelector{}", {"pool": "a"}, "node_selector", {"pool": "a"}),
    (
        "provider.existing.clusterAutoscaler.nodeGroups[]",
        ["aks-training-12345678-vmss"],
        "autoscaler.node_groups",
        ("aks-training-12345678-vmss",),
    ),
    ("provider.existing.clusterAutoscaler.statusConfigMap.namespace", "ca", "autoscaler.namespace", "ca"),
    ("provider.existing.clusterAutoscaler.statusConfigMap.name", "status", "autoscaler.config_map", "status"),
    ("provider.existing.tolerations[].key", "pool", "tolerations.0.key", "pool"),
    ("provider.existing.tolerations[].operator", "Equal", "tolerations.0.operator", "Equal"),
    ("provider.existing.tolerations[].value", "a", "tolerations.0.value", "a"),
    ("provider.existing.tolerations[].effect", "NoExecute", "tolerations.0.effect", "NoExecute"),
    ("provider.existing.tolerations[].tolerationSeconds", 7, "tolerations.0.toleration_seconds", 7),
]
REGISTERED_MODEL = [
    ("modelName", "iris", "model_name", "iris"),
    ("description", "Text.", "description", "Text."),
    ("tags{}", {"k": "v"}, "tags", {"k": "v"}),
    ("aliases{}", {"champion": 3}, "aliases", {"champion": 3}),
    ("imports[].key", "laptop-1", "imports.0.key", "laptop-1"),
    ("imports[].datastorePath", "models/iris/", "imports.0.path", "models/iris/"),
    ("imports[].sha256", "ab" * 32, "imports.0.sha256", "ab" * 32),
    ("imports[].description", "Text.", "imports.0.description", "Text."),
    ("imports[].tags{}", {"k": "v"}, "imports.0.tags", {"k": "v"}),
    ("imports[].metrics{}", {"a": 0.5, "b": "NaN"}, "imports.0.metrics", {"a": 0.5, "b": "NaN"}),
    ("promoteFrom.namespace", "staging", "promote_from.namespace", "staging"),
    ("promoteFrom.model", "iris", "promote_from.model", "iris"),
    ("promoteFrom.version", 3, "promote_from.version", 3),
    ("promoteFrom.sha256", "ab" * 32, "promote_from.sha256", "ab" * 32),
    ("sharedWith[]", ["prod"], "shared_with", ("prod",)),
    ("verification.everyHours", 24, "verification.every_hours", 24),
    ("verification.request", "2026-11-26", "verification.request", "2026-11-26"),
    ("archive[]", [1, 2], "keeping.archive", (1, 2)),
    ("delete[]", [3], "keeping.delete", (3,)),
    ("retention.keepLast", 10, "keeping.retention.keep_last", 10),
    ("retention.keepReadyDays", 30, "keeping.retention.keep_days", 30),
    ("retention.dryRun", True, "keeping.retention.dry_run", True),
]
TABLES = {
    "trainingjobs": (
        TRAINING_JOB,
        TrainingJobSpec,
        [
            *(SourceSpec, ArchiveSpec, GitSpec, InputSpec, S3Spec, ClaimSpec, ModelSpec, MetricCondition),
            *(EnvironmentSpec, CondaSpec, KeyReference),
        ],
    ),
    "computeclusters": (
        COMPUTE_CLUSTER,
        ComputeClusterSpec,
        [Toleration, NodeClassRef, EksSettings, AutoscalerSettings, InputCacheSpec],
    ),
    "registeredmodels": (
        REGISTERED_MODEL,
        RegisteredModelSpec,
        [ImportSpec, PromotionSpec, VerificationSpec, KeepingSpec, Retention],
    ),
}


def build(rows):
    """Make the spec that has each row's value at its path."""
    spec = {}
    for path, value, _, _ in rows:
        *parents, last = path.replace("[]", "[].").replace("..", ".").removesuffix(".").split(".")
        node = spec
        for name in parents:
            if name.endswith("[]"):
                items = node.setdefault(name.removesuffix("[]"), [{}])
                node = items[0]
            else:
                node = node.setdefault(name, {})
        node[last.removesuffix("[]").removesuffix("{}")] = value
    return spec


def look_up(parsed, path):
    for name in path.split("."):
        if isinstance(parsed, dict):
            parsed = parsed[name]
        else:
            parsed = parsed[int(name)] if name.isdigit() else getattr(parsed, name)
    return parsed


def keep_one(spec, path):
    """Leave the kinds of source and input that `path` is about."""
    kinds = [*path.removesuffix("{}").replace("[]", "").split("."), ""]
    kept = kinds[1] if kinds[0] == "source" else "inline"
    spec["source"] = {kept: spec["source"][kept]}
    del spec["source" if kinds[0] == "rerunOf" else "rerunOf"]
    (item,) = spec["inputs"]
    kept = kinds[1] if kinds[0] == "inputs" and kinds[1] in inputs.KINDS else "datastore"
    for kind in set(inputs.KINDS) - {kept}:
        del item[kind]
    if kept == "pvc":
        del item["sizeLimit"]


@pytest.mark.parametrize("plural", TABLES)
def test_every_leaf_of_the_schema_is_in_the_table_and_the_other_way_round(plural):
    spec = schema(plural)["properties"]["spec"]
    leaves = {
        path
        for path, node in walk(spec)
        if path and "properties" not in node and "items" not in node and "additionalProperties" not in node
    }
    assert {row[0] for row in TABLES[plural][0]} == leaves


@pytest.mark.parametrize("plural", TABLES)
def test_every_attribute_of_the_types_is_in_the_table(plural):
    rows, whole, parts = TABLES[plural]
    # The name in the middle of `variables` is a variable's own; that of the field is an attribute of what it has.
    used = {name for row in rows for name in row[2].split(".") if not name.isdigit() and name != "A"}
    used |= {"source"} if whole is TrainingJobSpec else set()
    assert used == {field.name for kind in [whole, *parts] for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(
    ("plural", "row"),
    [pytest.param(plural, row, id=f"{plural}-{row[0]}") for plural, table in TABLES.items() for row in table[0]],
)
def test_a_value_of_the_schema_comes_back_from_the_parsed_type(plural, row):
    rows, whole, _ = TABLES[plural]
    spec = build(rows)
    # Of the kinds of a source, an input and a provider there is exactly one.
    if plural == "trainingjobs":
        keep_one(spec, row[0])
    if "environment" in spec:
        # And so has a variable.
        (variable,) = spec["environment"]["variables"]
        kept = row[0].removeprefix("environment.variables[].").split(".")[0]
        kept = kept if kept in {"secretKeyRef", "configMapKeyRef"} else "value"
        spec["environment"]["variables"] = [{name: variable[name] for name in ("name", kept)}]
        if spec.get("source", {}).keys() & {"archive", "git"}:
            del spec["environment"]["requirements"]
    if "inputCache" in spec:
        del spec["inputCache"][
            "hostPath" if row[0].startswith("inputCache.persistentVolumeClaim") else "persistentVolumeClaim"
        ]
    if row[0].startswith(("provider.karpenter", "provider.adopt", "scale.minNodes")):
        spec["provider"] = {"type": "Karpenter", "karpenter": spec["provider"]["karpenter"], "adopt": True}
        spec["vmPriority"] = "LowPriority"
    elif row[0].startswith("provider.eks"):
        spec["provider"] = {"type": "EKS", "eks": spec["provider"]["eks"]}
    elif "provider" in spec:
        del spec["provider"]["karpenter"], spec["provider"]["eks"], spec["scale"]["minNodes"], spec["provider"]["adopt"]
    parsed = whole.parse(spec)
    assert look_up(parsed, row[2]) == row[3]


def node_at(plural, path):
    return dict(walk(schema(plural)))[path]


@pytest.mark.parametrize(
    ("plural", "path", "keyword", "expected"),
    [
        pytest.param(plural, path, keyword, expected, id=f"{path}-{keyword}")
        for plural, path, keyword, expected in [
            ("trainingjobs", "spec.experiment", "default", training_job.DEFAULT_EXPERIMENT),
            ("trainingjobs", "spec.experiment", "pattern", training_job.EXPERIMENT.pattern),
            ("trainingjobs", "spec.experiment", "minLength", training_job.MIN_EXPERIMENT),
            ("trainingjobs", "spec.experiment", "maxLength", training_job.MAX_EXPERIMENT),
            ("trainingjobs", "spec.computeClusterRef.name", "pattern", fields.OBJECT_NAME.pattern),
            ("trainingjobs", "spec.computeClusterRef.name", "maxLength", names.MAX_LABEL_VALUE),
            ("trainingjobs", "spec.source.inline", "maxProperties", source.MAX_INLINE_FILES),
            ("trainingjobs", "spec.source.inline{}", "maxLength", source.MAX_INLINE_BYTES),
            ("trainingjobs", "spec.source.configMapRef.name", "maxLength", source.MAX_OBJECT_NAME),
            ("trainingjobs", "spec.source.configMapRef.name", "pattern", fields.OBJECT_NAME.pattern),
            ("trainingjobs", "spec.source.archive.path", "maxLength", source.MAX_SOURCE_PATH),
            ("trainingjobs", "spec.source.archive.sha256", "pattern", fields.SHA256.pattern),
            ("trainingjobs", "spec.source.git.url", "pattern", source.GIT_URL.pattern),
            ("trainingjobs", "spec.source.git.url", "maxLength", source.MAX_GIT_URL),
            ("trainingjobs", "spec.source.git.revision", "pattern", source.GIT_REVISION.pattern),
            ("trainingjobs", "spec.source.git.revision", "maxLength", source.MAX_GIT_REVISION),
            ("trainingjobs", "spec.source.git.revision", "default", source.DEFAULT_GIT_REVISION),
            ("trainingjobs", "spec.source.git.path", "maxLength", source.MAX_SOURCE_PATH),
            ("trainingjobs", "spec.source.git.secretRef.name", "maxLength", source.MAX_OBJECT_NAME),
            ("trainingjobs", "spec.rerunOf", "maxLength", training_job.MAX_RUN_NAME),
            ("trainingjobs", "spec.entryScript", "default", source.DEFAULT_ENTRY_SCRIPT),
            ("trainingjobs", "spec.entryScript", "maxLength", source.MAX_FILE_NAME),
            ("trainingjobs", "spec.parameters", "maxProperties", training_job.MAX_PARAMETERS),
            ("trainingjobs", "spec.parameters{}", "maxLength", training_job.MAX_ARGUMENT),
            ("trainingjobs", "spec.arguments", "maxItems", training_job.MAX_ARGUMENTS),
            ("trainingjobs", "spec.arguments[]", "maxLength", training_job.MAX_ARGUMENT),
            ("trainingjobs", "spec.inputs", "maxItems", inputs.MAX_INPUTS),
            ("trainingjobs", "spec.inputs[].name", "pattern", inputs.INPUT_NAME.pattern),
            ("trainingjobs", "spec.inputs[].name", "maxLength", inputs.MAX_INPUT_NAME),
            ("trainingjobs", "spec.inputs[].datastore.path", "maxLength", inputs.MAX_INPUT_PATH),
            ("trainingjobs", "spec.inputs[].s3.uri", "pattern", inputs.S3_URI.pattern),
            ("trainingjobs", "spec.inputs[].s3.uri", "maxLength", inputs.MAX_S3_URI),
            ("trainingjobs", "spec.inputs[].s3.endpoint", "pattern", inputs.S3_ENDPOINT.pattern),
            ("trainingjobs", "spec.inputs[].s3.endpoint", "maxLength", inputs.MAX_S3_ENDPOINT),
            ("trainingjobs", "spec.inputs[].s3.region", "pattern", inputs.S3_REGION.pattern),
            ("trainingjobs", "spec.inputs[].s3.region", "maxLength", inputs.MAX_S3_REGION),
            ("trainingjobs", "spec.inputs[].s3.region", "default", inputs.DEFAULT_S3_REGION),
            ("trainingjobs", "spec.inputs[].s3.secretRef.name", "maxLength", inputs.MAX_OBJECT_NAME),
            ("trainingjobs", "spec.inputs[].pvc.claimName", "maxLength", inputs.MAX_OBJECT_NAME),
            ("trainingjobs", "spec.inputs[].pvc.path", "maxLength", inputs.MAX_INPUT_PATH),
            ("trainingjobs", "spec.inputs[].sizeLimit", "maxLength", inputs.MAX_SIZE_LIMIT),
            ("trainingjobs", "spec.environment.image", "pattern", environment.IMAGE.pattern),
            ("trainingjobs", "spec.environment.image", "maxLength", environment.MAX_IMAGE),
            ("trainingjobs", "spec.environment.pip", "maxItems", environment.MAX_PIP),
            ("trainingjobs", "spec.environment.pip[]", "maxLength", environment.MAX_REQUIREMENT),
            ("trainingjobs", "spec.environment.pip[]", "pattern", environment.REQUIREMENT.pattern),
            ("trainingjobs", "spec.environment.requirements", "maxLength", environment.MAX_REQUIREMENTS_FILE),
            ("trainingjobs", "spec.environment.conda.channels", "maxItems", conda.MAX_CHANNELS),
            ("trainingjobs", "spec.environment.conda.channels[]", "maxLength", conda.MAX_CHANNEL),
            ("trainingjobs", "spec.environment.conda.packages", "maxItems", conda.MAX_PACKAGES),
            ("trainingjobs", "spec.environment.conda.packages[]", "maxLength", conda.MAX_PACKAGE),
            *(
                ("trainingjobs", f"spec.environment.variables[].{source}.{part}", keyword, expected)
                for source in ("secretKeyRef", "configMapKeyRef")
                for part, keyword, expected in [
                    ("name", "maxLength", environment.MAX_OBJECT_NAME),
                    ("name", "pattern", fields.OBJECT_NAME.pattern),
                    ("key", "maxLength", environment.MAX_DATA_KEY),
                    ("key", "pattern", environment.DATA_KEY.pattern),
                ]
            ),
            ("trainingjobs", "spec.environment.variables", "maxItems", environment.MAX_VARIABLES),
            ("trainingjobs", "spec.environment.variables[].name", "pattern", environment.VARIABLE_NAME.pattern),
            ("trainingjobs", "spec.environment.variables[].name", "maxLength", environment.MAX_VARIABLE_NAME),
            ("trainingjobs", "spec.environment.variables[].value", "maxLength", environment.MAX_VARIABLE),
            ("trainingjobs", "spec.resources.requests.cpu", "pattern", training_job.QUANTITIES["cpu"].pattern),
            ("trainingjobs", "spec.resources.limits.cpu", "pattern", training_job.QUANTITIES["cpu"].pattern),
            ("trainingjobs", "spec.resources.requests.memory", "pattern", training_job.QUANTITIES["memory"].pattern),
            ("trainingjobs", "spec.resources.limits.memory", "pattern", training_job.QUANTITIES["memory"].pattern),
            ("trainingjobs", "spec.resources.limits.memory", "maxLength", training_job.MAX_QUANTITY),
            ("trainingjobs", "spec.models", "maxItems", training_job.MAX_MODELS),
            ("trainingjobs", "spec.models[].name", "pattern", fields.MODEL_NAME.pattern),
            ("trainingjobs", "spec.models[].name", "maxLength", fields.MAX_MODEL_NAME),
            ("trainingjobs", "spec.models[].path", "maxLength", training_job.MAX_PATH),
            ("trainingjobs", "spec.models[].description", "maxLength", fields.MAX_DESCRIPTION),
            ("trainingjobs", "spec.models[].tags", "maxProperties", fields.MAX_TAGS),
            ("trainingjobs", "spec.models[].tags{}", "maxLength", fields.MAX_TAG_VALUE),
            ("trainingjobs", "spec.models[].when.metric", "maxLength", metric_condition.MAX_METRIC_NAME),
            *(
                ("trainingjobs", f"spec.models[].when.{end}", keyword, expected)
                for end in ("atLeast", "atMost")
                for keyword, expected in [
                    ("minimum", -metric_condition.MAX_BOUND),
                    ("maximum", metric_condition.MAX_BOUND),
                ]
            ),
            ("trainingjobs", "status.heldModels", "maxItems", training_job.MAX_MODELS),
            ("trainingjobs", "status.metrics", "maxProperties", MAX_METRICS),
            ("trainingjobs", "status.tags", "maxProperties", contract.MAX_TAGS),
            ("trainingjobs", "status.tags{}", "maxLength", contract.MAX_TAG_CHARS),
            ("trainingjobs", "spec.priority", "minimum", -training_job.MAX_PRIORITY),
            ("trainingjobs", "spec.priority", "maximum", training_job.MAX_PRIORITY),
            ("computeclusters", "spec.vmSize", "maxLength", compute_cluster.MAX_VM_SIZE),
            ("computeclusters", "spec.vmSize", "pattern", compute_cluster.VM_SIZE.pattern),
            ("computeclusters", "spec.vmPriority", "enum", list(compute_cluster.VmPriority)),
            ("computeclusters", "spec.scale.maxNodes", "maximum", compute_cluster.MAX_NODES),
            ("computeclusters", "spec.scale.minNodes", "maximum", compute_cluster.MAX_NODES),
            (
                "computeclusters",
                "spec.scale.idleSecondsBeforeScaleDown",
                "default",
                compute_cluster.DEFAULT_IDLE_SECONDS,
            ),
            ("computeclusters", "spec.scale.idleSecondsBeforeScaleDown", "maximum", compute_cluster.MAX_IDLE_SECONDS),
            ("computeclusters", "spec.jobsPerNode", "maximum", compute_cluster.MAX_JOBS_PER_NODE),
            (
                "computeclusters",
                "spec.provisioningTimeoutSeconds",
                "default",
                compute_cluster.DEFAULT_PROVISIONING_SECONDS,
            ),
            (
                "computeclusters",
                "spec.provisioningTimeoutSeconds",
                "minimum",
                compute_cluster.LEAST_PROVISIONING_SECONDS,
            ),
            (
                "computeclusters",
                "spec.provisioningTimeoutSeconds",
                "maximum",
                compute_cluster.MAX_PROVISIONING_SECONDS,
            ),
            (
                "computeclusters",
                "spec.provider.karpenter.fallbackToDedicatedAfterSeconds",
                "minimum",
                compute_cluster.LEAST_FALLBACK_SECONDS,
            ),
            *(
                ("computeclusters", f"spec.inputCache.{path}", keyword, expected)
                for path, keyword, expected in [
                    ("hostPath.path", "pattern", input_cache.HOST_PATH.pattern),
                    ("hostPath.path", "maxLength", input_cache.MAX_HOST_PATH),
                    ("persistentVolumeClaim.claimName", "maxLength", input_cache.MAX_OBJECT_NAME),
                    ("persistentVolumeClaim.claimName", "pattern", fields.OBJECT_NAME.pattern),
                    ("sizeLimit", "maxLength", input_cache.MAX_SIZE_LIMIT),
                    ("sizeLimit", "default", input_cache.DEFAULT_SIZE_LIMIT),
                ]
            ),
            ("computeclusters", "spec.sharedWith", "maxItems", compute_cluster.MAX_SHARED),
            ("computeclusters", "spec.queue.weights", "maxProperties", compute_cluster.MAX_SHARED),
            ("computeclusters", "spec.queue.weights{}", "maximum", compute_cluster.MAX_WEIGHT),
            ("computeclusters", "spec.queue.ordering", "enum", list(compute_cluster.Ordering)),
            ("trainingjobs", "spec.computeClusterRef.namespace", "pattern", fields.OBJECT_NAME.pattern),
            ("computeclusters", "spec.deletionPolicy", "enum", list(compute_cluster.DeletionPolicy)),
            (
                "computeclusters",
                "spec.provider.karpenter.nodeClassRef.group",
                "pattern",
                compute_cluster.API_GROUP.pattern,
            ),
            (
                "computeclusters",
                "spec.provider.karpenter.nodeClassRef.kind",
                "pattern",
                compute_cluster.KIND_NAME.pattern,
            ),
            (
                "computeclusters",
                "spec.provider.karpenter.nodeClassRef.name",
                "maxLength",
                compute_cluster.MAX_NODE_CLASS_NAME,
            ),
            ("computeclusters", "status.nodes", "maxItems", cluster_status.MAX_NODES_SHOWN),
            (
                "computeclusters",
                "status.nodes[].state",
                "enum",
                list(cluster_nodes.STATES),
            ),
            *(
                ("computeclusters", f"spec.provider.existing.clusterAutoscaler.{path}", keyword, expected)
                for path, keyword, expected in [
                    ("nodeGroups", "maxItems", compute_cluster.MAX_NODE_GROUPS),
                    ("nodeGroups[]", "maxLength", compute_cluster.MAX_NODE_GROUP),
                    ("nodeGroups[]", "pattern", compute_cluster.NODE_GROUP.pattern),
                    ("statusConfigMap.namespace", "default", compute_cluster.STATUS_NAMESPACE),
                    ("statusConfigMap.namespace", "maxLength", names.MAX_LABEL_VALUE),
                    ("statusConfigMap.namespace", "pattern", fields.OBJECT_NAME.pattern),
                    ("statusConfigMap.name", "default", compute_cluster.STATUS_CONFIG_MAP),
                    ("statusConfigMap.name", "maxLength", compute_cluster.MAX_CONFIG_MAP),
                    ("statusConfigMap.name", "pattern", fields.OBJECT_NAME.pattern),
                ]
            ),
            ("computeclusters", "spec.provider.type", "enum", list(compute_cluster.ProviderType)),
            *(
                ("computeclusters", f"spec.provider.eks.{path}", keyword, expected)
                for path, keyword, expected in [
                    ("clusterName", "pattern", compute_cluster.EKS_CLUSTER.pattern),
                    ("clusterName", "maxLength", compute_cluster.MAX_EKS_CLUSTER),
                    ("region", "pattern", compute_cluster.AWS_REGION.pattern),
                    ("region", "maxLength", compute_cluster.MAX_AWS_REGION),
                    ("nodeRoleArn", "pattern", compute_cluster.ROLE_ARN.pattern),
                    ("nodeRoleArn", "maxLength", compute_cluster.MAX_ROLE_ARN),
                    ("subnets", "maxItems", compute_cluster.MAX_SUBNETS),
                    ("subnets[]", "pattern", compute_cluster.SUBNET.pattern),
                    ("subnets[]", "maxLength", compute_cluster.MAX_SUBNET),
                ]
            ),
            ("computeclusters", "spec.provider.existing.nodeSelector", "maxProperties", compute_cluster.MAX_LABELS),
            ("computeclusters", "spec.provider.existing.nodeSelector{}", "pattern", fields.LABEL_VALUE.pattern),
            ("computeclusters", "spec.provider.existing.nodeSelector{}", "maxLength", names.MAX_LABEL_VALUE),
            ("computeclusters", "spec.provider.existing.tolerations", "maxItems", compute_cluster.MAX_TOLERATIONS),
            ("computeclusters", "spec.provider.existing.tolerations[].key", "pattern", fields.LABEL_KEY.pattern),
            ("computeclusters", "spec.provider.existing.tolerations[].key", "maxLength", compute_cluster.MAX_LABEL_KEY),
            ("computeclusters", "spec.provider.existing.tolerations[].value", "pattern", fields.LABEL_VALUE.pattern),
            ("computeclusters", "spec.provider.existing.tolerations[].value", "maxLength", names.MAX_LABEL_VALUE),
            ("computeclusters", "spec.provider.existing.tolerations[].effect", "enum", list(compute_cluster.EFFECTS)),
            (
                "computeclusters",
                "spec.provider.existing.tolerations[].tolerationSeconds",
                "maximum",
                compute_cluster.MAX_TOLERATION_SECONDS,
            ),
            ("registeredmodels", "spec.modelName", "pattern", fields.MODEL_NAME.pattern),
            ("registeredmodels", "spec.modelName", "maxLength", fields.MAX_MODEL_NAME),
            ("registeredmodels", "spec.description", "maxLength", fields.MAX_DESCRIPTION),
            ("registeredmodels", "spec.tags", "maxProperties", fields.MAX_TAGS),
            ("registeredmodels", "spec.verification.request", "maxLength", registered_model.MAX_REQUEST),
            ("registeredmodels", "spec.verification.request", "pattern", registered_model.REQUEST.pattern),
            ("registeredmodels", "spec.verification.everyHours", "maximum", registered_model.MAX_EVERY_HOURS),
            ("registeredmodels", "spec.tags{}", "maxLength", fields.MAX_TAG_VALUE),
            ("registeredmodels", "spec.aliases", "maxProperties", registered_model.MAX_ALIASES),
            ("registeredmodels", "spec.aliases{}", "maximum", registered_model.MAX_VERSION),
            ("registeredmodels", "status.aliases", "maxProperties", registered_model.MAX_ALIASES),
            ("registeredmodels", "status.refusedAliases", "maxProperties", registered_model.MAX_ALIASES),
            ("registeredmodels", "status.aliasHistory", "maxItems", model_aliases.MAX_HISTORY),
            ("registeredmodels", "status.aliasHistory[].alias", "maxLength", registered_model.MAX_ALIAS),
            ("registeredmodels", "status.aliasHistory[].by", "maxLength", model_aliases.MAX_MANAGER),
            ("registeredmodels", "status.versions[].metrics", "maxProperties", MAX_METRICS),
            *(
                ("registeredmodels", f"spec.{path}", keyword, expected)
                for path, keyword, expected in [
                    ("imports", "maxItems", model_sources.MAX_IMPORTS),
                    ("imports[].key", "pattern", model_sources.IMPORT_KEY.pattern),
                    ("imports[].key", "maxLength", model_sources.MAX_IMPORT_KEY),
                    ("imports[].datastorePath", "maxLength", model_sources.MAX_IMPORT_PATH),
                    ("imports[].sha256", "pattern", fields.SHA256.pattern),
                    ("imports[].description", "maxLength", fields.MAX_DESCRIPTION),
                    ("imports[].tags", "maxProperties", fields.MAX_TAGS),
                    ("imports[].tags{}", "maxLength", fields.MAX_TAG_VALUE),
                    ("imports[].metrics", "maxProperties", MAX_METRICS),
                    ("promoteFrom.namespace", "pattern", model_sources.NAMESPACE.pattern),
                    ("promoteFrom.namespace", "maxLength", model_sources.MAX_NAMESPACE),
                    ("promoteFrom.model", "pattern", fields.MODEL_NAME.pattern),
                    ("promoteFrom.model", "maxLength", fields.MAX_MODEL_NAME),
                    ("promoteFrom.version", "maximum", model_sources.MAX_VERSION_NUMBER),
                    ("promoteFrom.sha256", "pattern", fields.SHA256.pattern),
                    ("sharedWith", "maxItems", model_sources.MAX_SHARED),
                    ("sharedWith[]", "pattern", model_sources.NAMESPACE.pattern),
                ]
            ),
        ]
    ],
)
def test_a_bound_is_the_same_in_the_schema_and_in_the_code(plural, path, keyword, expected):
    assert node_at(plural, path)[keyword] == expected


def test_an_input_is_where_the_schema_says():
    assert f"{INPUTS_DIR}/NAME" in node_at("trainingjobs", "spec.inputs")["description"]


def test_the_longest_key_of_a_version_fits():
    key = version_key(
        run_uid="0c1a2b3d-0000-4000-8000-000000000000",
        model_name="m" * fields.MAX_MODEL_NAME,
        path="p" * training_job.MAX_PATH,
    )
    assert len(key) <= node_at("registeredmodels", "status.versions[].key")["maxLength"]


def test_a_script_may_say_of_a_model_what_a_spec_may():
    assert contract.MAX_TAGS == fields.MAX_TAGS
    assert contract.MAX_TAG_CHARS == fields.MAX_TAG_VALUE
    assert contract.MAX_TAG_KEY_CHARS == fields.MAX_TAG_KEY
    assert contract.MAX_MODEL_NAME_CHARS == fields.MAX_MODEL_NAME
    assert contract.MAX_DESCRIPTION_CHARS == fields.MAX_DESCRIPTION
    most = training_job.MAX_MODELS + contract.MAX_MODELS_OF_SCRIPT
    assert most <= node_at("trainingjobs", "status.models")["maxItems"]


def test_a_status_holds_as_many_versions_as_the_registry_gives():
    assert node_at("registeredmodels", "status.versions")["maxItems"] == MAX_ENTRIES


def test_paths_are_bounded_as_the_contract_bounds_them():
    assert training_job.MAX_PATH == MAX_PATH_BYTES
