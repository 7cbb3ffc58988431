"""A Service of the cluster on a local port, for as long as a block lasts, whatever becomes of the pod behind it."""

from __future__ import annotations

import re
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.cluster import Cluster

START_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 0.5
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")


@contextmanager
def port_forward(cluster: Cluster, *, service: str, port: int) -> Iterator[int]:
    """Yield a local port that leads to `port` of a Service of the operator's namespace.

    Raises
    ------
    DemoError
        With kubectl's own words, if it cannot be had.
    """
    forward = _PortForward(cluster, service=service, port=port)
    forward.start()
    try:
        yield forward.await_port()
    finally:
        forward.stop()


class _PortForward(threading.Thread):
    """Keeps `kubectl port-forward` going: it ends with the pod that it began with, which an upgrade replaces."""

    def __init__(self, cluster: Cluster, *, service: str, port: int) -> None:
        super().__init__(name=f"port-forward {service}", daemon=True)
        self._cluster = cluster
        self._service = service
        self._port = port
        self._local: int | None = None
        self._said = ""
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Begin anew whenever kubectl has ended, with the same local port."""
        while (process := self._begin()) is not None:
            self._listen(process)
            self._stopping.wait(AGAIN_SECONDS)

    def await_port(self) -> int:
        """Return the local port once it is open."""
        if not self._ready.wait(START_SECONDS) or self._local is None:
            words = self._said.strip() or f"kubectl port-forward did not begin in {START_SECONDS:.0f} s"
            raise DemoError(f"service/{self._service} cannot be reached: {words}")
        return self._local

    def stop(self) -> None:
        """End it for good."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.terminate()
        self.join()

    def _begin(self) -> subprocess.Popen[str] | None:
        command = [
            *(self._cluster.kubectl, "--namespace", self._cluster.operator_namespace),
            *(
                "port-forward",
                "--address",
                "127.0.0.1",
                f"service/{self._service}",
                f"{self._local or ''}:{self._port}",
            ),
        ]
        with self._lock:
            if self._stopping.is_set():
                return None
            # In a session of its own: an interrupt at the terminal is not meant for it.
            self._process = subprocess.Popen(
                command,
                env=self._cluster.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            return self._process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        said = ""
        with process:
            for line in process.stdout or ():
                found = _FORWARDING.match(line)
                if found is None:
                    said = (said + line)[-1000:]
                    continue
                self._local = int(found[1])
                self._ready.set()
        self._said = said
