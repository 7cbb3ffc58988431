"""A run's token opens its own run and nothing else."""

from __future__ import annotations

import json

import pytest

from tests.e2e import scripts
from tests.e2e.yard import Yard, training_job

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def codes(yard: Yard, files):
    """Return the HTTP codes that a run got for each of its attempts."""
    run = yard.wait_for_end(yard.apply(training_job(scripts.INTRUDER)))
    assert run["status"]["phase"] == "Completed", run["status"]
    return json.loads(files.read(run, "outputs/codes.json"))


def test_a_run_may_write_its_own_outputs(codes):
    assert codes["own output"] == 200


@pytest.mark.parametrize("attempt", ["up", "absolute", "models", "source", "another attempt"])
def test_a_run_cannot_write_outside_its_outputs_and_logs(codes, attempt):
    assert codes[attempt] in {400, 403}


def test_a_run_can_read_no_checkpoint_of_an_attempt_to_come(codes):
    assert codes["a checkpoint to come"] == 400


def test_a_run_cannot_read_an_input_that_its_spec_does_not_name(codes):
    assert codes["undeclared input"] in {400, 403, 404}


@pytest.mark.parametrize("attempt", ["people's list", "people's put"])
def test_a_pods_token_never_gets_what_people_get(codes, attempt):
    assert codes[attempt] == 403


def test_a_signed_address_cannot_be_bent_to_another_object(codes):
    assert codes["changed url"] == 403


def test_the_api_server_refuses_the_gateways_token(codes):
    assert codes["api server"] == 401


def test_a_runs_pod_is_restricted_and_mounts_no_token_of_the_api_server(yard: Yard):
    name = yard.apply(training_job(scripts.LIVE))
    try:
        yard.wait_for_phase(name, "Running")
        (pod,) = yard.items("pods", "-l", f"trainyard.dev/training-job={name}")
        mounts = [m["mountPath"] for c in pod["spec"]["containers"] for m in c["volumeMounts"]]
        assert "/var/run/secrets/kubernetes.io/serviceaccount" not in mounts
        said = yard.kubectl(
            "exec", pod["metadata"]["name"], "-c", "train", "--", "sh", "-c", "id -u; touch /x", check=False
        )
        assert "Read-only file system" in said
    finally:
        yard.kubectl("delete", "tj", name, "--wait=false")
