"""The API server as dictionaries in and out, and its refusals as errors that say what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from trainyard.errors import (
    ConfigError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TrainyardError,
    Unreachable,
)

JsonObject = dict[str, Any]

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0
JSON: Final = "application/json"
# Lists of what objects are called, without what is in them.
METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
MERGE_PATCH: Final = "application/merge-patch+json"
IN_CLUSTER: Final = "in-cluster"
_SERVICE_ACCOUNT_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _INVALID = 400, 401, 403, 404, 409, 422


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a kubeconfig leads to."""

    context: str
    cluster: str
    namespace: str


class Api:
    """The API server's answers to one user.

    Parameters
    ----------
    client
        A ``kubernetes.client.ApiClient``: it knows the address and the credentials.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def address(self) -> str:
        """The address of the API server."""
        return str(self.client.configuration.host)

    def request(  # noqa: PLR0913 - all but the first two by name, and most of them rarely
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> JsonObject:
        """Send one request and return what is answered.

        Raises
        ------
        TrainyardError
            In words, whatever went wrong.
        """
        sent = self.stream(method, path, query=query, body=body, content_type=content_type, accept=accept)
        with sent as response:
            answer: JsonObject = json.loads(response.data)
            return answer

    @contextmanager
    def stream(  # noqa: PLR0913 - all but the first two by name, and most of them rarely
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
        seconds: float = ANSWER_SECONDS,
    ) -> Iterator[Any]:
        """Send one request and lend its response, whose bytes come as they are sent.

        Raises
        ------
        TrainyardError
            In words, whatever went wrong, also while the response is being read.
        """
        from kubernetes.client import ApiException
        from kubernetes.config import ConfigException
        from urllib3.exceptions import HTTPError

        what = f"{method} {path}"
        try:
            response = self.client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": accept, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _preload_content=False,
                _request_timeout=(CONNECT_SECONDS, seconds),
            )
            try:
                yield response
            finally:
                response.release_conn()
                response.close()
        except ApiException as error:
            _refused(what, error.status, error.reason, error.body, error)
        except ConfigException as error:
            raise ConfigError(f"the kubeconfig's credentials cannot be used: {error}") from error
        except (HTTPError, OSError) as error:
            raise Unreachable(
                f"the API server {self.address} does not answer ({_short(error)}): is the cluster up, and is it the "
                "one that the kubeconfig's context means?"
            ) from error


def connect(*, context: str | None = None, environ: Mapping[str, str] | None = None) -> tuple[Api, Place]:
    """Return the API server of a kubeconfig's context, the current one by default, or of the pod's own cluster.

    Raises
    ------
    ConfigError
        If there is no kubeconfig, or it cannot be used.
    """
    from kubernetes import config

    environ = os.environ if environ is None else environ
    path = environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    there = any(Path(part).expanduser().is_file() for part in path.split(os.pathsep))
    if not there and environ.get("KUBERNETES_SERVICE_HOST") and context in {None, IN_CLUSTER}:
        return _own_cluster()
    if not there:
        raise ConfigError(
            f"there is no kubeconfig {path}: set KUBECONFIG to the file that whoever runs the cluster gave you, "
            "or put it there"
        )
    try:
        contexts, current = config.list_kube_config_contexts(config_file=path)
        chosen = current if context is None else _context(contexts, context, path=path)
        client = config.new_client_from_config(config_file=path, context=chosen["name"])
    except TrainyardError:
        raise
    # Whatever a broken file makes of the library: it raises errors of many kinds.
    except Exception as error:
        raise ConfigError(f"the kubeconfig {path} cannot be used: {_short(error)}") from error
    about = chosen["context"]
    place = Place(context=chosen["name"], cluster=about["cluster"], namespace=about.get("namespace") or "default")
    return Api(_impatient(client)), place


def _context(contexts: list[JsonObject], name: str, *, path: str) -> JsonObject:
    found = next((context for context in contexts if context["name"] == name), None)
    if found is None:
        names = ", ".join(sorted(context["name"] for context in contexts)) or "none"
        raise ConfigError(
            f"the kubeconfig {path} has no context {name!r}, it has: {names}. Name one of them as subscription_id, or "
            "leave that out to use the current one"
        )
    return found


def _own_cluster() -> tuple[Api, Place]:
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
        namespace = _SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError) as error:
        raise ConfigError(
            f"this pod has no token for the API server ({error}): set KUBECONFIG, or let the pod have its service "
            "account's token"
        ) from error
    place = Place(context=IN_CLUSTER, cluster=IN_CLUSTER, namespace=namespace)
    return Api(_impatient(client.ApiClient(configuration))), place


def _impatient(client: Any) -> Any:
    # Otherwise each request to a server that is away is tried four times, with a warning on the log for each.
    client.rest_client.pool_manager.connection_pool_kw["retries"] = False
    return client


def _refused(what: str, status: int, reason: str, body: Any, error: Exception) -> NoReturn:
    raise refusal(what, status, _words(body) or str(reason)) from error


def refusal(what: str, status: int, words: str) -> TrainyardError:
    """Return the error for an answer of the API server, with its own words in it."""
    if status == _UNAUTHORIZED:
        return Forbidden(f"the API server does not know these credentials ({words}): log in to the cluster again")
    if status == _FORBIDDEN:
        return Forbidden(f"not allowed: {words}. Ask whoever runs the cluster for a Role that allows it")
    if status == _NOT_FOUND:
        return NotFound(words)
    if status == _CONFLICT:
        return Conflict(words)
    if status in {_BAD_REQUEST, _INVALID}:
        return Invalid(words)
    return Unreachable(f"the API server answered {what} with {status}: {words}; try again")


def _words(body: Any) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
