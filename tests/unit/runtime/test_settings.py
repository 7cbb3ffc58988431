from __future__ import annotations

import pytest

from trainyard_operator.settings import Settings, SettingsError

LEAST = {"TRAINYARD_TRAINER_IMAGE": "trainer:1"}


def test_the_least_that_is_needed_is_the_trainer_image():
    settings = Settings.from_environment(LEAST)
    assert settings.trainer_image == "trainer:1"
    assert settings.gateway_url == "https://trainyard-gateway.trainyard-system.svc:8443"
    assert (settings.s3_endpoint, settings.s3_access_key) == (None, None)


def test_every_variable_is_read():
    settings = Settings.from_environment(
        {
            **LEAST,
            "TRAINYARD_NAMESPACE": "yard",
            "TRAINYARD_TRAINER_PULL_POLICY": "Always",
            "TRAINYARD_GATEWAY_PORT": "9443",
            "TRAINYARD_S3_ENDPOINT": "http://s3",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "key",
            "TRAINYARD_WORKERS": "4",
            "TRAINYARD_RESYNC_SECONDS": "60",
            "TRAINYARD_POD_NAME": "operator-abc",
            "TRAINYARD_LOG_LEVEL": "DEBUG",
            "TRAINYARD_KUEUE_ENABLED": "true",
            "TRAINYARD_RUN_DEFAULT_REQUESTS": '{"cpu": "500m", "memory": "1Gi"}',
            "TRAINYARD_BUILDS": '{"resources": {"limits": {"memory": "1Gi"}}, "nodeSelector": {"a": "b"}, "tolerations": []}',
            "TRAINYARD_BUILDS_TIMEOUT_SECONDS": "60",
            "TRAINYARD_INDEX_FOLDER": "/index",
            "TRAINYARD_TRAINER_PACKAGES": "/packages.txt",
            "TRAINYARD_ENVIRONMENTS_UNUSED_DAYS": "7",
        }
    )
    assert settings.gateway_url == "https://trainyard-gateway.yard.svc:8443"
    assert settings.kueue_enabled
    assert settings.identity == settings.pod_name == "operator-abc"
    assert (settings.workers, settings.resync_seconds, settings.gateway_port) == (4, 60, 9443)
    assert settings.run_default_requests == {"cpu": "500m", "memory": "1Gi"}
    assert (settings.s3_access_key, settings.s3_secret_key) == ("id", "key")
    assert settings.builds.resources == {"limits": {"memory": "1Gi"}}
    assert (settings.builds.node_selector, settings.builds.timeout_seconds) == ({"a": "b"}, 60)
    assert (settings.index_folder, settings.trainer_packages) == ("/index", "/packages.txt")
    assert settings.environments_unused_days == 7


def test_without_a_pod_two_processes_have_two_identities():
    assert Settings.from_environment(LEAST).identity != Settings.from_environment(LEAST).identity


def test_keys_are_not_shown():
    settings = Settings.from_environment({**LEAST, "AWS_ACCESS_KEY_ID": "idid", "AWS_SECRET_ACCESS_KEY": "hush"})
    assert "hush" not in repr(settings)
    assert "idid" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        pytest.param("TRAINER_IMAGE", " ", "is not set: set it", id="missing"),
        pytest.param("WORKERS", "many", "use a number from 1 to 256", id="no number"),
        pytest.param("WORKERS", "0", "use a number from 1 to 256", id="too small"),
        pytest.param("RESYNC_SECONDS", "nan", "use a number from 1 to 86400", id="not a number at all"),
        pytest.param("METRICS_PORT", "70000", "use a number from 0 to 65535", id="no port"),
        pytest.param("LOG_LEVEL", "LOUD", "use one of DEBUG, INFO", id="not on the list"),
        pytest.param("KUEUE_ENABLED", "yes", "use one of true, false", id="neither yes nor no"),
        pytest.param("BUILDS", "[]", "must be a JSON object", id="no object"),
        pytest.param("RUN_DEFAULT_REQUESTS", "cpu=1", "use a JSON object", id="no JSON"),
        pytest.param("RUN_DEFAULT_REQUESTS", '{"gpu": 1}', "use a JSON object", id="an unknown resource"),
    ],
)
def test_a_wrong_variable_is_named_with_what_to_set(name, value, message):
    with pytest.raises(SettingsError, match=rf"^TRAINYARD_{name} .*{message}"):
        Settings.from_environment({**LEAST, f"TRAINYARD_{name}": value})
