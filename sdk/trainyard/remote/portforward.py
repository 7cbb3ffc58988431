"""A Service of the cluster on a local port, through the API server, as `kubectl port-forward` does it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from trainyard.errors import TrainyardError, Unreachable
from trainyard.remote.api import Api, JsonObject, refusal

LOCAL: Final = "127.0.0.1"
CHUNK: Final = 256 * 1024
_BACKLOG: Final = 16

# Opens a way to the pod that stands behind a Service now.
Dial = Callable[[], Any]


class Forward:
    """Listens on a port of this machine, and opens a way to the pod of a Service for each connection.

    So it does not end with a pod that an upgrade replaces: the next connection finds the new one.

    Parameters
    ----------
    dial
        Returns something like a socket that leads to the pod.
    """

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        # Once now: what is wrong is told to whoever asks, and not to a thread.
        self._first: Any = dial()
        self._lock = threading.Lock()
        self._listener = socket.create_server((LOCAL, 0), backlog=_BACKLOG)
        threading.Thread(target=self._serve, name="port-forward", daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect to."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Accept no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        first, self._first = self._first, None
        if first is not None:
            first.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), name="port-forward connection", daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with self._lock:
            far, self._first = self._first, None
        try:
            far = far or self._dial()
        except TrainyardError:
            # Whoever connected sees a connection that ends, and tries again.
            near.close()
            return
        threading.Thread(target=_pump, args=(far, near), daemon=True).start()
        _pump(near, far)


class Way:
    """A way to a pod, which is a socket but for its end.

    The library leaves the connection to the API server open where that has said goodbye first, as it does when the pod
    goes.
    """

    def __init__(self, forward: Any, port: int) -> None:
        self._websocket = forward.websocket
        self._socket = forward.socket(port)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def close(self) -> None:
        """Close both ends."""
        self._socket.close()
        if not self._websocket.connected:
            self._websocket.shutdown()


def dialer(api: Api, *, namespace: str, service: str, port: int) -> Dial:
    """Return what opens a way to `port` of a Service."""

    def dial() -> Any:
        pod, target = find_pod(api, namespace=namespace, service=service, port=port)
        return _open(api, namespace=namespace, pod=pod, port=target)

    return dial


def find_pod(api: Api, *, namespace: str, service: str, port: int) -> tuple[str, int]:
    """Return the name of a ready pod behind a Service, and its own port.

    Raises
    ------
    Unreachable
        If there is none.
    """
    spec = api.request("GET", f"/api/v1/namespaces/{namespace}/services/{service}")["spec"]
    entry = next((entry for entry in spec["ports"] if entry["port"] == port), spec["ports"][0])
    selector = ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items()))
    pods = api.request("GET", f"/api/v1/namespaces/{namespace}/pods", query={"labelSelector": selector})["items"]
    for pod in filter(_is_ready, pods):
        return pod["metadata"]["name"], _port_of(pod, entry.get("targetPort", port))
    raise Unreachable(
        f"no pod behind service/{service} of namespace {namespace} is ready: "
        f"look at `kubectl --namespace {namespace} get pods`"
    )


def _is_ready(pod: JsonObject) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    leaving = "deletionTimestamp" in pod["metadata"]
    return not leaving and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _port_of(pod: JsonObject, target: int | str) -> int:
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("name") == target:
                return int(port["containerPort"])
    raise Unreachable(f"pod {pod['metadata']['name']} has no port called {target}")


def _open(api: Api, *, namespace: str, pod: str, port: int) -> Any:
    from kubernetes.client import ApiException
    from kubernetes.stream import ws_client

    headers: dict[str, str] = {}
    query = [("ports", str(port))]
    url = f"{api.address}/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
    api.client.update_params_for_auth(headers, query, ["BearerToken"])
    try:
        forward = ws_client.portforward_call(api.client.configuration, "GET", url, query_params=query, headers=headers)
    except ApiException as error:
        raise _explained(str(error.reason), namespace=namespace, pod=pod) from error
    return Way(forward, port)


def _explained(reason: str, *, namespace: str, pod: str) -> TrainyardError:
    what = f"the port-forward to pod {pod} of namespace {namespace}"
    for status in (401, 403, 404):
        # The library keeps nothing of the answer but its words.
        if f" {status} " in f" {reason} ":
            words = f"create on pods/portforward in namespace {namespace}: {reason.splitlines()[0][:200]}"
            return refusal(what, status, words)
    return Unreachable(f"{what} cannot be had: {reason[:300]}")


def _pump(source: Any, target: Any) -> None:
    try:
        while chunk := source.recv(CHUNK):
            target.sendall(chunk)
    except OSError:
        pass
    # Both ends at once: the protocol behind has no way to close one direction alone.
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
