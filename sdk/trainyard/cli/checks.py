"""What `doctor` looks at: each check asks one thing, and says what to do where it is not as it should be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any, Final

from trainyard.cli.rights import missing_rights
from trainyard.cli.tables import moment, span
from trainyard.connections import Connections
from trainyard.errors import Forbidden, NotFound, NotInstalled, StoreUnavailable, TrainyardError
from trainyard.remote.account import how_to_bind
from trainyard.remote.gateway import CONFIG_MAP, Gateway, Routes, translated
from trainyard.remote.objects import API_VERSION, COMPUTE_CLUSTERS, REGISTERED_MODELS, TRAINING_JOBS

if TYPE_CHECKING:
    from trainyard.cli.session import Session
    from trainyard.remote.api import Api
    from trainyard.remote.config import WorkspaceConfig

OK, WARN, FAIL = "ok", "warn", "FAIL"
OLDEST_KUBERNETES: Final = (1, 31)
VERSION_LABEL: Final = "app.kubernetes.io/version"
LEASE: Final = "trainyard-operator"
LEASE_GRACE_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 5.0
STORE_SECONDS: Final = 10.0
# Less is what clocks differ by; more breaks tokens and signed addresses.
SKEW_WARN_SECONDS: Final = 60.0
SKEW_FAIL_SECONDS: Final = 300.0
# A Date has whole seconds.
HALF_SECOND: Final = 0.5
# Nothing is ever saved there: an address for it is asked for where there is no file whose address could be tried.
PROBE: Final = ".trainyard-doctor"
_FORBIDDEN: Final = 403
_REDIRECT: Final = 300


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found at one place."""

    level: str
    name: str
    message: str
    fix: str = ""


@dataclass(kw_only=True)
class Patient:
    """What is examined, and what the checks before have learnt of it."""

    api: Api
    settings: WorkspaceConfig
    # Seconds that a clock is ahead of this machine's, by whose it is.
    ahead: dict[str, float] = field(default_factory=dict)
    gateway: Gateway | None = None
    gateway_answers: bool = False
    listed: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        """The namespace that one works in."""
        return self.settings.workspace_name

    @property
    def system(self) -> str:
        """The namespace that Trainyard is installed in."""
        return self.settings.resource_group


def examine(session: Session) -> Iterator[Check]:
    """Yield one finding after the other; where the API server is not reached, the rest is not looked at."""
    try:
        _, file = session.config()
        api, place, settings = session.connect()
    except TrainyardError as error:
        yield Check(level=FAIL, name="config", message=str(error), fix="trainyard config shows what is in force")
        return
    where = f"context {place.context}, namespace {settings.workspace_name}, Trainyard in {settings.resource_group}"
    yield Check(level=OK, name="config", message=where + (f", by {file}" if file else ""))
    patient = Patient(api=api, settings=settings)
    reached = check_server(patient)
    yield reached
    if reached.level == FAIL:
        return
    for check in (check_namespace, check_kinds, check_rights, check_gateway, check_operator, check_store, check_models):
        found = guarded(check, patient)
        if found is not None:
            yield found
    yield check_time(patient)
    if patient.gateway is not None:
        patient.gateway.close()


def guarded(check: Callable[[Patient], Check | None], patient: Patient) -> Check | None:
    """Return what a check finds; that it could not ask is a finding too."""
    try:
        return check(patient)
    except TrainyardError as error:
        return Check(level=FAIL, name=check.__name__.removeprefix("check_"), message=str(error))


def check_server(patient: Patient) -> Check:
    """Ask the API server for its version and the time."""
    import json

    before = time.time()
    try:
        with patient.api.stream("GET", "/version") as response:
            version = json.loads(response.data)
            date = response.headers.get("Date")
    except TrainyardError as error:
        return Check(
            level=FAIL, name="server", message=str(error), fix="look at the kubeconfig, the network and the VPN"
        )
    if date:
        patient.ahead["the API server"] = (
            parsedate_to_datetime(date).timestamp() + HALF_SECOND - (before + time.time()) / 2
        )
    numbers = tuple(int("".join(filter(str.isdigit, version[part])) or 0) for part in ("major", "minor"))
    message = f"{patient.api.address} is Kubernetes {version['gitVersion']}"
    if numbers < OLDEST_KUBERNETES:
        wanted = ".".join(map(str, OLDEST_KUBERNETES))
        return Check(level=FAIL, name="server", message=message, fix=f"Trainyard needs {wanted} or newer")
    return Check(level=OK, name="server", message=message)


def check_namespace(patient: Patient) -> Check:
    """Ask for the namespace itself."""
    name = patient.namespace
    try:
        patient.api.request("GET", f"/api/v1/namespaces/{name}")
    except Forbidden:
        return Check(level=OK, name="namespace", message=f"{name}, which may not be looked at itself")
    except NotFound:
        fix = "give another one with -n or in config.json, or have it created"
        return Check(level=FAIL, name="namespace", message=f"there is no namespace {name}", fix=fix)
    return Check(level=OK, name="namespace", message=f"{name} is there")


def check_kinds(patient: Patient) -> Check:
    """Ask which of Trainyard's kinds the cluster knows, and of which version they are."""
    fix = "install Trainyard with its Helm chart, or name the right cluster with --context"
    try:
        found = patient.api.request("GET", f"/apis/{API_VERSION}")
    except NotFound:
        return Check(level=FAIL, name="kinds", message=f"the cluster knows no {API_VERSION}", fix=fix)
    there = {resource["name"] for resource in found["resources"]}
    missing = {TRAINING_JOBS, COMPUTE_CLUSTERS, REGISTERED_MODELS} - there
    if missing:
        return Check(level=FAIL, name="kinds", message=f"the cluster lacks {', '.join(sorted(missing))}", fix=fix)
    mine, theirs = installed("trainyard"), server_version(patient.api, patient.system)
    if theirs is not None and theirs != mine:
        fix = f"pip install trainyard=={theirs}, or have the cluster's upgraded"
        message = f"{API_VERSION} of Trainyard {theirs}, and this program is {mine}"
        return Check(level=WARN, name="kinds", message=message, fix=fix)
    return Check(level=OK, name="kinds", message=f"{API_VERSION}" + (f" of Trainyard {theirs}" if theirs else ""))


def server_version(api: Api, system: str) -> str | None:
    """Return which version of Trainyard a cluster has, where its ConfigMap says so."""
    try:
        found = api.request("GET", f"/api/v1/namespaces/{system}/configmaps/{CONFIG_MAP}")
    except (NotFound, Forbidden):
        return None
    return (found["metadata"].get("labels") or {}).get(VERSION_LABEL)


def check_rights(patient: Patient) -> Check:
    """Ask for each right that the SDK and the command line need."""
    missing = missing_rights(
        patient.api, namespace=patient.namespace, system=patient.system, account=patient.settings.service_account
    )
    if not missing:
        return Check(
            level=OK, name="rights", message=f"all that are needed in {patient.namespace} and {patient.system}"
        )
    words = "; ".join(
        f"{', '.join(right.verbs)} {right.what} in {right.namespace} ({right.purpose})" for right in missing
    )
    level = FAIL if any(right.needed for right in missing) else WARN
    fix = "have the namespace and you named in the chart's workspaces, or ask for a Role with these rights"
    return Check(level=level, name="rights", message=f"not allowed: {words}", fix=fix)


def check_gateway(patient: Patient) -> Check:
    """Ask the gateway for what is in the datastore."""
    fix = f"kubectl -n {patient.system} get pods says whether the operator runs"
    patient.gateway = gateway = Gateway(
        patient.api,
        namespace=patient.namespace,
        system=patient.system,
        service_account=patient.settings.service_account,
        patience=PATIENCE_SECONDS,
    )
    try:
        for area in ("data", "snapshots"):
            patient.listed += gateway.grants({"op": "list", "area": area, "prefix": "", "after": ""})["files"]
    except StoreUnavailable:
        patient.gateway_answers = True
        raise
    except NotInstalled as error:
        return Check(level=FAIL, name="gateway", message=str(error), fix="name it with --system-namespace")
    except (Forbidden, NotFound) as error:
        return Check(level=FAIL, name="gateway", message=str(error))
    except TrainyardError as error:
        return Check(level=FAIL, name="gateway", message=str(error), fix=fix)
    patient.gateway_answers = True
    return Check(level=OK, name="gateway", message="it answers, and knows this namespace")


def check_operator(patient: Patient) -> Check:
    """Look whether the operator's leader renews its Lease."""
    fix = f"kubectl -n {patient.system} get pods, and logs of the operator's"
    path = f"/apis/coordination.k8s.io/v1/namespaces/{patient.system}/leases/{LEASE}"
    try:
        spec = patient.api.request("GET", path)["spec"]
    except Forbidden:
        if patient.gateway_answers:
            return Check(level=OK, name="operator", message="its Lease is not for you to see, but its gateway answers")
        return Check(level=WARN, name="operator", message="its Lease is not for you to see", fix=fix)
    except NotFound:
        message = f"there is no Lease {LEASE} in {patient.system}: no operator runs"
        return Check(level=FAIL, name="operator", message=message, fix=fix)
    now = time.time() + patient.ahead.get("the API server", 0.0)
    age = now - moment(spec["renewTime"]).timestamp() if spec.get("renewTime") else float("inf")
    holder = spec.get("holderIdentity")
    if not holder or age > float(spec.get("leaseDurationSeconds") or 0) + LEASE_GRACE_SECONDS:
        words = f"renewed its Lease {span(age)} ago" if holder else "no operator holds the Lease"
        return Check(level=FAIL, name="operator", message=f"{holder or ''} {words}".strip(), fix=fix)
    return Check(level=OK, name="operator", message=f"{holder} renewed its Lease {span(age)} ago")


def check_store(patient: Patient) -> Check | None:
    """Send a signed address to the object store; of a file where there is one."""
    if patient.gateway is None or not patient.gateway_answers:
        return None
    files = [file for file in patient.listed if file["bytes"]]
    if files:
        url = min(files, key=lambda file: int(file["bytes"]))["url"]
    else:
        wish = {"op": "data-put", "files": [{"path": PROBE, "bytes": 0}]}
        url = patient.gateway.grants(wish)["files"][0]["url"]
    before = time.time()
    status, date = _ask_store(patient.api, url)
    if date:
        patient.ahead["the object store"] = (
            parsedate_to_datetime(date).timestamp() + HALF_SECOND - (before + time.time()) / 2
        )
    if files and status < _REDIRECT:
        return Check(level=OK, name="store", message="it gives what the gateway has signed")
    if not files and status in {_FORBIDDEN, *range(_REDIRECT)}:
        # The address is for saving: that it refuses to be read from shows that there is a store.
        return Check(level=OK, name="store", message="it answers; nothing is saved there yet that could be fetched")
    fix = "look at the clocks, and at what the operator's log says of its object store"
    return Check(level=FAIL, name="store", message=f"it answered {status} to a signed address", fix=fix)


def check_models(patient: Patient) -> Check | None:
    """Ask the gateway for a model, which the service account has to be allowed to get."""
    if patient.gateway is None or not patient.gateway_answers:
        return None
    account = patient.settings.service_account
    models = patient.api.request(
        "GET", f"/apis/{API_VERSION}/namespaces/{patient.namespace}/{REGISTERED_MODELS}", query={"limit": 1}
    )["items"]
    name = models[0]["spec"]["modelName"] if models else "none"
    try:
        patient.gateway.model(name, "latest")
    except Forbidden:
        message = f"the service account {account} may not get models, so they cannot be downloaded"
        return Check(level=WARN, name="models", message=message, fix=how_to_bind(patient.namespace, account))
    except TrainyardError:
        # No such version: the right is asked for first.
        pass
    return Check(level=OK, name="models", message=f"the service account {account} may get them")


def check_time(patient: Patient) -> Check:
    """Compare the clocks."""
    if not patient.ahead:
        return Check(level=WARN, name="time", message="nothing says what time it is there")
    worst = max(map(abs, [*patient.ahead.values(), max(patient.ahead.values()) - min(patient.ahead.values())]))
    words = ", ".join(
        f"{who} is {round(seconds) or 0:+d} s from this machine" for who, seconds in patient.ahead.items()
    )
    if worst < SKEW_WARN_SECONDS:
        return Check(level=OK, name="time", message=words)
    level = FAIL if worst >= SKEW_FAIL_SECONDS else WARN
    return Check(level=level, name="time", message=words, fix="have the clocks set, by NTP; signed addresses need it")


def _ask_store(api: Api, url: str) -> tuple[int, str | None]:
    routes = Routes(api)
    connections = Connections(timeout=STORE_SECONDS, connect_to=routes.address)
    try:
        with translated(), connections.exchange("GET", url, headers={"Range": "bytes=0-0"}) as response:
            return response.status, response.getheader("Date")
    finally:
        connections.close()
        routes.close()
