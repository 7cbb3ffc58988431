"""The chart: into the embedded cluster with images of this checkout, or into any cluster that KUBECONFIG names."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devcluster.components import OPERATOR_NAMESPACE, USERS
from devcluster.errors import DevclusterError
from devcluster.layout import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from devcluster.images import Image

RELEASE = "trainyard"
SIGNING_SECRET = "trainyard-models-key"  # noqa: S105 - the name of one
CHART = REPOSITORY / "helm" / "trainyard"
ROLLOUT_SECONDS = 180


@dataclass(frozen=True)
class Images:
    """What the embedded cluster runs."""

    operator: Image
    trainer: Image
    store: Image


_HERE = {
    "signing.secretName": SIGNING_SECRET,
    "defaultProvider.type": "Karpenter",
    "defaultProvider.karpenter.nodeClassRef.group": "karpenter.kwok.sh",
    "defaultProvider.karpenter.nodeClassRef.kind": "KWOKNodeClass",
    "defaultProvider.karpenter.nodeClassRef.name": "default",
    "workspaces[0].namespace": "default",
    "workspaces[0].subjects[0].kind": "Group",
    "workspaces[0].subjects[0].name": USERS,
    "workspaces[0].subjects[0].apiGroup": "rbac.authorization.k8s.io",
}


def values(images: Images) -> dict[str, str]:
    """Point the chart's values at images that were imported and can be pulled from nowhere, and at what is here."""
    found = dict(_HERE)
    for prefix, image in (
        ("image", images.operator),
        ("trainer.image", images.trainer),
        ("store.embedded.image", images.store),
    ):
        found[f"{prefix}.repository"] = image.repository
        found[f"{prefix}.tag"] = image.tag
        found[f"{prefix}.pullPolicy"] = "Never"
    return found


def index_arguments(*, settings: Mapping[str, str], bundle: Path | None) -> tuple[str, ...]:
    """Have builds of environments reach the package index as this machine's pip does.

    Parameters
    ----------
    settings
        Settings of pip.
    bundle
        The machine's certificate authorities.
    """
    index = "environments.index"
    found = [f"--set-string={index}.url={settings['index-url']}"] if "index-url" in settings else []
    extra = settings.get("extra-index-url", "").split()
    found += [f"--set-string={index}.extraUrls[{number}]={url}" for number, url in enumerate(extra)]
    return (*found, f"--set-file={index}.ca={bundle}") if bundle else tuple(found)


def image_values(prefix: str, reference: str) -> dict[str, str]:
    """Split ``registry:5000/name:tag`` into the values that the chart has for an image.

    Raises
    ------
    DevclusterError
        If the reference has no tag; the chart's own would then be added to somebody else's image.
    """
    repository, separator, tag = reference.rpartition(":")
    if not separator or "/" in tag or "@" in reference:
        raise DevclusterError(f"{prefix}={reference}: give an image as repository:tag, such as ghcr.io/me/{prefix}:1.0")
    return {f"{prefix}.repository": repository, f"{prefix}.tag": tag}


def upgrade_command(*, helm: Path, values: Mapping[str, str], arguments: tuple[str, ...] = ()) -> list[str]:
    """Form the command that installs the chart or brings it up to date."""
    settings = [f"--set-string={name}={value}" for name, value in values.items()]
    return [
        *(str(helm), "upgrade", "--install", RELEASE, str(CHART)),
        *(f"--namespace={OPERATOR_NAMESPACE}", "--create-namespace"),
        *settings,
        *arguments,
    ]


def install(*, helm: Path, kubeconfig: Path, values: Mapping[str, str], arguments: tuple[str, ...] = ()) -> None:
    """Install or upgrade; what did not change stays as it is."""
    command = upgrade_command(helm=helm, values=values, arguments=arguments)
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DevclusterError(f"helm could not install {CHART}:\n{result.stderr.strip()}")


def deploy(*, helm: Path, values: Mapping[str, str], arguments: tuple[str, ...]) -> int:
    """Install into the cluster that the user's KUBECONFIG names; helm speaks for itself.

    Returns
    -------
    int
        Helm's exit status.
    """
    if not os.environ.get("KUBECONFIG"):
        raise DevclusterError(
            "KUBECONFIG is not set: `deploy` installs into the cluster that it names, for example\n"
            "    KUBECONFIG=~/.kube/config make deploy\n"
            "For the embedded cluster use `make up`."
        )
    return subprocess.run(upgrade_command(helm=helm, values=values, arguments=arguments), check=False).returncode
