"""A control plane without nodes, for tests and measurements: etcd and the API server on loopback, no root needed."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from devcluster import components, kubeconfig, pki, ports, programs
from devcluster.apiclient import ApiClient
from devcluster.children import Child
from devcluster.errors import DevclusterError
from devcluster.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from devcluster.components import Component
    from devcluster.progress import Progress

SERVICE_SUBNET = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
READY_SECONDS = 90
ATTEMPTS = 3


class ControlPlane:
    """Starts on entering the context, is gone after it.

    Parameters
    ----------
    home
        A folder of its own; what an earlier control plane left there is removed.
    controller_manager
        Whether Kubernetes' controllers run too, so that Jobs make pods and owners' children are collected.
    progress
        Where to tell what is being built, if anything is.
    """

    def __init__(self, *, home: Path, controller_manager: bool = False, progress: Progress | None = None) -> None:
        self.home = home
        self._with_controllers = controller_manager
        names = ["etcd", "kube-apiserver", "kubectl", *(["kube-controller-manager"] if controller_manager else [])]
        self._programs = programs.ensure(names, progress=progress)
        self._children: dict[str, Child] = {}
        self._layout: components.ControlPlaneLayout | None = None

    @property
    def layout(self) -> components.ControlPlaneLayout:
        """Addresses and files; only inside the context."""
        if self._layout is None:
            raise DevclusterError("the control plane is not running: use it as a context manager")
        return self._layout

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.layout.kubeconfig("admin")

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self.layout.server

    @property
    def audit_log(self) -> Path:
        """What the operator's service account asked for."""
        return self.home / "log" / "audit.log"

    def __enter__(self) -> Self:
        """Start everything and wait until the API server is ready."""
        for attempt in range(1, ATTEMPTS + 1):
            with ExitStack() as stack:
                stack.callback(self._stop)
                try:
                    self._start()
                except DevclusterError:
                    # Somebody may have taken a port between the choice and the start.
                    if attempt == ATTEMPTS:
                        raise
                    continue
                stack.pop_all()
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop everything."""
        self._stop()

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl as the administrator and return what it printed.

        Parameters
        ----------
        arguments
            Arguments of kubectl.
        text
            Its standard input.
        """
        result = subprocess.run(
            [str(self._programs["kubectl"]), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise DevclusterError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def stop(self, name: str) -> None:
        """Stop one program, such as ``kube-apiserver``."""
        self._children.pop(name).stop()

    def start(self, name: str) -> None:
        """Start one program again that was stopped, and wait until the API server is ready, if that runs."""
        self._run(next(component for component in self._components() if component.name == name))
        if "kube-apiserver" in self._children:
            self._wait_until_ready()

    def _start(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        api, etcd, peer, controllers = ports.free(4)
        self._layout = components.ControlPlaneLayout(
            home=self.home,
            host="127.0.0.1",
            bind="127.0.0.1",
            ports={"api": api, "etcd": etcd, "etcd-peer": peer, "controller-manager": controllers},
            service_subnet=SERVICE_SUBNET,
            service_address=SERVICE_ADDRESS,
        )
        certificates = pki.create(self._layout.pki.folder, self._layout.subjects(node="none"))
        for user in ("admin", "controller-manager"):
            content = kubeconfig.document(server=self.server, pki=certificates, user=user, context="trainyard-test")
            kubeconfig.write(self._layout.kubeconfig(user), content)
        components.write_audit_policy(self._layout)
        for component in self._components():
            if component.name == "kube-controller-manager":
                self._wait_until_ready()
            self._run(component)
        self._wait_until_ready()

    def _components(self) -> list[Component]:
        layout = self.layout
        wanted = [
            components.etcd(layout, self._programs),
            components.apiserver(layout, self._programs, audit_log=self.audit_log),
        ]
        if self._with_controllers:
            wanted.append(components.controller_manager(layout, self._programs))
        return wanted

    def _run(self, component: Component) -> None:
        self._children[component.name] = Child(component, log=self.home / "log" / f"{component.name}.log")

    def _wait_until_ready(self) -> None:
        client = ApiClient(server=self.server, pki=self.layout.pki)

        def ready() -> bool:
            for child in self._children.values():
                child.check()
            return client.ready()

        wait_for(ready, what=f"the API server at {self.server}", timeout=READY_SECONDS)

    def _stop(self) -> None:
        for name in reversed(list(self._children)):
            self._children.pop(name).stop()
