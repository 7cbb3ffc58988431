"""Pod Security `restricted`, as a function over a pod's spec.

The API server's own admission plugin has the last word (the integration tests ask it); this one needs no cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
SELINUX_TYPES = {"", "container_engine_t", "container_init_t", "container_kvm_t", "container_t"}
HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe")


def violations(spec: dict[str, Any]) -> list[str]:
    """Return what the profile has against a pod's spec."""
    return [*_of_pod(spec), *(found for c in _containers(spec) for found in _of_container(c, spec))]


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [c for key in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(key, [])]


def _of_pod(spec: dict[str, Any]) -> Iterator[str]:
    context = spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes", []):
        if kinds := set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: {', '.join(sorted(kinds))}"
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _of_context(context, "pod")


def _of_container(container: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    name = container["name"]
    pod = spec.get("securityContext", {})
    own = container.get("securityContext", {})
    capabilities = own.get("capabilities", {})
    if own.get("privileged"):
        yield f"{name}: privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation"
    if "ALL" not in capabilities.get("drop", []):
        yield f"{name}: capabilities.drop"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capabilities.add"
    if own.get("procMount", "Default") != "Default":
        yield f"{name}: procMount"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield f"{name}: runAsNonRoot"
    if own.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield f"{name}: seccompProfile"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield f"{name}: hostPort"
    if any(_host(handler) for handler in _handlers(container)):
        yield f"{name}: probe host"
    yield from _of_context(own, name)


def _of_context(context: dict[str, Any], where: str) -> Iterator[str]:
    selinux = context.get("seLinuxOptions", {})
    if context.get("runAsUser") == 0:
        yield f"{where}: runAsUser"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield f"{where}: hostProcess"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield f"{where}: appArmorProfile"
    if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield f"{where}: seLinuxOptions"


def _handlers(container: dict[str, Any]) -> list[dict[str, Any]]:
    lifecycle = container.get("lifecycle", {})
    return [container[key] for key in HANDLERS if key in container] + list(lifecycle.values())


def _host(handler: dict[str, Any]) -> str | None:
    return handler.get("httpGet", {}).get("host") or handler.get("tcpSocket", {}).get("host")
