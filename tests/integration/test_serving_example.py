"""What a real API server says of the serving example; KServe itself is not here, but its predictor is a pod's spec."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from devcluster.controlplane import ControlPlane


@pytest.fixture
def restricted(control_plane: ControlPlane) -> str:
    """A namespace that admits restricted pods only, with the example's service account."""
    name = f"serving-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    for found in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "digits", "namespace": name}},
    ):
        control_plane.kubectl("create", "-f", "-", text=json.dumps(found))
    return name


@pytest.mark.parametrize("way", ["deployment", "kserve"])
def test_every_object_is_accepted_and_the_pod_too(
    control_plane: ControlPlane, repository: Path, program: Callable[[str], Path], restricted: str, way: str
):
    folder = repository / "examples" / "serving" / way
    output = subprocess.run(
        [program("kubectl"), "kustomize", folder], capture_output=True, text=True, check=True
    ).stdout
    objects = {found["kind"]: found for found in yaml.safe_load_all(output)}
    service = objects.pop("InferenceService", None)
    spec = service["spec"]["predictor"] if service else objects["Deployment"]["spec"]["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "digits"}, "spec": spec}
    for found in (*objects.values(), pod):
        arguments = ("apply", "--dry-run=server", "--validate=strict", f"--namespace={restricted}", "-f", "-")
        said = control_plane.kubectl(*arguments, text=json.dumps(found))
        assert f"{found['metadata']['name']} " in said
