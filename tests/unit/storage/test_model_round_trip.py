"""What an entry of the status says of its version comes back from the version's manifest."""

from __future__ import annotations

import hashlib

import pytest

from tests.unit.storage.builders import NAMESPACE, UID, entry, saved_run
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.domain.model_restore import entry_of_manifest
from trainyard_operator.domain.model_sources import first_source
from trainyard_operator.storage import layout
from trainyard_operator.storage.models import copy_version, read_model_manifest

OUTPUTS = {"outputs/model/a": b"a"}
DATA = {f"data/{NAMESPACE}/iris/a": b"a"}
RUN = {
    "runManifestSha256": hashlib.sha256(
        saved_run(OUTPUTS)[f"runs/{NAMESPACE}/{UID}/attempts/1/manifest.json"]
    ).hexdigest()
}


def of_run():
    return entry("outputs/model", **RUN)


def of_import():
    made = entry("iris", key="import/k", **{"import": {"key": "k", "datastorePath": "iris"}})
    return {name: value for name, value in made.items() if name not in {"run", "sourceSha256", "imageDigest"}}


async def seal(store, namespace, made):
    """Make the version; return its entry once it is Ready, and the one that its manifest gives."""
    uri = f"s3://b/{layout.version_prefix(namespace, 'sklearn_mnist', 1)}"
    await copy_version(store, namespace, "sklearn_mnist", 1, made)
    manifest, sha256 = await read_model_manifest(store, namespace, "sklearn_mnist", 1)
    done = {**made, "state": "Ready", "uri": uri, "manifestSha256": sha256, "files": 1, "bytes": 1}
    return done, entry_of_manifest(manifest, sha256=sha256, uri=uri)


@pytest.mark.parametrize("made", [pytest.param(of_run(), id="run"), pytest.param(of_import(), id="import")])
async def test_the_entry_of_a_version_and_of_its_copy_are_made_again_from_their_manifests(made):
    store = MemoryStore(saved_run(OUTPUTS) | DATA)
    source, again = await seal(store, NAMESPACE, made)
    assert again == source

    identity = {
        "namespace": NAMESPACE,
        "model": "sklearn_mnist",
        "version": 1,
        "manifestSha256": source["manifestSha256"],
    }
    kept = {name: value for name, value in made.items() if name not in {"run", "import"}}
    copy = {**kept, "key": "promoted/x", "promotedFrom": {**identity, **first_source(source, NAMESPACE)}}
    done, again = await seal(store, "prod", copy)
    assert again == done
