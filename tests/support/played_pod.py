"""The pod of a run that is played: its states, what its runner reports, and its log, which a kubelet of ours serves."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.certificates import certificate
from trainyard.contract import TOKEN_AUDIENCE
from trainyard.transfer import GatewayClient

NODE = "played"
LOG_SECONDS = 60.0


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PlayedKubelet:
    """Serves the logs of pods to the API server, as a kubelet does."""

    def __init__(self, folder: Path) -> None:
        self._lines: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        kubelet = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def log_message(self, *_: Any) -> None:
                """Keep the test's output free."""

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                told = 0
                while (lines := kubelet.after(told)) is not None:
                    told += len(lines)
                    self.wfile.write("".join(f"{line}\n" for line in lines).encode())
                    self.wfile.flush()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        _, context = certificate(folder)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def say(self, *lines: str) -> None:
        """Print lines, each with its moment."""
        with self._more:
            stamps = (datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") for _ in lines)
            self._lines += [f"{stamp}{n:03}Z {line}" for n, (stamp, line) in enumerate(zip(stamps, lines, strict=True))]
            self._more.notify_all()

    def after(self, told: int) -> list[str] | None:
        """Return the lines after the first `told`; None once there will be none."""
        with self._more:
            self._more.wait_for(lambda: len(self._lines) > told or self._ended, LOG_SECONDS)
            return self._lines[told:] or None

    def end(self) -> None:
        """End the container."""
        with self._more:
            self._ended = True
            self._more.notify_all()

    def close(self) -> None:
        """Serve no more."""
        self.end()
        self._server.shutdown()
        self._server.server_close()


class PlayedPod:
    """A pod of a run's Job that says what the test wants, with a kubelet of its own."""

    def __init__(self, control_plane: Any, namespace: str, kubelet: PlayedKubelet) -> None:
        self._control_plane, self._namespace, self._kubelet = control_plane, namespace, kubelet
        self.name = ""

    def _kubectl(self, *arguments: str, document: Any = None) -> str:
        text = None if document is None else json.dumps(document)
        return str(self._control_plane.kubectl("-n", self._namespace, *arguments, text=text))

    def begin(self, job_name: str) -> None:
        """Let the pod of a Job run on a node of its own."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        self._kubectl("apply", "-f", "-", document=node)
        about = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._kubelet.port}},
        }
        self._status("node", NODE, about)
        job = json.loads(self._kubectl("get", "job", job_name, "-o", "json"))
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": job_name,
            "uid": job["metadata"]["uid"],
            "controller": True,
        }
        self.name = f"{job_name}-x"
        metadata = {
            "name": self.name,
            "labels": job["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [owner],
        }
        container = {"image": "none", "resources": {}}
        spec = {
            "nodeName": NODE, "restartPolicy": "Never",
            "initContainers": [{"name": "prepare", **container}], "containers": [{"name": "train", **container}],
        }  # fmt: skip
        self._kubectl(
            "apply", "-f", "-", document={"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        )
        moment = now()
        about = {"image": "none", "imageID": "", "restartCount": 0, "ready": True}
        done = {"terminated": {"exitCode": 0, "startedAt": moment, "finishedAt": moment}}
        self._status(
            "pod",
            self.name,
            {
                "phase": "Running",
                "startTime": moment,
                "initContainerStatuses": [{"name": "prepare", "state": done, **about}],
                "containerStatuses": [{"name": "train", "state": {"running": {"startedAt": moment}}, **about}],
            },
        )

    def fail(self, job_name: str, message: dict[str, Any]) -> None:
        """Let the script end with an error, of which its runner tells."""
        moment = now()
        told = {
            "exitCode": 1,
            "reason": "Error",
            "startedAt": moment,
            "finishedAt": moment,
            "message": json.dumps(message),
        }
        about = {"image": "none", "imageID": "", "restartCount": 0, "ready": False}
        state = {"name": "train", "state": {"terminated": told}, **about}
        self._status("pod", self.name, {"phase": "Failed", "containerStatuses": [state]})
        kinds = [
            {
                "type": kind,
                "status": "True",
                "lastTransitionTime": moment,
                "reason": "BackoffLimitExceeded",
                "message": "",
            }
            for kind in ("FailureTarget", "Failed")
        ]
        self._status(
            "job", job_name, {"startTime": moment, "failed": 1, "conditions": kinds, "uncountedTerminatedPods": {}}
        )

    def report(self, gateway: str, authority: str, **document: Any) -> None:
        """Tell the gateway how the run is."""
        bound = (f"--audience={TOKEN_AUDIENCE}", "--bound-object-kind=Pod", f"--bound-object-name={self.name}")
        token = self._kubectl("create", "token", "default", *bound).strip()
        client = GatewayClient(gateway, ca_pem=authority, token=lambda: token)
        try:
            client.report({"state": "Running", **document})
        finally:
            client.close()

    def _status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        patch = json.dumps({"status": status})
        self._kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)
