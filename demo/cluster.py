"""The cluster that the demo runs on, reached with the kubeconfig and nothing else."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kubernetes import client, config, watch
from urllib3.exceptions import HTTPError

from demo.errors import DemoError
from trainyard.contract import GROUP, TOKEN_AUDIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

JsonObject = dict[str, Any]

REPOSITORY: Final = Path(__file__).resolve().parent.parent
VERSION: Final = "v1alpha1"
# A watch is begun anew after this long, so that one that died silently is noticed.
WATCH_SECONDS: Final = 60
TOKEN_SECONDS: Final = 3600
GATEWAY_SECRET: Final = "trainyard-gateway-tls"  # noqa: S105 - a name
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
# Answers to a watch that trying again will not change.
FINAL: Final = frozenset({401, FORBIDDEN, NOT_FOUND})
RECONNECT_SECONDS: Final = 1


def find_kubeconfig(environment: Mapping[str, str], *, yard: Path) -> str:
    """Return the kubeconfig to use: the user's own, else the embedded cluster's.

    Raises
    ------
    DemoError
        If there is neither.
    """
    if environment.get("KUBECONFIG"):
        return environment["KUBECONFIG"]
    embedded = yard / "kubeconfig"
    if embedded.exists():
        return str(embedded)
    raise DemoError(f"there is no {embedded}: run `make up`, or set KUBECONFIG to use a cluster of your own")


def find_kubectl(*, yard: Path) -> str:
    """Return the kubectl to use: the embedded cluster's, else the one on the path.

    Raises
    ------
    DemoError
        If there is neither.
    """
    embedded = yard / "bin" / "kubectl"
    found = str(embedded) if embedded.exists() else shutil.which("kubectl")
    if found is None:
        raise DemoError("there is no kubectl: install it, or run `make up`, which brings one")
    return found


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One cluster and the namespace in it that the demo works in."""

    kubectl: str
    kubeconfig: str
    namespace: str
    operator_namespace: str
    api: client.ApiClient

    @classmethod
    def connect(cls, *, namespace: str | None, operator_namespace: str) -> Cluster:
        """Read the kubeconfig; no `namespace` means the one of its current context."""
        yard = REPOSITORY / ".yard"
        kubeconfig = find_kubeconfig(os.environ, yard=yard)
        try:
            _, current = config.list_kube_config_contexts(config_file=kubeconfig)
            api = config.new_client_from_config(config_file=kubeconfig)
        except config.ConfigException as error:
            raise DemoError(f"the kubeconfig {kubeconfig} cannot be used: {error}") from error
        return cls(
            kubectl=find_kubectl(yard=yard),
            kubeconfig=kubeconfig,
            namespace=namespace or current["context"].get("namespace", "default"),
            operator_namespace=operator_namespace,
            api=api,
        )

    @property
    def environment(self) -> dict[str, str]:
        """What programs that are started for this cluster get as their environment."""
        return {**os.environ, "KUBECONFIG": self.kubeconfig}

    def run_kubectl(self, *arguments: str) -> str:
        """Return what kubectl prints.

        Raises
        ------
        DemoError
            With kubectl's own words, if it does not succeed.
        """
        command = [self.kubectl, "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def token(self) -> str:
        """Return a short-lived token for the gateway: that of the namespace's `default` service account."""
        request = client.AuthenticationV1TokenRequest(
            spec=client.V1TokenRequestSpec(audiences=[TOKEN_AUDIENCE], expiration_seconds=TOKEN_SECONDS)
        )
        answer = client.CoreV1Api(self.api).create_namespaced_service_account_token("default", self.namespace, request)
        return str(answer.status.token)

    def gateway_ca(self) -> str:
        """Return the certificate authority of the gateway, in PEM."""
        try:
            secret = client.CoreV1Api(self.api).read_namespaced_secret(GATEWAY_SECRET, self.operator_namespace)
        except client.ApiException as error:
            if error.status != NOT_FOUND:
                raise
            raise DemoError(
                f"there is no Secret {GATEWAY_SECRET} in namespace {self.operator_namespace}: is Trainyard installed "
                "there, and its operator running? `make up` and `make deploy` install it"
            ) from error
        return base64.b64decode(secret.data["tls.crt"]).decode()

    def has_service(self, name: str) -> bool:
        """Return whether the operator's namespace has the Service `name`."""
        try:
            client.CoreV1Api(self.api).read_namespaced_service(name, self.operator_namespace)
        except client.ApiException as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return True

    def list_objects(self, plural: str) -> list[JsonObject]:
        """Return all objects of one of Trainyard's kinds in the namespace."""
        answer = client.CustomObjectsApi(self.api).list_namespaced_custom_object(GROUP, VERSION, self.namespace, plural)
        items: list[JsonObject] = answer["items"]
        return items

    def has_object(self, group: str, version: str, plural: str, name: str) -> bool:
        """Return whether there is such an object outside of all namespaces, and a kind for it."""
        try:
            client.CustomObjectsApi(self.api).get_cluster_custom_object(group, version, plural, name)
        except client.ApiException as error:
            # Whoever may not look has no use for it either.
            if error.status in {NOT_FOUND, FORBIDDEN}:
                return False
            raise
        return True

    def watch_object(self, plural: str, name: str) -> Iterator[JsonObject]:
        """Yield an object as it is now, and again whenever it changes, for as long as it is asked for.

        Raises
        ------
        DemoError
            If somebody deletes it, or the kubeconfig does not allow to watch it.
        """
        objects = client.CustomObjectsApi(self.api)
        while True:
            try:
                stream = watch.Watch().stream(
                    objects.list_namespaced_custom_object,
                    GROUP,
                    VERSION,
                    self.namespace,
                    plural,
                    field_selector=f"metadata.name={name}",
                    timeout_seconds=WATCH_SECONDS,
                )
                for event in stream:
                    if event["type"] == "DELETED":
                        raise DemoError(f"{plural}/{name} was deleted")
                    yield event["object"]
            except client.ApiException as error:
                if error.status in FINAL:
                    raise DemoError(f"{plural}/{name} cannot be watched: {error.reason}") from error
                time.sleep(RECONNECT_SECONDS)
            except (HTTPError, OSError):
                time.sleep(RECONNECT_SECONDS)

    def pod_log(self, pod: str, *, container: str) -> Iterator[bytes]:
        """Yield the lines of a container's log from the first on, until the container ends or the connection does."""
        answer = client.CoreV1Api(self.api).read_namespaced_pod_log(
            pod, self.namespace, container=container, follow=True, _preload_content=False
        )
        try:
            yield from answer
        finally:
            answer.close()
