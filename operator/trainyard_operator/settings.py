"""All that is configurable, from the environment, in one place."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from platform import machine
from typing import Any

from trainyard_operator.api.quantities import memory_bytes
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.domain.environment_build import BuildSettings

PREFIX = "TRAINYARD_"
# Kubernetes' words for machines.
_PLATFORMS = {"x86_64": "amd64", "aarch64": "arm64"}
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class SettingsError(Exception):
    """A variable of the environment is missing or makes no sense; the message names it and says what to set."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The operator's configuration. Each field `x` comes from the variable ``TRAINYARD_X``, but for the S3 keys."""

    trainer_image: str
    # None means AWS itself, and keys that boto3 finds by itself.
    s3_endpoint: str | None = None
    s3_access_key: str | None = field(default=None, repr=False)
    s3_secret_key: str | None = field(default=None, repr=False)
    namespace: str = "trainyard-system"
    trainer_pull_policy: str = "IfNotPresent"
    gateway_url: str = ""
    gateway_port: int = 8443
    gateway_secret: str = "trainyard-gateway-tls"  # noqa: S105 - a name
    gateway_config_map: str = "trainyard-gateway"
    s3_region: str = "us-east-1"
    s3_bucket: str = "trainyard"
    metrics_port: int = 9090
    workers: int = 16
    resync_seconds: float = 300.0
    lease_name: str = "trainyard-operator"
    # Set where the operator runs in a pod; the pod's name is then the identity in the lease.
    pod_name: str = ""
    identity: str = ""
    log_level: str = "INFO"
    run_disruption_retries: int = 20
    run_default_requests: Mapping[str, str] = field(default_factory=dict)
    input_size_limit: int = 50 << 30
    sizes: Catalogue = field(default_factory=Catalogue)
    # Whether runs may be handed to Kueue, which takes rights on its Workloads.
    kueue_enabled: bool = False
    builds: BuildSettings = field(default_factory=BuildSettings)
    # A folder of files that say where packages come from; see runtime.index.
    index_folder: str = "/etc/trainyard/index"
    # A lock file of what the trainer image has, baked into the operator's own.
    trainer_packages: str = "/opt/trainyard/trainer-packages.txt"
    environments_unused_days: int = 30
    signer_socket: str = ""  # versions are not signed

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Return the settings that `environment` describes.

        Raises
        ------
        SettingsError
            Naming the first variable that is wrong.
        """
        read = _Reader(environment)
        namespace = read.text("NAMESPACE", default="trainyard-system")
        pod_name = read.text("POD_NAME", default="")
        return cls(
            trainer_image=read.text("TRAINER_IMAGE"),
            s3_endpoint=read.text("S3_ENDPOINT", default="") or None,
            s3_access_key=read.text("AWS_ACCESS_KEY_ID", default="", prefix="") or None,
            s3_secret_key=read.text("AWS_SECRET_ACCESS_KEY", default="", prefix="") or None,
            namespace=namespace,
            trainer_pull_policy=read.choice(
                "TRAINER_PULL_POLICY", ("Always", "IfNotPresent", "Never"), default="IfNotPresent"
            ),
            gateway_url=read.text("GATEWAY_URL", default=f"https://trainyard-gateway.{namespace}.svc:8443"),
            gateway_port=read.port("GATEWAY_PORT", default=8443),
            gateway_secret=read.text("GATEWAY_SECRET", default="trainyard-gateway-tls"),
            gateway_config_map=read.text("GATEWAY_CONFIG_MAP", default="trainyard-gateway"),
            s3_region=read.text("S3_REGION", default="us-east-1"),
            s3_bucket=read.text("S3_BUCKET", default="trainyard"),
            metrics_port=read.port("METRICS_PORT", default=9090),
            workers=int(read.number("WORKERS", default=16, least=1, most=256)),
            resync_seconds=read.number("RESYNC_SECONDS", default=300, least=1, most=86400),
            lease_name=read.text("LEASE_NAME", default="trainyard-operator"),
            pod_name=pod_name,
            # A restarted container of the same pod is the same holder, so that a crash costs no waiting.
            identity=pod_name or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}",
            log_level=read.choice("LOG_LEVEL", LOG_LEVELS, default="INFO"),
            run_disruption_retries=int(read.number("RUN_DISRUPTION_RETRIES", default=20, least=0, most=1000)),
            run_default_requests=read.quantities("RUN_DEFAULT_REQUESTS"),
            input_size_limit=read.memory("INPUT_SIZE_LIMIT", default="50Gi"),
            sizes=read.sizes("SIZES"),
            kueue_enabled=read.choice("KUEUE_ENABLED", ("true", "false"), default="false") == "true",
            builds=read.builds(),
            index_folder=read.text("INDEX_FOLDER", default="/etc/trainyard/index"),
            trainer_packages=read.text("TRAINER_PACKAGES", default="/opt/trainyard/trainer-packages.txt"),
            signer_socket=read.text("SIGNER_SOCKET", default=""),
            environments_unused_days=int(read.number("ENVIRONMENTS_UNUSED_DAYS", default=30, least=1, most=36500)),
        )


@dataclass(frozen=True)
class _Reader:
    environment: Mapping[str, str]

    def text(self, name: str, *, default: str | None = None, prefix: str = PREFIX) -> str:
        value = self.environment.get(prefix + name, "").strip()
        if value:
            return value
        if default is None:
            raise SettingsError(f"{prefix}{name} is not set: set it in the operator's environment")
        return default

    def choice(self, name: str, allowed: tuple[str, ...], *, default: str) -> str:
        value = self.text(name, default=default)
        if value not in allowed:
            raise SettingsError(f"{PREFIX}{name} is {value!r}: use one of {', '.join(allowed)}")
        return value

    def number(self, name: str, *, default: float, least: float, most: float) -> float:
        value = self.text(name, default=str(default))
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:
            raise SettingsError(f"{PREFIX}{name} is {value!r}: use a number from {least:g} to {most:g}")
        return number

    def port(self, name: str, *, default: int) -> int:
        # 0 asks the kernel for a free port, which is for tests and for several operators on one machine.
        return int(self.number(name, default=default, least=0, most=65535))

    def memory(self, name: str, *, default: str) -> int:
        try:
            return memory_bytes(self.text(name, default=default))
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name}: {error}") from None

    def sizes(self, name: str) -> Catalogue:
        try:
            return Catalogue.parse(json.loads(self.text(name, default="{}")))
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name}: {error}: mend the chart's value sizes") from None

    def builds(self) -> BuildSettings:
        given = self.json("BUILDS", default={})
        return BuildSettings(
            platform=_PLATFORMS.get(machine(), machine()),
            resources=given.get("resources") or {},
            node_selector=given.get("nodeSelector") or {},
            tolerations=given.get("tolerations") or (),
            timeout_seconds=int(self.number("BUILDS_TIMEOUT_SECONDS", default=1800, least=10, most=86400)),
        )

    def json(self, name: str, *, default: dict[str, Any]) -> dict[str, Any]:
        try:
            found: Any = json.loads(self.text(name, default=json.dumps(default)))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise SettingsError(f"{PREFIX}{name} must be a JSON object")
        return found

    def quantities(self, name: str) -> dict[str, str]:
        value = self.text(name, default="{}")
        try:
            found: Any = json.loads(value)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not set(found) <= {"cpu", "memory"}:
            raise SettingsError(
                f'{PREFIX}{name} is {value!r}: use a JSON object such as {{"cpu": "500m", "memory": "512Mi"}}'
            )
        return {key: str(quantity) for key, quantity in found.items()}
