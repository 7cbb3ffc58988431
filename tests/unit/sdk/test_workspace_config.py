"""``config.json``: where it is found, what it means, and what is said where it is not there."""

from __future__ import annotations

import json

import pytest

from trainyard.errors import ConfigError
from trainyard.remote import config
from trainyard.remote.config import WorkspaceConfig


@pytest.mark.parametrize(
    ("place", "start"),
    [
        pytest.param("config.json", ".", id="in the folder"),
        pytest.param(".trainyard/config.json", ".", id="in its subfolder"),
        pytest.param(".azureml/config.json", ".", id="in Azure ML's subfolder"),
        pytest.param("aml_config/config.json", "a/b", id="in Azure ML's first subfolder, far above"),
        pytest.param("config.json", "config.json", id="by its own path"),
    ],
)
def test_the_nearest_file_is_found(tmp_path, place, start):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text('{"workspace_name": "team"}')
    found, path = config.read(tmp_path / start)
    assert (found, path) == (WorkspaceConfig(workspace_name="team"), tmp_path / place)


def test_every_place_that_was_looked_at_is_said(tmp_path):
    with pytest.raises(ConfigError) as caught:
        config.read(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"We could not find config.json in: {tmp_path} or in its parent directories.")
    for place in ("config.json", ".trainyard/config.json", ".azureml/config.json"):
        assert f"\n  {tmp_path / place}" in said
    assert f"\n  {tmp_path.parent / 'config.json'}" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("{", "cannot be read as JSON", id="no JSON"),
        pytest.param("[]", "has no workspace_name", id="no object"),
        pytest.param('{"workspace_name": ""}', "has no workspace_name", id="empty"),
        pytest.param('{"workspace_name": "a", "resource_group": 3}', "resource_group of .* is 3", id="no text"),
        pytest.param('{"workspace_name": "a", "compute_provider": "x"}', "compute_provider of", id="no provider"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(tmp_path, content, said):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=said):
        config.read(tmp_path)


def test_what_is_written_is_read_again(tmp_path):
    settings = WorkspaceConfig(
        workspace_name="team", subscription_id="prod", resource_group="yard", service_account="people",
        compute_provider={"type": "Karpenter"},
    )  # fmt: skip
    path = config.write(settings, folder=tmp_path)
    assert path == tmp_path / ".trainyard" / "config.json"
    assert config.read(tmp_path) == (settings, path)
    plain = config.write(WorkspaceConfig(workspace_name="team"), folder=tmp_path)
    assert json.loads(plain.read_text()) == {
        "subscription_id": None, "resource_group": "trainyard-system", "workspace_name": "team",
    }  # fmt: skip
