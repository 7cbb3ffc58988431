"""A case for every CEL rule in `crds/`: an object (or a change of one) that passes, and one that is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.schemas import schema, walk
from trainyard_operator.api.names import COMPUTE_CLUSTER, REGISTERED_MODEL, TRAINING_JOB, Kind

JsonObject = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One rule at work.

    `path` and `index` say which of the schema's rules it is. Where there is a `before`, that object exists already, and
    `good` and `bad` are changes of it.
    """

    kind: Kind
    path: str
    index: int = 0
    good: JsonObject
    bad: JsonObject
    before: JsonObject | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies the rule."""
        return self.kind.plural, self.path, self.index

    @property
    def message(self) -> str:
        """What the rule says when it refuses."""
        node = dict(walk(schema(self.kind.plural)))[self.path]
        message: str = node["x-kubernetes-validations"][self.index]["message"]
        return message


def every_rule() -> set[tuple[str, str, int]]:
    """Return the key of every rule in `crds/`."""
    return {
        (kind.plural, path, index)
        for kind in (TRAINING_JOB, COMPUTE_CLUSTER, REGISTERED_MODEL)
        for path, node in walk(schema(kind.plural))
        for index, _ in enumerate(node.get("x-kubernetes-validations", []))
    }


def make(kind: Kind, spec: JsonObject, *, name: str = "case") -> JsonObject:
    """Return an object of `kind` in the namespace ``default``."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def training_job(name: str = "case", **over: Any) -> JsonObject:
    """Return a TrainingJob with the smallest spec, and `over`."""
    return make(TRAINING_JOB, {"source": {"inline": {"train.py": "print(1)"}}, **over}, name=name)


def compute_cluster(name: str = "case", **existing: Any) -> JsonObject:
    """Return a ComputeCluster with these settings of its provider."""
    return make(COMPUTE_CLUSTER, {"provider": {"type": "Existing", "existing": existing}}, name=name)


def pool(**over: Any) -> JsonObject:
    """Return a ComputeCluster of the provider Karpenter, and `over`; None removes a field."""
    spec = {
        "vmSize": "SMALL",
        "scale": {"maxNodes": 4},
        "provider": {"type": "Karpenter", "karpenter": {"nodeClassRef": _node_class("default")}},
        **over,
    }
    return make(COMPUTE_CLUSTER, {name: value for name, value in spec.items() if value is not None})


def eks(**settings: Any) -> JsonObject:
    """Return a ComputeCluster of the provider EKS with these settings of it."""
    whole = {
        "clusterName": "lab",
        "nodeRoleArn": "arn:aws:iam::111122223333:role/nodes",
        "subnets": ["subnet-0a1b2c3d"],
        **settings,
    }
    return pool(provider={"type": "EKS", "eks": whole})


def _node_class(name: str) -> JsonObject:
    return {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": name}


def _falling_back() -> JsonObject:
    settings = {"nodeClassRef": _node_class("default"), "fallbackToDedicatedAfterSeconds": 60}
    return {"type": "Karpenter", "karpenter": settings}


def _of_cluster(path: str, index: int, good: JsonObject, bad: JsonObject, before: JsonObject | None = None) -> Case:
    return Case(kind=COMPUTE_CLUSTER, path=path, index=index, good=good, bad=bad, before=before)


def registered_model(**over: Any) -> JsonObject:
    """Return a RegisteredModel."""
    return make(REGISTERED_MODEL, {"modelName": "case", **over})


def _of_job(path: str, index: int, good: JsonObject, bad: JsonObject, before: JsonObject | None = None) -> Case:
    return Case(kind=TRAINING_JOB, path=path, index=index, good=good, bad=bad, before=before)


def _unchangeable(index: int, field: str, value: object, other: object) -> Case:
    before = training_job(**{field: value})
    return _of_job("spec", index, before, training_job(**{field: other}), before)


def _inline(**files: str) -> JsonObject:
    return training_job(source={"inline": {"train.py": "", **files}})


def _toleration(**over: object) -> JsonObject:
    return compute_cluster(tolerations=[over])


def _input(path: str) -> JsonObject:
    return training_job(inputs=[{"name": "data", "datastore": {"path": path}}])


def _from(**source: JsonObject) -> JsonObject:
    return training_job(source=source)


def _archive(path: str = "code.tar.gz", **other: JsonObject) -> JsonObject:
    return _from(archive={"path": path, "sha256": "ab" * 32}, **other)


def _git(url: str = "https://example.com/code.git", path: str = "", **other: JsonObject) -> JsonObject:
    return _from(git={"url": url, "path": path}, **other)


def _one_input(**entry: object) -> JsonObject:
    return training_job(inputs=[{"name": "data", **entry}])


def _claim(path: str = "", **entry: object) -> JsonObject:
    return _one_input(pvc={"claimName": "a", "path": path}, **entry)


def _rerun(of: str = "first", **over: object) -> JsonObject:
    return make(TRAINING_JOB, {"rerunOf": of, **over})


def _variable(name: str, **over: object) -> JsonObject:
    return training_job(environment={"variables": [{"name": name, **over}]})


def _conda(*, channels: str = "conda-forge", packages: str = "python=3.12") -> JsonObject:
    return training_job(environment={"conda": {"channels": [channels], "packages": [packages]}})


def _model(path: str = "outputs/m.pkl", **over: object) -> JsonObject:
    return training_job(models=[{"name": "m", "path": path, **over}])


def _when(**bounds: float) -> JsonObject:
    return _model(when={"metric": "accuracy", **bounds})


def _amounts(**amounts: str | int) -> JsonObject:
    (name,) = {key.split("_")[1] for key in amounts}
    return training_job(resources={key.split("_")[0]: {name: value} for key, value in amounts.items()})


def _disk(request: str, limit: str) -> JsonObject:
    amounts = {"requests": {"ephemeral-storage": request}, "limits": {"ephemeral-storage": limit}}
    return training_job(resources=amounts)


_ONE_MODEL = training_job(models=[{"name": "m", "path": "outputs/m.pkl", "tags": {"a": "b"}}])
_TWO_MODELS = training_job(
    models=[{"name": "n", "path": "outputs/n"}, {"name": "m", "path": "outputs/m.pkl", "tags": {"a": "b"}}]
)
_OTHER_TAG = training_job(models=[{"name": "m", "path": "outputs/m.pkl", "tags": {"a": "c"}}])
_OTHER_CONDITION = training_job(
    models=[{"name": "m", "path": "outputs/m.pkl", "tags": {"a": "b"}, "when": {"metric": "loss", "atMost": 1}}]
)
_KEY = {"name": "secrets", "key": "a"}
_CODE = {"configMapRef": {"name": "code"}}
_SELECTOR = "spec.provider.existing.nodeSelector"
_TOLERATIONS = "spec.provider.existing.tolerations[]"

CASES = [
    _of_job("", 0, training_job(name="a" * 52), training_job(name="a" * 53)),
    _of_job("", 1, training_job(name="a-b"), training_job(name="a.b")),
    _of_job("", 2, _rerun("other"), _rerun("case")),
    _of_job("spec", 0, training_job(entryScript="train.py"), training_job(entryScript="main.py")),
    _of_job("spec", 1, training_job(source=_CODE), training_job(source=_CODE, entryScript="src/train.py")),
    _unchangeable(2, "experiment", "mnist", "iris"),
    _unchangeable(3, "computeClusterRef", {"name": "a"}, {"name": "b"}),
    _unchangeable(4, "source", {"inline": {"train.py": "1"}}, {"inline": {"train.py": "2"}}),
    _of_job(
        "spec",
        5,
        training_job(source=_CODE, entryScript="a.py"),
        training_job(source=_CODE, entryScript="b.py"),
        training_job(source=_CODE, entryScript="a.py"),
    ),
    _unchangeable(6, "parameters", {"a": 0.5, "b": True}, {"a": 0.25, "b": True}),
    _unchangeable(6, "parameters", {"a": 1}, {"b": 1}),
    _of_job("spec", 6, training_job(), training_job(parameters={"a": 1}), training_job()),
    _of_job("spec", 6, training_job(parameters={"a": 1}), training_job(), training_job(parameters={"a": 1})),
    _unchangeable(7, "arguments", ["a", "b"], ["b", "a"]),
    _unchangeable(8, "inputs", [{"name": "a", "datastore": {}}], [{"name": "a", "datastore": {"path": "x"}}]),
    _unchangeable(9, "environment", {"image": "python:3.12"}, {"image": "python:3.13"}),
    _unchangeable(10, "resources", {"limits": {"cpu": 1}}, {"limits": {"cpu": 2}}),
    _of_job("spec", 10, training_job(), training_job(resources={"limits": {"cpu": 2}}), training_job()),
    _unchangeable(11, "priority", 1, 2),
    _unchangeable(12, "terminationGracePeriodSeconds", 30, 60),
    _of_job("spec", 13, training_job(cancel=True), training_job(cancel=False), training_job(cancel=True)),
    _of_job("spec", 14, _TWO_MODELS, _model("outputs/other"), _ONE_MODEL),
    _of_job("spec", 14, _ONE_MODEL, training_job(), _ONE_MODEL),
    _of_job("spec", 14, _OTHER_CONDITION, training_job(models=[]), _ONE_MODEL),
    _of_job("spec.models[]", 0, _TWO_MODELS, _OTHER_TAG, _ONE_MODEL),
    _of_job("spec.models[]", 0, _OTHER_CONDITION, _model(description="other", tags={"a": "b"}), _ONE_MODEL),
    _of_job("spec.models[]", 0, _ONE_MODEL, _model(), _OTHER_CONDITION),
    _of_job("spec", 15, _rerun(), make(TRAINING_JOB, {})),
    _of_job("spec", 15, training_job(), training_job(rerunOf="first")),
    *(
        _of_job("spec", 16, _rerun(resources={"limits": {"cpu": 1}}, experiment="mnist"), _rerun(**over))
        for over in (
            {"entryScript": "main.py"},
            {"parameters": {"a": 1}},
            {"arguments": ["a"]},
            {"inputs": [{"name": "data", "datastore": {}}]},
            {"environment": {"image": "python:3.13"}},
        )
    ),
    _of_job("spec", 17, _rerun(), _rerun("second"), _rerun()),
    _of_job("spec.source", 0, _archive(), _archive(**_CODE)),
    _of_job("spec.source", 0, _git(), _git(**_CODE)),
    *(
        _of_job("spec.source.archive.path", 0, _archive("snapshots/a..b.tar.gz"), _archive(path))
        for path in ("/a.zip", "a/", "../a.zip", "a/../b.zip", "a//b.zip", "./a.zip")
    ),
    *(
        _of_job("spec.source.git.url", 0, _git(), _git(url))
        for url in (
            "http://example.com/a.git",
            "ssh://example.com/a.git",
            "https:///a.git",
            "file:///a",
            "example.com/a",
        )
    ),
    _of_job("spec.source.git.url", 1, _git(), _git("https://user:secret@example.com/a.git")),
    *(
        _of_job("spec.source.git.path", 0, _git(path="a/b..c/"), _git(path=path))
        for path in ("/a", "../a", "a/../b", "a//b", "./a", ".")
    ),
    _of_job("spec.inputs[]", 0, _one_input(s3={"uri": "s3://bucket/a/"}), _one_input()),
    _of_job("spec.inputs[]", 0, _claim(), _claim(datastore={})),
    _of_job("spec.inputs[]", 1, _one_input(datastore={}, sizeLimit="1Gi"), _claim(sizeLimit=1)),
    *(
        _of_job("spec.inputs[].pvc.path", 0, _claim(good), _claim(bad))
        for good, bad in (("", "/"), ("mnist/", "../other/"), ("a..b", "a/../../b"), ("a/b", "a//b"), ("a.b", "./a"))
    ),
    _of_job("spec.source", 0, training_job(source=_CODE), training_job(source={"inline": {"train.py": ""}, **_CODE})),
    _of_job("spec.source", 0, training_job(), training_job(source={})),
    _of_job(
        "spec.source.inline", 0, _inline(a="x" * 262144, b="x" * 262144), _inline(a="x" * 262144, b="x" * 262143 + "é")
    ),
    *(
        _of_job("spec.source.inline", 1, _inline(**{"lib/a..b.py": ""}), _inline(**{path: ""}))
        for path in ("/a", "a/", "../a", "a/../b", "a/..", "..", "./a", "a/./b", "a//b", "", "a" * 254)
    ),
    *(
        _of_job(
            "spec.entryScript",
            0,
            training_job(source={"inline": {"src/a..b.py": ""}}, entryScript="src/a..b.py"),
            training_job(source={"inline": {path: ""}}, entryScript=path),
        )
        for path in ("/a.py", "-c", "../a.py", "a/../b.py", "a//b.py", "./a.py", "a.py/")
    ),
    *(
        _of_job("spec.inputs[].datastore.path", 0, _input(good), _input(bad))
        for good, bad in (("", "/"), ("mnist/", "../other/"), ("a..b", "a/../../b"), ("a/b", "a//b"), ("a.b", "./a"))
    ),
    _of_job(
        "spec.environment.variables[]",
        0,
        _variable("A", secretKeyRef=_KEY),
        _variable("A", secretKeyRef=_KEY, value=""),
    ),
    _of_job(
        "spec",
        18,
        training_job(environment={"requirements": "train.py"}),
        training_job(environment={"requirements": "requirements.txt"}),
    ),
    _of_job(
        "spec",
        19,
        training_job(source=_CODE, environment={"requirements": "a.txt"}),
        training_job(source=_CODE, environment={"requirements": "sub/a.txt"}),
    ),
    *(
        _of_job(f"spec.environment.conda.{field}[]", index, _conda(**{field: good}), _conda(**{field: bad}))
        for field, index, good, bad in (
            ("channels", 0, "conda-forge/label/dev", "https://conda.anaconda.org/conda-forge"),
            ("channels", 0, "team_a.b", "conda-forge/../other"),
            ("channels", 1, "conda-forge", "defaults"),
            ("packages", 0, "numpy>=2, <3", "conda-forge::numpy"),
            ("packages", 0, "python", "https://example.com/numpy-2.0-0.conda"),
            ("packages", 0, "numpy = 2.*=py312*", "numpy[version=2]"),
            ("packages", 1, "numpy=1.26|>=2,!=2.1", "numpy 2.0"),
            ("packages", 1, "_openmp_mutex==4.5", "numpy>="),
        )
    ),
    _of_job("spec.environment.variables[].name", 0, _variable("MY_TRAINYARD_CA"), _variable("TRAINYARD_CA")),
    _of_job(
        "spec.resources", 0, _amounts(requests_cpu="1500m", limits_cpu=2), _amounts(requests_cpu=2, limits_cpu="1999m")
    ),
    _of_job(
        "spec.resources",
        1,
        _amounts(requests_memory="1024Mi", limits_memory="1Gi"),
        _amounts(requests_memory="1Gi", limits_memory="1G"),
    ),
    _of_job("spec.resources", 2, _disk("1024Mi", "1Gi"), _disk("1Gi", "1G")),
    *(
        _of_job("spec.models[].path", 0, _model("outputs"), _model(bad))
        for bad in ("m.pkl", "outputs/", "outputs/../m", "outputs//m", "/outputs/m", "outputs2/m")
    ),
    _of_job("spec.models[].tags", 0, _model(tags={"a" * 128: ""}), _model(tags={"a" * 129: ""})),
    _of_job("spec.models[].when", 0, _when(atLeast=0.9), _when()),
    _of_job("spec.models[].when", 1, _when(atLeast=1, atMost=1), _when(atLeast=1, atMost=0.5)),
    Case(kind=COMPUTE_CLUSTER, path="", good=compute_cluster(name="a" * 63), bad=compute_cluster(name="a" * 64)),
    *(
        _of_cluster("spec.inputCache", 0, pool(inputCache={"hostPath": {"path": "/var/cache/trainyard"}}), bad)
        for bad in (
            pool(inputCache={}),
            pool(inputCache={"hostPath": {"path": "/a"}, "persistentVolumeClaim": {"claimName": "a"}}),
        )
    ),
    _of_cluster("spec", 0, pool(), pool(vmSize=None)),
    _of_cluster("spec", 0, pool(), pool(scale=None)),
    _of_cluster("spec", 0, eks(), make(COMPUTE_CLUSTER, {"provider": eks()["spec"]["provider"]})),
    _of_cluster("spec", 1, pool(scale={"maxNodes": 2}), pool(vmSize="LARGE"), pool()),
    _of_cluster("spec", 2, pool(), pool(vmPriority="LowPriority"), pool()),
    _of_cluster("spec", 3, pool(), pool(jobsPerNode=2), pool()),
    _of_cluster(
        "spec",
        4,
        pool(vmPriority="LowPriority"),
        make(COMPUTE_CLUSTER, {"vmPriority": "LowPriority", "provider": {"type": "Existing", "existing": {}}}),
    ),
    _of_cluster("spec", 5, pool(vmPriority="LowPriority", provider=_falling_back()), pool(provider=_falling_back())),
    _of_cluster(
        "spec",
        6,
        pool(scale={"maxNodes": 1, "minNodes": 1}),
        make(
            COMPUTE_CLUSTER,
            {"scale": {"maxNodes": 1, "minNodes": 1}, "provider": {"type": "Existing", "existing": {}}},
        ),
    ),
    _of_cluster(
        "spec.scale", 0, pool(scale={"maxNodes": 2, "minNodes": 2}), pool(scale={"maxNodes": 1, "minNodes": 2})
    ),
    _of_cluster("spec.provider", 0, compute_cluster(), make(COMPUTE_CLUSTER, {"provider": {"type": "Existing"}})),
    _of_cluster(
        "spec.provider",
        1,
        pool(),
        make(COMPUTE_CLUSTER, {"vmSize": "SMALL", "scale": {"maxNodes": 1}, "provider": {"type": "Karpenter"}}),
    ),
    _of_cluster("spec.provider", 2, eks(), pool(provider={"type": "EKS"})),
    _of_cluster(
        "spec.provider",
        2,
        pool(),
        pool(provider={**pool()["spec"]["provider"], "eks": eks()["spec"]["provider"]["eks"]}),
    ),
    _of_cluster(
        "spec.provider",
        3,
        pool(provider={**pool()["spec"]["provider"], "adopt": True}),
        make(COMPUTE_CLUSTER, {"provider": {"type": "Existing", "existing": {}, "adopt": True}}),
    ),
    _of_cluster(
        "spec.provider",
        4,
        pool(),
        pool(provider={"type": "Existing", "existing": {}}),
        pool(),
    ),
    *(
        _of_cluster("spec.provider.eks", 0, eks(), eks(**change), eks())
        for change in ({"clusterName": "other"}, {"region": "eu-central-1"}, {"subnets": ["subnet-0a1b2c3e"]})
    ),
    _of_cluster(
        "spec.provider.karpenter.nodeClassRef",
        0,
        pool(),
        pool(provider={"type": "Karpenter", "karpenter": {"nodeClassRef": _node_class("other")}}),
        pool(),
    ),
    *(
        Case(
            kind=COMPUTE_CLUSTER,
            path=_SELECTOR,
            good=compute_cluster(nodeSelector={"example.com/pool": "a"}),
            bad=compute_cluster(nodeSelector={key: "a"}),
        )
        for key in ("", "/pool", "pool/", "a" * 318)
    ),
    Case(
        kind=COMPUTE_CLUSTER,
        path=_TOLERATIONS,
        index=0,
        good=_toleration(operator="Exists"),
        bad=_toleration(value="a"),
    ),
    Case(
        kind=COMPUTE_CLUSTER,
        path=_TOLERATIONS,
        index=1,
        good=_toleration(key="a", value="b"),
        bad=_toleration(key="a", operator="Exists", value="b"),
    ),
    Case(
        kind=COMPUTE_CLUSTER,
        path=_TOLERATIONS,
        index=2,
        good=_toleration(key="a", effect="NoExecute", tolerationSeconds=1),
        bad=_toleration(key="a", effect="NoSchedule", tolerationSeconds=1),
    ),
    Case(
        kind=REGISTERED_MODEL,
        path="spec.modelName",
        before=registered_model(modelName="case"),
        good=registered_model(modelName="case", description="Another description."),
        bad=registered_model(modelName="Case"),
    ),
    Case(
        kind=REGISTERED_MODEL,
        path="spec.tags",
        good=registered_model(tags={"a" * 128: ""}),
        bad=registered_model(tags={"": "x"}),
    ),
    *(
        Case(
            kind=REGISTERED_MODEL,
            path="spec.aliases",
            index=index,
            good=registered_model(aliases={good: 3}),
            bad=registered_model(aliases={bad: 3}),
        )
        for index, good, bad in (
            (0, "a" * 63, "a" * 64),
            (0, "prod_eu.west-1", "-prod"),
            (0, "B", ""),
            (0, "b", "a/b"),
            (0, "a1", "a1\n"),
            (1, "v3", "3"),
            (1, "v1.0", "1.0"),
            (1, "latest-good", "latest"),
        )
    ),
    Case(
        kind=REGISTERED_MODEL,
        path="spec.imports[].datastorePath",
        good=registered_model(imports=[{"key": "a", "datastorePath": "models/iris/"}]),
        bad=registered_model(imports=[{"key": "a", "datastorePath": "models/../iris"}]),
    ),
    Case(
        kind=REGISTERED_MODEL,
        path="spec.imports[].tags",
        good=registered_model(imports=[{"key": "a", "datastorePath": "iris", "tags": {"a" * 128: ""}}]),
        bad=registered_model(imports=[{"key": "a", "datastorePath": "iris", "tags": {"": "x"}}]),
    ),
]
