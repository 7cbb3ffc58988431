"""The gateway and the object store behind it, reached from outside with the kubeconfig as the only credential."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from demo.portforward import port_forward
from trainyard.connections import Connections
from trainyard.patience import Retry, Transient
from trainyard.transfer import GatewayClient, StoreClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.cluster import Cluster
    from trainyard.contract import FileGrant

GATEWAY_SERVICE: Final = "trainyard-gateway"
GATEWAY_PORT: Final = 8443
STORE_SERVICE: Final = "trainyard-store"
STORE_PORT: Final = 7070
LOCAL: Final = "127.0.0.1"
# Somebody sits and waits: an outage is told soon.
PATIENCE_SECONDS: Final = 60.0
PROBE_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The namespace's files in the object store: its datastore, its runs, its models."""

    gateway: GatewayClient
    store: StoreClient
    probes: Connections

    def files(self, *, area: str, prefix: str) -> list[FileGrant]:
        """Return the files below `prefix` of an area: ``data``, ``runs`` or ``models``."""
        request = {"op": "list", "area": area, "prefix": prefix}
        return [file for page in self.gateway.pages(request) for file in page]

    def read_text(self, file: FileGrant) -> str:
        """Return the content of one file."""
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "file"
            self.store.download(file["url"], target, size=file["bytes"])
            return target.read_text(encoding="utf-8", errors="replace")

    def holds(self, file: FileGrant, path: Path) -> bool:
        """Return whether a stored file has the content of a local one, as far as the store tells.

        An entity tag is the content's MD5 where the content came in one piece without the store's own encryption. Any
        other tag is different, and then the file is just uploaded again.
        """
        if file["bytes"] != path.stat().st_size:
            return False
        try:
            with self.probes.exchange("GET", file["url"], headers={"Range": "bytes=0-0"}) as response:
                tag = (response.getheader("ETag") or "").strip('"')
        except Transient:
            return False
        with path.open("rb") as content:
            return tag == hashlib.file_digest(content, _md5).hexdigest()


@contextmanager
def open_storage(cluster: Cluster) -> Iterator[Storage]:
    """Yield the namespace's storage, through port-forwards that end with the block."""
    # Asked for first: it tells best whether Trainyard is there at all.
    authority = cluster.gateway_ca()
    with ExitStack() as stack:
        gateway_port = stack.enter_context(port_forward(cluster, service=GATEWAY_SERVICE, port=GATEWAY_PORT))
        store_at = None
        # An external store is reached at its own address.
        if cluster.has_service(STORE_SERVICE):
            store_at = (LOCAL, stack.enter_context(port_forward(cluster, service=STORE_SERVICE, port=STORE_PORT)))
        token = cluster.token()
        gateway = GatewayClient(
            f"https://{GATEWAY_SERVICE}.{cluster.operator_namespace}.svc:{GATEWAY_PORT}",
            ca_pem=authority,
            token=lambda: token,
            connect_to=(LOCAL, gateway_port),
            retry=Retry(limit=PATIENCE_SECONDS),
        )
        yield Storage(
            gateway=stack.enter_context(closing(gateway)),
            store=stack.enter_context(closing(StoreClient(connect_to=store_at, retry=Retry(limit=PATIENCE_SECONDS)))),
            probes=stack.enter_context(closing(Connections(timeout=PROBE_SECONDS, connect_to=store_at))),
        )


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)
