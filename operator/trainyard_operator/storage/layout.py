"""Where things are in the bucket: the only place that builds object keys.

Every prefix ends in a slash, so that listing ``models/a/b/`` can never show ``models/a/b-private/``. Functions take
parts that were checked before: namespaces and uids come from the API server, paths from `check_relative_path`.
"""

from __future__ import annotations

from trainyard.contract import MANIFEST, attempt_folder

SOURCE = "source.tar.gz"
REQUIREMENTS = "requirements.txt"
SNAPSHOTS = "snapshots/"
ENVIRONMENTS = "envs/"
MODELS = "models/"
PROBES = "probes/"
_RECORD, _USE = ".json", ".used"


def data_prefix(namespace: str) -> str:
    """Return the prefix of the namespace's datastore: what people upload."""
    return f"data/{namespace}/"


def snapshots_prefix(namespace: str) -> str:
    """Return the prefix of the archives of code that people upload, each named by its digest."""
    return f"{SNAPSHOTS}{namespace}/"


def archive_key(namespace: str, path: str) -> str:
    """Return the key of `spec.source.archive.path`."""
    if path.startswith(SNAPSHOTS):
        return snapshots_prefix(namespace) + path.removeprefix(SNAPSHOTS)
    return data_prefix(namespace) + path


def runs_prefix(namespace: str) -> str:
    """Return the prefix below which every run of the namespace has its folder."""
    return f"runs/{namespace}/"


def models_prefix(namespace: str) -> str:
    """Return the prefix below which every model of the namespace has its folder."""
    return f"{MODELS}{namespace}/"


def run_prefix(namespace: str, uid: str) -> str:
    """Return the prefix of everything that belongs to one run."""
    return f"{runs_prefix(namespace)}{uid}/"


def attempt_prefix(namespace: str, uid: str, attempt: int) -> str:
    """Return the prefix of everything that one attempt of a run writes.

    Each has its own, because signed addresses outlive the attempt that they were given to.
    """
    return run_prefix(namespace, uid) + attempt_folder(attempt)


def source_key(namespace: str, uid: str) -> str:
    """Return the key of a run's frozen source."""
    return run_prefix(namespace, uid) + SOURCE


def requirements_key(namespace: str, uid: str) -> str:
    """Return the key of what a run's frozen source lists as requirements: where no attempt of the run can write."""
    return run_prefix(namespace, uid) + REQUIREMENTS


def run_manifest_key(namespace: str, uid: str, attempt: int) -> str:
    """Return the key of the manifest that says an attempt's outputs are whole."""
    return attempt_prefix(namespace, uid, attempt) + MANIFEST


def version_prefix(namespace: str, model_name: str, version: int) -> str:
    """Return the prefix of the files of one model version."""
    return f"{models_prefix(namespace)}{model_name}/{version}/"


def model_manifest_key(namespace: str, model_name: str, version: int) -> str:
    """Return the key of a version's manifest: beside its folder, where no file of the model can be."""
    return f"{models_prefix(namespace)}{model_name}/{version}.manifest.json"


def model_signature_key(namespace: str, model_name: str, version: int) -> str:
    """Return the key of a version's signature: beside its manifest."""
    return f"{models_prefix(namespace)}{model_name}/{version}.sig"


def model_prefix(namespace: str, model_name: str) -> str:
    """Return the prefix of all that there is of a model."""
    return f"{models_prefix(namespace)}{model_name}/"


def tombstone_key(namespace: str, model_name: str, version: int) -> str:
    """Return the key of what says that a version was deleted: beside its manifest, which stays."""
    return f"{models_prefix(namespace)}{model_name}/{version}.deleted.json"


def archive_prefix(namespace: str, model_name: str) -> str:
    """Return the prefix of the entries of a model's older versions; no version's folder has a name like it."""
    return f"{models_prefix(namespace)}{model_name}/archive/"


def archive_page_key(namespace: str, model_name: str, first: int, last: int) -> str:
    """Return the key of the entries of the versions from `first` to `last`."""
    return f"{archive_prefix(namespace, model_name)}{first}-{last}.json"


def archive_index_key(namespace: str, model_name: str, digest: str) -> str:
    """Return the key of the number that an archived version has, by the digest of what it was made from."""
    return f"{archive_prefix(namespace, model_name)}keys/{digest}.json"


def environment_prefix(namespace: str, digest: str) -> str:
    """Return the prefix of what the builds of an environment write."""
    return f"{ENVIRONMENTS}{namespace}/{digest}/"


def environment_logs_prefix(namespace: str, digest: str) -> str:
    """Return the prefix of the logs of an environment's builds."""
    return f"{environment_prefix(namespace, digest)}logs/"


def environment_record_key(namespace: str, digest: str) -> str:
    """Return the key of what the operator wrote down of an environment: beside its folder, where no build can write."""
    return f"{ENVIRONMENTS}{namespace}/{digest}{_RECORD}"


def environment_use_key(namespace: str, digest: str) -> str:
    """Return the key of the day on which an environment was used last."""
    return f"{ENVIRONMENTS}{namespace}/{digest}{_USE}"


def environment_of_use_key(key: str) -> tuple[str, str] | None:
    """Return namespace and hash of the environment whose `environment_use_key` is `key`, None where it is none."""
    parts = key.removeprefix(ENVIRONMENTS).split("/")
    if len(parts) != 2 or not parts[1].endswith(_USE):  # noqa: PLR2004
        return None
    return parts[0], parts[1].removesuffix(_USE)


def uri(bucket: str, key: str) -> str:
    """Return `key` as people and their tools write it."""
    return f"s3://{bucket}/{key}"
