"""A run's spec in the words of the wire format."""

from __future__ import annotations

from trainyard.contract import GitSource, RunInput, S3Input
from trainyard_operator.api.inputs import InputSpec, S3Spec
from trainyard_operator.api.source import GitSpec


def git_source(spec: GitSpec) -> GitSource:
    """Return where a run's pod finds its code."""
    source = GitSource(url=spec.url, revision=spec.revision, path=spec.path)
    if spec.secret is not None:
        source["secret"] = spec.secret
    return source


def run_input(spec: InputSpec, index: int, *, limit: int, datastore: str) -> RunInput:
    """Return input number `index`.

    Parameters
    ----------
    limit
        How many bytes it may have where its spec does not say.
    datastore
        Address of the namespace's datastore.
    """
    found = RunInput(name=spec.name, path=spec.folder, field=f"spec.inputs[{index}]", uri=_uri(spec, datastore))
    if spec.claim is not None:
        found["claim"] = spec.claim.path
        return found
    found["limit"] = limit if spec.size_limit is None else spec.size_limit
    if spec.s3 is not None:
        found["s3"] = _s3_input(spec.s3)
    return found


def _uri(spec: InputSpec, datastore: str) -> str:
    if spec.claim is not None:
        return f"pvc://{spec.claim.name}/{spec.claim.path}"
    return spec.s3.uri if spec.s3 is not None else datastore + (spec.path or "")


def _s3_input(spec: S3Spec) -> S3Input:
    found = S3Input(uri=spec.uri, region=spec.region)
    if spec.endpoint is not None:
        found["endpoint"] = spec.endpoint
    if spec.secret is not None:
        found["secret"] = spec.secret
    return found
