"""A command line whose cluster says what the test wishes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from trainyard.cli.root import cli
from trainyard.cli.session import Session
from trainyard.errors import NotFound


class Objects:
    """Objects of a namespace, by kind; `changes` has what was asked for."""

    namespace, api = "team", None

    def __init__(self, **kinds):
        self.kinds, self.changes, self.error = kinds, [], None

    def get(self, plural, name):
        found = next((entry for entry in self.list(plural) if entry["metadata"]["name"] == name), None)
        if found is None:
            raise NotFound(f'{plural} "{name}" not found')
        return found

    def list(self, plural):
        if self.error:
            raise self.error
        return self.kinds.get(plural, [])

    def names(self, plural):
        return [entry["metadata"]["name"] for entry in self.list(plural)]

    def watch(self, plural, name, *, timeout):
        yield self.get(plural, name)
        if self.error:
            raise self.error

    def create(self, plural, document):
        self.changes.append(document)
        return {**document, "metadata": {"namespace": "team", "uid": "u", **document["metadata"]}}

    def patch(self, plural, name, change):
        self.changes.append((plural, name, change))
        return self.get(plural, name)


class Gateway:
    """Nothing is saved, and all that is sent arrives."""

    def __init__(self):
        self.sent = []

    def files(self, *, area, prefix):
        return []

    def put(self, uploads, *, op, on_bytes=None):
        self.sent += [(op, upload.path) for upload in uploads]

    def close(self):
        pass


class Line:
    """The command line, with a workspace in place of a cluster."""

    def __init__(self):
        self.objects, self.gateway = Objects(), Gateway()

    def __call__(self, *words, **options):
        workspace = SimpleNamespace(
            objects=self.objects,
            gateway=self.gateway,
            name="team",
            is_local=False,
            compute_provider=None,
            close=self.gateway.close,
        )
        workspace.get_default_datastore = lambda: __import__("trainyard").Datastore(workspace)
        return CliRunner().invoke(cli, list(words), obj=Session(_workspace=workspace), prog_name="trainyard", **options)


@pytest.fixture
def line():
    """The command line."""
    return Line()
